//! What is trained, and how.

use crate::shapes::{DenseNetShape, Head, NetworkShape, ResNetShape, SiameseShape};
use crate::{NetworkError, Variety};
use serde::{Deserialize, Serialize};

/// What a network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// How far apart along the brain two images are.
    Depth,
    /// The class of every pixel of an image.
    Regions,
    /// The plane of a mask.
    Plane,
}

/// How large a network and its training are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The paper's networks and image sizes.
    Full,
    /// Minutes of one core; of regions about 17.
    Small,
    /// Seconds, to try a command.
    Tiny,
}

/// Which weights of the encoder are trained; all others always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainedPart {
    /// All.
    Full,
    /// Those of its last convolution, as in the paper; the others stay as they were read, batch normalisation with them.
    LastConv,
}

/// Settings of a training; with the atlas, the weights read and the number of threads they decide every bit on cores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TrainSettings {
    /// The network.
    pub network: NetworkShape,
    /// Edge of the images, pixels.
    pub edge: usize,
    /// Images of a step, or pairs.
    pub batch: usize,
    /// Steps of the optimiser.
    pub steps: usize,
    /// Largest learning rate of Adam; it rises over the first steps and falls as a cosine.
    pub learning_rate: f64,
    /// What is trained of the encoder.
    pub part: TrainedPart,
    /// Of the weights that begin at random, and of the images.
    pub seed: u64,
    /// Parts of a batch, each with statistics and a loss of its own; ranks divide them. Their number changes the result, that of ranks does not.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub shards: usize,
    /// Part of the images that is made of labelled photographs; none if there are no such photographs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labelled_share: Option<f64>,
}

/// Most parts of a batch.
const MOST_SHARDS: usize = 16;

fn one() -> usize {
    1
}

fn is_one(n: &usize) -> bool {
    *n == 1
}

impl TrainSettings {
    /// The settings of a preset.
    ///
    /// * `head`: of the depth network
    #[must_use]
    pub fn preset(task: Task, preset: Preset, head: Head) -> Self {
        let (network, edge, batch, steps, learning_rate) = match (task, preset) {
            // 50 epochs of 18,000 pairs.
            (Task::Depth, Preset::Full) => (
                depth(DenseNetShape::densenet169(), 512, head),
                224,
                16,
                56_250,
                1e-4,
            ),
            (Task::Depth, Preset::Small) => (depth(small_densenet(), 128, head), 96, 16, 900, 1e-3),
            (Task::Depth, Preset::Tiny) => (depth(tiny_densenet(), 16, head), 32, 4, 12, 1e-3),
            (Task::Regions, Preset::Full) => {
                (regions(ResNetShape::resnet50()), 512, 8, 20_000, 1e-4)
            }
            (Task::Regions, Preset::Small) => (regions(small_resnet(16)), 128, 8, 3000, 2e-3),
            (Task::Regions, Preset::Tiny) => (regions(small_resnet(4)), 64, 4, 12, 2e-3),
            (Task::Plane, Preset::Full) => (NetworkShape::Plane {}, 64, 32, 10_000, 1e-3),
            (Task::Plane, Preset::Small) => (NetworkShape::Plane {}, 64, 16, 900, 2e-3),
            (Task::Plane, Preset::Tiny) => (NetworkShape::Plane {}, 32, 4, 12, 2e-3),
        };
        Self {
            network,
            edge,
            batch,
            steps,
            learning_rate,
            part: TrainedPart::Full,
            seed: 0,
            shards: 1,
            labelled_share: None,
        }
    }

    /// What the network does.
    #[must_use]
    pub fn task(&self) -> Task {
        match self.network {
            NetworkShape::Depth(_) => Task::Depth,
            NetworkShape::Regions { .. } => Task::Regions,
            NetworkShape::Plane {} => Task::Plane,
        }
    }

    /// How the images differ from the atlas's planes.
    #[must_use]
    pub fn variety(&self) -> Variety {
        match self.task() {
            Task::Plane => Variety::MASKS,
            _ => Variety::IMAGES,
        }
    }

    /// Refuses settings that cannot be.
    ///
    /// * `has_weights`: whether the encoder's are read from a file
    ///
    /// # Errors
    /// [`NetworkError::Settings`].
    pub fn check(&self, has_weights: bool) -> Result<(), NetworkError> {
        let wrong = |text: &str| Err(NetworkError::Settings(text.to_owned()));
        if self.part == TrainedPart::LastConv && !has_weights {
            return wrong(
                "--train last-conv keeps the encoder as it is, and without --weights it would be random numbers; give weights, or train it in full",
            );
        }
        if self.task() == Task::Plane && has_weights {
            return wrong(
                "--weights: the network from masks to planes has no encoder that is read from a file",
            );
        }
        if let Some(share) = self.labelled_share {
            if self.task() != Task::Regions {
                return wrong(
                    "--labelled: only the network of regions learns from labelled images",
                );
            }
            if !(share > 0.0 && share <= 1.0) {
                return wrong("--labelled-share: give a number above 0 and up to 1");
            }
        }
        if self.edge < 32 || !self.edge.is_multiple_of(32) || self.edge > 2048 {
            return wrong("--image-size: give a multiple of 32 from 32 to 2048");
        }
        if self.batch < 2 {
            return wrong("--batch: batch normalisation needs 2 images or more");
        }
        let divides = self.shards > 0 && self.batch.is_multiple_of(self.shards);
        if !divides || self.shards > MOST_SHARDS || self.batch / self.shards < 2 {
            return Err(NetworkError::Settings(format!(
                "--shards {}: give at most {MOST_SHARDS} parts of equal size into which a batch of {} is divided, of 2 images or more",
                self.shards, self.batch
            )));
        }
        Ok(())
    }
}

fn depth(encoder: DenseNetShape, latent: i64, head: Head) -> NetworkShape {
    NetworkShape::Depth(SiameseShape {
        encoder,
        latent,
        head,
    })
}

fn regions(encoder: ResNetShape) -> NetworkShape {
    NetworkShape::Regions { encoder }
}

fn small_densenet() -> DenseNetShape {
    DenseNetShape {
        first: 16,
        growth: 8,
        layers: vec![2, 4, 4, 4],
    }
}

fn tiny_densenet() -> DenseNetShape {
    DenseNetShape {
        first: 8,
        growth: 4,
        layers: vec![1, 1, 1, 1],
    }
}

fn small_resnet(first: i64) -> ResNetShape {
    ResNetShape {
        first,
        blocks: [1, 1, 1, 1],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_encoder_of_random_weights_is_refused() {
        let mut settings = TrainSettings::preset(Task::Regions, Preset::Full, Head::Paper);
        assert!(settings.check(false).is_ok());
        settings.part = TrainedPart::LastConv;
        assert!(settings.check(true).is_ok());
        let error = settings.check(false).unwrap_err().to_string();
        assert!(error.contains("random numbers"), "{error}");
    }

    #[test]
    fn shards_divide_a_batch() {
        let preset = TrainSettings::preset(Task::Plane, Preset::Full, Head::Paper);
        let check = |shards| {
            TrainSettings {
                shards,
                ..preset.clone()
            }
            .check(false)
        };
        for shards in [1, 2, 16] {
            check(shards).unwrap();
        }
        for shards in [0, 3, 32] {
            let error = check(shards).unwrap_err().to_string();
            assert!(error.contains("--shards"), "{error}");
        }
    }

    #[test]
    fn labelled_images_are_a_part_of_those_for_regions() {
        let preset = |task| TrainSettings::preset(task, Preset::Tiny, Head::Paper);
        let check = |task, share| {
            TrainSettings {
                labelled_share: Some(share),
                ..preset(task)
            }
            .check(false)
        };
        check(Task::Regions, 1.0).unwrap();
        for share in [0.0, -0.5, 1.5, f64::NAN] {
            let error = check(Task::Regions, share).unwrap_err().to_string();
            assert!(error.contains("--labelled-share"), "{error}");
        }
        let error = check(Task::Plane, 0.5).unwrap_err().to_string();
        assert!(error.contains("only the network of regions"), "{error}");
        // Files of trainings without them are as they were.
        let text = serde_json::to_string(&preset(Task::Regions)).unwrap();
        assert!(!text.contains("labelled"), "{text}");
    }

    #[test]
    fn every_preset_is_valid() {
        for task in [Task::Depth, Task::Regions, Task::Plane] {
            for preset in [Preset::Full, Preset::Small, Preset::Tiny] {
                for head in [Head::Paper, Head::ReleasedCode] {
                    let settings = TrainSettings::preset(task, preset, head);
                    settings.check(false).unwrap();
                    assert_eq!(settings.task(), task);
                }
            }
        }
    }
}
