//! `tangram sweep new`: what is to be done, written down once.

use crate::map_flags::MapFlags;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, positive};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tangram_core::CellParts;
use tangram_mapper::{Engine, operations_of_pass};
use tangram_pipeline::choices::Solver;
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::folds::{self, Fold, FoldSettings, Start, ablation, k_fold, leave_one_out};
use tangram_pipeline::gene_list;
use tangram_pipeline::inputs::{self, Inputs};
use tangram_pipeline::ranks;
use tangram_pipeline::rates::{ASSUMED, PASSES_OF_WARM_FOLD, passes_of};
use tangram_pipeline::runs::{self, Run, RunOf};
use tangram_pipeline::settings::MapSettings;
use tangram_pipeline::sweep_work::{CELLS, SweepKind, VOXELS};
use tangram_pipeline::wording::count;
use tangram_store::{Existing, StoreError, write_aside};
use tangram_sweep::{Input, Manifest, Results, SweepError, table_of};
use toml::Table;

/// Flags of `tangram sweep new`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct NewArgs {
    #[command(subcommand)]
    kind: NewKind,
}

/// The sweeps there are.
#[derive(Debug, Subcommand)]
enum NewKind {
    /// Leave-one-out: every training gene held out in turn, predicted and scored
    Loo(LooArgs),
    /// The training genes in so many parts, each held out in turn
    Kfold(KfoldArgs),
    /// Train on a fraction of the genes and score the others, several times
    Ablation(AblationArgs),
    /// The same mapping from several seeds, a run each
    Seeds(SeedsArgs),
    /// The same cells onto several sections, a run each
    Sections(SectionsArgs),
    /// Mappings with settings of their own, a run each
    List(ListArgs),
}

/// What every sweep is told.
#[derive(Debug, Args)]
struct Shared {
    #[command(flatten)]
    settings: MapFlags,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Sweep")]
    out: PathBuf,
    /// A task gets so many folds that it takes at least this long, by an estimate
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = positive, help_heading = "Sweep")]
    target_minutes: f64,
    /// Folds of a task [default: by --target-minutes]
    #[arg(long, value_name = "N", value_parser = at_least_one, conflicts_with = "target_minutes", help_heading = "Sweep")]
    folds_per_task: Option<usize>,
}

/// Where folds begin, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StartChoice {
    /// From nothing, as `tangram map --hold-out` does: the same bits
    Cold,
    /// From the mapping of all genes without the genes held out: faster; predictions differ a little, see docs/sweeps.md (mirror only)
    Warm,
}

#[derive(Debug, Args)]
struct LooArgs {
    #[command(flatten)]
    shared: Shared,
    /// Leave out the genes of this list only (one name a line), one at a time
    #[arg(long, value_name = "FILE", help_heading = "Sweep")]
    only: Option<PathBuf>,
    /// Where folds begin
    #[arg(long, value_enum, default_value_t = StartChoice::Cold, help_heading = "Sweep")]
    start: StartChoice,
}

#[derive(Debug, Args)]
struct KfoldArgs {
    #[command(flatten)]
    shared: Shared,
    /// Number of folds; which genes each holds out follows from --seed
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = at_least_one, help_heading = "Sweep")]
    folds: usize,
    /// Where folds begin
    #[arg(long, value_enum, default_value_t = StartChoice::Cold, help_heading = "Sweep")]
    start: StartChoice,
}

#[derive(Debug, Args)]
struct AblationArgs {
    #[command(flatten)]
    shared: Shared,
    /// Shares of the genes to train on
    #[arg(long, value_name = "SHARES", value_delimiter = ',', default_values_t = [0.1, 0.25, 0.5, 0.75, 0.9], help_heading = "Sweep")]
    fractions: Vec<f64>,
    /// Trainings for each, on other genes each time
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one, help_heading = "Sweep")]
    repeats: usize,
}

#[derive(Debug, Args)]
struct SeedsArgs {
    #[command(flatten)]
    shared: Shared,
    /// The seeds
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', required = true, value_parser = crate::values::seed, help_heading = "Sweep")]
    seeds: Vec<u64>,
}

#[derive(Debug, Args)]
#[command(mut_arg("voxels", |voxels| voxels.required(false).default_value("-").hide(true)))]
struct SectionsArgs {
    #[command(flatten)]
    shared: Shared,
    /// The voxels' file of every section
    #[arg(value_name = "VOXELS", required = true)]
    sections: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    shared: Shared,
    /// A file with a table for every mapping, `[name]`: the settings, named like the flags of `map`, in which it differs
    #[arg(value_name = "FILE.toml")]
    list: PathBuf,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct NewSummary<'a> {
    sweep: &'a Path,
    n_folds: usize,
    n_tasks: usize,
    folds_per_task: usize,
    seconds_per_fold: f64,
}

/// Writes the folder of a sweep.
///
/// # Errors
/// If an input does not fit, folds cannot be made of its genes, or the folder cannot be written.
pub fn run(args: NewArgs, report: Report) -> Result<()> {
    match args.kind {
        NewKind::Loo(LooArgs {
            shared,
            only,
            start,
        }) => of_folds(
            shared,
            SweepKind::LeaveOneOut,
            start,
            report,
            |genes, _| match &only {
                None => Ok(leave_one_out(genes)?),
                Some(list) => only_of(list, genes),
            },
        ),
        NewKind::Kfold(KfoldArgs {
            shared,
            folds: n,
            start,
        }) => of_folds(
            shared,
            SweepKind::KFold,
            start,
            report,
            |genes, settings| Ok(k_fold(genes, n, settings.seed)?),
        ),
        NewKind::Ablation(AblationArgs {
            shared,
            fractions,
            repeats,
        }) => {
            let start = StartChoice::Cold;
            of_folds(
                shared,
                SweepKind::Ablation,
                start,
                report,
                |genes, settings| Ok(ablation(genes, &fractions, repeats, settings.seed)?),
            )
        }
        NewKind::Seeds(SeedsArgs { shared, seeds }) => {
            let of = |&seed: &u64| {
                (
                    format!("seed-{seed}"),
                    MapFlags {
                        seed,
                        ..shared.settings.clone()
                    },
                )
            };
            let all = seeds.iter().map(of).collect();
            of_runs(&shared, SweepKind::Seeds, all, report)
        }
        NewKind::Sections(SectionsArgs { shared, sections }) => {
            let of = |voxels: &PathBuf| {
                let name = voxels
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                (
                    name,
                    MapFlags {
                        voxels: voxels.clone(),
                        ..shared.settings.clone()
                    },
                )
            };
            let all = sections.iter().map(of).collect();
            of_runs(&shared, SweepKind::Sections, all, report)
        }
        NewKind::List(ListArgs { shared, list }) => {
            let all = listed(&list, &shared.settings)?;
            of_runs(&shared, SweepKind::List, all, report)
        }
    }
}

fn usage<T>(text: String) -> Result<T> {
    Err(PipelineError::Usage(text).into())
}

/// A sweep over folds.
fn of_folds(
    shared: Shared,
    kind: SweepKind,
    start: StartChoice,
    report: Report,
    make: impl Fn(&[String], &MapSettings) -> Result<Vec<Fold>>,
) -> Result<()> {
    free(&shared.out)?;
    let settings = shared.settings.clone().resolved()?;
    if settings.grid.is_some() || settings.init_logits.is_some() {
        let text = "--grid and --init-logits are for single mappings; a fold is trained by one process, from its own start";
        return usage(text.to_owned());
    }
    if settings.temperature == Some(tangram_pipeline::choices::Temperature::Auto) {
        let text = "--temperature auto would be chosen anew in every fold; choose it with one `tangram map`, then give its number";
        return usage(text.to_owned());
    }
    let start = match (start, settings.solver) {
        (StartChoice::Warm, Solver::Adam) => {
            return usage("--start warm: adam has no mapping of all genes to begin from; leave it out, or take --solver mirror".to_owned());
        }
        (StartChoice::Warm, _) => Start::Warm,
        (StartChoice::Cold, _) => Start::Cold,
    };
    use_threads(settings.threads);
    let mut one = ranks::join(None, settings.reduce, "")?;
    let inputs = inputs::read(&settings, Engine::Native, &mut one, &report)?;
    let folds = make(&inputs.genes.names, &settings)?;
    if let Some(fold) = folds
        .iter()
        .find(|f| f.held_out.len() >= inputs.genes.names.len())
    {
        return usage(format!(
            "a fold would hold out all {} training genes",
            fold.held_out.len()
        ));
    }
    let seconds = seconds_of_fold(&inputs, &settings, start);
    let shares = FoldSettings {
        start,
        genes: inputs.genes.names.clone(),
        map: table(&settings)?,
    };
    let file = |path: &Path, sha256: &str| Input {
        path: path.to_owned(),
        sha256: sha256.to_owned(),
    };
    let manifest = Manifest {
        format: Manifest::FORMAT,
        kind: kind.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        items_per_task: shared.pack(seconds, folds.len()),
        seconds_per_item: seconds,
        array: folds::rows(kind, &folds, inputs.problem.n_voxels()),
        inputs: [
            (CELLS, file(&settings.cells, &inputs.cells.sha256)),
            (VOXELS, file(&settings.voxels, &inputs.voxels.sha256)),
        ]
        .map(|(name, input)| (name.to_owned(), input))
        .into(),
        settings: table_of("settings", &shares)?,
        items: folds::items(kind, &folds)?,
    };
    write(&shared.out, &manifest, "fold", report)
}

/// A sweep over runs.
fn of_runs(
    shared: &Shared,
    kind: SweepKind,
    all: Vec<(String, MapFlags)>,
    report: Report,
) -> Result<()> {
    free(&shared.out)?;
    let mut made: Vec<RunOf> = Vec::with_capacity(all.len());
    for (name, settings) in all {
        let plain = |c: char| c.is_alphanumeric() || "-_.+=".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return usage(format!(
                "`{name}` cannot name a run: use letters, digits, - _ . + and ="
            ));
        }
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
        let settings = settings.resolved().with_context(|| format!("run {name}"))?;
        for file in [&settings.cells, &settings.voxels] {
            if !file.exists() {
                return Err(StoreError::Missing { path: file.clone() })
                    .context(format!("run {name}"));
            }
        }
        made.push(RunOf {
            files: [
                (CELLS, settings.cells.clone()),
                (VOXELS, settings.voxels.clone()),
            ],
            run: Run {
                name,
                map: table(&settings)?,
            },
        });
    }
    let (inputs, items) = runs::items(&made)?;
    let manifest = Manifest {
        format: Manifest::FORMAT,
        kind: kind.name().to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        items_per_task: shared.folds_per_task.unwrap_or(1),
        seconds_per_item: 60.0 * shared.target_minutes,
        array: None,
        inputs,
        settings: Table::new(),
        items,
    };
    write(&shared.out, &manifest, "run", report)
}

impl Shared {
    /// Folds of a task.
    fn pack(&self, seconds: f64, n_folds: usize) -> usize {
        let by_time = (60.0 * self.target_minutes / seconds).ceil() as usize;
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
        }
        .into());
    }
    let wanted: BTreeSet<String> = wanted.into_iter().collect();
    let all = leave_one_out(genes)?;
    Ok(all
        .into_iter()
        .filter(|f| wanted.contains(&f.held_out[0]))
        .collect())
}

/// The mappings of a list.
fn listed(path: &Path, base: &MapFlags) -> Result<Vec<(String, MapFlags)>> {
    let text = tangram_store::read_text(path).map_err(|e| StoreError::Read {
        path: path.to_owned(),
        reason: e.to_string(),
    })?;
    let wrong = |reason: &str| PipelineError::Usage(format!("{}: {reason}", path.display()));
    let list: Table = text
        .parse()
        .map_err(|e: toml::de::Error| wrong(e.message()))?;
    if list.is_empty() {
        return Err(wrong("names no mapping; write a table [NAME] for each").into());
    }
    let base = table(base)?;
    let mut all = Vec::new();
    for (name, differs) in list {
        let Some(differs) = differs.as_table() else {
            return Err(wrong(&format!(
                "`{name}` stands outside the tables; put it under [NAME]"
            ))
            .into());
        };
        let mut settings = base.clone();
        settings.extend(differs.clone());
        let settings = settings
            .try_into()
            .map_err(|e: toml::de::Error| wrong(&format!("[{name}]: {}", e.message())))?;
        all.push((name, settings));
    }
    Ok(all)
}

fn table(settings: &impl Serialize) -> Result<Table> {
    Ok(Table::try_from(settings)?)
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

fn write(out: &Path, manifest: &Manifest, noun: &str, report: Report) -> Result<()> {
    write_aside(out, Existing::Refuse, |folder| -> Result<()> {
        std::fs::create_dir(folder).map_err(|e| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        })?;
        manifest.write(folder)?;
        match Results::of(folder, manifest) {
            Some(results) => Ok(results.create()?),
            None => Ok::<(), SweepError>(()),
        }?;
        Ok(())
    })?;
    let (n_folds, n_tasks) = (manifest.n_items(), manifest.n_tasks());
    report.say(format_args!(
        "wrote {}: {} in {}, up to {} each, about {} in all on this machine",
        out.display(),
        count(n_folds, noun),
        count(n_tasks, "task"),
        count(manifest.items_per_task, noun),
        tangram_pipeline::wording::duration(manifest.seconds_per_item * n_folds as f64),
    ))?;
    report.summary(&NewSummary {
        sweep: out,
        n_folds,
        n_tasks,
        folds_per_task: manifest.items_per_task,
        seconds_per_fold: manifest.seconds_per_item,
    })
}
