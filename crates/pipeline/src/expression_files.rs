//! The files of a mapping, opened as its settings say: which matrix, what its values are, which genes are the same.

use crate::error::{PipelineError, Result, Within};
use crate::listener::Listener;
use crate::match_genes::{GenesOf, MatchGenes, Matched, matched};
use crate::settings::MapSettings;
use std::path::Path;
use tangram_core::{Guess, Values};
use tangram_store::{Dataset, ExpressionFile, MatrixName, RowNames};

/// Both files, the genes of the voxels named as those of the cells.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) cells: ExpressionFile,
    pub(crate) voxels: ExpressionFile,
    pub(crate) matched: Matched,
    /// The genes of the voxels as their file names them.
    pub(crate) voxel_genes: Vec<String>,
    /// Voxels without a count that were left out because the settings say so.
    pub(crate) dropped_voxels: Vec<String>,
}

impl Opened {
    /// The genes of a list as the cells' file names them.
    pub(crate) fn translated(&self, list: Vec<String>) -> Vec<String> {
        self.matched
            .translated(list, self.cells.genes(), &self.voxel_genes)
    }
}

/// Opens both files.
///
/// # Errors
/// If a file, its matrix or its names are not as they should be, or the user is to decide how genes match.
pub(crate) fn both(
    settings: &MapSettings,
    (cells, voxels): (&Path, &Path),
    names: RowNames,
) -> Result<Opened> {
    let of = (cells, voxels);
    let cells =
        ExpressionFile::open(cells, &settings.cells_matrix, names)?.of_values(settings.values);
    let voxels = ExpressionFile::open(voxels, &settings.voxels_matrix, names)?
        .of_values(settings.values_voxels);
    for (file, what) in [(&cells, "cells"), (&voxels, "voxels")] {
        if file.n_rows() == 0 {
            let path = file.dataset().path().to_owned();
            return Err(PipelineError::Empty { path, what });
        }
    }
    let (voxels, dropped_voxels) = match settings.drop_empty {
        true => without_empty(voxels, names)?,
        false => (voxels, Vec::new()),
    };
    let sides = (
        GenesOf::file("cells", &cells),
        GenesOf::file("voxels", &voxels),
    );
    let matched = matched(sides.0, sides.1, settings.match_genes.as_ref()).of_both(of.0, of.1)?;
    let voxel_genes = voxels.genes().to_vec();
    let renamed = matched.names(cells.genes(), &voxel_genes);
    Ok(Opened {
        voxels: voxels.renamed(renamed),
        cells,
        matched,
        voxel_genes,
        dropped_voxels,
    })
}

/// The voxels of a mapping, their genes named as those of the cells.
///
/// # Errors
/// As [`both`]; the cells are opened only where their names are needed.
pub(crate) fn measured_voxels(settings: &MapSettings) -> Result<ExpressionFile> {
    let names = RowNames::Checked;
    if matches!(settings.match_genes, None | Some(MatchGenes::Exact)) {
        let voxels = ExpressionFile::open(&settings.voxels, &settings.voxels_matrix, names)?
            .of_values(settings.values_voxels);
        return match settings.drop_empty {
            true => Ok(without_empty(voxels, names)?.0),
            false => Ok(voxels),
        };
    }
    Ok(both(settings, (&settings.cells, &settings.voxels), names)?.voxels)
}

/// The voxels that have a count, and the names of the others.
fn without_empty(voxels: ExpressionFile, names: RowNames) -> Result<(ExpressionFile, Vec<String>)> {
    let totals = voxels.totals()?;
    let (kept, empty): (Vec<usize>, Vec<usize>) = (0..totals.len()).partition(|&j| totals[j] > 0.0);
    if empty.is_empty() {
        return Ok((voxels, Vec::new()));
    }
    let all = voxels.names()?;
    let empty = empty.into_iter().map(|j| all[j].clone()).collect();
    Ok((voxels.of_rows(kept, names)?, empty))
}

/// Opens a file of cells for a mapping that was trained on other cells, or on these in another file.
///
/// * `how`: how its genes match those of the training, if not as in the settings
///
/// # Errors
/// As [`both`].
pub(crate) fn cells_of_training(
    settings: &MapSettings,
    training: &[String],
    path: &Path,
    how: Option<&MatchGenes>,
    names: RowNames,
) -> Result<(ExpressionFile, Matched)> {
    let file =
        ExpressionFile::open(path, &settings.cells_matrix, names)?.of_values(settings.values);
    let training = GenesOf {
        what: "training",
        names: training,
        file: None,
    };
    let how = how.or(settings.match_genes.as_ref());
    let matched = matched(training, GenesOf::file("cells", &file), how)
        .within(|| path.display().to_string())?;
    let renamed = matched.names(training.names, file.genes());
    Ok((file.renamed(renamed), matched))
}

/// The flags that say where the values of a file are and what they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValueFlags {
    pub(crate) matrix: &'static str,
    pub(crate) values: &'static str,
}

/// The flags for the cells.
pub(crate) const OF_CELLS: ValueFlags = ValueFlags {
    matrix: "--cells-matrix",
    values: "--values",
};
/// The flags for the voxels.
pub(crate) const OF_VOXELS: ValueFlags = ValueFlags {
    matrix: "--voxels-matrix",
    values: "--values-voxels",
};

/// Values above this leave no room for their squares in single precision.
const LARGE: f32 = 1e18;
/// No logarithm of a count is larger.
const LARGEST_LOG: f32 = 50.0;

/// Looks at some values of a file and compares them with what the user says they are.
///
/// # Errors
/// [`PipelineError::Values`] if they are certainly not counts and nothing was said, or not what was said.
pub(crate) fn check_values(
    file: &ExpressionFile,
    said: Values,
    flags: ValueFlags,
    listener: &dyn Listener,
) -> Result<()> {
    let profile = file.profile()?;
    let (least, largest) = profile.range();
    let guess = profile.guess();
    let path = file.dataset().path();
    let matrix = file.matrix_name();
    let shown = format!("{least} to {largest}");
    let refuse = |found: String, remedy: String| {
        Err(PipelineError::Values {
            path: path.to_owned(),
            matrix: matrix.to_string(),
            found,
            remedy,
        })
    };
    let ValueFlags {
        matrix: matrix_flag,
        values,
    } = flags;
    if largest > LARGE {
        listener.warn(format_args!(
            "{}: {matrix} has values up to {largest}, whose squares are too large for single precision; \
             divide by a constant first, or check what the matrix holds",
            path.display()
        ));
    }
    match (said, guess) {
        (Values::Log1p, Guess::Counts | Guess::ScaledCounts) => refuse(
            format!("{guess} ({shown})"),
            format!("no logarithm that {values} log1p could undo; leave the flag out"),
        ),
        (Values::Log1p, _) if largest > LARGEST_LOG => refuse(
            format!("values of {shown}"),
            format!("too large for logarithms that {values} log1p could undo; leave the flag out"),
        ),
        (Values::Auto, Guess::Log1p { .. }) => refuse(
            format!("{guess} ({shown}, not whole numbers)"),
            format!(
                "a mapping needs counts: {}; or {values} as-is maps the values as they are",
                remedies(file.dataset(), matrix, flags)?.join(", or ")
            ),
        ),
        (Values::Auto, Guess::MaybeLog) => {
            listener.warn(format_args!(
                "{}: {matrix} may hold logarithms ({shown}, not whole numbers), and a mapping needs counts: if so, {}; \
                 {values} as-is says that they are none",
                path.display(),
                remedies(file.dataset(), matrix, flags)?.join(", or "),
            ));
            Ok(())
        }
        _ => Ok(()),
    }?;
    let others = file.features().others();
    if !others.is_empty() {
        let kinds: Vec<String> = others
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        listener.say(format_args!(
            "{}: left out of genes and totals, by var `feature_types`: {}{}",
            path.display(),
            kinds.join(", "),
            match matrix_flag == OF_CELLS.matrix {
                true => " (`tangram project --modality` carries them)",
                false => "",
            }
        ))?;
    }
    Ok(())
}

/// Ways to counts: another matrix of the file that holds them, or undoing the logarithm.
fn remedies(dataset: &Dataset, matrix: &MatrixName, flags: ValueFlags) -> Result<Vec<String>> {
    let mut ways = Vec::new();
    for other in dataset.matrix_names()? {
        if other != *matrix && dataset.matrix(&other)?.profile(None)?.guess() == Guess::Counts {
            ways.push(format!("{} {other} holds them", flags.matrix));
        }
    }
    ways.push(format!("{} log1p undoes the logarithm", flags.values));
    Ok(ways)
}
