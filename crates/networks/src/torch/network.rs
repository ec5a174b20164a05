//! The three networks behind one face: what a step of training needs.

use crate::data::{Picture, Sample, has_class};
use crate::settings::{Task, TrainSettings};
use crate::shapes::NetworkShape;
use crate::torch::layers::Mode;
use crate::torch::losses::{mean_squared_error, regions_loss};
use crate::torch::parameters::Parameters;
use crate::torch::plane_network::PlaneNetwork;
use crate::torch::siamese::Siamese;
use crate::torch::unet::UNet;
use crate::{AtlasPlanes, NetworkError, Share};
use std::ops::Range;
use tangram_atlas::Plane;
use tch::{Device, Kind, Tensor};

/// Pitch and yaw of this size are 1 for the network.
const ANGLE_UNIT_DEG: f64 = 8.0;
/// How much more the depth counts than an angle.
const DEPTH_WEIGHT: f64 = 4.0;

/// A network of any task.
#[derive(Debug)]
pub enum Network {
    /// See [`Siamese`].
    Depth(Siamese),
    /// See [`UNet`].
    Regions(UNet),
    /// See [`PlaneNetwork`].
    Plane(PlaneNetwork),
}

/// What a step learns from.
#[derive(Debug)]
pub struct Batch {
    /// Images, or one-hot masks; of pairs the firsts before the seconds.
    pub input: Tensor,
    /// Of pairs: differences of depth in µm. Of images: one-hot classes. Of masks: scaled planes.
    pub truth: Tensor,
}

impl Network {
    /// A new network whose weights go into `parameters`.
    #[must_use]
    pub fn new(parameters: &mut Parameters, shape: &NetworkShape, n_classes: usize) -> Self {
        let n_classes = n_classes as i64;
        match shape {
            NetworkShape::Depth(shape) => Self::Depth(Siamese::new(parameters, shape)),
            NetworkShape::Regions { encoder } => {
                Self::Regions(UNet::new(parameters, encoder, n_classes))
            }
            NetworkShape::Plane {} => Self::Plane(PlaneNetwork::new(parameters, n_classes)),
        }
    }

    /// What the network makes of a batch: differences of depth, logarithms of probabilities, or scaled planes.
    pub fn output(&self, batch: &Batch, mode: Mode) -> Tensor {
        match self {
            Self::Depth(siamese) => {
                let latent = siamese.encode(&batch.input, mode).chunk(2, 0);
                siamese.difference(&latent[0], &latent[1])
            }
            Self::Regions(unet) => unet.log_probabilities(&batch.input, mode),
            Self::Plane(network) => network.planes(&batch.input, mode),
        }
    }

    /// The loss of a batch.
    pub fn loss(&self, batch: &Batch, mode: Mode) -> Tensor {
        let output = self.output(batch, mode);
        match self {
            Self::Depth(siamese) => mean_squared_error(&output, &siamese.label(&batch.truth)),
            Self::Regions(_) => regions_loss(&output, &batch.truth).0,
            Self::Plane(_) => {
                let weights = [DEPTH_WEIGHT.sqrt() as f32, 1.0, 1.0];
                let weights = Tensor::from_slice(&weights).to(output.device());
                mean_squared_error(&(output * &weights), &(&batch.truth * &weights))
            }
        }
    }
}

impl Batch {
    /// The batch of these numbers, made from the atlas.
    ///
    /// # Errors
    /// [`NetworkError::Settings`] if the atlas has no tissue there.
    pub fn make(
        planes: &AtlasPlanes,
        settings: &TrainSettings,
        numbers: Range<u64>,
        share: Share,
        device: Device,
    ) -> Result<Self, NetworkError> {
        let (edge, variety) = (settings.edge, settings.variety());
        let batch = match settings.task() {
            Task::Depth => {
                let pairs = planes.pairs(settings.seed, numbers, share, edge, &variety)?;
                let differences: Vec<f32> = (pairs.iter())
                    .map(|[a, b]| (a.plane.depth_um - b.plane.depth_um) as f32)
                    .collect();
                let (firsts, seconds): (Vec<Sample>, Vec<Sample>) =
                    pairs.into_iter().map(|[a, b]| (a, b)).unzip();
                Self {
                    input: images(firsts.iter().chain(&seconds).map(|s| &s.image), edge),
                    truth: Tensor::from_slice(&differences),
                }
            }
            Task::Regions => {
                let pictures = planes.pictures(settings.seed, numbers, share, edge, &variety)?;
                let masks = pictures.iter().map(|p: &Picture| p.classes.as_slice());
                Self {
                    input: images(pictures.iter().map(|p| &p.image), edge),
                    truth: one_hot(masks, edge, planes.class_names().len()),
                }
            }
            Task::Plane => {
                let samples = planes.samples(settings.seed, numbers, share, edge, &variety)?;
                let extent = planes.blocks().extent_um();
                let truth: Vec<f32> = (samples.iter())
                    .flat_map(|s| scaled(&s.plane, extent))
                    .collect();
                Self {
                    input: one_hot(masks_of(&samples), edge, planes.class_names().len()),
                    truth: Tensor::from_slice(&truth).reshape([-1, PlaneNetwork::OUTPUTS]),
                }
            }
        };
        Ok(Self {
            input: batch.input.to(device),
            truth: batch.truth.to(device),
        })
    }
}

/// Gray images as three equal channels: (images, 3, edge, edge).
fn images<'a>(images: impl Iterator<Item = &'a Vec<f32>>, edge: usize) -> Tensor {
    let values: Vec<f32> = images.flatten().copied().collect();
    let edge = edge as i64;
    let gray = Tensor::from_slice(&values).reshape([-1, 1, edge, edge]);
    gray.repeat([1, 3, 1, 1])
}

fn masks_of(samples: &[Sample]) -> impl ExactSizeIterator<Item = &[u8]> {
    samples.iter().map(|sample| sample.classes.as_slice())
}

/// (masks, classes, edge, edge); all 0 where there is no class.
pub(crate) fn one_hot<'a>(
    masks: impl ExactSizeIterator<Item = &'a [u8]>,
    edge: usize,
    n_classes: usize,
) -> Tensor {
    let n = edge * edge;
    let mut values = vec![0.0_f32; masks.len() * n_classes * n];
    for (mask, values) in masks.zip(values.chunks_exact_mut(n_classes * n)) {
        let classes = mask.iter().enumerate();
        for (pixel, &class) in classes.filter(|(_, class)| has_class(**class)) {
            values[usize::from(class) * n + pixel] = 1.0;
        }
    }
    let edge = edge as i64;
    Tensor::from_slice(&values).reshape([-1, n_classes as i64, edge, edge])
}

/// Depth from the middle of the axis in half axes, and the angles in their unit.
fn scaled(plane: &Plane, extent_um: [f64; 3]) -> [f32; 3] {
    let half = extent_um[0] / 2.0;
    [
        ((plane.depth_um - half) / half) as f32,
        (plane.pitch_deg / ANGLE_UNIT_DEG) as f32,
        (plane.yaw_deg / ANGLE_UNIT_DEG) as f32,
    ]
}

/// The plane of scaled numbers.
#[must_use]
pub(crate) fn unscaled([depth, pitch, yaw]: [f64; 3], extent_um: [f64; 3]) -> Plane {
    let half = extent_um[0] / 2.0;
    Plane {
        pitch_deg: pitch * ANGLE_UNIT_DEG,
        yaw_deg: yaw * ANGLE_UNIT_DEG,
        ..Plane::coronal(half + depth * half, extent_um)
    }
}

/// A tensor's numbers in their order.
pub(crate) fn numbers(x: &Tensor) -> Vec<f64> {
    let flat = x.detach().to_device(Device::Cpu).to_kind(Kind::Double);
    Vec::try_from(flat.contiguous().flatten(0, -1)).expect("f64")
}
