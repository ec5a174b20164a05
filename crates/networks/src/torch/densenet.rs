//! The DenseNet encoder: every layer of a block sees the output of all before it. Huang et al. 2017.

use crate::shapes::DenseNetShape;
use crate::torch::layers::{Conv, ConvShape, Mode, Norm, pool_largest};
use crate::torch::parameters::Parameters;
use tch::Tensor;

/// Channels of the narrow middle of a layer, in growth rates.
const BOTTLENECK: i64 = 4;

/// A DenseNet without its classifier; torchvision's names below `features.`.
#[derive(Debug)]
pub struct DenseNet {
    conv0: Conv,
    norm0: Norm,
    blocks: Vec<Block>,
    norm5: Norm,
}

#[derive(Debug)]
struct Block {
    layers: Vec<[(Norm, Conv); 2]>,
    transition: Option<(Norm, Conv)>,
}

impl DenseNet {
    /// A new encoder.
    ///
    /// * `at`: prefix of its names, with its dot
    #[must_use]
    pub fn new(parameters: &mut Parameters, at: &str, shape: &DenseNetShape) -> Self {
        let at = format!("{at}features");
        let conv0 = Conv::new(
            parameters,
            &format!("{at}.conv0"),
            ConvShape::new(3, shape.first, 7).strided(2),
        );
        let norm0 = Norm::new(parameters, &format!("{at}.norm0"), shape.first);
        let mut channels = shape.first;
        let mut blocks = Vec::new();
        for (i, &n_layers) in shape.layers.iter().enumerate() {
            let layers = (0..n_layers).map(|j| {
                let at = format!("{at}.denseblock{}.denselayer{}", i + 1, j + 1);
                let narrow = BOTTLENECK * shape.growth;
                let norm1 = Norm::new(parameters, &format!("{at}.norm1"), channels);
                let to_narrow = ConvShape::new(channels, narrow, 1);
                let conv1 = Conv::new(parameters, &format!("{at}.conv1"), to_narrow);
                let norm2 = Norm::new(parameters, &format!("{at}.norm2"), narrow);
                let to_new = ConvShape::new(narrow, shape.growth, 3);
                let conv2 = Conv::new(parameters, &format!("{at}.conv2"), to_new);
                channels += shape.growth;
                [(norm1, conv1), (norm2, conv2)]
            });
            let layers = layers.collect();
            let transition = (i + 1 < shape.layers.len()).then(|| {
                let at = format!("{at}.transition{}", i + 1);
                let norm = Norm::new(parameters, &format!("{at}.norm"), channels);
                let halved = ConvShape::new(channels, channels / 2, 1);
                let conv = Conv::new(parameters, &format!("{at}.conv"), halved);
                channels /= 2;
                (norm, conv)
            });
            blocks.push(Block { layers, transition });
        }
        Self {
            conv0,
            norm0,
            blocks,
            norm5: Norm::new(parameters, &format!("{at}.norm5"), channels),
        }
    }

    /// The features of images, and the outputs of the stages on the way.
    ///
    /// * `x`: (images, 3, rows, columns)
    ///
    /// # Returns
    /// After the first pooling, after every block before its transition, and after the last normalisation and the rectifier: (images, channels,
    /// rows / 32, columns / 32).
    pub fn stages(&self, x: &Tensor, mode: Mode) -> Vec<Tensor> {
        let mut x = pool_largest(&self.norm0.of(&self.conv0.of(x), mode).relu());
        let mut stages = vec![x.shallow_clone()];
        for block in &self.blocks {
            for layer in &block.layers {
                let new = layer.iter().fold(x.shallow_clone(), |x, (norm, conv)| {
                    conv.of(&norm.of(&x, mode).relu())
                });
                x = Tensor::cat(&[x, new], 1);
            }
            stages.push(x.shallow_clone());
            if let Some((norm, conv)) = &block.transition {
                let halved = conv.of(&norm.of(&x, mode).relu());
                x = halved.avg_pool2d([2, 2], [2, 2], [0, 0], false, true, None::<i64>);
            }
        }
        stages.push(self.norm5.of(&x, mode).relu());
        stages
    }

    /// The features: the last of [`stages`](Self::stages).
    pub fn features(&self, x: &Tensor, mode: Mode) -> Tensor {
        self.stages(x, mode).pop().expect("there is a last stage")
    }
}
