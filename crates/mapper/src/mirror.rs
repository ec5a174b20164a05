//! The factored solver: mirror descent on the rows of P, whose logits always are S Zᵀ + 1 bᵀ.

pub(crate) mod balance;
pub(crate) mod carried;
pub(crate) mod cpu_pass;
pub(crate) mod engine;
pub(crate) mod factored_rows;
pub(crate) mod factors;
pub(crate) mod filter;
pub(crate) mod iterates;
pub(crate) mod linear_fit;
pub(crate) mod pace;
pub(crate) mod pass;
pub(crate) mod polls;
pub(crate) mod probe;
pub(crate) mod solver;
pub(crate) mod stage;
pub(crate) mod stage_cells;
pub(crate) mod temperature;
#[cfg(test)]
mod tests;
#[cfg(feature = "torch")]
pub(crate) mod torch_pass;
