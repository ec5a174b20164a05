//! Spots taken apart into cell types: counts of cells, compositions by a mapping and by fits of the types' profiles, types for segmented
//! cells, scores.

use crate::cell_types::CellTypes;
use crate::deconvolve_choices::Method;
use crate::deconvolve_files::{self, Written};
pub use crate::deconvolve_settings::{Composition, DeconvolveSettings, Deconvolved, FOLDER_FILE};
use crate::error::{PipelineError, Result, Within};
use crate::expression_files::{OF_CELLS, OF_VOXELS, Opened, both, check_values};
use crate::gene_list;
use crate::given_types::{self, Given};
use crate::listener::{Listener, Steps};
use crate::map::{Output, map};
use crate::mapped_types::MappedTypes;
use crate::ranks;
use crate::run_directory::{Replace, existing};
use crate::spot_counts::{SpotCounts, refuse_no_cells};
use crate::truth::{Truth, TypeScore};
use crate::type_fits::{Fit, TypeFits};
use crate::wording::count;
use std::fmt::Arguments;
use std::io;
use std::path::Path;
use tangram_core::{GeneChoice, align, shares_of};
use tangram_store::{Aside, MatrixName, RowNames, StoreError, try_file};

/// Takes spots apart and writes the folder `out`.
///
/// # Errors
/// If an input does not fit or cannot be read, the numbers of cells contradict the spots, or the output cannot be written.
pub fn deconvolve(
    settings: &DeconvolveSettings,
    out: &Path,
    replace: Replace,
    listener: &dyn Listener,
) -> Result<Deconvolved> {
    settings.check()?;
    let may_replace = existing(out, replace, FOLDER_FILE)?;
    refuse_inputs_within(out, &settings.inputs())?;
    let aside = Aside::begin(out, may_replace)?;
    let folder = aside.partial();
    std::fs::create_dir(folder).map_err(|e| StoreError::Write {
        path: out.to_owned(),
        reason: e.to_string(),
    })?;
    try_file(&settings.cells)?;
    try_file(&settings.voxels)?;
    let files = both(
        &settings.files(&settings.voxels),
        (&settings.cells, &settings.voxels),
        RowNames::Checked,
    )?;
    let types = CellTypes::read(files.cells.dataset(), &settings.annotation, listener)?;
    let counts = SpotCounts::read(settings, &files.voxels, listener)?;
    if let Some(counts) = &counts {
        refuse_no_cells(counts, &settings.voxels)?;
    }
    let spots = files.voxels.names()?;
    let truth = settings.truth.as_ref().map(|truth| {
        let of = (&spots[..], &types.names[..]);
        Truth::read(truth, files.voxels.dataset(), of, listener)
    });
    let truth = truth.transpose()?;

    let mapped = mapped(settings, &files, counts.as_ref(), &types, folder, listener)?;
    let mut compositions = Vec::new();
    if let Some(mapped) = &mapped {
        compositions.push(Composition {
            method: Method::Mapping,
            shares: shares_of(mapped.expected.view()),
        });
    }
    compositions.extend(fitted(
        settings,
        &files,
        &types,
        mapped.is_none(),
        listener,
    )?);

    let given = counts.as_ref().map(|counts| {
        given_types::give(
            settings,
            &compositions[0].shares,
            mapped.as_ref(),
            &counts.of_spots,
        )
    });
    let scores: Vec<TypeScore> = truth
        .iter()
        .flat_map(|truth| {
            compositions
                .iter()
                .flat_map(|c| truth.scores(c.method.name(), &c.shares))
        })
        .collect();
    let written = Written {
        settings,
        folder,
        types: &types,
        spots: &files.voxels,
        counts: counts.as_ref(),
        mapped: mapped.as_ref(),
        compositions: &compositions,
        given: given.as_deref(),
        scores: &scores,
    };
    let deconvolved = summary(&written, &spots);
    given_types::tell(&deconvolved, mapped.is_some(), settings, listener)?;
    deconvolve_files::write(&written, &deconvolved)?;
    aside.finish()?;
    Ok(deconvolved)
}

/// Refuses to replace a folder that holds an input.
fn refuse_inputs_within(out: &Path, inputs: &[&Path]) -> Result<()> {
    let Ok(out) = out.canonicalize() else {
        return Ok(());
    };
    let within = |input: &&&Path| input.canonicalize().is_ok_and(|i| i.starts_with(&out));
    match inputs.iter().find(within) {
        Some(input) => Err(PipelineError::Usage(format!(
            "{}: would overwrite the input {}; choose another name",
            out.display(),
            input.display()
        ))),
        None => Ok(()),
    }
}

/// Learns the mapping, in a run that is removed when it has been read.
fn mapped(
    settings: &DeconvolveSettings,
    files: &Opened,
    counts: Option<&SpotCounts>,
    types: &CellTypes,
    folder: &Path,
    listener: &dyn Listener,
) -> Result<Option<MappedTypes>> {
    // Beside the compositions, whoever maps again finds the counts.
    let with_counts = match counts {
        Some(counts) if counts.segmentation.is_some() => {
            let path = folder.join(deconvolve_files::spots_name(settings.format));
            deconvolve_files::write_spots(&path, &files.voxels, &counts.column, &counts.of_spots)?;
            Some(path)
        }
        _ => None,
    };
    if !settings.method.each().contains(&Method::Mapping) {
        return Ok(None);
    }
    let voxels = with_counts.as_deref().unwrap_or(&settings.voxels);
    let counted = counts.map(|c| (c.column.as_str(), c.of_spots.iter().sum()));
    let mut map_settings = settings.mapping(voxels, counted)?;
    if with_counts.is_some() {
        map_settings.voxels_matrix = MatrixName::X;
        map_settings.drop_empty = false;
    }
    let run = folder.join("mapping");
    let mut ranks = ranks::one(map_settings.reduce);
    let uninterrupted = Uninterrupted(listener);
    map(
        &map_settings,
        &Output::new(&run),
        &mut ranks,
        &uninterrupted,
    )?;
    let mapped = MappedTypes::read(&run, &settings.cells, types)?;
    std::fs::remove_dir_all(&run).within(|| format!("removing {}", run.display()))?;
    Ok(Some(mapped))
}

/// Compositions by fits of the types' profiles.
///
/// * `tells`: whether to print messages about the input files; false if the mapping has printed them
fn fitted(
    settings: &DeconvolveSettings,
    files: &Opened,
    types: &CellTypes,
    tells: bool,
    listener: &dyn Listener,
) -> Result<Vec<Composition>> {
    let fits: Vec<(Method, Fit)> = settings
        .method
        .each()
        .into_iter()
        .filter_map(|method| match method {
            Method::Nnls => Some((method, Fit::LeastSquares)),
            Method::Poisson => Some((method, Fit::Poisson)),
            Method::Mapping | Method::All => None,
        })
        .collect();
    if fits.is_empty() {
        return Ok(Vec::new());
    }
    if tells {
        files.matched.tell(listener)?;
        check_values(&files.cells, settings.values, OF_CELLS, listener)?;
        check_values(&files.voxels, settings.values_voxels, OF_VOXELS, listener)?;
    }
    let list = settings.genes.as_deref().map(gene_list::read).transpose()?;
    let choice = GeneChoice {
        list: list.map(|list| files.translated(list)),
        held_out: Vec::new(),
    };
    let shared = align(files.cells.genes(), files.voxels.genes(), &choice)
        .of_both(&settings.cells, &settings.voxels)?;
    let columns = (&shared.in_cells[..], &shared.in_voxels[..]);
    let read = TypeFits::read(&files.cells, &files.voxels, columns, types)?;
    listener.say(format_args!(
        "profiles of {} by {}",
        count(types.names.len(), "type"),
        count(read.n_genes(), "gene"),
    ))?;
    Ok(fits
        .into_iter()
        .map(|(method, fit)| Composition {
            method,
            shares: shares_of(read.fit(fit, settings.platform).view()),
        })
        .collect())
}

fn summary(written: &Written<'_>, spots: &[String]) -> Deconvolved {
    let counts = written.counts;
    let of_spots = counts.map(|c| &c.of_spots[..]).unwrap_or_default();
    let segmentation = counts.and_then(|c| c.segmentation.as_ref());
    let placed: Vec<usize> = written
        .mapped
        .map(|mapped| mapped.placed.iter().map(Vec::len).collect())
        .unwrap_or_default();
    let pairs = || of_spots.iter().copied().zip(placed.iter().copied());
    let missing = |given: &Given| given.iter().filter(|t| t.is_none()).count();
    Deconvolved {
        n_spots: spots.len(),
        types: written.types.names.clone(),
        n_cells_in_spots: counts.map(|_| of_spots.iter().sum()),
        n_cells_outside: segmentation
            .map_or(0, |s| s.cells.iter().filter(|c| c.spot.is_none()).count()),
        n_merged: segmentation.map_or(0, |s| s.n_merged),
        n_spots_without_cells: of_spots.iter().filter(|n| **n == 0).count(),
        n_placed: placed.iter().sum(),
        n_without_type: written.given.unwrap_or_default().iter().map(missing).sum(),
        n_placed_beyond: pairs().map(|(n, placed)| placed.saturating_sub(n)).sum(),
        n_spots_without_placed: pairs().filter(|&(n, placed)| n > 0 && placed == 0).count(),
        scores: written.scores.to_vec(),
    }
}

/// A listener for a training within a larger work, whose state is not kept: a request to stop ends the process.
struct Uninterrupted<'a>(&'a dyn Listener);

impl Listener for Uninterrupted<'_> {
    fn say(&self, line: Arguments<'_>) -> io::Result<()> {
        self.0.say(line)
    }

    fn explain(&self, line: Arguments<'_>) -> io::Result<()> {
        self.0.explain(line)
    }

    fn warn(&self, line: Arguments<'_>) {
        self.0.warn(line);
    }

    fn steps(&self, noun: &'static str, n_steps: usize) -> Box<dyn Steps + '_> {
        self.0.steps(noun, n_steps)
    }
}
