//! Which engine does the passes of the factored solver.

use crate::cost::tally::Tally;
use crate::mirror::cpu_pass::{self, CpuPass};
use crate::mirror::pass::Pass;
use crate::mirror::polls;
#[cfg(feature = "torch")]
use crate::mirror::torch_pass::TorchPass;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::rounding;
use crate::torch::exchanged;
use crate::{Engine, MapError, MirrorSettings, Precision, Problem};
use tangram_comm::Communicator;
use tangram_core::CellChunks;

/// Declares what [`Pass::predict`] exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, precision: Precision, on_device: bool) {
    match on_device {
        true => declare_on_device(tally, precision),
        false => cpu_pass::declare(tally, precision),
    }
}

/// The same of a device.
fn declare_on_device(tally: &mut Tally<'_>, precision: Precision) {
    let n_cells = tally.shares().cells.len();
    rounding::declare(tally, precision, true);
    exchanged::logits(tally, n_cells);
    exchanged::softmax(tally, n_cells);
    exchanged::sums(tally, 0);
    tally.over_cells(1);
    polls::declare(tally);
}

/// The passes of the engine that the settings name.
pub(crate) fn open<'a, T: Number, C: CellChunks, K: Communicator>(
    problem: &'a Problem<C>,
    settings: &'a MirrorSettings,
    ranks: Ranks<'a, K>,
) -> Result<Box<dyn Pass + 'a>, MapError> {
    Ok(match &settings.engine {
        Engine::Native => Box::new(CpuPass::<T, C, K>::new(problem, settings, ranks)?),
        #[cfg(not(feature = "torch"))]
        Engine::Torch(_) => return Err(MapError::NoLibtorch),
        #[cfg(feature = "torch")]
        Engine::Torch(engine) => {
            Box::new(TorchPass::<T, C, K>::new(engine, problem, settings, ranks)?)
        }
    })
}
