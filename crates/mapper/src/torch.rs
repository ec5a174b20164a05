//! The products and the softmax on a device of libtorch.

pub(crate) mod clock;
pub(crate) mod cuda;
pub(crate) mod exchanged;
#[cfg(feature = "torch")]
pub(crate) mod fused_adam;
pub(crate) mod memory;
pub(crate) mod product_form;
#[cfg(feature = "torch")]
pub(crate) mod products;
#[cfg(feature = "torch")]
pub(crate) mod softmax;
#[cfg(feature = "torch")]
pub(crate) mod staging;
