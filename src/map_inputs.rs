//! What `tangram map` reads: both files, their training genes, the prior.

use crate::cell_expression::{CellExpression, StreamedCells};
use crate::error::{CliError, examples};
use crate::expression::{ExpressionFile, OfBoth, RowNames};
use crate::grid_plan::Task;
use crate::map_settings::MapSettings;
use crate::memory_check::{Counts, check_memory, streams};
use crate::ranks::{Ranks, agreed};
use crate::report::{Report, count};
use crate::values::{GridChoice, PriorChoice};
use crate::{gene_list, grid_plan, memory};
use anyhow::{Result, bail};
use ndarray::Array2;
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tangram_comm::{Axis, Communicator, Cut, GridShape, Reduce};
use tangram_core::normalize::transform;
use tangram_core::{
    Column, DensityPrior, GeneChoice, Normalize, PriorError, SharedGenes, SparseRows, Transform,
    align, drop_zero_genes, factors_to, median_positive, scale_rows,
};
use tangram_mapper::{CELLS_TO_CHOOSE_BY, Problem, mirror_memory_needed};
use tangram_store::{fingerprint, read_npy};

/// Both files, and the training genes of both.
#[derive(Debug)]
pub struct Inputs {
    /// The cells' file.
    pub cells: Side,
    /// The voxels' file.
    pub voxels: Side,
    /// Training and held-out genes.
    pub genes: SharedGenes,
    /// Shared genes that are zero everywhere on one side.
    pub dropped: Vec<String>,
    /// What is trained on.
    pub problem: Problem<CellExpression>,
    /// Values to score, if they are not those that are trained on.
    pub untransformed: Option<(CellExpression, SparseRows)>,
    /// All cells and training genes, untransformed, to be read.
    pub all_cells: StreamedCells,
    /// Median total of the cells, where they were brought to it.
    pub library_median: Option<f64>,
}

/// One of the two files.
#[derive(Debug)]
pub struct Side {
    /// Its matrix and names.
    pub file: Arc<ExpressionFile>,
    /// SHA-256 of its contents.
    pub sha256: String,
}

impl Inputs {
    /// All cells and training genes as they are carried into space.
    #[must_use]
    pub fn carried(&self, ranks: &Ranks) -> Cow<'_, CellExpression> {
        let own = self.untransformed.as_ref().map(|(cells, _)| cells);
        match ranks.shape().n_ranks() {
            1 => Cow::Borrowed(own.unwrap_or(self.problem.cells())),
            _ => Cow::Owned(CellExpression::Streamed(self.all_cells.clone())),
        }
    }

    /// The problem of all ranks, whose cells are read from disk where they are wanted.
    ///
    /// # Errors
    /// If memory will not suffice for all voxels and genes, or the voxels' file cannot be read.
    pub fn whole(&self, ranks: &Ranks, settings: &MapSettings) -> Result<Problem<CellExpression>> {
        let problem = &self.problem;
        let (n_voxels, n_genes) = (problem.n_voxels(), problem.n_genes());
        let precision = settings.precision.on(settings.engine);
        let n_cells = problem.n_cells().min(CELLS_TO_CHOOSE_BY);
        let counts = (n_cells * n_genes) as f64 * self.cells.file.density();
        let size = [n_cells, n_voxels, n_genes];
        let needed = mirror_memory_needed(size, counts as usize, None, precision);
        if let Some(available) = memory::available().filter(|&available| needed > available) {
            bail!(CliError::Memory {
                n_cells,
                n_voxels,
                needed: memory::for_people(needed),
                available: memory::for_people(available),
                remedy: "give --temperature a number, such as one that auto chose for fewer voxels",
            });
        }
        let how = settings.transform();
        let mut voxels = self.measured(ranks, settings)?.into_owned();
        transform(&mut voxels, how);
        let cells = CellExpression::Streamed(self.all_cells.transformed(how));
        Ok(Problem::new(cells, voxels, problem.prior().cloned())?)
    }

    /// What was measured in all voxels of all training genes, untransformed.
    ///
    /// # Errors
    /// If the voxels' file cannot be read.
    pub fn measured(&self, ranks: &Ranks, settings: &MapSettings) -> Result<Cow<'_, SparseRows>> {
        if ranks.shape().n_ranks() == 1 {
            let own = self.untransformed.as_ref().map(|(_, voxels)| voxels);
            return Ok(Cow::Borrowed(own.unwrap_or(self.problem.voxels())));
        }
        let file = &self.voxels.file;
        let factors = file.factors(settings.normalize_voxels)?;
        let read = file.read_scaled(&self.genes.in_voxels, factors.as_deref())?;
        Ok(Cow::Owned(read))
    }
}

/// Reads this rank's part of both files, aligns their genes and says what there is; before that the ranks are arranged, if how was left
/// open.
///
/// # Errors
/// If a file does not fit, or memory will not suffice.
pub fn read(settings: &mut MapSettings, ranks: &mut Ranks, report: Report) -> Result<Inputs> {
    let opened = agreed(ranks, Files::open(settings, ranks))?;
    opened.arrange(settings, ranks, report)?;
    let (settings, ranks) = (&*settings, &*ranks);
    let (sums, streamed) = opened.sums(settings, ranks)?;
    let inputs = agreed(ranks, opened.inputs(sums, streamed, settings, ranks))?;
    tell_inputs(&inputs, report)?;
    Ok(inputs)
}

/// Share of a node's memory that a grid may take.
const USED_OF_NODE: f64 = 0.9;

/// Both files, and what genes they share.
struct Files {
    cells: Arc<ExpressionFile>,
    voxels: Arc<ExpressionFile>,
    shared: SharedGenes,
}

/// Sums over all rows and columns of a file.
struct Sums {
    row_totals: Vec<f64>,
    column_sums: Vec<f64>,
    /// The shared genes of all rows, where one rank holds them.
    held: Option<SparseRows>,
}

impl Sums {
    /// Reads a file once, each rank an equal share of its rows.
    ///
    /// * `columns`: to be held, if one rank reads the file alone
    fn read(file: &ExpressionFile, columns: Option<&[usize]>, ranks: &Ranks) -> Result<Self> {
        if let Some(columns) = columns {
            let counts = file.read(columns)?;
            return Ok(Self {
                row_totals: counts.row_totals,
                column_sums: counts.column_sums,
                held: Some(counts.columns),
            });
        }
        let own = Cut::new(
            Axis::Cells,
            file.n_rows(),
            ranks.world().rank(),
            ranks.shape().n_ranks(),
            Reduce::Fast,
        );
        let sums = file.sums(own.range()).map_err(Into::into);
        let (row_totals, mut column_sums) = agreed(ranks, sums)?;
        let mut row_totals = match ranks.gather(&row_totals) {
            all if all.is_empty() => row_totals,
            all => all.concat(),
        };
        ranks.broadcast(&mut row_totals);
        ranks.sum_of_all(&mut column_sums);
        Ok(Self {
            row_totals,
            column_sums,
            held: None,
        })
    }
}

impl Files {
    fn open(settings: &MapSettings, ranks: &Ranks) -> Result<Self> {
        let names = match ranks.is_first() {
            true => RowNames::Checked,
            false => RowNames::Unread,
        };
        let cells = ExpressionFile::open(&settings.cells, &settings.cells_matrix, names)?;
        let voxels = ExpressionFile::open(&settings.voxels, &settings.voxels_matrix, names)?;
        let choice = GeneChoice {
            list: settings.genes.as_deref().map(gene_list::read).transpose()?,
            held_out: settings
                .hold_out
                .as_deref()
                .map(gene_list::read)
                .transpose()?
                .unwrap_or_default(),
        };
        let shared = align(cells.genes(), voxels.genes(), &choice)
            .of_both(&settings.cells, &settings.voxels)?;
        Ok(Self {
            cells: Arc::new(cells),
            voxels: Arc::new(voxels),
            shared,
        })
    }

    /// Arranges several ranks by the fastest grid that fits, unless one was asked for; settings then name it.
    fn arrange(&self, settings: &mut MapSettings, ranks: &mut Ranks, report: Report) -> Result<()> {
        let n_ranks = ranks.shape().n_ranks();
        if n_ranks == 1 {
            settings.grid = None;
        }
        if n_ranks == 1 || matches!(settings.grid, Some(GridChoice::Shape(_))) {
            return Ok(());
        }
        // What the nodes have, not what is free on them now: the same command takes the same grid.
        let (_, on_node) = ranks.world().on_this_node();
        let own = memory::of_node().map_or(f64::INFINITY, |bytes| bytes as f64 / on_node as f64);
        let mut least = [-own];
        ranks.max_of_all(&mut least);
        let best = match ranks.is_first() {
            true => self.best_grid(settings, n_ranks, -least[0]),
            false => Ok(ranks.shape()),
        };
        let best = agreed(ranks, best)?;
        let mut lens = vec![best.cells as f64, best.voxels as f64, best.genes as f64];
        ranks.broadcast(&mut lens);
        let best = GridShape {
            cells: lens[0] as usize,
            voxels: lens[1] as usize,
            genes: lens[2] as usize,
        };
        ranks.rearrange(best).map_err(CliError::Grid)?;
        settings.grid = Some(GridChoice::Shape(best));
        Ok(report.say(format_args!("{n_ranks} ranks as {best}"))?)
    }

    /// The fastest grid whose ranks fit in so many bytes each.
    fn best_grid(&self, settings: &MapSettings, n_ranks: usize, bytes: f64) -> Result<GridShape> {
        let task = Task {
            lens: [
                self.cells.n_rows(),
                self.voxels.n_rows(),
                self.shared.names.len(),
            ],
            density: self.cells.density(),
            pass: settings.pass_plan(),
            cells: settings.stream.cells_of(settings.solver),
            reading: settings.reading(self.cells.genes().len()),
            n_ranks,
            threads: settings.threads(),
            memory: bytes.is_finite().then_some((bytes * USED_OF_NODE) as u64),
            // What a GPU holds is checked when it is known; cells are shared first in any case.
            gpu: None,
        };
        let candidates = task.candidates(grid_plan::ASSUMED);
        match candidates.first() {
            Some(best) if best.fits => Ok(best.shape),
            _ => bail!(CliError::NoGridFits {
                reason: task.nothing_fits(&candidates),
                available: memory::for_people(bytes as u64),
            }),
        }
    }

    /// Sums of voxels and cells; and whether the cells are read at every pass.
    fn sums(&self, settings: &MapSettings, ranks: &Ranks) -> Result<([Sums; 2], bool)> {
        let alone = ranks.shape().n_ranks() == 1;
        let n_genes = self.shared.names.len();
        let shares = ranks
            .shares(self.cells.n_rows(), self.voxels.n_rows(), n_genes)
            .map_err(CliError::Grid)?;
        // All or none: ranks with the same cells work on the same blocks of them.
        let (_, on_node) = ranks.world().on_this_node();
        let streamed = streams(settings, &self.cells, &shares, on_node);
        let mut any = [f64::from(u8::from(streamed))];
        ranks.max_of_all(&mut any);
        let streamed = any[0] > 0.0;
        let counts = match streamed {
            true => Counts::read(settings, &self.cells, &shares),
            false => Counts::held(0),
        };
        let needed = check_memory(settings, &shares, ranks, counts);
        agreed(ranks, needed.map_err(Into::into))?;
        let held = alone.then_some(&self.shared.in_voxels[..]);
        let voxels = Sums::read(&self.voxels, held, ranks)?;
        let zero = refuse_zero_voxels(&self.voxels, &voxels.row_totals);
        agreed(ranks, zero)?;
        // Streamed cells are read for their sums now, and at every pass.
        let held = (alone && !streamed).then_some(&self.shared.in_cells[..]);
        let cells = Sums::read(&self.cells, held, ranks)?;
        Ok(([voxels, cells], streamed))
    }

    fn inputs(
        self,
        [voxel_sums, cell_sums]: [Sums; 2],
        streamed: bool,
        settings: &MapSettings,
        ranks: &Ranks,
    ) -> Result<Inputs> {
        let Self {
            cells,
            voxels,
            shared,
        } = self;
        let all_names = shared.names.clone();
        let (genes, dropped) =
            drop_zero_genes(shared, &cell_sums.column_sums, &voxel_sums.column_sums)
                .of_both(&settings.cells, &settings.voxels)?;
        let left = places(&genes.names, &all_names);
        let shares = ranks
            .shares(cells.n_rows(), voxels.n_rows(), genes.names.len())
            .map_err(CliError::Grid)?;
        let median = |normalize, totals: &[f64]| match normalize {
            // Where all are 0 there is nothing to bring to a total.
            Normalize::Library => Some(median_positive(totals).unwrap_or(1.0)),
            Normalize::None => None,
        };
        // Of the columns that are held already, or of the file.
        let own = |held: Option<SparseRows>,
                   file: &ExpressionFile,
                   rows: Range<usize>,
                   columns: &[usize]| match held {
            Some(all) if left.len() == all.n_cols() => Ok(all),
            Some(all) => Ok(all.select_columns(&left)),
            None => file.read_part(rows, &columns[shares.genes.range()]),
        };
        let prior = prior(settings, &voxels, &voxel_sums.row_totals)?;
        let totals = &voxel_sums.row_totals;
        let voxel_factors =
            median(settings.normalize_voxels, totals).map(|median| factors_to(totals, median));
        let own_voxels = shares.voxels.range();
        let mut voxel_values = own(
            voxel_sums.held,
            &voxels,
            own_voxels.clone(),
            &genes.in_voxels,
        )?;
        if let Some(factors) = &voxel_factors {
            scale_rows(&mut voxel_values, &factors[own_voxels]);
        }
        let totals = cell_sums.row_totals;
        let library_median = median(settings.normalize, &totals);
        // All parts of the cells share them: of ten million they are 80 MB.
        let cell_factors: Option<Arc<[f64]>> =
            library_median.map(|median| factors_to(&totals, median).into());
        drop(totals);
        let how = settings.transform();
        let transforms = how != Transform::None;
        let all_cells = StreamedCells::new(
            Arc::clone(&cells),
            genes.in_cells.clone(),
            cell_factors.clone(),
            Transform::None,
        );
        let own_cells = shares.cells.range();
        let (cell_values, plain_cells) = if streamed {
            let plain = all_cells.part(own_cells, shares.genes.range());
            (
                CellExpression::Streamed(plain.transformed(how)),
                transforms.then_some(CellExpression::Streamed(plain)),
            )
        } else {
            let mut values = own(cell_sums.held, &cells, own_cells.clone(), &genes.in_cells)?;
            if let Some(factors) = &cell_factors {
                scale_rows(&mut values, &factors[own_cells]);
            }
            let plain = transforms.then(|| values.clone());
            transform(&mut values, how);
            (
                CellExpression::Memory(values),
                plain.map(CellExpression::Memory),
            )
        };
        let untransformed = plain_cells.map(|cells| (cells, voxel_values.clone()));
        transform(&mut voxel_values, how);
        // One rank writes the record.
        let hash = |path: &Path| match ranks.is_first() {
            true => fingerprint(path),
            false => Ok(String::new()),
        };
        Ok(Inputs {
            cells: Side {
                file: cells,
                sha256: hash(&settings.cells)?,
            },
            voxels: Side {
                file: voxels,
                sha256: hash(&settings.voxels)?,
            },
            genes,
            dropped,
            problem: Problem::part(cell_values, voxel_values, prior, shares)?,
            untransformed,
            all_cells,
            library_median,
        })
    }
}

/// Where each of `names` stands in `all`; both sorted, the first a part of the second.
fn places(names: &[String], all: &[String]) -> Vec<usize> {
    let mut place = 0;
    let next = |name: &String| {
        place += all[place..]
            .iter()
            .position(|n| n == name)
            .expect("a name that was left over");
        place
    };
    names.iter().map(next).collect()
}

fn tell_inputs(inputs: &Inputs, report: Report) -> Result<()> {
    let Inputs {
        genes,
        dropped,
        voxels,
        problem,
        ..
    } = inputs;
    report.say(format_args!(
        "{} onto {} by {}",
        count(problem.n_cells(), "cell"),
        count(problem.n_voxels(), "voxel"),
        count(problem.n_genes(), "gene"),
    ))?;
    if !dropped.is_empty() {
        let names = || dropped.iter().map(String::as_str);
        report.say(format_args!(
            "left out {} without any count in the cells or in the voxels: {}",
            count(dropped.len(), "shared gene"),
            examples(names()),
        ))?;
        report.explain(format_args!(
            "all of them: {}",
            names().collect::<Vec<_>>().join(", ")
        ))?;
    }
    if !genes.unscored.is_empty() {
        let names = examples(genes.unscored.iter().map(String::as_str));
        report.warn(format_args!(
            "held-out genes that only one of the files has cannot be scored: {names}"
        ));
    }
    // A rank with some of the genes cannot tell.
    let whole = problem.voxels().n_rows() == problem.n_voxels()
        && problem.voxels().n_cols() == problem.n_genes();
    let silent: Vec<usize> = (0..problem.voxels().n_rows())
        .filter(|_| whole)
        .filter(|&j| problem.voxels().row(j).0.is_empty())
        .collect();
    if !silent.is_empty() {
        let names = voxels.file.names()?;
        let silent_names = silent.iter().map(|&j| names[j].as_str());
        let (n, names) = (count(silent.len(), "voxel"), examples(silent_names));
        report.warn(format_args!(
            "{n} without any count in the training genes, known by density only: {names}"
        ));
    }
    Ok(())
}

fn refuse_zero_voxels(voxels: &ExpressionFile, totals: &[f64]) -> Result<()> {
    let zero: Vec<usize> = (0..totals.len()).filter(|&j| totals[j] == 0.0).collect();
    if zero.is_empty() {
        return Ok(());
    }
    let names = voxels.names()?;
    Err(CliError::ZeroVoxels {
        path: voxels.dataset().path().to_owned(),
        n_zero: zero.len(),
        n_voxels: totals.len(),
        examples: examples(zero.iter().map(|&j| names[j].as_str())),
    }
    .into())
}

fn prior(
    settings: &MapSettings,
    voxels: &ExpressionFile,
    totals: &[f64],
) -> Result<Option<DensityPrior>> {
    let prior = match &settings.prior {
        PriorChoice::None => return Ok(None),
        PriorChoice::Uniform => DensityPrior::uniform(totals.len())?,
        PriorChoice::Rna => DensityPrior::rna_counts(totals)?,
        PriorChoice::Obs(column) => {
            let wrong = |reason: String| CliError::Prior {
                path: voxels.dataset().path().to_owned(),
                column: column.clone(),
                reason,
            };
            let Column::Numeric(values) = voxels.dataset().obs_column(column)? else {
                bail!(wrong(
                    "it holds no numbers; give a column of cell counts or other weights".to_owned()
                ));
            };
            if let Some(j) = values.iter().position(Option::is_none) {
                let name = &voxels.names()?[j];
                bail!(wrong(format!(
                    "voxel {name} has no value; fill it in, for instance with 0"
                )));
            }
            match DensityPrior::new(values.into_iter().flatten().collect()) {
                Ok(prior) => prior,
                Err(
                    PriorError::Negative { voxel, value } | PriorError::NotFinite { voxel, value },
                ) => {
                    let name = &voxels.names()?[voxel];
                    bail!(wrong(format!(
                        "voxel {name} has {value}; weights must be finite and 0 or more"
                    )))
                }
                Err(other) => bail!(wrong(other.to_string())),
            }
        }
    };
    Ok(Some(prior))
}

/// Initial logits of the right shape.
///
/// # Errors
/// If the file is no such array.
pub fn initial_logits(path: &Path, n_cells: usize, n_voxels: usize) -> Result<Array2<f64>> {
    let logits = read_npy(path)?;
    let (found_cells, found_voxels) = logits.dim();
    if (found_cells, found_voxels) == (n_cells, n_voxels) {
        return Ok(logits);
    }
    bail!(CliError::InitialLogits {
        path: path.to_owned(),
        found_cells,
        found_voxels,
        n_cells,
        n_voxels
    })
}
