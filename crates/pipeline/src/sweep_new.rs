//! The making of a sweep: its folds or runs, written down once.

use crate::choices::{Solver, Temperature};
use crate::error::{PipelineError, Result, Within};
use crate::folds::{self, Fold, FoldSettings, Start, ablation, k_fold, leave_one_out};
use crate::gene_list;
use crate::inputs::{self, Inputs};
use crate::listener::Listener;
use crate::ranks;
use crate::rates::{ASSUMED, PASSES_OF_WARM_FOLD, passes_of};
use crate::registrations::{ATLAS, RegistrationSettings, SectionOf};
use crate::runs::{self, Run, RunOf};
use crate::settings::MapSettings;
use crate::sweep_work::{CELLS, SweepKind, VOXELS};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tangram_atlas::Atlas;
use tangram_core::CellChunks;
use tangram_mapper::{Engine, operations_of_pass};
use tangram_store::{Existing, StoreError, write_aside};
use tangram_sweep::{Input, Manifest, Results, table_of};
use toml::Table;

/// Seconds that a section is assumed to take on a few cores.
const SECONDS_OF_SECTION: f64 = 5.0;

/// Where a sweep is written, and how large its tasks are.
#[derive(Debug, Clone, Copy)]
pub struct NewSweep<'a> {
    /// The folder to write.
    pub out: &'a Path,
    /// A task gets as many items as take at least this long, by an estimate,
    pub target_seconds: f64,
    /// unless their number is given.
    pub folds_per_task: Option<usize>,
}

/// What folds hold out.
#[derive(Debug, Clone, Copy)]
pub enum FoldsOf<'a> {
    /// Every gene in turn.
    EveryGene {
        /// A list of the genes, if not all.
        only: Option<&'a Path>,
    },
    /// Each of this number of groups of genes.
    Groups(usize),
    /// All but a fraction of the genes, drawn anew each time.
    Fractions {
        /// The fractions to train on.
        fractions: &'a [f64],
        /// Trainings for each.
        repeats: usize,
    },
}

impl FoldsOf<'_> {
    fn kind(&self) -> SweepKind {
        match self {
            Self::EveryGene { .. } => SweepKind::LeaveOneOut,
            Self::Groups(_) => SweepKind::KFold,
            Self::Fractions { .. } => SweepKind::Ablation,
        }
    }

    fn make(&self, genes: &[String], seed: u64) -> Result<Vec<Fold>> {
        match *self {
            Self::EveryGene { only: None } => leave_one_out(genes),
            Self::EveryGene { only: Some(list) } => only_of(list, genes),
            Self::Groups(n) => k_fold(genes, n, seed),
            Self::Fractions { fractions, repeats } => ablation(genes, fractions, repeats, seed),
        }
    }
}

fn usage<T>(text: String) -> Result<T> {
    Err(PipelineError::Usage(text))
}

/// Makes a sweep over folds.
///
/// # Errors
/// If an input does not fit, folds cannot be made of its genes, or the folder is there or cannot be written.
pub fn of_folds(
    sweep: &NewSweep<'_>,
    of: &FoldsOf<'_>,
    start: Start,
    settings: &MapSettings,
    listener: &dyn Listener,
) -> Result<Manifest> {
    free(sweep.out)?;
    if settings.grid.is_some() || settings.init_logits.is_some() {
        let text = "--grid and --init-logits are for single mappings; a fold is trained by one process, from its own start";
        return usage(text.to_owned());
    }
    if settings.temperature == Some(Temperature::Auto) {
        let text = "--temperature auto would be chosen anew in every fold; choose it with one `tangram map`, then give its number";
        return usage(text.to_owned());
    }
    if (start, settings.solver) == (Start::Warm, Solver::Adam) {
        return usage("--start warm: adam has no mapping of all genes to begin from; leave it out, or take --solver mirror".to_owned());
    }
    let mut one = ranks::join(settings.reduce)?;
    let inputs = inputs::read(settings, Engine::Native, &mut one, listener)?;
    let folds = of.make(&inputs.genes.names, settings.seed)?;
    if let Some(fold) = folds
        .iter()
        .find(|f| f.held_out.len() >= inputs.genes.names.len())
    {
        return usage(format!(
            "a fold would hold out all {} training genes",
            fold.held_out.len()
        ));
    }
    let kind = of.kind();
    let seconds = seconds_of_fold(&inputs, settings, start);
    let shared = FoldSettings {
        start,
        genes: inputs.genes.names.clone(),
        map: Table::try_from(settings)?,
    };
    let file = |path: &Path, sha256: &str| Input {
        path: path.to_owned(),
        sha256: sha256.to_owned(),
    };
    let manifest = Manifest {
        format: Manifest::FORMAT,
        kind: kind.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        items_per_task: sweep.pack(seconds, folds.len()),
        seconds_per_item: seconds,
        array: folds::rows(kind, &folds, inputs.problem.n_voxels()),
        inputs: [
            (CELLS, file(&settings.cells, &inputs.cells.sha256)),
            (VOXELS, file(&settings.voxels, &inputs.voxels.sha256)),
        ]
        .map(|(name, input)| (name.to_owned(), input))
        .into(),
        settings: table_of("settings", &shared)?,
        items: folds::items(kind, &folds)?,
    };
    write(sweep.out, &manifest)?;
    Ok(manifest)
}

/// Makes a sweep over runs.
///
/// * `all`: the name of each, and its settings
///
/// # Errors
/// If a name cannot be that of a folder or an input is missing; if the folder is there or cannot be written.
pub fn of_runs(
    sweep: &NewSweep<'_>,
    kind: SweepKind,
    all: Vec<(String, MapSettings)>,
) -> Result<Manifest> {
    free(sweep.out)?;
    let mut made: Vec<RunOf> = Vec::with_capacity(all.len());
    for (name, settings) in all {
        plain("run", &name)?;
        if name.ends_with(".checkpoint") {
            return usage(format!(
                "`{name}` cannot name a run: the state of the run before the last dot is kept under that name; choose another ending"
            ));
        }
        if made.iter().any(|other| other.run.name == name) {
            return usage(format!(
                "two runs would be named `{name}`; give them different names"
            ));
        }
        for file in [&settings.cells, &settings.voxels] {
            if !file.exists() {
                let path = file.clone();
                return Err(StoreError::Missing { path }).within(|| format!("run {name}"));
            }
        }
        made.push(RunOf {
            files: [
                (CELLS, settings.cells.clone()),
                (VOXELS, settings.voxels.clone()),
            ],
            run: Run {
                name,
                map: Table::try_from(&settings)?,
            },
        });
    }
    let (inputs, items) = runs::items(&made)?;
    let manifest = Manifest {
        format: Manifest::FORMAT,
        kind: kind.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        items_per_task: sweep.folds_per_task.unwrap_or(1),
        seconds_per_item: sweep.target_seconds,
        array: None,
        inputs,
        settings: Table::new(),
        items,
    };
    write(sweep.out, &manifest)?;
    Ok(manifest)
}

/// Refuses a name that cannot be that of a folder.
fn plain(noun: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || "-_.+=".contains(c);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return usage(format!(
            "`{name}` cannot name a {noun}: use letters, digits, - _ . + and ="
        ));
    }
    Ok(())
}

/// Makes a sweep of registrations.
///
/// * `sections`: their masks; a section is named after the file
///
/// # Errors
/// If the atlas or a mask is missing, or a name cannot be that of a section; if the folder is there or cannot be written.
pub fn of_registrations(
    sweep: &NewSweep<'_>,
    atlas: &Path,
    sections: Vec<PathBuf>,
    settings: &RegistrationSettings,
) -> Result<Manifest> {
    free(sweep.out)?;
    let mut made: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut items = Vec::with_capacity(sections.len());
    for regions in sections {
        let stem = regions.file_stem().unwrap_or_default();
        let name = stem.to_string_lossy().into_owned();
        plain("section", &name)?;
        if let Some(other) = made.insert(name.clone(), regions.clone()) {
            return usage(format!(
                "{} and {} would both be the section `{name}`; give the files different names",
                other.display(),
                regions.display()
            ));
        }
        items.push(SectionOf { name, regions }.item()?);
    }
    // One that is damaged is told now, not by every task.
    Atlas::open(atlas)?;
    let manifest = Manifest {
        format: Manifest::FORMAT,
        kind: SweepKind::Register.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        items_per_task: sweep.pack(SECONDS_OF_SECTION, items.len()),
        seconds_per_item: SECONDS_OF_SECTION,
        array: None,
        inputs: BTreeMap::from([(ATLAS.to_owned(), Input::of(atlas)?)]),
        settings: table_of("settings", settings)?,
        items,
    };
    write(sweep.out, &manifest)?;
    Ok(manifest)
}

impl NewSweep<'_> {
    /// Folds of a task.
    fn pack(&self, seconds: f64, n_folds: usize) -> usize {
        let by_time = (self.target_seconds / seconds).ceil() as usize;
        self.folds_per_task
            .unwrap_or(by_time)
            .clamp(1, n_folds.max(1))
    }
}

/// Refuses a folder that is there, before anything is read.
fn free(out: &Path) -> Result<(), StoreError> {
    match out.symlink_metadata() {
        Ok(_) => Err(StoreError::Exists {
            path: out.to_owned(),
        }),
        Err(_) => Ok(()),
    }
}

/// Leave-one-out over some of the genes.
fn only_of(list: &Path, genes: &[String]) -> Result<Vec<Fold>> {
    let wanted = gene_list::read(list)?;
    let missing = wanted.iter().filter(|g| genes.binary_search(g).is_err());
    let missing: Vec<&str> = missing.map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(PipelineError::GeneList {
            path: list.to_owned(),
            reason: format!(
                "{} of its genes do not train: {}; take them off the list",
                missing.len(),
                tangram_core::names::examples(missing)
            ),
        });
    }
    let wanted: BTreeSet<String> = wanted.into_iter().collect();
    let all = leave_one_out(genes)?;
    Ok(all
        .into_iter()
        .filter(|f| wanted.contains(&f.held_out[0]))
        .collect())
}

/// Seconds that one fold will take with all threads of the settings, by an estimate.
fn seconds_of_fold(inputs: &Inputs, settings: &MapSettings, start: Start) -> f64 {
    let problem = &inputs.problem;
    let density = problem
        .cells()
        .whole()
        .map_or(0.15, |cells| cells.density());
    let passes = match (settings.solver, start) {
        (Solver::Adam, _) => settings.epochs as f64,
        (solver, Start::Cold) => passes_of(solver),
        (_, Start::Warm) => PASSES_OF_WARM_FOLD,
    };
    let operations = operations_of_pass(problem.shares(), density);
    ASSUMED.seconds(passes * operations, settings.threads)
}

fn write(out: &Path, manifest: &Manifest) -> Result<()> {
    write_aside(out, Existing::Refuse, |folder| -> Result<()> {
        std::fs::create_dir(folder).map_err(|e| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        })?;
        manifest.write(folder)?;
        if let Some(results) = Results::of(folder, manifest) {
            results.create()?;
        }
        Ok(())
    })
}
