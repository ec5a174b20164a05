//! This crate's own kernels: products, softmax and the step of Adam, a super-block of cells at a time.

pub(crate) mod adam_row;
pub(crate) mod aligned;
#[cfg(feature = "torch")]
pub(crate) mod bf16_product;
pub(crate) mod blocked;
pub(crate) mod denormals;
pub(crate) mod dense_product;
pub(crate) mod disjoint;
pub(crate) mod lanes;
pub(crate) mod products;
pub(crate) mod row_product;
pub(crate) mod sharded_logits;
pub(crate) mod sharded_softmax;
pub(crate) mod sharded_sums;
pub(crate) mod softmax;
pub(crate) mod sparse_product;
pub(crate) mod tiles;
pub(crate) mod weighed_rows;
