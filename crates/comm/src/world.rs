//! [`World`]: all ranks that were started together with this process.

use crate::{Communicator, Solo};

/// A single process, or the processes of an MPI launcher.
#[derive(Debug)]
pub enum World {
    /// Started without a launcher.
    Solo(Solo),
    /// Started by an MPI launcher.
    #[cfg(feature = "mpi")]
    Mpi(crate::Mpi),
}

/// Environment variables with the number of processes, and the launcher that sets each.
const LAUNCHERS: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_SIZE", "mpirun"),
    ("PMI_SIZE", "mpiexec"),
    ("MV2_COMM_WORLD_SIZE", "mpirun"),
    ("SLURM_STEP_NUM_TASKS", "srun"),
];

impl World {
    /// Connects to the other processes, if a launcher started several.
    ///
    /// # Errors
    /// A message if MPI cannot be initialised, does not see the other processes, or is not part of this build.
    pub fn join() -> Result<Self, String> {
        let found = LAUNCHERS.iter().find_map(|&(variable, launcher)| {
            let n: usize = std::env::var(variable).ok()?.parse().ok()?;
            (n > 1).then_some((n, launcher))
        });
        match found {
            Some((n, launcher)) => Self::started(n, launcher),
            None => Ok(Self::Solo(Solo)),
        }
    }

    #[cfg(feature = "mpi")]
    fn started(n: usize, launcher: &str) -> Result<Self, String> {
        let mpi = crate::Mpi::start()?;
        match mpi.size() {
            1 => Err(format!(
                "{launcher} started {n} processes that do not see each other: start them with `srun --mpi=pmix`, or with \
                 mpirun of the MPI that this program was built with ({})",
                crate::mpi_version().unwrap_or_default()
            )),
            _ => Ok(Self::Mpi(mpi)),
        }
    }

    #[cfg(not(feature = "mpi"))]
    fn started(n: usize, launcher: &str) -> Result<Self, String> {
        Err(format!(
            "{launcher} started {n} processes, but this build has no MPI: build with the feature `mpi`, or start one process"
        ))
    }

    /// This process on its own, even if a launcher started others.
    #[must_use]
    pub fn alone() -> Self {
        Self::Solo(Solo)
    }

    /// Number of this rank among the ranks of its node, from 0, and their number.
    #[must_use]
    pub fn on_this_node(&self) -> (usize, usize) {
        match self {
            Self::Solo(_) => (0, 1),
            #[cfg(feature = "mpi")]
            Self::Mpi(mpi) => mpi.on_this_node(),
        }
    }

    /// Ends all ranks immediately, with an exit code.
    pub fn abort(&self, code: u8) -> ! {
        match self {
            Self::Solo(_) => std::process::exit(code.into()),
            #[cfg(feature = "mpi")]
            Self::Mpi(_) => crate::mpi::abort(code.into()),
        }
    }

    /// Ends the communication. Every rank must call this.
    pub fn leave(self) {
        #[cfg(feature = "mpi")]
        if let Self::Mpi(mpi) = self {
            mpi.finish();
        }
    }
}

/// Evaluates the same expression for the communicator of either variant.
macro_rules! whoever {
    ($self:expr, $comm:ident => $what:expr) => {
        match $self {
            World::Solo($comm) => $what,
            #[cfg(feature = "mpi")]
            World::Mpi($comm) => $what,
        }
    };
}

impl Communicator for World {
    fn rank(&self) -> usize {
        whoever!(self, comm => comm.rank())
    }

    fn size(&self) -> usize {
        whoever!(self, comm => comm.size())
    }

    fn sum(&self, values: &mut [f64]) {
        whoever!(self, comm => comm.sum(values));
    }

    fn sum_single(&self, values: &mut [f32], work: &mut dyn FnMut()) {
        whoever!(self, comm => comm.sum_single(values, work));
    }

    fn max(&self, values: &mut [f64]) {
        whoever!(self, comm => comm.max(values));
    }

    fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>> {
        whoever!(self, comm => comm.gather(mine))
    }

    fn broadcast(&self, values: &mut Vec<f64>) {
        whoever!(self, comm => comm.broadcast(values));
    }

    fn swap(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        whoever!(self, comm => comm.swap(to))
    }

    fn split(&self, color: usize) -> Self {
        match self {
            Self::Solo(comm) => Self::Solo(comm.split(color)),
            #[cfg(feature = "mpi")]
            Self::Mpi(comm) => Self::Mpi(comm.split(color)),
        }
    }
}
