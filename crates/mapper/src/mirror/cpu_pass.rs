//! The passes of the factored solver by this crate's kernels.

use crate::cost::tally::Tally;
use crate::cpu::products::Layout;
use crate::cpu::{sharded_logits, sharded_softmax, sharded_sums};
use crate::evaluate::largest_of_genes;
use crate::mirror::balance::{Balance, Pull};
use crate::mirror::factored_rows::FactoredRows;
use crate::mirror::pass::{OfRows, Pass, Rows};
use crate::mirror::polls::{self, Polls};
use crate::mirror::probe::{Asked, Probe};
use crate::mirror::stage_cells::{StageCells, one_of_every, too_large_to_hold};
use crate::number::Number;
use crate::ranks::Ranks;
use crate::rounding::{self, Rounding};
use crate::{Keeper, MapError, MirrorSettings, Precision, Problem};
use ndarray::{Array2, ArrayView2};
use tangram_comm::Communicator;
use tangram_core::CellChunks;

/// Buffers, and the cells in work.
pub(crate) struct CpuPass<'a, T, C, K> {
    problem: &'a Problem<C>,
    ranks: Ranks<'a, K>,
    seed: u64,
    layout: Layout,
    rounding: Rounding,
    rows: FactoredRows<T>,
    probe: Probe<T>,
    cells: StageCells,
    /// Cells in work: of this rank, and of all.
    n_cells: [usize; 2],
}

/// Declares what [`CpuPass::predict`](Pass::predict) exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, precision: Precision) {
    let n_cells = tally.shares().cells.len();
    rounding::declare(tally, precision, false);
    sharded_logits::declare(tally, n_cells);
    sharded_softmax::declare(tally, n_cells);
    sharded_sums::declare(tally, 0);
    polls::declare(tally);
}

impl<'a, T: Number, C: CellChunks, K: Communicator> CpuPass<'a, T, C, K> {
    pub(crate) fn new(
        problem: &'a Problem<C>,
        settings: &MirrorSettings,
        ranks: Ranks<'a, K>,
    ) -> Result<Self, MapError> {
        let asked = Asked::by(&settings.objective, settings.temperature.is_some());
        let probe = Probe::<T>::new(problem.cells(), asked, ranks)?;
        // All ranks and chunks must agree on the layout, so it follows the probe of all ranks.
        let layout = Layout::agreed::<T>(probe.density(), settings.precision, ranks);
        let mut rows = FactoredRows::new(layout, ranks.shares.genes.len() + 1);
        if ranks.is_exact() {
            let mut by_gene = largest_of_genes(problem.cells())?;
            let largest = ranks.largest(&mut by_gene);
            let mass = problem.mode().largest_mass(problem.n_cells());
            rows = rows.exact(&by_gene, [largest, mass], ranks);
        }
        Ok(Self {
            problem,
            ranks,
            seed: settings.seed,
            layout,
            rounding: Rounding::new(settings.precision, &settings.engine, layout.dense, None),
            rows,
            probe,
            cells: StageCells::Streamed(None),
            n_cells: [0; 2],
        })
    }

    /// One cell of every `part`: this rank's share, and its number of cells.
    fn sample(&self, part: usize) -> Result<(StageCells, usize), MapError> {
        let (cells, n_cells) = (self.problem.cells(), self.problem.n_cells());
        let chosen = one_of_every(part, self.seed, n_cells, self.ranks.shares.cells.range());
        let n_chosen = chosen.len();
        if cells.whole().is_none() && too_large_to_hold(part, n_cells, self.ranks) {
            return Ok((StageCells::Streamed(Some(chosen)), n_chosen));
        }
        let sample = cells
            .select(&chosen)
            .map_err(|e| MapError::Cells(e.into()))?;
        let sample = StageCells::some::<T>(&sample, &chosen, self.layout, self.ranks);
        Ok((sample, n_chosen))
    }
}

impl<T: Number, C: CellChunks, K: Communicator> Pass for CpuPass<'_, T, C, K> {
    fn take_cells(&mut self, part: usize) -> Result<usize, MapError> {
        // Room for these is that of those before them.
        self.cells = StageCells::Streamed(None);
        let (cells, own) = match (part, self.problem.cells().whole()) {
            (1, whole) => {
                let cells = match whole {
                    Some(cells) => StageCells::all::<T>(cells, self.layout, self.ranks),
                    None => StageCells::Streamed(None),
                };
                (cells, self.ranks.shares.cells.len())
            }
            _ => self.sample(part)?,
        };
        self.cells = cells;
        self.n_cells = [own, self.ranks.count_cells(own)];
        Ok(self.n_cells[1])
    }

    fn predict(
        &mut self,
        factors: &mut Array2<f64>,
        rows: Rows<'_>,
        keeper: &mut dyn Keeper,
    ) -> Result<Option<OfRows>, MapError> {
        let (ranks, all) = (self.ranks, self.problem.cells());
        let mut polls = Polls::new(keeper, self.n_cells, ranks);
        self.rounding.round(factors, ranks);
        self.rows.begin(factors.view(), ranks);
        self.rows.take_rows(rows, ranks);
        let rows = &mut self.rows;
        let flow = self
            .cells
            .add_to(rows, all, self.layout, ranks, &mut polls)?;
        if flow.is_break() || polls.end(ranks).is_break() {
            return Ok(None);
        }
        Ok(Some(OfRows {
            entropy: self.rows.finish(factors, ranks),
            weighed: self.rows.weighed(),
        }))
    }

    fn as_multiplied(&self, factors: Array2<f64>) -> Array2<f64> {
        self.rounding.as_multiplied(factors, self.ranks)
    }

    fn stand_at(&mut self, factors: ArrayView2<'_, f64>) {
        self.probe.stand_at(factors, self.ranks);
    }

    fn spread(&mut self, slope: ArrayView2<'_, f64>) -> f64 {
        self.probe.spread(slope, self.ranks)
    }

    fn balance(&mut self, pull: Pull<'_>) -> Balance {
        self.probe.balance(pull, self.ranks)
    }
}
