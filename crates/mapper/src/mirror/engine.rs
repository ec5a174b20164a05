//! Which engine does the passes of the factored solver.

use crate::cost::tally::Tally;
use crate::mirror::cpu_pass::{self, CpuPass};
use crate::mirror::pass::Pass;
use crate::mirror::torch_pass::{self, TorchPass};
use crate::number::Number;
use crate::ranks::Ranks;
use crate::{Engine, MapError, MirrorSettings, Precision, Problem};
use tangram_comm::Communicator;
use tangram_core::CellChunks;

/// Declares what [`Pass::predict`] exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, precision: Precision, on_device: bool) {
    match on_device {
        true => torch_pass::declare(tally, precision),
        false => cpu_pass::declare(tally, precision),
    }
}

/// The passes of the engine that the settings name.
pub(crate) fn open<'a, T: Number, C: CellChunks, K: Communicator>(
    problem: &'a Problem<C>,
    settings: &'a MirrorSettings,
    ranks: Ranks<'a, K>,
) -> Result<Box<dyn Pass + 'a>, MapError> {
    Ok(match &settings.engine {
        Engine::Native => Box::new(CpuPass::<T, C, K>::new(problem, settings, ranks)?),
        Engine::Torch(engine) => {
            Box::new(TorchPass::<T, C, K>::new(engine, problem, settings, ranks)?)
        }
    })
}
