//! [`Grid`]: the ranks arranged along cells, voxels and genes, with a method for each exchange between them.

use crate::reduce::sum_blocks;
use crate::traffic::{Bytes, Kind, Traffic};
use crate::watchdog::Watchdog;
use crate::{Axis, Communicator, Cut, Reduce};
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Number of ranks along each axis, written `4x2x1` (cells, voxels, genes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GridShape {
    /// Ranks along the cells.
    pub cells: usize,
    /// Ranks along the voxels.
    pub voxels: usize,
    /// Ranks along the genes.
    pub genes: usize,
}

impl GridShape {
    /// One rank.
    pub const ONE: Self = Self {
        cells: 1,
        voxels: 1,
        genes: 1,
    };

    /// Total number of ranks.
    #[must_use]
    pub fn n_ranks(self) -> usize {
        self.cells * self.voxels * self.genes
    }
}

impl Display for GridShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.cells, self.voxels, self.genes)
    }
}

impl FromStr for GridShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Option<Vec<usize>> = text
            .split('x')
            .map(|part| part.parse().ok().filter(|&n| n > 0))
            .collect();
        match parts.as_deref() {
            Some(&[cells, voxels, genes]) => Ok(Self {
                cells,
                voxels,
                genes,
            }),
            _ => Err(format!(
                "`{text}` is not a grid: give CELLSxVOXELSxGENES, the number of ranks along each axis, such as 4x2x1"
            )),
        }
    }
}

/// Why ranks cannot be arranged in a grid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GridError {
    /// The grid needs another number of ranks than there are.
    Ranks {
        /// The grid.
        shape: GridShape,
        /// Number of ranks that were started.
        n_ranks: usize,
    },
    /// An axis has more ranks than it can be divided between.
    Axis {
        /// The axis.
        axis: Axis,
        /// Number of ranks along it.
        ranks: usize,
        /// Maximum number of ranks along it.
        most: usize,
    },
}

impl Display for GridError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ranks { shape, n_ranks } => write!(
                f,
                "the grid {shape} needs {} ranks, but {n_ranks} were started",
                shape.n_ranks()
            ),
            Self::Axis { axis, ranks, most } => write!(
                f,
                "the {} cannot be divided between {ranks} ranks, at most {most}",
                axis.name()
            ),
        }
    }
}

impl std::error::Error for GridError {}

/// A rank and the ranks with which it exchanges data along each axis.
///
/// Consecutive rank numbers differ along the genes first, then the voxels, then the cells. The largest exchanges, those
/// along the genes and voxels, therefore stay within a node.
#[derive(Debug)]
pub struct Grid<K> {
    shape: GridShape,
    how: Reduce,
    world: K,
    /// Ranks with the same voxels and genes, and other cells. `voxels` and `genes` likewise.
    cells: K,
    voxels: K,
    genes: K,
    traffic: Traffic,
    watchdog: Option<Watchdog>,
}

impl<K: Communicator> Grid<K> {
    /// Arranges all ranks of `world`. Every rank must call this.
    ///
    /// # Errors
    /// [`GridError::Ranks`] if the grid needs another number of ranks.
    pub fn new(world: K, shape: GridShape, how: Reduce) -> Result<Self, GridError> {
        let (rank, n_ranks) = (world.rank(), world.size());
        if shape.n_ranks() != n_ranks {
            return Err(GridError::Ranks { shape, n_ranks });
        }
        let (c, v, g) = Self::place_of(shape, rank);
        Ok(Self {
            shape,
            how,
            cells: world.split(v * shape.genes + g),
            voxels: world.split(c * shape.genes + g),
            genes: world.split(c * shape.voxels + v),
            world,
            traffic: Traffic::default(),
            watchdog: None,
        })
    }

    /// Prints a message on standard error when a collective takes longer than `patience`.
    #[must_use]
    pub fn watched(mut self, patience: Duration) -> Self {
        self.watchdog = (self.world.size() > 1).then(|| {
            Watchdog::start(self.world.rank(), patience, |text| {
                eprintln!("tangram: {text}")
            })
        });
        self
    }

    /// Arranges the same ranks in another grid. Every rank must call this.
    ///
    /// # Errors
    /// [`GridError::Ranks`], on all ranks, if the grid needs another number of ranks.
    pub fn rearrange(&mut self, shape: GridShape) -> Result<(), GridError> {
        let (rank, n_ranks) = (self.world.rank(), self.world.size());
        if shape.n_ranks() != n_ranks {
            return Err(GridError::Ranks { shape, n_ranks });
        }
        let (c, v, g) = Self::place_of(shape, rank);
        self.cells = self.world.split(v * shape.genes + g);
        self.voxels = self.world.split(c * shape.genes + g);
        self.genes = self.world.split(c * shape.voxels + v);
        self.shape = shape;
        Ok(())
    }

    fn place_of(shape: GridShape, rank: usize) -> (usize, usize, usize) {
        let (rest, g) = (rank / shape.genes, rank % shape.genes);
        (rest / shape.voxels, rest % shape.voxels, g)
    }

    /// Number of ranks along each axis.
    #[must_use]
    pub fn shape(&self) -> GridShape {
        self.shape
    }

    /// How sums over ranks are rounded.
    #[must_use]
    pub fn how(&self) -> Reduce {
        self.how
    }

    /// The communicator of all ranks.
    #[must_use]
    pub fn world(&self) -> &K {
        &self.world
    }

    /// Whether this is rank 0.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.world.rank() == 0
    }

    /// The shards of this rank.
    ///
    /// # Errors
    /// [`GridError::Axis`] if a rank would have an empty shard.
    pub fn shares(
        &self,
        n_cells: usize,
        n_voxels: usize,
        n_genes: usize,
    ) -> Result<Shares, GridError> {
        Shares::at(
            self.shape,
            self.how,
            [n_cells, n_voxels, n_genes],
            self.world.rank(),
        )
    }

    /// Whether this rank has the last shard of the genes.
    ///
    /// All ranks along the genes hold the same value of some quantities; only this one adds it to a sum over all ranks.
    #[must_use]
    pub fn is_last_of_genes(&self) -> bool {
        self.genes.rank() + 1 == self.shape.genes
    }

    /// Sums the logits of a block of cells over the ranks along the genes. Runs `work` meanwhile.
    pub fn sum_logits_single(&self, values: &mut [f32], work: &mut dyn FnMut()) {
        self.counted(Kind::Logits, &self.genes, size_of_val(values), || {
            self.genes.sum_single(values, work);
        });
    }

    /// [`sum_logits_single`](Self::sum_logits_single) in double precision; `work` runs before the exchange.
    pub fn sum_logits(&self, values: &mut [f64], work: &mut dyn FnMut()) {
        self.counted(Kind::Logits, &self.genes, size_of_val(values), || {
            work();
            self.genes.sum(values);
        });
    }

    /// Maximum over the ranks along the voxels, for each cell.
    pub fn max_rows(&self, values: &mut [f64]) {
        self.counted(Kind::Rows, &self.voxels, size_of_val(values), || {
            self.voxels.max(values);
        });
    }

    /// Sum over the ranks along the voxels, for each cell.
    pub fn sum_rows(&self, values: &mut [f64]) {
        self.counted(Kind::Rows, &self.voxels, size_of_val(values), || {
            self.voxels.sum(values);
        });
    }

    /// Maximum over the ranks along the cells, entry by entry.
    pub fn max_over_cells(&self, values: &mut [f64]) {
        self.counted(Kind::Once, &self.cells, size_of_val(values), || {
            self.cells.max(values);
        });
    }

    /// Sums predicted expression and density over the ranks along the cells.
    pub fn sum_predicted_single(&self, values: &mut [f32]) {
        self.counted(Kind::Predicted, &self.cells, size_of_val(values), || {
            self.cells.sum_single(values, &mut || ());
        });
    }

    /// [`sum_predicted_single`](Self::sum_predicted_single) in double precision.
    pub fn sum_predicted(&self, values: &mut [f64]) {
        self.counted(Kind::Predicted, &self.cells, size_of_val(values), || {
            self.cells.sum(values);
        });
    }

    /// Sums over all cells.
    ///
    /// * `blocks`: for each summation block of this rank, its sums
    pub fn over_cells(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.cells, cut, blocks, Kind::Loss)
    }

    /// Sums over all voxels; `blocks` as in [`over_cells`](Self::over_cells).
    pub fn over_voxels(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.voxels, cut, blocks, Kind::Loss)
    }

    /// Sums over all genes; `blocks` as in [`over_cells`](Self::over_cells).
    pub fn over_genes(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.genes, cut, blocks, Kind::Loss)
    }

    /// [`over_voxels`](Self::over_voxels) for sums of rows of P, which are counted as [`Kind::Rows`].
    pub fn rows_over_voxels(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.voxels, cut, blocks, Kind::Rows)
    }

    /// Sums over the ranks along the cells, entry by entry.
    ///
    /// Not rounded to a grid: with [`Reduce::Exact`], use it only if at most one rank has a value other than 0.
    pub fn sum_over_cells(&self, values: &mut [f64]) {
        self.counted(Kind::Loss, &self.cells, size_of_val(values), || {
            self.cells.sum(values);
        });
    }

    fn over(&self, comm: &K, cut: &Cut, blocks: Vec<Vec<f64>>, kind: Kind) -> Vec<f64> {
        let exact = self.how == Reduce::Exact && cut.n_blocks() > 1;
        let bytes = blocks[0].len() * size_of::<f64>() * if exact { 2 } else { 1 };
        self.counted(kind, comm, bytes, || {
            sum_blocks(comm, self.how, cut.n_blocks(), blocks)
        })
    }

    /// Gives each rank along the voxels the list at its place in `to`, and returns what they gave.
    #[must_use]
    pub fn swap_voxels(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let bytes = to.iter().map(|list| size_of_val(list.as_slice())).sum();
        self.counted(Kind::Loss, &self.voxels, bytes, || self.voxels.swap(to))
    }

    /// Maximum over all ranks, entry by entry.
    pub fn max_of_all(&self, values: &mut [f64]) {
        self.counted(Kind::Loss, &self.world, size_of_val(values), || {
            self.world.max(values);
        });
    }

    /// Sum over all ranks, entry by entry; the order of summation is not defined.
    pub fn sum_of_all(&self, values: &mut [f64]) {
        self.counted(Kind::Once, &self.world, size_of_val(values), || {
            self.world.sum(values);
        });
    }

    /// Collects the values of all ranks on rank 0; see [`Communicator::gather`].
    pub fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>> {
        self.counted(Kind::Once, &self.world, size_of_val(mine), || {
            self.world.gather(mine)
        })
    }

    /// Replaces `values` on every rank by those of rank 0.
    pub fn broadcast(&self, values: &mut Vec<f64>) {
        let bytes = size_of_val(values.as_slice());
        self.counted(Kind::Once, &self.world, bytes, || {
            self.world.broadcast(values);
        });
    }

    /// Whether `yes` is true on all ranks.
    pub fn all_agree(&self, yes: bool) -> bool {
        let mut no = [f64::from(u8::from(!yes))];
        self.counted(Kind::Once, &self.world, size_of_val(&no), || {
            self.world.max(&mut no);
        });
        no[0] == 0.0
    }

    /// Bytes that this rank has passed to collectives of more than one rank so far, by kind.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.traffic.bytes()
    }

    /// Time that this rank has spent in collectives of more than one rank so far. It includes waiting for the slowest rank,
    /// and the `work` that ran during an exchange.
    #[must_use]
    pub fn time(&self) -> Duration {
        self.traffic.time()
    }

    fn counted<R>(&self, kind: Kind, comm: &K, bytes: usize, work: impl FnOnce() -> R) -> R {
        if comm.size() == 1 {
            return work();
        }
        self.traffic.add(kind, bytes);
        if let Some(watchdog) = &self.watchdog {
            watchdog.enter(kind);
        }
        let begun = Instant::now();
        let result = work();
        self.traffic.add_time(begun.elapsed());
        if let Some(watchdog) = &self.watchdog {
            watchdog.leave();
        }
        result
    }
}

impl Grid<crate::World> {
    /// Ends the communication. Every rank must call this.
    pub fn leave(self) {
        let Self {
            world,
            cells,
            voxels,
            genes,
            ..
        } = self;
        // Communicators must be freed before MPI is finalised.
        drop([cells, voxels, genes]);
        world.leave();
    }
}

/// The shards of a rank along all three axes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Its cells.
    pub cells: Cut,
    /// Its voxels.
    pub voxels: Cut,
    /// Its genes.
    pub genes: Cut,
}

impl Shares {
    /// All cells, voxels and genes, for a single rank.
    #[must_use]
    pub fn whole(n_cells: usize, n_voxels: usize, n_genes: usize) -> Self {
        Self {
            cells: Cut::whole(n_cells),
            voxels: Cut::whole(n_voxels),
            genes: Cut::whole(n_genes),
        }
    }

    /// The shards of one rank of a grid.
    ///
    /// * `lens`: number of cells, voxels and genes
    ///
    /// # Errors
    /// [`GridError::Axis`] if a rank would have an empty shard.
    pub fn at(
        shape: GridShape,
        how: Reduce,
        lens: [usize; 3],
        rank: usize,
    ) -> Result<Self, GridError> {
        let place = Grid::<crate::Solo>::place_of(shape, rank);
        let cut = |axis, len, at, ranks| {
            let most = Cut::most_ranks(axis, len, how);
            if ranks > most {
                return Err(GridError::Axis { axis, ranks, most });
            }
            Ok(Cut::new(axis, len, at, ranks, how))
        };
        Ok(Self {
            cells: cut(Axis::Cells, lens[0], place.0, shape.cells)?,
            voxels: cut(Axis::Voxels, lens[1], place.1, shape.voxels)?,
            genes: cut(Axis::Genes, lens[2], place.2, shape.genes)?,
        })
    }
}

#[cfg(test)]
mod tests;
