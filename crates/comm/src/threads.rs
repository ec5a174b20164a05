//! Ranks as threads of one process.

use crate::Communicator;
use std::sync::{Arc, Barrier, Mutex};

/// One of several ranks that are threads of this process.
#[derive(Debug, Clone)]
pub struct Threads {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    barrier: Barrier,
    contributions: Mutex<Vec<Vec<f64>>>,
}

impl Threads {
    /// `size` ranks, one for each thread to take.
    #[must_use]
    pub fn ranks(size: usize) -> Vec<Self> {
        let shared = Arc::new(Shared {
            barrier: Barrier::new(size),
            contributions: Mutex::new(vec![vec![]; size]),
        });
        (0..size)
            .map(|rank| Self {
                rank,
                shared: Arc::clone(&shared),
            })
            .collect()
    }

    fn contributions(&self) -> std::sync::MutexGuard<'_, Vec<Vec<f64>>> {
        self.shared
            .contributions
            .lock()
            .expect("no rank panics while it holds the lock")
    }
}

impl Communicator for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.contributions().len()
    }

    fn sum(&self, values: &mut [f64]) {
        self.contributions()[self.rank] = values.to_vec();
        self.shared.barrier.wait();
        values.fill(0.0);
        for part in self.contributions().iter() {
            values.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }
        // Nobody may bring the next contribution before all have read this one.
        self.shared.barrier.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_gets_the_sum_of_all() {
        let sums: Vec<Vec<f64>> = std::thread::scope(|scope| {
            let ranks: Vec<_> = Threads::ranks(3)
                .into_iter()
                .map(|comm| {
                    scope.spawn(move || {
                        let mut values = vec![comm.rank() as f64, 1.0];
                        comm.sum(&mut values);
                        comm.sum(&mut values);
                        values
                    })
                })
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        assert_eq!(sums, vec![vec![9.0, 9.0]; 3]);
    }
}
