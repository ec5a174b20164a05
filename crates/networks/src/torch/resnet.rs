//! The ResNet encoder with bottlenecks. He et al. 2016, as torchvision has it: the 3 × 3 convolution strides.

use crate::shapes::{EXPANSION, ResNetShape};
use crate::torch::layers::{Conv, ConvShape, Mode, Norm, pool_largest};
use crate::torch::parameters::Parameters;
use tch::Tensor;

/// A ResNet without its classifier; torchvision's names.
#[derive(Debug)]
pub struct ResNet {
    conv1: Conv,
    bn1: Norm,
    layers: Vec<Vec<Bottleneck>>,
}

#[derive(Debug)]
struct Bottleneck {
    convs: [(Conv, Norm); 3],
    downsample: Option<(Conv, Norm)>,
}

impl Bottleneck {
    fn new(parameters: &mut Parameters, at: &str, from: i64, narrow: i64, stride: i64) -> Self {
        let to = narrow * EXPANSION;
        let shapes = [
            ConvShape::new(from, narrow, 1),
            ConvShape::new(narrow, narrow, 3).strided(stride),
            ConvShape::new(narrow, to, 1),
        ];
        let mut n = 0;
        let convs = shapes.map(|shape| {
            n += 1;
            (
                Conv::new(parameters, &format!("{at}.conv{n}"), shape),
                Norm::new(parameters, &format!("{at}.bn{n}"), shape.to),
            )
        });
        let downsample = (stride != 1 || from != to).then(|| {
            let shape = ConvShape::new(from, to, 1).strided(stride);
            (
                Conv::new(parameters, &format!("{at}.downsample.0"), shape),
                Norm::new(parameters, &format!("{at}.downsample.1"), to),
            )
        });
        Self { convs, downsample }
    }

    fn of(&self, x: &Tensor, mode: Mode) -> Tensor {
        let [(conv1, bn1), (conv2, bn2), (conv3, bn3)] = &self.convs;
        let y = bn1.of(&conv1.of(x), mode).relu();
        let y = bn2.of(&conv2.of(&y), mode).relu();
        let y = bn3.of(&conv3.of(&y), mode);
        let past = match &self.downsample {
            Some((conv, norm)) => norm.of(&conv.of(x), mode),
            None => x.shallow_clone(),
        };
        (y + past).relu()
    }
}

impl ResNet {
    /// A new encoder.
    ///
    /// * `at`: prefix of its names, with its dot
    #[must_use]
    pub fn new(parameters: &mut Parameters, at: &str, shape: &ResNetShape) -> Self {
        let first = shape.first;
        let conv1 = Conv::new(
            parameters,
            &format!("{at}conv1"),
            ConvShape::new(3, first, 7).strided(2),
        );
        let bn1 = Norm::new(parameters, &format!("{at}bn1"), first);
        let mut from = first;
        let layers = shape.blocks.iter().enumerate().map(|(i, &n_blocks)| {
            let narrow = first << i;
            let block = |j: usize| {
                let at = format!("{at}layer{}.{j}", i + 1);
                let stride = if i > 0 && j == 0 { 2 } else { 1 };
                let block = Bottleneck::new(parameters, &at, from, narrow, stride);
                from = narrow * EXPANSION;
                block
            };
            (0..n_blocks).map(block).collect()
        });
        Self {
            conv1,
            bn1,
            layers: layers.collect(),
        }
    }

    /// Features of images at five sizes.
    ///
    /// * `x`: (images, 3, rows, columns), both divisible by 32
    ///
    /// # Returns
    /// Before the pooling, and after each of the four layers: sizes 1/2, 1/4, 1/8, 1/16 and 1/32 of the image.
    pub fn stages(&self, x: &Tensor, mode: Mode) -> [Tensor; 5] {
        let half = self.bn1.of(&self.conv1.of(x), mode).relu();
        let mut x = pool_largest(&half);
        let mut stages = [(); 5].map(|()| half.shallow_clone());
        for (stage, layer) in stages[1..].iter_mut().zip(&self.layers) {
            x = layer.iter().fold(x, |x, block| block.of(&x, mode));
            *stage = x.shallow_clone();
        }
        stages
    }
}
