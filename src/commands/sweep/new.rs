//! `tangram sweep new`: what is to be done, written down once.

use crate::commands::atlas::flags::{AtlasFlag, FitFlags};
use crate::map_flags::MapFlags;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, positive};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_pipeline::atlas_segment::{NETWORK_MASKS, origin_of};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::folds::Start;
use tangram_pipeline::report::quoted;
use tangram_pipeline::settings::MapSettings;
use tangram_pipeline::sweep_new::{FoldsOf, NewSweep, of_folds, of_registrations, of_runs};
use tangram_pipeline::sweep_work::SweepKind;
use tangram_pipeline::wording::count;
use tangram_store::StoreError;
use tangram_sweep::Manifest;
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
    /// Sections registered to an atlas by masks of their regions
    Register(RegisterArgs),
}

/// What every sweep is told.
#[derive(Debug, Args)]
struct Shared {
    #[command(flatten)]
    settings: MapFlags,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Sweep")]
    out: PathBuf,
    /// A task gets so many folds that it takes about this long, if cores are as fast as assumed (nothing is measured)
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

#[derive(Debug, Args)]
#[command(after_help = "\
Masks and fits are as for `tangram atlas register`. A section is named after its file, and numbers in the names order a series.
A section that is refused, or whose file is no mask, is told and does not stop the others.

Example:
  tangram sweep new register --atlas ccf.zarr --regions masks/*.png --pixel-size 20 --out brain1
  tangram sweep run brain1 --all         or, on a cluster: tangram sweep submit brain1 --profile cpu
  tangram sweep collect brain1")]
struct RegisterArgs {
    #[command(flatten)]
    atlas: AtlasFlag,
    /// The mask of the regions of every section
    #[arg(long, value_name = "MASK.png", required = true, num_args = 1.., help_heading = "Input")]
    regions: Vec<PathBuf>,
    #[command(flatten)]
    fit: FitFlags,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Sweep")]
    out: PathBuf,
    /// Sections of a task
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one, help_heading = "Sweep")]
    sections_per_task: usize,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct NewSummary<'a> {
    sweep: &'a Path,
    n_folds: usize,
    n_tasks: usize,
    folds_per_task: usize,
    /// Not known before one is done.
    seconds_per_fold: Option<f64>,
}

impl Shared {
    fn sweep(&self) -> NewSweep<'_> {
        NewSweep {
            out: &self.out,
            target_seconds: 60.0 * self.target_minutes,
            folds_per_task: self.folds_per_task,
        }
    }
}

/// Writes the folder of a sweep.
///
/// # Errors
/// If an input does not fit, folds cannot be made of its genes, or the folder cannot be written.
pub fn run(args: NewArgs, report: Report) -> Result<()> {
    match args.kind {
        NewKind::Loo(args) => {
            let of = FoldsOf::EveryGene {
                only: args.only.as_deref(),
            };
            folds(&args.shared, &of, args.start, report)
        }
        NewKind::Kfold(args) => folds(
            &args.shared,
            &FoldsOf::Groups(args.folds),
            args.start,
            report,
        ),
        NewKind::Ablation(args) => {
            let of = FoldsOf::Fractions {
                fractions: &args.fractions,
                repeats: args.repeats,
            };
            folds(&args.shared, &of, StartChoice::Cold, report)
        }
        NewKind::Seeds(SeedsArgs { shared, seeds }) => {
            let of = |&seed: &u64| {
                let settings = MapFlags {
                    seed,
                    ..shared.settings.clone()
                };
                (format!("seed-{seed}"), settings)
            };
            let all = seeds.iter().map(of).collect();
            runs(&shared, SweepKind::Seeds, all, report)
        }
        NewKind::Sections(SectionsArgs { shared, sections }) => {
            let of = |voxels: &PathBuf| {
                let name = voxels.file_stem().unwrap_or_default();
                let settings = MapFlags {
                    voxels: voxels.clone(),
                    ..shared.settings.clone()
                };
                (name.to_string_lossy().into_owned(), settings)
            };
            let all = sections.iter().map(of).collect();
            runs(&shared, SweepKind::Sections, all, report)
        }
        NewKind::List(ListArgs { shared, list }) => {
            let all = listed(&list, &shared.settings)?;
            runs(&shared, SweepKind::List, all, report)
        }
        NewKind::Register(args) => {
            let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or(path.clone());
            let sweep = NewSweep {
                out: &args.out,
                target_seconds: 0.0,
                folds_per_task: Some(args.sections_per_task),
            };
            let atlas = absolute(&args.atlas.atlas);
            let sections: Vec<PathBuf> = args.regions.iter().map(absolute).collect();
            let by_network = |mask: &&PathBuf| origin_of(mask).is_ok_and(|o| o.by_network);
            let n_by_network = sections.iter().filter(by_network).count();
            if n_by_network > 0 {
                report.warn(format_args!(
                    "{n_by_network} of {}: {NETWORK_MASKS}",
                    count(sections.len(), "mask")
                ));
            }
            let manifest = of_registrations(&sweep, &atlas, sections, &args.fit.settings())?;
            tell(&args.out, &manifest, "section", report)
        }
    }
}

fn folds(shared: &Shared, of: &FoldsOf<'_>, start: StartChoice, report: Report) -> Result<()> {
    let settings = shared.settings.clone().resolved()?;
    use_threads(settings.threads);
    let start = match start {
        StartChoice::Cold => Start::Cold,
        StartChoice::Warm => Start::Warm,
    };
    let manifest = of_folds(&shared.sweep(), of, start, &settings, &report)?;
    tell(&shared.out, &manifest, "fold", report)
}

fn runs(
    shared: &Shared,
    kind: SweepKind,
    all: Vec<(String, MapFlags)>,
    report: Report,
) -> Result<()> {
    let resolved = |(name, flags): (String, MapFlags)| -> Result<(String, MapSettings)> {
        let settings = flags.resolved().with_context(|| format!("run {name}"))?;
        Ok((name, settings))
    };
    let all = all.into_iter().map(resolved).collect::<Result<_>>()?;
    let manifest = of_runs(&shared.sweep(), kind, all)?;
    tell(&shared.out, &manifest, "run", report)
}

fn tell(out: &Path, manifest: &Manifest, noun: &str, report: Report) -> Result<()> {
    let (n_folds, n_tasks) = (manifest.n_items(), manifest.n_tasks());
    report.say(format_args!(
        "wrote {}: {} in {}, up to {} each; how long they take is unknown until one is done (`tangram sweep status` then says)",
        out.display(),
        count(n_folds, noun),
        count(n_tasks, "task"),
        count(manifest.items_per_task, noun),
    ))?;
    let sweep = quoted(&out.to_string_lossy());
    report.next(format_args!(
        "tangram sweep run {sweep} --all    (on a cluster: tangram sweep submit {sweep} --profile cpu)"
    ))?;
    report.summary(&NewSummary {
        sweep: out,
        n_folds,
        n_tasks,
        folds_per_task: manifest.items_per_task,
        seconds_per_fold: None,
    })
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
    let base = Table::try_from(base)?;
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
