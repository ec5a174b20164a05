//! The worker threads of a training, and the grid of a single process.

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

/// The grid of a single process.
pub(crate) fn one_rank() -> Grid<Solo> {
    Grid::new(Solo, GridShape::ONE, Reduce::Fast).expect("one rank")
}
