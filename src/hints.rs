//! What a person probably meant who typed something that the program does not know.

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;

/// Words of other programs, of the package and of papers, by the command that does what they say.
const WORDS: [(&str, &[&str]); 9] = [
    (
        "map",
        &[
            "train",
            "fit",
            "align",
            "run",
            "learn",
            "map_cells_to_space",
        ],
    ),
    (
        "project",
        &[
            "transfer",
            "annotate",
            "impute",
            "predict",
            "project_genes",
            "project_cell_annotations",
        ],
    ),
    (
        "score",
        &["compare", "evaluate", "eval", "compare_spatial_geneexp"],
    ),
    ("plot", &["draw", "figure", "picture", "show"]),
    ("report", &["html", "view", "open"]),
    (
        "sweep",
        &[
            "cv",
            "cross_val",
            "cross-validation",
            "loo",
            "kfold",
            "ablation",
        ],
    ),
    ("atlas", &["register", "registration", "section"]),
    ("inspect", &["info", "describe", "ls", "head"]),
    ("simulate", &["demo", "example", "synth"]),
];

/// How a command takes what was typed without a flag.
const FLAGS: [(&str, &str); 7] = [
    (
        "map",
        "name the files by flags: tangram map --cells CELLS --voxels VOXELS --out run",
    ),
    (
        "place",
        "name the run and the file by flags: tangram place --mapping RUN --cells CELLS --out placed.h5ad",
    ),
    (
        "project",
        "name the run by its flag: tangram project --mapping RUN --types obs:cell_type --out types.h5ad",
    ),
    (
        "score",
        "name the run by its flag: tangram score --mapping RUN",
    ),
    (
        "simulate",
        "name the folder by its flag: tangram simulate --out tissue",
    ),
    (
        "submit",
        "name the files by flags: tangram submit map --profile cpu --cells CELLS --voxels VOXELS --out run",
    ),
    (
        "plan",
        "give numbers by flags: tangram plan --cells 10000 --voxels 5000 --genes 500",
    ),
];

/// Adds a hint to an error of the command line that has none.
pub fn add(mut error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let typed = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand if error.get(ContextKind::SuggestedSubcommand).is_none() => {
            let word = typed(ContextKind::InvalidSubcommand).unwrap_or_default();
            let word = word.to_lowercase();
            let known = WORDS.iter().find(|(_, words)| words.contains(&&*word));
            if let Some((command, _)) = known {
                let command = ContextValue::Strings(vec![(*command).to_owned()]);
                error.insert(ContextKind::SuggestedSubcommand, command);
            }
        }
        ErrorKind::UnknownArgument if error.get(ContextKind::Suggested).is_none() => {
            let argument = typed(ContextKind::InvalidArg).unwrap_or_default();
            let words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
            let command = words.into_iter().find(|word| !word.starts_with('-'));
            let known = FLAGS
                .iter()
                .find(|(name, _)| command.as_deref() == Some(*name));
            if let (false, Some((_, hint))) = (argument.starts_with('-'), known) {
                let hint = ContextValue::StyledStrs(vec![StyledStr::from(*hint)]);
                error.insert(ContextKind::Suggested, hint);
            }
        }
        _ => {}
    }
    error
}
