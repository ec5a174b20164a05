//! The Siamese network: how far apart along the brain two images are.

use crate::shapes::{DEPTH_UNIT_UM, Head, SiameseShape};
use crate::torch::densenet::DenseNet;
use crate::torch::layers::{Linear, Mode, pooled};
use crate::torch::parameters::Parameters;
use tch::Tensor;

/// Two images → how far apart they are.
#[derive(Debug)]
pub struct Siamese {
    encoder: DenseNet,
    hidden: Linear,
    latent: Linear,
    output: Linear,
    head: Head,
}

impl Siamese {
    /// A new network. The encoder's names begin with `encoder.`.
    #[must_use]
    pub fn new(parameters: &mut Parameters, shape: &SiameseShape) -> Self {
        let encoder = DenseNet::new(parameters, "encoder.", &shape.encoder);
        let n = shape.latent;
        Self {
            encoder,
            hidden: Linear::new(parameters, "hidden", shape.encoder.channels(), n),
            latent: Linear::new(parameters, "latent", n, n),
            output: match shape.head {
                // The bias of both images would cancel.
                Head::Paper => Linear::without_bias(parameters, "output", n, 1),
                // Where a hard sigmoid begins beyond its ends it has no gradient, and never learns.
                Head::ReleasedCode => Linear::zeros(parameters, "output", n, 1),
            },
            head: shape.head,
        }
    }

    /// Places of images in latent space.
    ///
    /// * `x`: (images, 3, rows, columns), from 0 to 1
    ///
    /// # Returns
    /// (images, latent).
    pub fn encode(&self, x: &Tensor, mode: Mode) -> Tensor {
        let features = pooled(&self.encoder.features(x, mode.of_encoder()));
        self.latent.of(&self.hidden.of(&features).relu())
    }

    /// Differences of depth, in [`DEPTH_UNIT_UM`]: first minus second, without its sign by the published code's head.
    ///
    /// * `first`, `second`: (pairs, latent)
    ///
    /// # Returns
    /// (pairs).
    pub fn difference(&self, first: &Tensor, second: &Tensor) -> Tensor {
        let apart = first - second;
        let difference = match self.head {
            Head::Paper => self.output.of(&apart),
            Head::ReleasedCode => hard_sigmoid(&self.output.of(&apart.abs())),
        };
        difference.squeeze_dim(1)
    }

    /// What [`difference`](Self::difference) should be.
    ///
    /// * `differences_um`: first minus second
    pub fn label(&self, differences_um: &Tensor) -> Tensor {
        let scaled = differences_um / DEPTH_UNIT_UM;
        match self.head {
            Head::Paper => scaled,
            Head::ReleasedCode => scaled.abs(),
        }
    }
}

/// 0.2 x + 0.5 between 0 and 1, as in Keras.
fn hard_sigmoid(x: &Tensor) -> Tensor {
    (x * 0.2 + 0.5).clamp(0.0, 1.0)
}
