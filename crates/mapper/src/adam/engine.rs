//! Which engine does the passes of Adam.

use crate::adam::begin::AdamBegin;
use crate::adam::cpu_pass::{self, CpuPass};
use crate::adam::pass::Pass;
use crate::adam::torch_pass::{self, TorchPass};
use crate::cost::tally::Tally;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::{AdamSettings, Engine, MapError, Mode, PassPlan};
use tangram_comm::Communicator;
use tangram_core::SparseRows;

/// Declares what [`Pass::step`] exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, plan: &PassPlan) {
    match plan.on_device {
        true => torch_pass::declare(tally),
        false => cpu_pass::declare(tally, plan),
    }
    if plan.filter {
        // Σ f, and Σ f − f².
        tally.over_cells(2);
    }
}

/// The passes of the engine that the settings name.
///
/// * `cells`: S of this rank, (cells, genes), and what its rows count
pub(crate) fn open<'a, T: Number, K: Communicator>(
    cells: (&'a SparseRows, &Mode),
    settings: &'a AdamSettings,
    begin: &AdamBegin<'_>,
    ranks: Ranks<'a, K>,
) -> Result<Box<dyn Pass<T> + 'a>, MapError> {
    Ok(match &settings.engine {
        Engine::Native => Box::new(CpuPass::<T, K>::new(cells, settings, begin, ranks)?),
        Engine::Torch(engine) => Box::new(TorchPass::<T, K>::new(
            engine, cells, settings, begin, ranks,
        )?),
    })
}
