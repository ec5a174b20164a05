//! Opens, aligns and reads the two files of a mapping.

use crate::choices::GridChoice;
use crate::clusters::{CellClusters, Clustered, Reading};
use crate::doubts;
use crate::error::{PipelineError, Result, Within};
use crate::expression_files::{OF_CELLS, OF_VOXELS, both, check_values};
use crate::gene_list;
use crate::grid_plan::Task;
use crate::inputs::{Inputs, Side};
use crate::island_types::island_types;
use crate::listener::Listener;
use crate::match_genes::Matched;
use crate::memory_check::{Counts, check_memory, streams};
use crate::neighbours::neighbours;
use crate::prior::{prior, refuse_zero_voxels};
use crate::ranks::{Ranks, agreed, on_first};
use crate::rates::ASSUMED;
use crate::settings::MapSettings;
use crate::target_count::filter;
use crate::wording::count;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use tangram_comm::{Axis, Communicator, Cut, GridShape, Reduce};
use tangram_core::names::examples;
use tangram_core::normalize::transform;
use tangram_core::{
    GeneChoice, Normalize, SharedGenes, SparseRows, Transform, align, drop_zero_genes, factors_to,
    median_positive, scale_rows,
};
use tangram_mapper::{Engine, Mode, PassPlan, Problem};
use tangram_store::{
    CellExpression, ExpressionFile, RowNames, StreamedCells, fingerprint_names, memory,
};

/// Share of a node's memory that a grid may take.
const USED_OF_NODE: f64 = 0.9;

/// Both files, and the genes that they share.
pub(crate) struct Files {
    cells: Arc<ExpressionFile>,
    voxels: Arc<ExpressionFile>,
    shared: SharedGenes,
    matched: Matched,
    dropped_voxels: Vec<String>,
    /// The clusters of the cells, if they are mapped by clusters.
    clusters: Option<CellClusters>,
    /// Types of all rows, (rows, types), if a term of the loss compares them.
    types: Option<SparseRows>,
}

/// Sums over all rows and columns of a file.
pub(crate) struct Sums {
    row_totals: Vec<f64>,
    column_sums: Vec<f64>,
    /// The shared genes of all rows, if one rank holds them.
    held: Option<SparseRows>,
}

impl Sums {
    /// The total of every row.
    pub(crate) fn totals(&self) -> &[f64] {
        &self.row_totals
    }

    /// Reads a file once; each rank reads an equal share of the rows.
    ///
    /// * `columns`: the columns to hold, if one rank reads the file alone
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
        let sums = file.sums(own.range()).map_err(PipelineError::from);
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
    /// What tells apart early whether ranks see the same files; that their numbers are the same is known by their hashes.
    pub(crate) fn content(&self) -> String {
        let of = |file: &ExpressionFile| {
            let genes = fingerprint_names(file.genes());
            format!("{} {} {}", file.n_rows(), file.density(), genes)
        };
        let genes = [&self.shared.names, &self.shared.held_out.names];
        let genes = genes.map(|names| fingerprint_names(names)).concat();
        format!("{} {} {genes}", of(&self.cells), of(&self.voxels))
    }

    pub(crate) fn open(settings: &MapSettings, ranks: &Ranks) -> Result<Self> {
        let names = match ranks.is_first() {
            true => RowNames::Checked,
            false => RowNames::Unread,
        };
        let opened = both(settings, (&settings.cells, &settings.voxels), names)?;
        let list = |path: Option<&Path>| -> Result<Option<Vec<String>>> {
            let list = path.map(gene_list::read).transpose()?;
            Ok(list.map(|list| opened.translated(list)))
        };
        let choice = GeneChoice {
            list: list(settings.genes.as_deref())?,
            held_out: list(settings.hold_out.as_deref())?.unwrap_or_default(),
        };
        let shared = align(opened.cells.genes(), opened.voxels.genes(), &choice)
            .of_both(&settings.cells, &settings.voxels)?;
        let clusters = CellClusters::read(settings, opened.cells.dataset())?;
        let types = island_types(settings, opened.cells.dataset(), clusters.as_ref())?;
        Ok(Self {
            clusters,
            types,
            cells: Arc::new(opened.cells),
            voxels: Arc::new(opened.voxels),
            matched: opened.matched,
            dropped_voxels: opened.dropped_voxels,
            shared,
        })
    }

    /// Looks at what the files hold, on the first rank: whether values are counts, and what may be a mistake.
    pub(crate) fn check(&self, settings: &MapSettings, listener: &dyn Listener) -> Result<()> {
        self.matched.tell(listener)?;
        check_values(&self.cells, settings.values, OF_CELLS, listener)?;
        check_values(&self.voxels, settings.values_voxels, OF_VOXELS, listener)?;
        if !self.dropped_voxels.is_empty() {
            listener.say(format_args!(
                "left out {} without a count in any gene (--drop-empty): {}",
                count(self.dropped_voxels.len(), "voxel"),
                examples(self.dropped_voxels.iter().map(String::as_str)),
            ))?;
        }
        if let Some(clusters) = &self.clusters {
            clusters.tell(listener)?;
        }
        doubts::of_files(
            settings,
            self.cells.dataset(),
            self.voxels.dataset(),
            listener,
        )
    }

    /// Rows of the mapping: cells or clusters.
    fn n_rows(&self) -> usize {
        let clusters = self.clusters.as_ref().map(|c| c.clusters().len());
        clusters.unwrap_or(self.cells.n_rows())
    }

    /// Arranges several ranks in the fastest grid that fits, unless the settings name one; returns the grid.
    pub(crate) fn arrange(
        &self,
        settings: &MapSettings,
        engine: Engine,
        ranks: &mut Ranks,
        listener: &dyn Listener,
    ) -> Result<Option<GridShape>> {
        let n_ranks = ranks.shape().n_ranks();
        if n_ranks == 1 {
            return Ok(None);
        }
        if let Some(GridChoice::Shape(shape)) = settings.grid {
            return Ok(Some(shape));
        }
        // The nodes' total memory, not what is free now, so that the same command gets the same grid.
        let (_, on_node) = ranks.world().on_this_node();
        let own = memory::of_node().map_or(f64::INFINITY, |bytes| bytes as f64 / on_node as f64);
        let mut least = [-own];
        ranks.max_of_all(&mut least);
        let [cells, voxels, genes] = on_first(ranks, || {
            let best = self.best_grid(settings, engine, n_ranks, -least[0])?;
            Ok([best.cells, best.voxels, best.genes])
        })?;
        let best = GridShape {
            cells,
            voxels,
            genes,
        };
        ranks.rearrange(best)?;
        listener.say(format_args!("{n_ranks} ranks as {best}"))?;
        Ok(Some(best))
    }

    /// The fastest grid in which no rank needs more than `bytes`.
    fn best_grid(
        &self,
        settings: &MapSettings,
        engine: Engine,
        n_ranks: usize,
        bytes: f64,
    ) -> Result<GridShape> {
        let graph = neighbours(settings.neighbours, &settings.objective, &self.voxels)?;
        let task = Task {
            neighbours: graph.as_ref(),
            lens: [self.n_rows(), self.voxels.n_rows(), self.shared.names.len()],
            density: match self.clusters {
                // Some cell of a cluster has nearly every gene.
                Some(_) => 1.0,
                None => self.cells.density(),
            },
            pass: PassPlan {
                n_types: self.types.as_ref().map_or(0, SparseRows::n_cols),
                ..settings.pass_plan(engine)
            },
            cells: settings.cells_are(),
            reading: settings.reading(self.cells.genes().len()),
            n_ranks,
            threads: settings.threads,
            memory: bytes.is_finite().then_some((bytes * USED_OF_NODE) as u64),
            // GPU memory is checked later, when the device is known; cells are distributed first in any case.
            gpu: None,
        };
        let candidates = task.candidates(ASSUMED);
        match candidates.first() {
            Some(best) if best.fits => Ok(best.shape),
            _ => Err(PipelineError::NoGridFits {
                reason: task.nothing_fits(&candidates),
                available: memory::for_people(bytes as u64),
            }),
        }
    }

    /// Sums of voxels and cells, and whether the cells are streamed.
    pub(crate) fn sums(
        &self,
        settings: &MapSettings,
        engine: Engine,
        ranks: &Ranks,
    ) -> Result<([Sums; 2], bool)> {
        let one_rank = ranks.shape().n_ranks() == 1;
        let n_genes = self.shared.names.len();
        let shares = ranks.shares(self.n_rows(), self.voxels.n_rows(), n_genes)?;
        // All ranks or none: ranks with the same cells work on the same blocks.
        let (_, on_node) = ranks.world().on_this_node();
        let streamed = streams(settings, engine, &self.cells, &shares, on_node);
        let mut any = [f64::from(u8::from(streamed))];
        ranks.max_of_all(&mut any);
        let streamed = any[0] > 0.0;
        let counts = match streamed {
            true => Counts::read(settings, &self.cells, &shares),
            false => Counts::held(0),
        };
        let needed = check_memory(settings, engine, &shares, ranks, counts);
        agreed(ranks, needed)?;
        let held = one_rank.then_some(&self.shared.in_voxels[..]);
        let voxels = Sums::read(&self.voxels, held, ranks)?;
        let zero = refuse_zero_voxels(&self.voxels, &voxels.row_totals);
        agreed(ranks, zero)?;
        // Streamed cells are read for their sums now, and again at every pass; those of clusters once more.
        let held = one_rank && !streamed && self.clusters.is_none();
        let held = held.then_some(&self.shared.in_cells[..]);
        let cells = Sums::read(&self.cells, held, ranks)?;
        Ok(([voxels, cells], streamed))
    }

    /// Adds up the cells of every cluster, if they are mapped by clusters. All ranks call it.
    ///
    /// The sums of the cells become those of the cells that are in a cluster.
    pub(crate) fn clustered(
        &self,
        cell_sums: &mut Sums,
        settings: &MapSettings,
        ranks: &Ranks,
    ) -> Result<Option<Clustered>> {
        let Some(clusters) = &self.clusters else {
            return Ok(None);
        };
        let totals = &cell_sums.row_totals;
        let of_cell = totals.iter().zip(clusters.clusters().of_cell());
        let labelled: Vec<f64> = of_cell.filter_map(|(t, c)| c.map(|_| *t)).collect();
        let library_median = median_of(settings.normalize, &labelled);
        let factors = library_median.map(|median| factors_to(totals, median));
        let columns = &self.shared.in_cells;
        let cells = StreamedCells::new(
            Arc::clone(&self.cells),
            columns.clone(),
            factors.clone().map(Into::into),
            Transform::None,
        );
        let reading = Reading {
            cells: &cells,
            totals,
            factors: factors.as_deref(),
            transform: settings.transform,
        };
        let expression = clusters.expression(&reading, ranks)?;
        cell_sums.column_sums.fill(0.0);
        for (&column, sum) in columns.iter().zip(expression.plain.column_sums()) {
            cell_sums.column_sums[column] = sum;
        }
        Ok(Some(Clustered {
            of: clusters.clone(),
            expression,
            library_median,
        }))
    }

    pub(crate) fn inputs(
        self,
        [voxel_sums, cell_sums]: [Sums; 2],
        (streamed, clustered): (bool, Option<Clustered>),
        settings: &MapSettings,
        [cells_sha256, voxels_sha256]: [String; 2],
        ranks: &Ranks,
    ) -> Result<Inputs> {
        let n_rows = self.n_rows();
        let Self {
            cells,
            voxels,
            shared,
            dropped_voxels,
            types,
            ..
        } = self;
        let all_names = shared.names.clone();
        let (genes, dropped) =
            drop_zero_genes(shared, &cell_sums.column_sums, &voxel_sums.column_sums)
                .of_both(&settings.cells, &settings.voxels)?;
        let left = places(&genes.names, &all_names);
        let shares = ranks.shares(n_rows, voxels.n_rows(), genes.names.len())?;
        // From the columns in memory, or from the file.
        let own = |held: Option<SparseRows>,
                   file: &ExpressionFile,
                   rows: Range<usize>,
                   columns: &[usize]| match held {
            Some(all) if left.len() == all.n_cols() => Ok(all),
            Some(all) => Ok(all.select_columns(&left)),
            None => file.read_rows(rows, &columns[shares.genes.range()]),
        };
        let prior = prior(&settings.prior, &voxels, &voxel_sums.row_totals)?;
        let filter = filter(settings, &voxels, cells.n_rows())?;
        let totals = &voxel_sums.row_totals;
        let voxel_factors =
            median_of(settings.normalize_voxels, totals).map(|median| factors_to(totals, median));
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
        let library_median = match &clustered {
            Some(clustered) => clustered.library_median,
            None => median_of(settings.normalize, &totals),
        };
        // Shared by all chunks of the cells: 80 MB for ten million.
        let cell_factors: Option<Arc<[f64]>> =
            library_median.map(|median| factors_to(&totals, median).into());
        drop(totals);
        let how = settings.transform;
        let transforms = how != Transform::None;
        let all_cells = StreamedCells::new(
            Arc::clone(&cells),
            genes.in_cells.clone(),
            cell_factors.clone(),
            Transform::None,
        );
        let own_cells = shares.cells.range();
        let clustered = clustered.map(|clustered| clustered.of_genes(&left));
        let (cell_values, plain_cells) = if let Some(Clustered { expression, .. }) = &clustered {
            let own_genes: Vec<usize> = shares.genes.range().collect();
            let own = |all: &SparseRows| {
                CellExpression::Memory(all.rows(own_cells.clone()).select_columns(&own_genes))
            };
            (
                own(&expression.trained),
                transforms.then(|| own(&expression.plain)),
            )
        } else if streamed {
            let plain = all_cells.shard(own_cells, shares.genes.range());
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
        let graph = neighbours(settings.neighbours, &settings.objective, &voxels)?;
        let types = types.map(|types| types.rows(shares.cells.range()));
        let problem = Problem::of_shard(cell_values, voxel_values, prior, shares)?;
        let problem = match graph {
            Some(graph) => problem.with_neighbours(graph)?,
            None => problem,
        };
        let problem = match types {
            Some(types) => problem.with_types(types)?,
            None => problem,
        };
        let problem = match (filter, &clustered) {
            (Some(filter), _) => problem.with_mode(Mode::Constrained(filter))?,
            (None, Some(clustered)) => problem.with_mode(Mode::Clusters(clustered.of.weights()))?,
            (None, None) => problem,
        };
        Ok(Inputs {
            cells: Side {
                file: cells,
                sha256: cells_sha256,
            },
            voxels: Side {
                file: voxels,
                sha256: voxels_sha256,
            },
            genes,
            dropped,
            dropped_voxels,
            problem,
            untransformed,
            all_cells,
            clustered,
            grid: None,
            library_median,
        })
    }
}

/// The total to which rows are brought, if they are; 1 if all totals are 0, so that there is nothing to normalise.
fn median_of(normalize: Normalize, totals: &[f64]) -> Option<f64> {
    match normalize {
        Normalize::Library => Some(median_positive(totals).unwrap_or(1.0)),
        Normalize::None => None,
    }
}

/// The index in `all` of each of `names`. Both are sorted, and `all` contains every name.
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
