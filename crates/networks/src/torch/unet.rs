//! The U-Net: a ResNet encoder, and a decoder that enlarges its features step by step. Ronneberger et al. 2015.

use crate::shapes::ResNetShape;
use crate::torch::layers::{Conv, ConvShape, Mode, Norm};
use crate::torch::parameters::Parameters;
use crate::torch::resnet::ResNet;
use tch::Tensor;

/// Channels of the decoder's five steps, in quarters of the encoder's first: 256, 128, 64, 32 and 16 on ResNet50.
const DECODER: [i64; 5] = [16, 8, 4, 2, 1];
/// Fewer channels cannot tell the classes apart.
const LEAST: i64 = 16;

/// Class probabilities of the pixels of an image.
#[derive(Debug)]
pub struct UNet {
    encoder: ResNet,
    steps: Vec<[(Conv, Norm); 2]>,
    head: Conv,
}

impl UNet {
    /// Edges of images are multiples of this.
    pub const STEP: i64 = 32;

    /// A new network; He initialisation. The encoder's names begin with `encoder.`.
    ///
    /// * `n_classes`: with the background
    #[must_use]
    pub fn new(parameters: &mut Parameters, shape: &ResNetShape, n_classes: i64) -> Self {
        let encoder = ResNet::new(parameters, "encoder.", shape);
        let [half, quarter, eighth, sixteenth, smallest] = shape.channels();
        let skipped = [sixteenth, eighth, quarter, half, 0];
        let mut from = smallest;
        let steps = skipped.iter().zip(DECODER).enumerate();
        let steps = steps.map(|(i, (skipped, quarters))| {
            let to = (shape.first * quarters / 4).max(LEAST);
            let mut conv = |n: usize, from: i64| {
                let at = format!("decoder.blocks.{i}");
                let shape = ConvShape::new(from, to, 3);
                (
                    Conv::new(parameters, &format!("{at}.conv{n}"), shape),
                    Norm::new(parameters, &format!("{at}.bn{n}"), to),
                )
            };
            let step = [conv(1, from + skipped), conv(2, to)];
            from = to;
            step
        });
        let steps = steps.collect();
        let shape = ConvShape::new(from, n_classes, 3);
        Self {
            encoder,
            steps,
            head: Conv::with_bias(parameters, "head", shape),
        }
    }

    /// Logarithms of the class probabilities: the last unit is a softmax.
    ///
    /// * `x`: (images, 3, rows, columns), both multiples of [`STEP`](Self::STEP)
    ///
    /// # Returns
    /// (images, classes, rows, columns).
    pub fn log_probabilities(&self, x: &Tensor, mode: Mode) -> Tensor {
        let stages = self.encoder.stages(x, mode.of_encoder());
        let mode = mode.of_rest();
        let [half, quarter, eighth, sixteenth, smallest] = stages;
        let skipped = [
            Some(sixteenth),
            Some(eighth),
            Some(quarter),
            Some(half),
            None,
        ];
        let mut x = smallest;
        for (step, skipped) in self.steps.iter().zip(skipped) {
            let size = x.size();
            x = x.upsample_nearest2d([size[2] * 2, size[3] * 2], None, None);
            if let Some(skipped) = skipped {
                x = Tensor::cat(&[x, skipped], 1);
            }
            for (conv, norm) in step {
                x = norm.of(&conv.of(&x), mode).relu();
            }
        }
        self.head.of(&x).log_softmax(1, tch::Kind::Float)
    }
}
