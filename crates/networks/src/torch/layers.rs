//! Layers: convolution, batch normalisation, linear.

use crate::torch::parameters::{Initial, Parameters};
use tch::Tensor;

/// Part of the new batch in the running statistics of batch normalisation, and what is added to a variance; torchvision's.
const MOMENTUM: f64 = 0.1;
const EPSILON: f64 = 1e-5;

/// Whether batch normalisation takes the statistics of the batch, or those that it kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Of the batch, which also go into the running ones.
    Training,
    /// The running ones in the encoder, which is frozen; elsewhere those of the batch.
    FrozenEncoder,
    /// The running ones.
    Evaluation,
}

impl Mode {
    pub(crate) fn of_encoder(self) -> Self {
        match self {
            Self::FrozenEncoder => Self::Evaluation,
            mode => mode,
        }
    }

    pub(crate) fn of_rest(self) -> Self {
        match self {
            Self::FrozenEncoder => Self::Training,
            mode => mode,
        }
    }
}

/// Shape of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvShape {
    pub from: i64,
    pub to: i64,
    /// Edge of the kernel, an odd number; the padding keeps the size at stride 1.
    pub kernel: i64,
    pub stride: i64,
}

impl ConvShape {
    pub(crate) fn new(from: i64, to: i64, kernel: i64) -> Self {
        Self {
            from,
            to,
            kernel,
            stride: 1,
        }
    }

    pub(crate) fn strided(self, stride: i64) -> Self {
        Self { stride, ..self }
    }
}

/// A convolution.
#[derive(Debug)]
pub(crate) struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    stride: i64,
    padding: i64,
}

impl Conv {
    /// Without bias: batch normalisation follows.
    pub(crate) fn new(parameters: &mut Parameters, name: &str, shape: ConvShape) -> Self {
        let kernel = [shape.to, shape.from, shape.kernel, shape.kernel];
        Self {
            weight: parameters.weight(format!("{name}.weight"), &kernel, Initial::He),
            bias: None,
            stride: shape.stride,
            padding: shape.kernel / 2,
        }
    }

    pub(crate) fn with_bias(parameters: &mut Parameters, name: &str, shape: ConvShape) -> Self {
        let mut conv = Self::new(parameters, name, shape);
        let bias = parameters.weight(format!("{name}.bias"), &[shape.to], Initial::Zeros);
        conv.bias = Some(bias);
        conv
    }

    /// * `x`: (images, channels, rows, columns)
    pub(crate) fn of(&self, x: &Tensor) -> Tensor {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        x.conv2d(&self.weight, self.bias.as_ref(), stride, padding, [1, 1], 1)
    }
}

/// Batch normalisation over (images, rows, columns).
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl Norm {
    pub(crate) fn new(parameters: &mut Parameters, name: &str, channels: i64) -> Self {
        let n = [channels];
        Self {
            weight: parameters.weight(format!("{name}.weight"), &n, Initial::Ones),
            bias: parameters.weight(format!("{name}.bias"), &n, Initial::Zeros),
            mean: parameters.statistic(format!("{name}.running_mean"), &n, Initial::Zeros),
            variance: parameters.statistic(format!("{name}.running_var"), &n, Initial::Ones),
        }
    }

    pub(crate) fn of(&self, x: &Tensor, mode: Mode) -> Tensor {
        x.batch_norm(
            Some(&self.weight),
            Some(&self.bias),
            Some(&self.mean),
            Some(&self.variance),
            mode == Mode::Training,
            MOMENTUM,
            EPSILON,
            true,
        )
    }
}

/// A fully connected layer.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn new(parameters: &mut Parameters, name: &str, from: i64, to: i64) -> Self {
        Self {
            weight: parameters.weight(format!("{name}.weight"), &[to, from], Initial::Uniform),
            bias: Some(parameters.weight(format!("{name}.bias"), &[to], Initial::Zeros)),
        }
    }

    /// All 0: the output begins at 0 whatever the input.
    pub(crate) fn zeros(parameters: &mut Parameters, name: &str, from: i64, to: i64) -> Self {
        Self {
            weight: parameters.weight(format!("{name}.weight"), &[to, from], Initial::Zeros),
            bias: Some(parameters.weight(format!("{name}.bias"), &[to], Initial::Zeros)),
        }
    }

    pub(crate) fn without_bias(
        parameters: &mut Parameters,
        name: &str,
        from: i64,
        to: i64,
    ) -> Self {
        Self {
            weight: parameters.weight(format!("{name}.weight"), &[to, from], Initial::Uniform),
            bias: None,
        }
    }

    /// * `x`: (samples, inputs)
    pub(crate) fn of(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, self.bias.as_ref())
    }
}

/// The mean over rows and columns: (images, channels).
pub(crate) fn pooled(x: &Tensor) -> Tensor {
    x.mean_dim([2, 3].as_slice(), false, x.kind())
}

/// Torchvision's first pooling: the largest of 3 × 3, every second.
pub(crate) fn pool_largest(x: &Tensor) -> Tensor {
    x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)
}
