//! Counters of the bytes and the time of collectives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The purpose of a collective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Logits of a block of cells (with Adam, their gradients), summed over the ranks along the genes.
    Logits,
    /// Maxima and sums of rows of P, over the ranks along the voxels.
    Rows,
    /// Predicted expression and density, summed over the ranks along the cells.
    Predicted,
    /// Sums of the loss and of the step rule.
    Loss,
    /// Set-up, end, and agreement on what to do next.
    Once,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Logits,
        Self::Rows,
        Self::Predicted,
        Self::Loss,
        Self::Once,
    ];

    /// The name in messages and in `tangram plan`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits over genes",
            Self::Rows => "row sums over voxels",
            Self::Predicted => "predicted expression over cells",
            Self::Loss => "sums of the loss",
            Self::Once => "agreement",
        }
    }
}

/// Bytes that a rank passed to collectives of more than one rank, by kind.
pub type Bytes = [(Kind, u64); 5];

/// The counters of one rank.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes: [AtomicU64; 5],
    nanoseconds: AtomicU64,
}

impl Traffic {
    pub(crate) fn add(&self, kind: Kind, bytes: usize) {
        self.bytes[kind as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_time(&self, spent: Duration) {
        let nanoseconds = spent.as_nanos() as u64;
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed))
    }

    pub(crate) fn bytes(&self) -> Bytes {
        Kind::ALL.map(|kind| (kind, self.bytes[kind as usize].load(Ordering::Relaxed)))
    }
}
