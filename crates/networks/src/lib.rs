//! Networks that look at brain sections.
//!
//! The encoders have torchvision's names, so that its weights load. [`Siamese`] tells how far apart along the brain two images are, [`UNet`]
//! gives the classes of an image's pixels, [`PlaneNetwork`] the plane of a mask. [`AtlasPlanes`] makes images with their truth from an atlas,
//! [`LabelledImages`] from photographs with masks, and [`train()`] trains on them. Without the feature `torch` there are the images and the settings, and whatever needs libtorch says so.

mod about;
mod data;
mod error;
mod plane_finder;
mod segment;
mod segmentation;
mod settings;
mod shapes;
#[cfg(feature = "torch")]
mod torch;
mod train;

pub use about::{About, Beginning, Format, HeldOut, LearnedPhotographs};
pub use data::{AtlasPlanes, Blocks, LabelledImages, Picture, Sample, Share, Variety, has_class};
pub use error::NetworkError;
pub use plane_finder::PlaneFinder;
pub use segment::Segmenter;
pub use segmentation::Segmentation;
pub use settings::{Preset, Task, TrainSettings, TrainedPart};
pub use shapes::{DEPTH_UNIT_UM, DenseNetShape, Head, NetworkShape, ResNetShape, SiameseShape};
pub use train::{Begin, ComputeDevice, Next, StepDone, TrainOrder, Trained, Watch, train};

#[cfg(feature = "torch")]
pub use torch::{
    Adam, Batch, DenseNet, Initial, Loaded, Mode, Network, Parameter, Parameters, PlaneNetwork,
    ResNet, Role, Siamese, UNet, WeightsFile, mean_squared_error, regions_loss, write_weights,
};
