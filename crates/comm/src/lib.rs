//! What the ranks of one mapping say to each other: one small trait, and who can speak it.
//!
//! [`Solo`] is one process alone; [`Threads`] makes ranks of threads, so that the laws of sharding can be tested
//! without a launcher; `Mpi` (feature `mpi`) are the processes of an MPI launcher. [`Grid`] arranges ranks by cells, voxels and genes.
//! Every rank gets the same bits from every collective.

mod cut;
mod grid;
#[cfg(feature = "mpi")]
mod mpi;
mod reduce;
mod solo;
mod threads;
mod traffic;
mod watchdog;
mod world;

pub use cut::{Axis, Cut};
pub use grid::{Grid, GridError, GridShape, Shares};
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use reduce::{Reduce, on_grid, step_for};
pub use solo::Solo;
pub use threads::Threads;
pub use traffic::{Bytes, Kind};
pub use world::World;

/// The collectives that a mapping needs. Every rank calls each of them, in the same order, with as many values.
pub trait Communicator: Send + Sync + Sized {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Replaces `values` by their sum over the ranks, entry by entry.
    fn sum(&self, values: &mut [f64]);

    /// [`sum`](Self::sum) in single precision, half the bytes, while `work` is done.
    fn sum_single(&self, values: &mut [f32], work: &mut dyn FnMut());

    /// Replaces `values` by the largest of the ranks, entry by entry.
    fn max(&self, values: &mut [f64]);

    /// Rank 0 gets what every rank has, in the order of the ranks; the others nothing.
    fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>>;

    /// Every rank gets what rank 0 has.
    fn broadcast(&self, values: &mut Vec<f64>);

    /// Gives each rank the list at its place in `to`, and returns what they gave, in the order of the ranks.
    ///
    /// `to` has a list for every rank, which may be empty and of any length.
    fn swap(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>>;

    /// The ranks that give the same `color`, in the order of their ranks here.
    fn split(&self, color: usize) -> Self;
}

/// Version of the MPI library linked, or `None` in a build without the `mpi` feature.
#[must_use]
pub fn mpi_version() -> Option<String> {
    #[cfg(feature = "mpi")]
    {
        let text = ::mpi::environment::library_version().unwrap_or_else(|_| "unknown".to_owned());
        let line = text.split([',', '\n']).next().unwrap_or_default();
        Some(line.trim_end_matches('\0').trim().to_owned())
    }
    #[cfg(not(feature = "mpi"))]
    None
}
