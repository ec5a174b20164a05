//! The ranks that this process was started with.

use crate::{Communicator, Solo};

/// One process alone, or the processes of an MPI launcher.
#[derive(Debug)]
pub enum World {
    /// No launcher.
    Solo(Solo),
    /// Started by one.
    #[cfg(feature = "mpi")]
    Mpi(crate::Mpi),
}

/// What launchers say of the number of processes that they started.
const LAUNCHERS: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_SIZE", "mpirun"),
    ("PMI_SIZE", "mpiexec"),
    ("MV2_COMM_WORLD_SIZE", "mpirun"),
    ("SLURM_STEP_NUM_TASKS", "srun"),
];

impl World {
    /// Joins the other processes, if a launcher started several.
    ///
    /// # Errors
    /// If MPI cannot be started, does not know of the others, or is not part of this build.
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
                "{launcher} started {n} processes that do not see each other: start them by `srun --mpi=pmix` or by \
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

    /// This process, whoever else there may be.
    #[must_use]
    pub fn alone() -> Self {
        Self::Solo(Solo)
    }

    /// This rank among those on the same machine, and their number.
    #[must_use]
    pub fn on_this_node(&self) -> (usize, usize) {
        match self {
            Self::Solo(_) => (0, 1),
            #[cfg(feature = "mpi")]
            Self::Mpi(mpi) => mpi.on_this_node(),
        }
    }

    /// Ends all ranks at once with an exit code.
    pub fn abort(&self, code: u8) -> ! {
        match self {
            Self::Solo(_) => std::process::exit(code.into()),
            #[cfg(feature = "mpi")]
            Self::Mpi(_) => crate::mpi::abort(code.into()),
        }
    }

    /// Leaves; all ranks must.
    pub fn leave(self) {
        #[cfg(feature = "mpi")]
        if let Self::Mpi(mpi) = self {
            mpi.finish();
        }
    }
}

/// Does the same whoever it is.
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
