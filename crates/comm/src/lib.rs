//! What the ranks of one mapping say to each other: one small trait, and who can speak it.
//!
//! [`Solo`] is one process alone; [`Threads`] makes ranks of threads, so that the laws of sharding can be tested
//! without a launcher. Every rank gets the same bits from every collective.

mod solo;
mod threads;

pub use solo::Solo;
pub use threads::Threads;

/// The collectives that a mapping needs. Every rank calls each of them, in the same order.
pub trait Communicator: Sync {
    /// This rank, from 0.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Replaces `values` by their sum over the ranks, entry by entry, added in the order of the ranks.
    fn sum(&self, values: &mut [f64]);
}

/// Version of the MPI library linked, or `None` in a build without the `mpi` feature.
#[must_use]
pub fn mpi_version() -> Option<String> {
    #[cfg(feature = "mpi")]
    {
        let text = mpi::environment::library_version().unwrap_or_else(|_| "unknown".to_owned());
        let line = text.split([',', '\n']).next().unwrap_or_default();
        Some(line.trim_end_matches('\0').trim().to_owned())
    }
    #[cfg(not(feature = "mpi"))]
    None
}
