//! Communication between the ranks of one mapping.
//!
//! [`Communicator`] is a small trait with the collectives that a mapping needs. Its implementations:
//!
//! * [`Solo`]: one process
//! * [`Threads`]: ranks as threads of one process, to test sharding without a launcher
//! * `Mpi` (feature `mpi`): the processes of an MPI launcher
//! * [`World`]: `Solo` or `Mpi`, whichever this process was started as
//!
//! [`Grid`] arranges the ranks along cells, voxels and genes, and counts the bytes that they exchange. [`Cut`] divides one
//! axis into shards; [`Shares`] are a rank's shards of all three. [`Reduce`] selects how sums are rounded. The mapper
//! calls the methods of `Grid`; begin there. Every rank gets the same bits from every collective.

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

/// The collectives that a mapping needs.
///
/// All ranks must make the same calls in the same order, with the same number of values; only in
/// [`gather`](Self::gather) and [`broadcast`](Self::broadcast) may the lengths differ.
pub trait Communicator: Send + Sync + Sized {
    /// Number of this rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Replaces each entry of `values` by its sum over the ranks.
    fn sum(&self, values: &mut [f64]);

    /// [`sum`](Self::sum) in single precision, with half the bytes. Runs `work` while the values are exchanged.
    fn sum_single(&self, values: &mut [f32], work: &mut dyn FnMut());

    /// Replaces each entry of `values` by its maximum over the ranks.
    fn max(&self, values: &mut [f64]);

    /// Collects the values of all ranks on rank 0, in the order of the ranks. Other ranks get an empty list.
    fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>>;

    /// Replaces `values` on every rank by those of rank 0.
    fn broadcast(&self, values: &mut Vec<f64>);

    /// Gives each rank the list at its place in `to`, and returns what they gave, in the order of the ranks.
    ///
    /// `to` has a list for every rank, which may be empty and of any length.
    fn swap(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>>;

    /// A communicator of the ranks that pass the same `color`, in the order of their numbers here.
    fn split(&self, color: usize) -> Self;
}

/// Version of the MPI library, or `None` in a build without the feature `mpi`.
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
