//! [`Threads`]: ranks that are threads of one process, for tests.

use crate::Communicator;
use std::collections::BTreeMap;
use std::sync::{Arc, Barrier, Mutex, MutexGuard};

/// One rank of several that are threads of this process.
///
/// ```
/// use tangram_comm::{Communicator, Threads};
///
/// let sums: Vec<f64> = std::thread::scope(|scope| {
///     let ranks = Threads::ranks(3).into_iter().map(|comm| {
///         scope.spawn(move || {
///             let mut values = [comm.rank() as f64];
///             comm.sum(&mut values);
///             values[0]
///         })
///     });
///     let ranks: Vec<_> = ranks.collect(); // start all before waiting for the first
///     ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
/// });
/// assert_eq!(sums, [3.0, 3.0, 3.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    barrier: Barrier,
    board: Mutex<Board>,
}

/// The values of a collective, by which ranks exchange data.
#[derive(Debug)]
struct Board {
    contributions: Vec<Vec<f64>>,
    /// The new group of each colour, during a split.
    parties: BTreeMap<usize, Arc<Shared>>,
}

impl Shared {
    fn new(size: usize) -> Arc<Self> {
        Arc::new(Self {
            barrier: Barrier::new(size),
            board: Mutex::new(Board {
                contributions: vec![vec![]; size],
                parties: BTreeMap::new(),
            }),
        })
    }
}

impl Threads {
    /// Creates `size` ranks; give one to each thread.
    #[must_use]
    pub fn ranks(size: usize) -> Vec<Self> {
        let shared = Shared::new(size);
        (0..size)
            .map(|rank| Self {
                rank,
                shared: Arc::clone(&shared),
            })
            .collect()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.shared
            .board
            .lock()
            .expect("no rank panics while it holds the lock")
    }

    /// Publishes `mine`, waits for all ranks, and calls `read` with the values of all ranks in their order.
    fn exchange<R>(&self, mine: Vec<f64>, read: impl FnOnce(&[Vec<f64>]) -> R) -> R {
        self.board().contributions[self.rank] = mine;
        self.shared.barrier.wait();
        let result = read(&self.board().contributions);
        // No rank may publish its next values before all have read these.
        self.shared.barrier.wait();
        result
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.board().contributions.len()
    }

    fn sum(&self, values: &mut [f64]) {
        self.exchange(values.to_vec(), |all| {
            values.fill(0.0);
            for part in all {
                values.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
        });
    }

    fn sum_single(&self, values: &mut [f32], work: &mut dyn FnMut()) {
        let mut wide: Vec<f64> = values.iter().map(|&x| x.into()).collect();
        work();
        self.sum(&mut wide);
        values
            .iter_mut()
            .zip(wide)
            .for_each(|(x, sum)| *x = sum as f32);
    }

    fn max(&self, values: &mut [f64]) {
        self.exchange(values.to_vec(), |all| {
            for part in all {
                values
                    .iter_mut()
                    .zip(part)
                    .for_each(|(x, y)| *x = x.max(*y));
            }
        });
    }

    fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>> {
        self.exchange(mine.to_vec(), |all| match self.rank {
            0 => all.to_vec(),
            _ => Vec::new(),
        })
    }

    fn broadcast(&self, values: &mut Vec<f64>) {
        let mine = values.clone();
        self.exchange(mine, |all| values.clone_from(&all[0]));
    }

    fn swap(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let lengths: Vec<f64> = to.iter().map(|list| list.len() as f64).collect();
        // Where this rank's part of what each gives begins, and how long it is.
        let parts = self.exchange(lengths, |all| {
            let part = |lengths: &Vec<f64>| {
                let first = lengths[..self.rank].iter().sum::<f64>() as usize;
                first..first + lengths[self.rank] as usize
            };
            all.iter().map(part).collect::<Vec<_>>()
        });
        self.exchange(to.concat(), |all| {
            let pairs = all.iter().zip(parts);
            pairs.map(|(given, part)| given[part].to_vec()).collect()
        })
    }

    fn split(&self, color: usize) -> Self {
        let (rank, size) = self.exchange(vec![color as f64], |all| {
            let alike = |ranks: &[Vec<f64>]| ranks.iter().filter(|c| c[0] == color as f64).count();
            (alike(&all[..self.rank]), alike(all))
        });
        let shared = Arc::clone(
            self.board()
                .parties
                .entry(color)
                .or_insert_with(|| Shared::new(size)),
        );
        self.shared.barrier.wait();
        self.board().parties.clear();
        self.shared.barrier.wait();
        Self { rank, shared }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `work` on six ranks; their results in the order of the ranks.
    fn six<R: Send>(work: impl Fn(Threads) -> R + Sync) -> Vec<R> {
        std::thread::scope(|scope| {
            let started: Vec<_> = Threads::ranks(6)
                .into_iter()
                .map(|comm| scope.spawn(|| work(comm)))
                .collect();
            started.into_iter().map(|r| r.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_rank_gets_the_sum_and_the_maximum_of_all() {
        let found = six(|comm| {
            let mut values = vec![comm.rank() as f64, 1.0];
            comm.sum(&mut values);
            comm.sum(&mut values);
            let (mut single, mut worked) = ([comm.rank() as f32], false);
            comm.sum_single(&mut single, &mut || worked = true);
            let mut largest = [comm.rank() as f64, -1.0];
            comm.max(&mut largest);
            assert!(worked);
            (values, single, largest)
        });
        assert_eq!(found, vec![(vec![90.0, 36.0], [15.0], [5.0, -1.0]); 6]);
    }

    #[test]
    fn rank_0_gathers_and_all_hear_it() {
        let found = six(|comm| {
            let gathered = comm.gather(&vec![1.0; comm.rank()]);
            let mut heard = vec![comm.rank() as f64 + 7.0];
            comm.broadcast(&mut heard);
            (gathered.iter().map(Vec::len).collect::<Vec<_>>(), heard)
        });
        assert_eq!(found[0], (vec![0, 1, 2, 3, 4, 5], vec![7.0]));
        assert_eq!(found[5], (vec![], vec![7.0]));
    }

    #[test]
    fn every_rank_gets_its_list_from_every_other() {
        let found = six(|comm| {
            let list = |to: usize| vec![(10 * comm.rank() + to) as f64; comm.rank().min(to)];
            comm.swap((0..6).map(list).collect())
        });
        for (to, from_all) in found.into_iter().enumerate() {
            for (from, list) in from_all.into_iter().enumerate() {
                assert_eq!(list, vec![(10 * from + to) as f64; from.min(to)]);
            }
        }
    }

    #[test]
    fn ranks_of_a_colour_are_among_themselves() {
        let found = six(|comm| {
            let party = comm.split(comm.rank() % 2);
            let mut sum = [comm.rank() as f64];
            party.sum(&mut sum);
            let pair = party.split(usize::from(party.rank() == 2));
            (party.rank(), party.size(), sum[0], pair.size())
        });
        assert_eq!(found[4], (2, 3, 6.0, 1));
        assert_eq!(found[1], (0, 3, 9.0, 2));
    }
}
