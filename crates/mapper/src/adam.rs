//! Adam on free logits: the published package's own solver, here as one streaming pass per epoch.

pub(crate) mod begin;
pub(crate) mod cpu_pass;
pub(crate) mod engine;
pub(crate) mod initial;
pub(crate) mod logit_sums;
pub(crate) mod pass;
pub(crate) mod row_weights;
pub(crate) mod solver;
pub(crate) mod state;
#[cfg(feature = "torch")]
pub(crate) mod torch_pass;
