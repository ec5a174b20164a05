//! What the pictures of a run show, read from its stores: values in space, scores, loss and density.

use crate::annotations::{self, Carried};
use crate::carried_uns;
use crate::choices::ObsColumn;
use crate::error::{PipelineError, Result, Within};
use crate::expression_files::{Opened, both};
use crate::gene_transfer::{GeneValues, Genes};
use crate::listener::{Listener, Silent};
use crate::prior::prior;
use crate::project::ProjectSettings;
use crate::run_directory::RunDirectory;
use crate::score::{ScoredGene, for_each_gene};
use crate::stored_mapping::StoredMapping;
use crate::tissue_image;
use crate::type_column::{codes_of, likely_types};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tangram_core::{GeneChoice, MappingRows, MostProbableCell, PBlock, SparseRows, align, one_hot};
use tangram_report::{Color, Places, type_colors};
use tangram_store::{Dataset, ExpressionFile, RowNames, Uns};

/// Values of genes at a time: 200 MB.
pub(crate) const CHUNK_VALUES: usize = 50_000_000;

/// Values of genes, predicted and measured each, that are kept for pictures: 200 MB for both.
const KEPT_VALUES: usize = 25_000_000;

/// Which run, where its inputs are, and what of it to show.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureSettings {
    /// The directory of the run.
    pub mapping: PathBuf,
    /// The cells' file, if it is not where the run recorded it.
    pub cells: Option<PathBuf>,
    /// The voxels' file, if it is not where the run recorded it.
    pub voxels: Option<PathBuf>,
    /// The obs column of the cells' types; `None`: the likeliest.
    pub types: Option<ObsColumn>,
    /// Whether voxels are drawn over the image of the tissue, if their file keeps one.
    pub tissue: bool,
}

impl PictureSettings {
    /// A run whose inputs are where it recorded them.
    #[must_use]
    pub fn new(mapping: impl Into<PathBuf>) -> Self {
        Self {
            mapping: mapping.into(),
            cells: None,
            voxels: None,
            types: None,
            tissue: true,
        }
    }
}

/// A run and its inputs, opened.
#[derive(Debug)]
pub struct Source {
    pub(crate) run: RunDirectory,
    pub(crate) mapping: StoredMapping,
    pub(crate) cells: ExpressionFile,
    pub(crate) voxels: ExpressionFile,
    types: Option<ObsColumn>,
    tissue: bool,
    chunk: usize,
}

/// Types of the cells, and how pictures show them.
#[derive(Debug)]
pub struct ShownTypes {
    /// The obs column that holds them.
    pub column: String,
    /// Whether the column was guessed.
    pub guessed: bool,
    /// Their names.
    pub names: Vec<String>,
    /// Their colours.
    pub colors: Vec<Color>,
    /// The type of each cell.
    codes: Vec<Option<u32>>,
    /// 1 where a cell is of a type, else 0; (cells, types).
    of_cells: Array2<f32>,
}

/// A gene in space.
#[derive(Debug)]
pub struct GeneInSpace {
    /// Its name.
    pub name: String,
    /// Measured in each voxel, if the voxels' file has the gene.
    pub measured: Option<Vec<f32>>,
    /// Predicted in each voxel.
    pub predicted: Vec<f32>,
}

/// Genes in space that were computed for their scores.
#[derive(Debug, Default)]
pub struct KeptGenes(BTreeMap<String, GeneInSpace>);

/// Loss terms by epoch.
#[derive(Debug, Default)]
pub struct LossHistory {
    /// The epochs.
    pub epochs: Vec<f64>,
    /// Terms by their names, `None` where they were not computed.
    pub terms: Vec<(String, Vec<Option<f64>>)>,
}

impl Source {
    /// Opens a run and its inputs.
    ///
    /// # Errors
    /// If the run is not whole, or an input is missing or another.
    pub fn open(settings: &PictureSettings) -> Result<Self> {
        let run = RunDirectory::open(&settings.mapping)?;
        Self::of(run, settings)
    }

    pub(crate) fn of(run: RunDirectory, settings: &PictureSettings) -> Result<Self> {
        let record = run.record();
        let cells = run.input(&record.cells, settings.cells.as_deref(), "--cells")?;
        let voxels = run.input(&record.voxels, settings.voxels.as_deref(), "--voxels")?;
        let mapping = StoredMapping::open(&run, &cells, None)?;
        let Opened { cells, voxels, .. } =
            both(run.settings(), (&cells, &voxels), RowNames::Checked)?;
        mapping.check_cells(cells.dataset())?;
        mapping.check_voxels(voxels.dataset())?;
        let chunk = (CHUNK_VALUES / voxels.n_rows().max(1)).clamp(1, ProjectSettings::CHUNK);
        Ok(Self {
            run,
            mapping,
            cells,
            voxels,
            types: settings.types.clone(),
            tissue: settings.tissue,
            chunk,
        })
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &RunDirectory {
        &self.run
    }

    /// Where the voxels lie; see [`find_places`](Self::find_places).
    ///
    /// # Errors
    /// [`PipelineError::NoPicture`] if there is no telling.
    pub fn places(&self) -> Result<Places> {
        self.find_places()?.map_err(|reason| PipelineError::NoPicture {
            path: self.voxels.dataset().path().to_owned(),
            reason: format!(
                "{reason}, so no map can be drawn; add the coordinates of the voxels as obsm/spatial, and map again"
            ),
        })
    }

    /// Where the voxels lie: the first two coordinates of `obsm/spatial`; or why there is no telling. y points downwards where the file
    /// keeps an image (`uns/spatial`) or is a Space Ranger folder, as scanpy and squidpy draw them.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn find_places(&self) -> Result<Result<Places, &'static str>> {
        let places = places_of(&self.voxels, self.mapping.spatial()?)?;
        let (true, Ok(places)) = (self.tissue, &places) else {
            return Ok(places);
        };
        Ok(Ok(match tissue_image::of(self.voxels.dataset())? {
            Some((tissue, diameter)) => places.clone().over(tissue, diameter),
            None => places.clone(),
        }))
    }

    /// The cells' types; `None` if none were asked for and no column looks like types.
    ///
    /// # Errors
    /// If the column that was asked for is not there or holds numbers.
    pub fn types(&self) -> Result<Option<ShownTypes>> {
        let cells = self.cells.dataset();
        let (column, guessed) = match &self.types {
            Some(ObsColumn(name)) => (name.clone(), false),
            None => match (self.mapping.clusters(), likely_types(cells)?) {
                (Some(clusters), _) => (clusters.column().to_owned(), false),
                (None, Some(name)) => (name, true),
                (None, None) => return Ok(None),
            },
        };
        let values = cells.obs_column(&column)?;
        let Some(codes) = codes_of(&values) else {
            return Err(PipelineError::Usage(format!(
                "--types obs:{column}: {} has numbers there; name a column of types",
                cells.path().display()
            )));
        };
        let (names, of_cells) = one_hot(&values)
            .within(|| format!("{}: obs column `{column}`", cells.path().display()))?;
        Ok(Some(ShownTypes {
            colors: colors_of_types(cells, &column, names.len())?,
            column,
            guessed,
            names,
            codes,
            of_cells,
        }))
    }

    /// Expected number of cells of each type, (voxels, types).
    ///
    /// # Errors
    /// If the mapping cannot be read.
    pub fn type_counts(&self, types: &ShownTypes) -> Result<Array2<f32>> {
        Ok(self.mapping.transfer_counts(&types.of_cells)?)
    }

    /// The type of the most probable cell of each voxel; where clusters were mapped, that of most of its cells.
    ///
    /// # Errors
    /// If the mapping cannot be read.
    pub fn likeliest_types(&self, types: &ShownTypes) -> Result<Vec<Option<u32>>> {
        if self.mapping.clusters().is_some() {
            return Ok(most_cells(&self.type_counts(types)?));
        }
        let best = MostProbableCell::of_voxels(&self.mapping.filtered())?;
        let type_of = |cell: MostProbableCell| types.codes[cell.cell];
        Ok(best
            .into_iter()
            .map(|best| best.and_then(type_of))
            .collect())
    }

    /// Features of the cells other than genes in space: their names and values, (voxels, features).
    ///
    /// * `modality`: their kind, such as `Antibody Capture`
    ///
    /// # Errors
    /// If the cells' file has no features of this kind, which it then names.
    pub fn modality(&self, modality: &str) -> Result<(Vec<String>, Array2<f32>)> {
        let modalities = [modality.to_owned()];
        let what = Carried {
            modalities: &modalities,
            ..Carried::types(&[], self.cells.matrix_name())
        };
        let cells = self.cells.dataset();
        let mut carried = annotations::carry(&what, &self.mapping, cells, &Silent)?;
        let carried = carried.pop().expect("one modality gives one annotation");
        Ok((carried.labels, carried.values))
    }

    /// All genes that both files have, with their scores.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn genes(&self, listener: &dyn Listener) -> Result<Vec<ScoredGene>> {
        self.judged(listener, &mut drop)
    }

    /// As [`genes`](Self::genes), and the values of all of them, if they have room.
    ///
    /// # Errors
    /// As [`genes`](Self::genes).
    pub fn genes_and_values(
        &self,
        listener: &dyn Listener,
    ) -> Result<(Vec<ScoredGene>, KeptGenes)> {
        let most = KEPT_VALUES / self.voxels.n_rows().max(1);
        let mut kept = Some(BTreeMap::new());
        let genes = self.judged(listener, &mut |gene| {
            if kept.as_ref().is_some_and(|kept| kept.len() == most) {
                kept = None;
            }
            if let Some(kept) = &mut kept {
                kept.insert(gene.name.clone(), gene);
            }
        })?;
        Ok((genes, KeptGenes(kept.unwrap_or_default())))
    }

    fn judged(
        &self,
        listener: &dyn Listener,
        visit: &mut dyn FnMut(GeneInSpace),
    ) -> Result<Vec<ScoredGene>> {
        let mut genes = Vec::new();
        for_each_gene(
            self.chunk,
            &self.run,
            &self.mapping,
            (&self.cells, &self.voxels),
            listener,
            &mut |gene, in_space| {
                genes.push(gene);
                visit(in_space);
            },
        )?;
        Ok(genes)
    }

    /// Genes in space, in the order asked for.
    ///
    /// * `kept`: genes whose values are known
    ///
    /// # Errors
    /// If the cells' file lacks a gene.
    pub fn genes_in_space(
        &self,
        names: &[String],
        mut kept: KeptGenes,
    ) -> Result<Vec<GeneInSpace>> {
        if names.iter().all(|name| kept.0.contains_key(name)) {
            let genes = names.iter().filter_map(|name| kept.0.remove(name));
            return Ok(genes.collect());
        }
        let columns = self.cells.columns_of(names)?;
        let genes = Genes {
            file: &self.cells,
            columns: &columns,
            values: GeneValues::Scaled(self.cells.factors(self.run.settings().normalize)?),
            chunk: self.chunk,
        };
        let mut found = Vec::with_capacity(names.len());
        genes.transfer(&self.mapping, |first, predicted| -> Result<()> {
            for (k, column) in predicted.columns().into_iter().enumerate() {
                found.push(GeneInSpace {
                    name: names[first + k].clone(),
                    measured: None,
                    predicted: column.to_vec(),
                });
            }
            Ok(())
        })?;
        let shared = align(
            self.cells.genes(),
            self.voxels.genes(),
            &GeneChoice::default(),
        )?;
        let factors = self.voxels.factors(self.run.settings().normalize_voxels)?;
        let in_voxels: Vec<(usize, usize)> = (0..found.len())
            .filter_map(|k| {
                let at = shared.names.binary_search(&found[k].name).ok()?;
                Some((k, shared.in_voxels[at]))
            })
            .collect();
        for part in in_voxels.chunks(self.chunk) {
            let columns: Vec<usize> = part.iter().map(|p| p.1).collect();
            let values = self
                .voxels
                .read_scaled(&columns, factors.as_deref())?
                .to_dense();
            for ((k, _), column) in part.iter().zip(values.columns()) {
                found[*k].measured = Some(column.to_vec());
            }
        }
        Ok(found)
    }

    /// Expected cells in each voxel: by the prior, if the run had one, and by the mapping.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn density(&self) -> Result<(Option<Vec<f64>>, Vec<f64>)> {
        let learned = self.mapping.density()?;
        let totals = self.voxels.totals()?;
        let n_cells = self.mapping.mass();
        let prior = prior(&self.run.settings().prior, &self.voxels, &totals)?;
        let expected = prior.map(|p| p.weights().iter().map(|w| w * n_cells).collect());
        Ok((expected, learned))
    }

    /// The entropy of each cell's probabilities, as a share of that of a cell which may be in any voxel alike.
    ///
    /// # Errors
    /// If the mapping cannot be read.
    pub fn entropies(&self) -> Result<Vec<f64>> {
        let most = (self.mapping.n_voxels() as f64).ln();
        let mut entropies = vec![0.0; self.mapping.n_cells()];
        self.mapping.for_each_block(&mut |block| {
            let mut put = |i: usize, values: &mut dyn Iterator<Item = f32>| {
                // −Σ p ln p of what is stored of the row, scaled to a sum of 1.
                let (mut sum, mut weighted) = (0.0, 0.0);
                for p in values.map(f64::from).filter(|p| *p > 0.0) {
                    sum += p;
                    weighted -= p * p.ln();
                }
                if sum > 0.0 && most > 0.0 {
                    entropies[block.first_cell + i] =
                        ((weighted / sum + sum.ln()) / most).clamp(0.0, 1.0);
                }
            };
            match &block.rows {
                PBlock::Dense(rows) => {
                    for (i, row) in rows.rows().into_iter().enumerate() {
                        put(i, &mut row.iter().copied());
                    }
                }
                PBlock::Sparse(rows) => {
                    let rows: &SparseRows = rows;
                    for i in 0..rows.n_rows() {
                        put(i, &mut rows.row(i).1.iter().copied());
                    }
                }
            }
            Ok(())
        })?;
        let Some(clusters) = self.mapping.clusters() else {
            return Ok(entropies);
        };
        // The cells of a cluster have its probabilities.
        let of_cell = clusters.clusters().of_cell().iter().flatten();
        Ok(of_cell.map(|&c| entropies[c as usize]).collect())
    }
}

/// The colours of the types of an obs column: the file's own where it has one for each, else ours.
pub(crate) fn colors_of_types(file: &Dataset, column: &str, n_types: usize) -> Result<Vec<Color>> {
    let own = carried_uns::colors_of(file, column)?;
    Ok(match &own {
        Some(Uns::Texts(own)) => type_colors(n_types, Some(own)),
        _ => type_colors(n_types, None),
    })
}

/// The most frequent type of each voxel; `None` for a voxel without cells.
///
/// * `counts`: (voxels, types)
fn most_cells(counts: &Array2<f32>) -> Vec<Option<u32>> {
    let most = |row: ndarray::ArrayView1<'_, f32>| {
        let mut best: Option<(u32, f32)> = None;
        for (kind, &n) in (0..).zip(row) {
            if n > best.map_or(0.0, |(_, most)| most) {
                best = Some((kind, n));
            }
        }
        best.map(|(kind, _)| kind)
    };
    counts.rows().into_iter().map(most).collect()
}

/// What [`Source::find_places`] gives for coordinates of the voxels in a file.
pub(crate) fn places_of(
    voxels: &ExpressionFile,
    coordinates: Option<Array2<f64>>,
) -> Result<Result<Places, &'static str>> {
    let dataset = voxels.dataset();
    let Some(coordinates) = coordinates else {
        return Ok(Err("has no obsm/spatial"));
    };
    if coordinates.ncols() < 2 {
        return Ok(Err("has obsm/spatial of fewer than two columns"));
    }
    let column = |k: usize| coordinates.column(k).to_vec();
    let Some(places) = Places::new(column(0), column(1)) else {
        return Ok(Err("has coordinates in obsm/spatial that are not finite"));
    };
    let image = dataset.kind() == tangram_store::Kind::SpaceRanger
        || dataset.uns_names()?.iter().any(|name| name == "spatial");
    Ok(Ok(if image { places.downwards() } else { places }))
}

/// Names spread evenly over a list that is sorted by score, first and last included.
pub(crate) fn spread<T>(sorted: &[T], most: usize) -> Vec<&T> {
    let n = sorted.len();
    if n <= most {
        return sorted.iter().collect();
    }
    match most {
        0 => Vec::new(),
        1 => vec![&sorted[n / 2]],
        _ => (0..most)
            .map(|k| &sorted[k * (n - 1) / (most - 1)])
            .collect(),
    }
}
