//! Networks that look at brain sections.
//!
//! The encoders have torchvision's names, so that its weights load. [`Siamese`] tells how far apart along the brain two images are, [`UNet`]
//! gives the classes of an image's pixels, [`PlaneNetwork`] the plane of a mask. [`AtlasPlanes`] makes images with their truth from an atlas,
//! and [`train()`] trains on them. Without the feature `torch` there are the images and the settings, and whatever needs libtorch says so.

mod about;
#[cfg(feature = "torch")]
mod adam;
mod data;
#[cfg(feature = "torch")]
mod densenet;
mod error;
#[cfg(feature = "torch")]
mod held_out;
#[cfg(feature = "torch")]
mod layers;
#[cfg(feature = "torch")]
mod losses;
#[cfg(feature = "torch")]
mod network;
#[cfg(feature = "torch")]
mod parameters;
#[cfg(feature = "torch")]
mod plane_network;
#[cfg(feature = "torch")]
mod resnet;
mod segment;
#[cfg(feature = "torch")]
mod segmenter;
mod settings;
mod shapes;
#[cfg(feature = "torch")]
mod siamese;
mod train;
#[cfg(feature = "torch")]
mod training;
#[cfg(feature = "torch")]
mod unet;
#[cfg(feature = "torch")]
mod weights;

pub use about::{About, Beginning, HeldOut};
pub use data::{AtlasPlanes, Blocks, Sample, Share, Variety, has_class};
pub use error::NetworkError;
pub use segment::{Segmentation, Segmenter};
pub use settings::{Preset, Task, TrainSettings, TrainedPart};
pub use shapes::{DEPTH_UNIT_UM, DenseNetShape, Head, NetworkShape, ResNetShape, SiameseShape};
pub use train::{Begin, ComputeDevice, Next, StepDone, TrainOrder, Trained, Watch, train};

#[cfg(feature = "torch")]
pub use {
    adam::Adam,
    densenet::DenseNet,
    layers::Mode,
    losses::{mean_squared_error, regions_loss},
    network::{Batch, Network},
    parameters::{Initial, Parameter, Parameters, Role},
    plane_network::PlaneNetwork,
    resnet::ResNet,
    siamese::Siamese,
    training::Loaded,
    unet::UNet,
    weights::{WeightsFile, write_weights},
};
