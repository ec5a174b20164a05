//! Which engine does the passes of Adam.

use crate::adam::begin::AdamBegin;
use crate::adam::cpu_pass::{self, CpuPass};
use crate::adam::logit_sums;
use crate::adam::pass::Pass;
#[cfg(feature = "torch")]
use crate::adam::torch_pass::TorchPass;
use crate::cost::tally::Tally;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::torch::exchanged;
use crate::{AdamSettings, Engine, MapError, Mode, PassPlan};
use tangram_comm::Communicator;
use tangram_core::SparseRows;

/// Declares what [`Pass::step`] exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, plan: &PassPlan) {
    match plan.on_device {
        true => declare_on_device(tally, plan),
        false => cpu_pass::declare(tally, plan),
    }
    if plan.filter {
        // Σ f, and Σ f − f².
        tally.over_cells(2);
    }
    if logit_sums::asked(&plan.objective) {
        let n_blocks = tally.shares().cells.blocks().len();
        logit_sums::declare(tally, n_blocks);
    }
}

/// The same of a device.
fn declare_on_device(tally: &mut Tally<'_>, plan: &PassPlan) {
    let n_cells = tally.shares().cells.len();
    exchanged::logits(tally, n_cells);
    // The mean gradient of a row, then its softmax.
    tally.rows_over_voxels(n_cells);
    exchanged::softmax(tally, n_cells);
    exchanged::sums(tally, plan.n_types);
    tally.over_cells(1);
}

/// The passes of the engine that the settings name.
///
/// * `cells`: S of this rank, (cells, genes and types), and what its rows count
pub(crate) fn open<'a, T: Number, K: Communicator>(
    cells: (&'a SparseRows, &Mode),
    settings: &'a AdamSettings,
    begin: &AdamBegin<'_>,
    ranks: Ranks<'a, K>,
) -> Result<Box<dyn Pass<T> + 'a>, MapError> {
    Ok(match &settings.engine {
        Engine::Native => Box::new(CpuPass::<T, K>::new(cells, settings, begin, ranks)?),
        #[cfg(not(feature = "torch"))]
        Engine::Torch(_) => return Err(MapError::NoLibtorch),
        #[cfg(feature = "torch")]
        Engine::Torch(engine) => Box::new(TorchPass::<T, K>::new(
            engine, cells, settings, begin, ranks,
        )?),
    })
}
