//! Sizes of networks, as their files record them.

use serde::{Deserialize, Serialize};

/// Channels of a block's output, in channels of its narrow middle.
pub(crate) const EXPANSION: i64 = 4;

/// Size of a DenseNet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DenseNetShape {
    /// Channels after the first convolution.
    pub first: i64,
    /// Channels that every layer adds.
    pub growth: i64,
    /// Layers of every block.
    pub layers: Vec<usize>,
}

impl DenseNetShape {
    /// DenseNet169, as the paper has it.
    #[must_use]
    pub fn densenet169() -> Self {
        Self {
            first: 64,
            growth: 32,
            layers: vec![6, 12, 32, 32],
        }
    }

    /// Channels of the encoder's output.
    #[must_use]
    pub fn channels(&self) -> i64 {
        let last = self.layers.len() - 1;
        let grown = |from: i64, (i, n): (usize, &usize)| {
            let to = from + self.growth * *n as i64;
            if i == last { to } else { to / 2 }
        };
        self.layers.iter().enumerate().fold(self.first, grown)
    }
}

/// Size of a ResNet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResNetShape {
    /// Channels after the first convolution; the narrow middles have as many, twice, 4 and 8 times as many.
    pub first: i64,
    /// Blocks of the four layers.
    pub blocks: [usize; 4],
}

impl ResNetShape {
    /// ResNet50, as the paper has it.
    #[must_use]
    pub fn resnet50() -> Self {
        Self {
            first: 64,
            blocks: [3, 4, 6, 3],
        }
    }

    /// Channels of the stages, whose sizes are 1/2, 1/4, 1/8, 1/16 and 1/32 of the image.
    #[must_use]
    pub fn channels(&self) -> [i64; 5] {
        let wide = |times: i64| self.first * times * EXPANSION;
        [self.first, wide(1), wide(2), wide(4), wide(8)]
    }
}

/// Differences of depth are learned in this unit, micrometres: the published code divides steps of 10 µm by 1320.
pub const DEPTH_UNIT_UM: f64 = 13_200.0;

/// What follows the two images' places in latent space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The paper's text: one fully connected layer to a scalar; the difference has a sign.
    Paper,
    /// The published code: |z₁ − z₂| → one unit with a hard sigmoid; the difference has no sign.
    ReleasedCode,
}

/// Size of a Siamese network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SiameseShape {
    /// The encoder.
    pub encoder: DenseNetShape,
    /// Dimensions of the latent space; the paper's has 512.
    pub latent: i64,
    /// The head.
    pub head: Head,
}

/// A network's kind and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum NetworkShape {
    /// How far apart along the brain two images are.
    Depth(SiameseShape),
    /// Class probabilities of an image's pixels.
    Regions {
        /// The encoder.
        encoder: ResNetShape,
    },
    /// The plane of a mask.
    Plane {},
}
