//! Ranks arranged by cells, voxels and genes.

use crate::reduce::sum_blocks;
use crate::traffic::{Bytes, Kind, Traffic};
use crate::watchdog::Watchdog;
use crate::{Axis, Communicator, Cut, Reduce};
use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Number of ranks along every axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GridShape {
    /// Ranks that share the cells.
    pub cells: usize,
    /// Ranks that share the voxels.
    pub voxels: usize,
    /// Ranks that share the genes.
    pub genes: usize,
}

impl GridShape {
    /// One rank.
    pub const ONE: Self = Self {
        cells: 1,
        voxels: 1,
        genes: 1,
    };

    /// Ranks in all.
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
                "`{text}` is no grid: give CELLSxVOXELSxGENES, the ranks along each axis, such as 4x2x1"
            )),
        }
    }
}

/// Why ranks cannot be arranged as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GridError {
    /// The grid has another number of places than there are ranks.
    Ranks {
        /// The grid.
        shape: GridShape,
        /// Ranks that there are.
        n_ranks: usize,
    },
    /// More ranks along an axis than it can be cut into.
    Axis {
        /// The axis.
        axis: Axis,
        /// Ranks along it.
        ranks: usize,
        /// Most that there may be.
        most: usize,
    },
}

impl Display for GridError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ranks { shape, n_ranks } => write!(
                f,
                "the grid {shape} is of {} ranks, but {n_ranks} were started",
                shape.n_ranks()
            ),
            Self::Axis { axis, ranks, most } => write!(
                f,
                "the {} cannot be cut over {ranks} ranks, {most} at most",
                axis.name()
            ),
        }
    }
}

impl std::error::Error for GridError {}

/// A rank and its neighbours along the three axes.
///
/// Ranks of neighbouring numbers share genes first, then voxels: what they exchange most stays within a node.
#[derive(Debug)]
pub struct Grid<K> {
    shape: GridShape,
    how: Reduce,
    world: K,
    /// Ranks with other cells, but the same voxels and genes.
    cells: K,
    voxels: K,
    genes: K,
    traffic: Traffic,
    watchdog: Option<Watchdog>,
}

impl<K: Communicator> Grid<K> {
    /// Arranges all ranks of `world`.
    ///
    /// # Errors
    /// [`GridError::Ranks`] if their number is another.
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

    /// Speaks up, on standard error, once a collective has lasted so long.
    #[must_use]
    pub fn watched(mut self, patience: Duration) -> Self {
        self.watchdog = (self.world.size() > 1).then(|| {
            Watchdog::start(self.world.rank(), patience, |text| {
                eprintln!("tangram: {text}")
            })
        });
        self
    }

    /// Arranges the same ranks otherwise; all must.
    ///
    /// # Errors
    /// [`GridError::Ranks`] if the grid is of another number, on all ranks.
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

    /// Ranks along every axis.
    #[must_use]
    pub fn shape(&self) -> GridShape {
        self.shape
    }

    /// How sums are made.
    #[must_use]
    pub fn how(&self) -> Reduce {
        self.how
    }

    /// All ranks.
    #[must_use]
    pub fn world(&self) -> &K {
        &self.world
    }

    /// Whether this is rank 0 of all.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.world.rank() == 0
    }

    /// This rank's share of cells, voxels and genes.
    ///
    /// # Errors
    /// [`GridError::Axis`] if some rank would have none.
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

    /// Whether this rank has the last genes: what all ranks along the genes know alike counts there.
    #[must_use]
    pub fn is_last_of_genes(&self) -> bool {
        self.genes.rank() + 1 == self.shape.genes
    }

    /// Sums logits of some cells over the ranks along the genes while `work` is done.
    pub fn sum_logits_single(&self, values: &mut [f32], work: &mut dyn FnMut()) {
        self.counted(Kind::Logits, &self.genes, size_of_val(values), || {
            self.genes.sum_single(values, work);
        });
    }

    /// The same in double precision.
    pub fn sum_logits(&self, values: &mut [f64], work: &mut dyn FnMut()) {
        self.counted(Kind::Logits, &self.genes, size_of_val(values), || {
            work();
            self.genes.sum(values);
        });
    }

    /// The largest over the ranks along the voxels, of every cell.
    pub fn max_rows(&self, values: &mut [f64]) {
        self.counted(Kind::Rows, &self.voxels, size_of_val(values), || {
            self.voxels.max(values);
        });
    }

    /// Sums of every cell over the ranks along the voxels.
    pub fn sum_rows(&self, values: &mut [f64]) {
        self.counted(Kind::Rows, &self.voxels, size_of_val(values), || {
            self.voxels.sum(values);
        });
    }

    /// The largest over the ranks along the cells.
    pub fn max_over_cells(&self, values: &mut [f64]) {
        self.counted(Kind::Once, &self.cells, size_of_val(values), || {
            self.cells.max(values);
        });
    }

    /// Sums what the ranks along the cells predict.
    pub fn sum_predicted_single(&self, values: &mut [f32]) {
        self.counted(Kind::Predicted, &self.cells, size_of_val(values), || {
            self.cells.sum_single(values, &mut || ());
        });
    }

    /// The same in double precision.
    pub fn sum_predicted(&self, values: &mut [f64]) {
        self.counted(Kind::Predicted, &self.cells, size_of_val(values), || {
            self.cells.sum(values);
        });
    }

    /// Sums over all cells, of sums of this rank's blocks of them.
    pub fn over_cells(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.cells, cut, blocks, Kind::Loss)
    }

    /// Sums over all voxels, of sums of this rank's blocks of them.
    pub fn over_voxels(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.voxels, cut, blocks, Kind::Loss)
    }

    /// Sums over all genes, of sums of this rank's blocks of them.
    pub fn over_genes(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.genes, cut, blocks, Kind::Loss)
    }

    /// [`over_voxels`](Self::over_voxels) of rows of P.
    pub fn rows_over_voxels(&self, cut: &Cut, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.over(&self.voxels, cut, blocks, Kind::Rows)
    }

    /// Sums over the ranks along the cells, entry by entry; exact where all but one of them have 0.
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

    /// The largest over all ranks.
    pub fn max_of_all(&self, values: &mut [f64]) {
        self.counted(Kind::Loss, &self.world, size_of_val(values), || {
            self.world.max(values);
        });
    }

    /// The sum over all ranks, in no promised order.
    pub fn sum_of_all(&self, values: &mut [f64]) {
        self.counted(Kind::Once, &self.world, size_of_val(values), || {
            self.world.sum(values);
        });
    }

    /// Rank 0 gets what every rank has.
    pub fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>> {
        self.counted(Kind::Once, &self.world, size_of_val(mine), || {
            self.world.gather(mine)
        })
    }

    /// Every rank gets what rank 0 has.
    pub fn broadcast(&self, values: &mut Vec<f64>) {
        let bytes = size_of_val(values.as_slice());
        self.counted(Kind::Once, &self.world, bytes, || {
            self.world.broadcast(values);
        });
    }

    /// Whether all ranks say yes.
    pub fn all_agree(&self, yes: bool) -> bool {
        let mut no = [f64::from(u8::from(!yes))];
        self.counted(Kind::Once, &self.world, size_of_val(&no), || {
            self.world.max(&mut no);
        });
        no[0] == 0.0
    }

    /// Bytes brought so far to collectives of more than one rank.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.traffic.bytes()
    }

    /// Time spent so far in collectives of more than one rank, waiting for the slowest included; work that went on meanwhile as well.
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
    /// Leaves; all ranks must.
    pub fn leave(self) {
        let Self {
            world,
            cells,
            voxels,
            genes,
            ..
        } = self;
        // Before MPI ends.
        drop([cells, voxels, genes]);
        world.leave();
    }
}

/// A rank's share of every axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shares {
    /// Of the cells.
    pub cells: Cut,
    /// Of the voxels.
    pub voxels: Cut,
    /// Of the genes.
    pub genes: Cut,
}

impl Shares {
    /// All of everything.
    #[must_use]
    pub fn whole(n_cells: usize, n_voxels: usize, n_genes: usize) -> Self {
        Self {
            cells: Cut::whole(n_cells),
            voxels: Cut::whole(n_voxels),
            genes: Cut::whole(n_genes),
        }
    }

    /// The share of one rank of a grid.
    ///
    /// * `lens`: numbers of cells, voxels and genes
    ///
    /// # Errors
    /// [`GridError::Axis`] if some rank would have none.
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
mod tests {
    use super::*;
    use crate::Threads;

    #[test]
    fn sums_run_along_one_axis_only() {
        let shape: GridShape = "2x3x2".parse().unwrap();
        std::thread::scope(|scope| {
            for world in Threads::ranks(12) {
                scope.spawn(move || {
                    let rank = world.rank();
                    let mut grid =
                        Grid::new(world, "12x1x1".parse().unwrap(), Reduce::Fast).unwrap();
                    assert!(grid.rearrange("5x2x1".parse().unwrap()).is_err());
                    grid.rearrange(shape).unwrap();
                    let (c, v, g) = Grid::<Threads>::place_of(shape, rank);
                    let digits = (100 * c + 10 * v + g) as f64;
                    let shares = grid.shares(20, 20, 20).unwrap();
                    let mut sum = [digits];
                    grid.sum_predicted(&mut sum);
                    assert_eq!(sum[0], (100 + 2 * (10 * v + g)) as f64);
                    let sum = grid.over_voxels(&shares.voxels, vec![vec![digits]]);
                    assert_eq!(sum[0], (30 + 3 * (100 * c + g)) as f64);
                    let mut sum = [digits as f32];
                    grid.sum_logits_single(&mut sum, &mut || ());
                    assert_eq!(sum[0], (1 + 2 * (100 * c + 10 * v)) as f32);
                    assert!(!grid.all_agree(rank != 7) && grid.all_agree(true));
                    let bytes = grid.bytes();
                    assert_eq!((bytes[0].1, bytes[2].1), (4, 8));
                });
            }
        });
    }

    #[test]
    fn a_grid_says_what_does_not_fit() {
        assert!("4x2".parse::<GridShape>().is_err() && "0x1x1".parse::<GridShape>().is_err());
        let shape = "1x9x1".parse().unwrap();
        assert!(Grid::new(crate::Solo, shape, Reduce::Fast).is_err());
        let told = Shares::at(shape, Reduce::Fast, [10, 5, 10], 0).unwrap_err();
        assert_eq!(
            told.to_string(),
            "the voxels cannot be cut over 9 ranks, 5 at most"
        );
    }
}
