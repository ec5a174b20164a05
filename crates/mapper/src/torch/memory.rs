//! What a training holds in a device's memory, and how many cells fit into a block of work.

use crate::engine::TorchEngine;
use crate::ranks::Ranks;
use crate::{MapError, PassPlan, Precision, TorchDevice};
use tangram_comm::{Communicator, Shares};
use tangram_core::Term;

/// Bytes of a block of logits: large enough for products at full rate, small enough that much of it stays in the device's cache.
const BLOCK_BYTES: u64 = 64 << 20;
/// Cells below which a product with few voxels, or the sums of A over many, would be slow.
const FEWEST_CELLS: u64 = 2048;
/// A training is refused if a block of fewer cells than this is all that fits.
const LEAST_CELLS: u64 = 64;
/// Rows and columns on a device are multiples of this: products of odd sizes miss the fast kernels.
pub(crate) const PADDED: usize = 8;
/// Share of the free memory that is used: libtorch's own buffers and fragmentation need the rest.
const USABLE: f64 = 0.9;
/// Bytes on a device before this crate allocates any: the context and the library's kernels.
const CONTEXT: u64 = 512 << 20;

/// What lies on a device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// A, the factors or W, and room to copy them.
    pub factors: u64,
    /// Logits and both moments of Adam.
    pub state: u64,
    /// S, where it stays on the device.
    pub expression: u64,
    /// The block in work.
    pub block: u64,
    /// Cells of a block.
    pub cells_per_block: usize,
    /// Whether S stays on the device; otherwise it is brought there at every pass.
    pub resident: bool,
}

impl DeviceMemory {
    /// Of a rank's share on a device with `memory` bytes for it.
    ///
    /// # Errors
    /// The bytes needed at least, if it has fewer.
    pub fn of_rank(shares: &Shares, plan: &PassPlan, memory: u64) -> Result<Self, u64> {
        let room = memory.saturating_sub(CONTEXT);
        Self::plan(shares, plan, room, None).map_err(|least| CONTEXT + least)
    }

    /// * `room`: bytes that may be taken
    /// * `block`: bytes of a block of logits, if they are given
    fn plan(shares: &Shares, plan: &PassPlan, room: u64, block: Option<u64>) -> Result<Self, u64> {
        let padded = |n: usize| n.next_multiple_of(PADDED) as u64;
        let voxels = padded(shares.voxels.len());
        let genes = padded(shares.genes.len() + plan.n_types + 1);
        let cells = shares.cells.len() as u64;
        let number = if plan.precision == Precision::F64 {
            8
        } else {
            4
        };
        let narrow = matches!(plan.precision, Precision::Bf16 | Precision::Fp16);
        let of_products = if narrow { 2 } else { number };
        // A, the weights of the products, and a copy in transit or a product before it is added.
        // A filter weighs cells by a second W.
        let n_weights = if plan.mirror && plan.filter { 2 } else { 1 };
        let factors = genes * voxels * (2 * number + n_weights * of_products);
        let state = if plan.mirror {
            0
        } else {
            3 * cells * voxels * number
        };
        let expression = cells * genes * of_products;
        // Adam: gradient by P, P, gradient by the logits. Mirror: logits, P; with the entropy also its terms.
        let rows = match (plan.mirror, plan.objective[Term::Entropy] != 0.0) {
            (true, false) => 2,
            (true, true) => 4,
            (false, false) => 3,
            (false, true) => 4,
        };
        // P as products take it.
        let copies = if narrow { of_products } else { 0 };
        let of_cell = voxels * (rows * number + copies) + genes * (of_products + number);
        let fewest = LEAST_CELLS.min(cells);
        let least = factors + state + fewest * of_cell;
        if least > room {
            return Err(least);
        }
        let asked = match block {
            Some(bytes) => (bytes / (voxels * number)).max(1),
            None => (BLOCK_BYTES / (voxels * number)).max(FEWEST_CELLS),
        }
        .min(cells);
        let left = room - factors - state;
        // S stays if a block as large as is wanted fits beside it.
        let resident = expression + asked * of_cell <= left;
        let expression = if resident { expression } else { 0 };
        let most = asked.min((left - expression) / of_cell).max(1);
        let eights = most - most % PADDED as u64;
        let cells_per_block = if eights > 0 { eights } else { most };
        Ok(Self {
            factors,
            state,
            expression,
            block: cells_per_block * of_cell,
            cells_per_block: cells_per_block as usize,
            resident,
        })
    }

    /// All of it, with what the device holds anyway.
    #[must_use]
    pub fn total(&self) -> u64 {
        CONTEXT + self.factors + self.state + self.expression + self.block
    }

    /// The plan that all ranks can follow: ranks that share cells must work on the same blocks.
    pub(crate) fn agreed(
        engine: &TorchEngine,
        plan: &PassPlan,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let room = room(engine);
        let planned = Self::plan(ranks.shares, plan, room, engine.block);
        // The fewest cells, and whether one has no room or cannot keep S.
        let mut least = match &planned {
            Ok(memory) => [
                -(memory.cells_per_block as f64),
                f64::from(u8::from(!memory.resident)),
                0.0,
            ],
            Err(needed) => [0.0, 0.0, *needed as f64],
        };
        ranks.grid.max_of_all(&mut least);
        match planned {
            Ok(memory) if least[2] == 0.0 => Ok(Self {
                cells_per_block: (-least[0]) as usize,
                resident: least[1] == 0.0,
                ..memory
            }),
            planned => Err(MapError::DeviceMemory {
                needed: CONTEXT + planned.err().unwrap_or(least[2] as u64),
                available: CONTEXT + room,
            }),
        }
    }
}

/// Bytes of an engine's device that may be taken.
fn room(engine: &TorchEngine) -> u64 {
    let free = match engine.device {
        TorchDevice::Cores => None,
        TorchDevice::Cuda(index) => crate::torch::cuda::free_memory(index),
    };
    let free = free.map(|bytes| (bytes as f64 * USABLE) as u64);
    // Without either, libtorch says when there is no more.
    let given = engine.memory.map(|bytes| bytes.saturating_sub(CONTEXT));
    given.or(free).unwrap_or(1 << 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tangram_comm::Reduce;
    use tangram_core::Objective;

    fn plan(mirror: bool, precision: Precision) -> PassPlan {
        PassPlan {
            mirror,
            objective: Objective::NONE
                .with(Term::Gene, 1.0)
                .with(Term::Density, 1.0),
            n_types: 0,
            prior: true,
            temperature: false,
            asks_for_rest: false,
            filter: false,
            weighs: false,
            precision,
            reduce: Reduce::Fast,
            on_device: true,
        }
    }

    #[test]
    fn what_fits_is_kept_and_what_does_not_is_told() {
        let shares = Shares::whole(100_000, 10_000, 999);
        const GB: u64 = 1_000_000_000;
        let mirror = plan(true, Precision::F32);
        let ample = DeviceMemory::plan(&shares, &mirror, 80 * GB, None).unwrap();
        assert!(ample.resident && ample.cells_per_block == 2048 && ample.state == 0);
        assert_eq!(ample.expression, 100_000 * 1000 * 4);
        let short = DeviceMemory::plan(&shares, &mirror, ample.factors + GB / 5, None).unwrap();
        assert!(!short.resident && short.expression == 0);
        assert!(short.factors + short.block <= ample.factors + GB / 5);
        let adam = plan(false, Precision::F32);
        let least = DeviceMemory::plan(&shares, &adam, 10 * GB, None).unwrap_err();
        assert!(least > 12 * GB);
        let fits = DeviceMemory::plan(&shares, &adam, least, None).unwrap();
        assert_eq!((fits.cells_per_block, fits.resident), (64, false));
        let half =
            DeviceMemory::plan(&shares, &plan(true, Precision::Bf16), 80 * GB, None).unwrap();
        assert_eq!(half.expression * 2, ample.expression);
        let given = DeviceMemory::plan(&shares, &mirror, 80 * GB, Some(4_000_000)).unwrap();
        assert_eq!(given.cells_per_block, 96);
    }
}
