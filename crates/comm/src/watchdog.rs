//! Reports a rank that waits too long in a collective.

use crate::traffic::Kind;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// A thread that checks regularly how long the rank has been in its current collective.
#[derive(Debug)]
pub(crate) struct Watchdog {
    within: Arc<Mutex<Option<Within>>>,
    /// Dropping it ends the thread.
    _end: Sender<()>,
}

#[derive(Debug)]
struct Within {
    kind: Kind,
    since: Instant,
    told: bool,
}

fn lock(within: &Mutex<Option<Within>>) -> MutexGuard<'_, Option<Within>> {
    within
        .lock()
        .expect("nothing panics while it holds the lock")
}

impl Watchdog {
    /// Starts the thread. It calls `tell` with a message, once per collective, when that takes longer than `patience`.
    pub(crate) fn start(
        rank: usize,
        patience: Duration,
        tell: impl Fn(String) + Send + 'static,
    ) -> Self {
        let within = Arc::new(Mutex::new(None::<Within>));
        let (end, ended) = channel();
        let seen = Arc::clone(&within);
        std::thread::spawn(move || {
            while ended.recv_timeout(patience / 4)
                == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {
                let mut within = lock(&seen);
                if let Some(w) = within
                    .as_mut()
                    .filter(|w| !w.told && w.since.elapsed() >= patience)
                {
                    w.told = true;
                    tell(format!(
                        "rank {rank} has waited {} s for the other ranks ({}): one of them hangs, is very slow, or has died",
                        w.since.elapsed().as_secs(),
                        w.kind.name()
                    ));
                }
            }
        });
        Self { within, _end: end }
    }

    pub(crate) fn enter(&self, kind: Kind) {
        *lock(&self.within) = Some(Within {
            kind,
            since: Instant::now(),
            told: false,
        });
    }

    pub(crate) fn leave(&self) {
        *lock(&self.within) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_collective_that_hangs_is_told_and_only_once() {
        let (say, said) = channel();
        let patience = Duration::from_millis(200);
        let watchdog = Watchdog::start(3, patience, move |text| drop(say.send(text)));
        watchdog.enter(Kind::Rows);
        watchdog.leave();
        assert!(said.recv_timeout(3 * patience).is_err());
        watchdog.enter(Kind::Predicted);
        let text = said.recv_timeout(20 * patience).unwrap();
        assert!(
            text.contains("rank 3") && text.contains("over cells"),
            "{text}"
        );
        assert!(said.recv_timeout(3 * patience).is_err());
    }
}
