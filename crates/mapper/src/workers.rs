//! Who works: the threads of a training, and a process alone.

use crate::MapError;
use crate::cpu::denormals::flush_denormals;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tangram_comm::{Grid, GridShape, Reduce, Solo};

/// The threads of a training.
pub(crate) fn workers(threads: usize) -> Result<ThreadPool, MapError> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(|_| flush_denormals())
        .build();
    pool.map_err(|e| MapError::Threads {
        threads,
        cause: e.to_string(),
    })
}

/// A process alone.
pub(crate) fn one_rank() -> Grid<Solo> {
    Grid::new(Solo, GridShape::ONE, Reduce::Fast).expect("one rank")
}
