//! What decides over the cost of a pass.

use crate::Precision;
use tangram_comm::Reduce;
use tangram_core::Objective;

/// What decides over the bytes of a pass.
#[derive(Debug, Clone, Copy)]
pub struct PassPlan {
    /// Whether it is the factored solver.
    pub mirror: bool,
    /// The loss.
    pub objective: Objective,
    /// Number of the cells' types, where a term of the loss compares them; otherwise 0.
    pub n_types: usize,
    /// Whether there is a density prior.
    pub prior: bool,
    /// Whether there is a temperature.
    pub temperature: bool,
    /// Whether convergence is looked for (mirror, from its 11th pass on).
    pub asks_for_rest: bool,
    /// Whether a filter is learned.
    pub filter: bool,
    /// Whether the pass weighs the cells for the filter, as one in five of mirror does.
    pub weighs: bool,
    /// Numbers of the products.
    pub precision: Precision,
    /// How sums are made.
    pub reduce: Reduce,
    /// Whether libtorch does the work on a device.
    pub on_device: bool,
}

impl PassPlan {
    /// What decides over the memory of a device.
    pub(crate) fn of_device(
        mirror: bool,
        objective: Objective,
        n_types: usize,
        precision: Precision,
    ) -> Self {
        Self {
            mirror,
            objective,
            n_types,
            prior: true,
            temperature: false,
            asks_for_rest: false,
            filter: false,
            weighs: false,
            precision,
            reduce: Reduce::Fast,
            on_device: true,
        }
    }

    /// Bytes of a number of the products.
    pub(crate) fn number(&self) -> usize {
        match self.precision {
            Precision::F64 => 8,
            _ => 4,
        }
    }
}
