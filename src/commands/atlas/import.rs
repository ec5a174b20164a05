//! `tangram atlas import`: files of an atlas into one store.

use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::n_threads;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::str::FromStr;
use tangram_atlas::{ClassRule, ImportSources, Orientation, import};
use tangram_pipeline::report::quoted;
use tangram_pipeline::run_directory::replaceable;
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::count;

const LONG_HELP: &str = "\
ATLAS.zarr holds the labels at the annotation's voxel size and at twice, four times … of it, up to 200 µm; the structure
tree; the class of every voxel; and what else is given. It is refused if the annotation has an identifier that the tree does
not have, or if a template or a grid is not as long as the annotation.

Classes are what a section's mask tells apart. `regions` has 16 classes of the mouse brain, `paper` the five of Biancalani et al.
(background, cortex, cerebellum, white matter, other gray). A rule of your own is a TOML file; the first class that has a
structure, or one that contains it, wins, and structures that no class has are left out of every comparison:
  name = \"mine\"
  background = [\"VS\"]
  [[class]]
  name = \"cortex\"
  structures = [\"CTX\"]

Cell densities (CSV) come in one of two forms: numbers of cells in groups of structures (columns `structures`, acronyms with
`;` between them, and `cells`), or Blue Brain's table of measurements.

Examples:
  tangram atlas import --annotation annotation_25.nrrd --structures structures.csv --out ccf.zarr
  tangram atlas import --annotation annotation_25.nrrd --structures structures.csv --classes paper --expression Nrp1=74272479.zip
      --density totals.csv --out ccf.zarr";

/// Flags of `tangram atlas import`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct ImportArgs {
    /// The annotation, an NRRD file of structure identifiers (raw or gzip)
    #[arg(long, value_name = "FILE.nrrd", help_heading = "Input")]
    annotation: PathBuf,
    /// The structure tree, a table with the columns id, acronym, parent_structure_id (or structure_id_path)
    #[arg(long, value_name = "FILE.csv", help_heading = "Input")]
    structures: PathBuf,
    /// An average brain on the same axes
    #[arg(long, value_name = "FILE.nrrd", help_heading = "Input")]
    template: Option<PathBuf>,
    /// An expression grid of the Allen Mouse Brain Atlas under the name of its gene (can be repeated)
    #[arg(long, value_name = "GENE=FILE.zip", help_heading = "Input")]
    expression: Vec<GeneFile>,
    /// A table of cell densities (can be repeated)
    #[arg(long, value_name = "FILE.csv", help_heading = "Input")]
    density: Vec<PathBuf>,
    /// The classes: regions, paper, or a TOML file
    #[arg(
        long,
        value_name = "RULE",
        default_value = "regions",
        help_heading = "Atlas"
    )]
    classes: String,
    /// Towards which side the file's axes grow, the fastest first, such as PIR (posterior, inferior, right)
    /// [default: told by the proportions of the Allen mouse brain]
    #[arg(long, value_name = "LETTERS", help_heading = "Atlas")]
    orientation: Option<Orientation>,
    /// Edge of a voxel, if the file does not tell it
    #[arg(long, value_name = "MICROMETRES", value_parser = super::flags::micrometres, help_heading = "Atlas")]
    voxel_size: Option<f64>,
    /// The store to write
    #[arg(long, value_name = "ATLAS.zarr", help_heading = "Output")]
    out: PathBuf,
    /// Replace the store if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// A file under the name of a gene: written `GENE=FILE`.
#[derive(Debug, Clone)]
struct GeneFile {
    gene: String,
    file: PathBuf,
}

impl FromStr for GeneFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((gene, file)) if !gene.is_empty() && !file.is_empty() => Ok(Self {
                gene: gene.to_owned(),
                file: file.into(),
            }),
            _ => Err("write GENE=FILE, such as Nrp1=74272479.zip".to_owned()),
        }
    }
}

/// Imports an atlas.
///
/// # Errors
/// If an input cannot be read or does not fit, or the store cannot be written.
pub fn run(args: &ImportArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let rule = match args.classes.as_str() {
        "regions" => ClassRule::regions(),
        "paper" => ClassRule::paper(),
        file => ClassRule::read(file.as_ref())?,
    };
    let sources = ImportSources {
        annotation: args.annotation.clone(),
        structures: args.structures.clone(),
        template: args.template.clone(),
        expression: args
            .expression
            .iter()
            .map(|e| (e.gene.clone(), e.file.clone()))
            .collect(),
        densities: args.density.clone(),
        rule,
        orientation: args.orientation,
        voxel_um: args.voxel_size,
    };
    let existing = replaceable(
        &args.out,
        replace(args.force),
        &[&args.annotation, &args.structures],
    )?;
    let found = import(&sources, &args.out, existing)?;
    let levels: Vec<String> = found.levels.iter().map(|(um, _)| um.to_string()).collect();
    report.say(format_args!(
        "wrote {}: {} of which the annotation shows {}, levels of {} µm, {} ({})",
        args.out.display(),
        count(found.n_structures, "structure"),
        found.n_annotated,
        levels.join(", "),
        count(sources.rule.classes.len(), "class"),
        sources.rule.name,
    ))?;
    report.say(format_args!(
        "axes of the file: {}; {:.1} % of the brain's voxels have their mirror image's structure",
        found.orientation,
        found.symmetry * 100.0
    ))?;
    for (name, mm3) in &found.class_mm3 {
        report.explain(format_args!("  {name}: {mm3:.1} mm³"))?;
    }
    for (gene, share) in &found.expression_coverage {
        report.say(format_args!(
            "{gene}: measured in {:.1} % of the brain",
            share * 100.0
        ))?;
    }
    for (cells, (used, unknown, other)) in &found.densities {
        report.say(format_args!(
            "densities of {cells}: {used} rows used; {unknown} about structures that the tree lacks, {other} about other things"
        ))?;
    }
    report.next(format_args!(
        "tangram atlas register --atlas {} --regions MASK.png --pixel-size MICROMETRES --out section1",
        quoted(&args.out.to_string_lossy())
    ))?;
    report.summary(&found)
}
