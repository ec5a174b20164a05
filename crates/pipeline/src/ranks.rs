//! The processes of one mapping: how they are arranged, agree on whether to go on, and hand the mapping to the first of them.

use crate::error::{PipelineError, cause};
use crate::values::GridChoice;
use anyhow::Result;
use ndarray::{Array2, ArrayView2, s};
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use std::ops::Range;
use std::time::Duration;
use tangram_comm::{Communicator, Grid, GridShape, Shares, World};
use tangram_core::{MappingBlock, MappingRows, PBlock};
use tangram_mapper::Trained;
use tangram_sweep::Cause;

/// The ranks of this mapping.
pub type Ranks = Grid<World>;

/// A collective that lasts longer is spoken of.
const PATIENCE: Duration = Duration::from_secs(300);

/// Joins the other processes, if a launcher started any, and arranges them; all share the cells until a better grid is chosen.
///
/// * `command`: what every rank must have been started with alike
///
/// # Errors
/// If they do not find each other, were started differently, or the grid is of another number.
pub fn join(grid: Option<GridChoice>, how: tangram_comm::Reduce, command: &str) -> Result<Ranks> {
    let world = World::join().map_err(PipelineError::Launcher)?;
    // Joining has set a hook that ends all ranks.
    tangram_store::pass_caught_panics();
    // Before anything that ranks do together: what they do follows from it.
    alike(&world, "settings", command)?;
    let shape = match grid {
        Some(GridChoice::Shape(shape)) => shape,
        Some(GridChoice::Auto) | None => GridShape {
            cells: world.size(),
            ..GridShape::ONE
        },
    };
    let grid = Grid::new(world, shape, how).map_err(PipelineError::Grid)?;
    Ok(grid.watched(PATIENCE))
}

/// Checks that all ranks have the same text.
///
/// * `what`: what it is of, for the message
///
/// # Errors
/// [`PipelineError::RanksDiffer`], told by the first rank.
pub(crate) fn alike(world: &World, what: &'static str, text: &str) -> Result<(), PipelineError> {
    let digest = Sha256::digest(text.as_bytes());
    // The largest of all and, negated, the smallest.
    let mut bounds: Vec<f64> = digest.iter().map(|&b| f64::from(b)).collect();
    bounds.extend(digest.iter().map(|&b| -f64::from(b)));
    world.max(&mut bounds);
    let (largest, smallest) = bounds.split_at(digest.len());
    match largest.iter().zip(smallest).all(|(l, s)| *l == -s) {
        true => Ok(()),
        false if world.rank() == 0 => Err(PipelineError::RanksDiffer { what }),
        false => Err(PipelineError::OtherRank {
            cause: Cause::Usage,
        }),
    }
}

/// The result of a stage if all ranks have one: otherwise the first rank without says why, and all stop.
///
/// # Errors
/// This rank's, or that another rank has one.
pub fn agreed<T>(ranks: &Ranks, result: Result<T>) -> Result<T> {
    let n_ranks = ranks.shape().n_ranks();
    if n_ranks == 1 {
        return result;
    }
    let rank = ranks.world().rank();
    let (turn, why) = match &result {
        Ok(_) => (0, 0),
        Err(error) => (n_ranks - rank, number(cause(error))),
    };
    let mut first = [turn as f64, why as f64];
    ranks.max_of_all(&mut first);
    if first[0] == 0.0 {
        return result;
    }
    let first_rank = n_ranks - first[0] as usize;
    match result {
        Err(error) if rank == first_rank => Err(error.context(format!("rank {rank}"))),
        _ => Err(PipelineError::OtherRank {
            cause: CAUSES[first[1] as usize],
        }
        .into()),
    }
}

/// Causes in the order of the numbers by which ranks tell each other.
const CAUSES: [Cause; 7] = [
    Cause::Unexpected,
    Cause::Usage,
    Cause::Input,
    Cause::Output,
    Cause::Memory,
    Cause::Signal,
    Cause::Superseded,
];

fn number(cause: Cause) -> usize {
    CAUSES.iter().position(|&c| c == cause).unwrap_or(0)
}

/// Marks an error that only this rank has met while others wait for it: whoever called must end them all.
///
/// # Errors
/// [`PipelineError::Alone`] if there are other ranks.
pub fn alone<T>(ranks: &Ranks, result: Result<T>) -> Result<T> {
    match result {
        Err(error) if ranks.shape().n_ranks() > 1 => Err(PipelineError::Alone {
            rank: ranks.world().rank(),
            source: error.into(),
        }
        .into()),
        result => result,
    }
}

/// Cells of a block that is gathered.
const BLOCK: usize = 256;

/// The mapping of all ranks, read by the first of them while the others [`serve`](Self::serve).
#[derive(Debug)]
pub struct Gathered<'a> {
    trained: &'a Trained,
    ranks: &'a Ranks,
    shares: &'a Shares,
}

impl<'a> Gathered<'a> {
    /// Takes this rank's part.
    pub fn new(trained: &'a Trained, ranks: &'a Ranks, shares: &'a Shares) -> Self {
        Self {
            trained,
            ranks,
            shares,
        }
    }

    /// Hands rows to the first rank as often as it reads them.
    pub fn serve(&self) {
        loop {
            let mut more = vec![];
            self.ranks.broadcast(&mut more);
            if more[0] == 0.0 {
                return;
            }
            for block in self.blocks() {
                self.ranks.gather(&self.own(block));
            }
        }
    }

    /// Lets the others go.
    pub fn done(&self) {
        self.ranks.broadcast(&mut vec![0.0]);
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let n_cells = self.shares.cells.whole_len();
        (0..n_cells)
            .step_by(BLOCK)
            .map(move |first| first..n_cells.min(first + BLOCK))
    }

    /// What of some rows this rank has, unless another has it as well.
    fn own(&self, block: Range<usize>) -> Vec<f64> {
        let cells = self.shares.cells.range();
        let (first, last) = (block.start.max(cells.start), block.end.min(cells.end));
        if first >= last || self.shares.genes.range().start > 0 {
            return Vec::new();
        }
        let rows = self
            .trained
            .probabilities(first - cells.start..last - cells.start);
        rows.into_raw_vec_and_offset().0
    }
}

impl MappingRows for Gathered<'_> {
    type Error = Infallible;

    fn n_cells(&self) -> usize {
        self.shares.cells.whole_len()
    }

    fn n_voxels(&self) -> usize {
        self.shares.voxels.whole_len()
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Infallible>,
    ) -> Result<(), Infallible> {
        let (shape, how) = (self.ranks.shape(), self.ranks.how());
        let lens = [
            self.shares.cells.whole_len(),
            self.shares.voxels.whole_len(),
            self.shares.genes.whole_len(),
        ];
        self.ranks.broadcast(&mut vec![1.0]);
        for block in self.blocks() {
            let mut rows = Array2::<f32>::zeros((block.len(), self.n_voxels()));
            let parts = self.ranks.gather(&self.own(block.clone()));
            for (rank, part) in parts.iter().enumerate().filter(|(_, p)| !p.is_empty()) {
                let shares = Shares::at(shape, how, lens, rank).expect("as when it was cut");
                let (cells, voxels) = (shares.cells.range(), shares.voxels.range());
                let (first, last) = (block.start.max(cells.start), block.end.min(cells.end));
                let part = ArrayView2::from_shape((last - first, voxels.len()), part);
                rows.slice_mut(s![first - block.start..last - block.start, voxels])
                    .assign(&part.expect("its own rows").mapv(|p| p as f32));
            }
            visit(MappingBlock {
                first_cell: block.start,
                rows: PBlock::Dense(rows.view()),
            })?;
        }
        Ok(())
    }
}
