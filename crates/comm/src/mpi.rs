//! [`Mpi`]: ranks that are processes started by an MPI launcher.

use crate::Communicator;
use ::mpi::Threading;
use ::mpi::collective::{CommunicatorCollectives, Root, SystemOperation};
use ::mpi::datatype::{Partition, PartitionMut};
use ::mpi::topology::{Color, Communicator as _, SimpleCommunicator};
use ::mpi::traits::Equivalence;
use std::fmt::{self, Debug};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// A communicator of MPI processes.
///
/// Any thread may call a collective; a lock allows one at a time.
pub struct Mpi {
    comm: SimpleCommunicator,
}

// SAFETY: a communicator is a handle that any thread may use. MPI runs with `Threading::Serialized`, which forbids concurrent
// calls; all calls hold the lock of `one_at_a_time`.
unsafe impl Send for Mpi {}
// SAFETY: as above.
unsafe impl Sync for Mpi {}

static CALLS: Mutex<()> = Mutex::new(());

/// Locks MPI for this thread until the guard is dropped.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    CALLS.lock().expect("a panic ends the process")
}

/// Exit code of all ranks after one has panicked.
const PANICKED: i32 = 70;

/// Maximum number of values per call: MPI counts have 32 bits, and some libraries fail well below that limit.
const MOST_VALUES: usize = 1 << 27;

/// Held until [`Mpi::finish`], because dropping it finalises MPI.
static UNIVERSE: OnceLock<Mutex<Option<::mpi::environment::Universe>>> = OnceLock::new();

impl Mpi {
    /// Initialises MPI, and sets a panic hook that ends all ranks.
    ///
    /// Without the hook, the other ranks would wait forever for a rank that panicked.
    ///
    /// # Errors
    /// A message if MPI was initialised before in this process, or does not support calls from several threads.
    pub fn start() -> Result<Self, String> {
        let started = ::mpi::initialize_with_threading(Threading::Serialized);
        let (universe, threading) = started.ok_or("MPI was started before in this process")?;
        if threading < Threading::Serialized {
            return Err(format!(
                "this MPI provides the thread level {threading:?}, but Serialized is needed: use an MPI built with thread support"
            ));
        }
        let comm = universe.world().duplicate();
        let rank = comm.rank();
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tell(panic);
            eprintln!("tangram: rank {rank} panicked; ending all ranks");
            abort(PANICKED);
        }));
        let kept = UNIVERSE.set(Mutex::new(Some(universe)));
        assert!(kept.is_ok(), "MPI starts once");
        Ok(Self { comm })
    }

    /// Number of this rank among the ranks of its node, from 0, and their number.
    #[must_use]
    pub fn on_this_node(&self) -> (usize, usize) {
        let _turn = one_at_a_time();
        let node = self.comm.split_shared(self.comm.rank());
        (node.rank() as usize, node.size() as usize)
    }

    /// Finalises MPI. Every rank must call this.
    pub fn finish(self) {
        drop(self);
        if let Some(universe) = UNIVERSE.get() {
            drop(universe.lock().ok().and_then(|mut u| u.take()));
        }
    }

    /// All-reduce with `operation`, in calls of at most [`MOST_VALUES`].
    fn reduce<T: Equivalence + Copy>(&self, values: &mut [T], operation: SystemOperation) {
        if self.size() == 1 {
            return;
        }
        let _turn = one_at_a_time();
        for part in values.chunks_mut(MOST_VALUES) {
            let mine = part.to_vec();
            self.comm.all_reduce_into(&mine[..], part, operation);
        }
    }
}

/// Ends all ranks immediately, with an exit code.
pub fn abort(code: i32) -> ! {
    // SAFETY: MPI_Abort requires only that MPI is initialised; `start` does that before it sets the hook.
    unsafe {
        ::mpi::ffi::MPI_Abort(::mpi::ffi::RSMPI_COMM_WORLD, code);
    }
    std::process::abort();
}

impl Debug for Mpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mpi {{ rank: {}, size: {} }}", self.rank(), self.size())
    }
}

/// Where each of several lists begins that lie one behind the other.
fn starts(counts: &[i32]) -> Vec<i32> {
    let start = |next: &mut i32, &n: &i32| Some(std::mem::replace(next, *next + n));
    counts.iter().scan(0, start).collect()
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.comm.rank() as usize
    }

    fn size(&self) -> usize {
        self.comm.size() as usize
    }

    fn sum(&self, values: &mut [f64]) {
        self.reduce(values, SystemOperation::sum());
    }

    fn sum_single(&self, values: &mut [f32], work: &mut dyn FnMut()) {
        if self.size() == 1 || values.len() > MOST_VALUES {
            work();
            return self.reduce(values, SystemOperation::sum());
        }
        let _turn = one_at_a_time();
        let mine = values.to_vec();
        let operation = SystemOperation::sum();
        ::mpi::request::scope(|scope| {
            let request = self
                .comm
                .immediate_all_reduce_into(scope, &mine[..], values, operation);
            work();
            request.wait();
        });
    }

    fn max(&self, values: &mut [f64]) {
        self.reduce(values, SystemOperation::max());
    }

    fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>> {
        let _turn = one_at_a_time();
        let mut lengths = vec![0u64; self.size()];
        self.comm
            .all_gather_into(&(mine.len() as u64), &mut lengths[..]);
        let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
        let root = self.comm.process_at_rank(0);
        let mut all: Vec<Vec<f64>> = lengths.iter().map(|_| Vec::new()).collect();
        let step = MOST_VALUES / self.size();
        for first in (0..longest).step_by(step) {
            let part = &mine[first.min(mine.len())..mine.len().min(first + step)];
            if self.rank() != 0 {
                root.gather_varcount_into(part);
                continue;
            }
            let counts: Vec<i32> = lengths
                .iter()
                .map(|&n| (n as usize).saturating_sub(first).min(step) as i32)
                .collect();
            let starts = starts(&counts);
            let mut room = vec![0.0; counts.iter().map(|&n| n as usize).sum()];
            let mut parts = PartitionMut::new(&mut room[..], counts.clone(), &starts[..]);
            root.gather_varcount_into_root(part, &mut parts);
            for ((all, &start), &n) in all.iter_mut().zip(&starts).zip(&counts) {
                all.extend_from_slice(&room[start as usize..(start + n) as usize]);
            }
        }
        if self.rank() == 0 { all } else { Vec::new() }
    }

    fn broadcast(&self, values: &mut Vec<f64>) {
        let _turn = one_at_a_time();
        let root = self.comm.process_at_rank(0);
        let mut length = values.len() as u64;
        root.broadcast_into(&mut length);
        values.resize(length as usize, 0.0);
        for part in values.chunks_mut(MOST_VALUES) {
            root.broadcast_into(part);
        }
    }

    fn swap(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let _turn = one_at_a_time();
        let lengths: Vec<u64> = to.iter().map(|list| list.len() as u64).collect();
        let mut expected = vec![0u64; lengths.len()];
        self.comm.all_to_all_into(&lengths[..], &mut expected[..]);
        let longest = [lengths.iter().copied().max().unwrap_or(0)];
        let mut rounds = [0u64];
        self.comm
            .all_reduce_into(&longest[..], &mut rounds[..], SystemOperation::max());
        // Counts of one call are of 32 bits: long lists go in several.
        let step = MOST_VALUES / self.size();
        let mut from: Vec<Vec<f64>> = expected.iter().map(|_| Vec::new()).collect();
        for first in (0..rounds[0] as usize).step_by(step) {
            let counts_of = |lengths: &[u64]| -> Vec<i32> {
                let left = |&n: &u64| (n as usize).saturating_sub(first).min(step) as i32;
                lengths.iter().map(left).collect()
            };
            let (give, take) = (counts_of(&lengths), counts_of(&expected));
            let part = |list: &Vec<f64>| {
                list[first.min(list.len())..list.len().min(first + step)].to_vec()
            };
            let mine: Vec<f64> = to.iter().flat_map(part).collect();
            let mut room = vec![0.0; take.iter().map(|&n| n as usize).sum()];
            let (give_at, take_at) = (starts(&give), starts(&take));
            let given = Partition::new(&mine[..], give, &give_at[..]);
            let mut taken = PartitionMut::new(&mut room[..], take.clone(), &take_at[..]);
            self.comm.all_to_all_varcount_into(&given, &mut taken);
            for ((from, &start), &n) in from.iter_mut().zip(&take_at).zip(&take) {
                from.extend_from_slice(&room[start as usize..(start + n) as usize]);
            }
        }
        from
    }

    fn split(&self, color: usize) -> Self {
        let _turn = one_at_a_time();
        let color = Color::with_value(i32::try_from(color).expect("fewer ranks than that"));
        let comm = self
            .comm
            .split_by_color(color)
            .expect("a colour of its own");
        Self { comm }
    }
}
