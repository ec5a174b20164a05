//! The products and the softmax on a device of libtorch.

pub(crate) mod clock;
pub(crate) mod cuda;
pub(crate) mod fused_adam;
pub(crate) mod memory;
pub(crate) mod product_form;
pub(crate) mod products;
pub(crate) mod softmax;
pub(crate) mod staging;
