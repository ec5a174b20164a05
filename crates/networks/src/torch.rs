//! What is computed with libtorch: layers, networks, losses, the optimiser and the training.

mod adam;
mod densenet;
mod held_out;
mod layers;
mod losses;
mod network;
mod parameters;
pub(crate) mod plane_finder;
mod plane_network;
mod resnet;
pub(crate) mod segmenter;
mod shards;
mod siamese;
pub(crate) mod training;
mod unet;
mod views;
mod weights;

pub use adam::Adam;
pub use densenet::DenseNet;
pub use layers::Mode;
pub use losses::{mean_squared_error, regions_loss};
pub use network::{Batch, Network};
pub use parameters::{Initial, Parameter, Parameters, Role};
pub use plane_network::PlaneNetwork;
pub use resnet::ResNet;
pub use siamese::Siamese;
pub use training::Loaded;
pub use unet::UNet;
pub use weights::{WeightsFile, write_weights};
