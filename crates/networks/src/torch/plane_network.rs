//! A small network from a mask of classes to the plane in which it was cut.

use crate::torch::layers::{Conv, ConvShape, Linear, Mode, Norm, pooled};
use crate::torch::parameters::Parameters;
use tch::Tensor;

/// Channels of the convolutions, all but the first with stride 2.
const CHANNELS: [i64; 5] = [24, 40, 80, 128, 160];
const HIDDEN: i64 = 128;

/// A mask → depth, pitch and yaw.
#[derive(Debug)]
pub struct PlaneNetwork {
    convs: Vec<(Conv, Norm)>,
    hidden: Linear,
    output: Linear,
}

impl PlaneNetwork {
    /// Numbers that it gives: depth, pitch, yaw.
    pub const OUTPUTS: i64 = 3;

    /// A new network.
    ///
    /// * `n_classes`: with the background
    #[must_use]
    pub fn new(parameters: &mut Parameters, n_classes: i64) -> Self {
        let mut from = n_classes;
        let convs = CHANNELS.iter().enumerate().map(|(i, &to)| {
            let stride = if i == 0 { 1 } else { 2 };
            let shape = ConvShape::new(from, to, 3).strided(stride);
            from = to;
            (
                Conv::new(parameters, &format!("conv{i}"), shape),
                Norm::new(parameters, &format!("norm{i}"), to),
            )
        });
        let convs = convs.collect();
        Self {
            convs,
            hidden: Linear::new(parameters, "hidden", 2 * from, HIDDEN),
            output: Linear::new(parameters, "output", HIDDEN, Self::OUTPUTS),
        }
    }

    /// Planes, scaled to about ± 1.
    ///
    /// * `masks`: one-hot classes (masks, classes, rows, columns)
    ///
    /// # Returns
    /// (masks, 3).
    pub fn planes(&self, masks: &Tensor, mode: Mode) -> Tensor {
        let first = masks.shallow_clone();
        let x = self
            .convs
            .iter()
            .fold(first, |x, (conv, norm)| norm.of(&conv.of(&x), mode).relu());
        let both = Tensor::cat(&[pooled(&x), x.amax([2, 3].as_slice(), false)], 1);
        self.output.of(&self.hidden.of(&both).relu())
    }
}
