//! What fits the mode of a mapping, and what its solver has no counterpart for.

use crate::choices::{FilterChoice, Mode, Solver, Stream, Temperature};
use crate::error::{PipelineError, Result};
use crate::settings::MapSettings;
use tangram_core::Term;

/// Refuses settings of another mode, and what the mode cannot go with.
///
/// # Errors
/// [`PipelineError::Usage`].
pub(crate) fn check_mode(settings: &MapSettings) -> Result<()> {
    let of_filter = [
        ("--target-count", settings.target_count.is_some()),
        ("--filter", settings.filter.is_some()),
        ("--init-filter", settings.init_filter.is_some()),
    ];
    let of_clusters = [
        ("--cluster", settings.cluster.is_some()),
        ("--cluster-values", settings.cluster_values.is_some()),
    ];
    let first = |flags: &[(&'static str, bool)]| {
        let given = flags.iter().find(|(_, given)| *given);
        given.map(|(flag, _)| *flag)
    };
    if let (Some(flag), true) = (first(&of_filter), settings.mode != Mode::Constrained) {
        return usage(format!(
            "{flag} is about the filter of --mode constrained: add that, or leave {flag} out"
        ));
    }
    if let (Some(flag), true) = (first(&of_clusters), settings.mode != Mode::Clusters) {
        return usage(format!(
            "{flag} is about --mode clusters: add that, or leave {flag} out"
        ));
    }
    match settings.mode {
        Mode::Cells => Ok(()),
        Mode::Clusters => check_clusters(settings),
        Mode::Constrained => check_constrained(settings),
    }
}

fn check_clusters(settings: &MapSettings) -> Result<()> {
    if settings.cluster.is_none() {
        return usage(
            "--mode clusters needs --cluster: name the column of the cells' obs that tells their clusters, such as --cluster obs:cell_type",
        );
    }
    if settings.stream == Stream::On {
        return usage(
            "--stream on: the cells are read once, to be added up by clusters, and never held; leave it out",
        );
    }
    if settings.solver == Solver::Adam {
        return Ok(());
    }
    if settings.batches > 1 {
        return usage(
            "--batches: clusters are few, and every pass needs all of them; leave it out, or take --mode cells",
        );
    }
    if settings.objective[Term::Entropy] != 0.0 {
        return usage(
            "--lambda-r: mirror divides each cluster's step by its number of cells, and the entropy of a cluster counts once; \
             leave it out, or add --solver adam",
        );
    }
    Ok(())
}

fn check_constrained(settings: &MapSettings) -> Result<()> {
    if settings.target_count.is_none() {
        return usage(
            "--mode constrained needs --target-count: say how many cells belong to the tissue, such as --target-count voxels",
        );
    }
    match (settings.filter, settings.solver) {
        (Some(FilterChoice::Package), Solver::Mirror) => {
            return usage(
                "--filter package is moved by adam's steps: add --solver adam, or take --filter learned",
            );
        }
        (Some(FilterChoice::Learned), Solver::Adam) => {
            return usage(
                "--filter learned belongs to the mirror solver: take --solver mirror, or --filter package",
            );
        }
        _ => {}
    }
    if settings.solver == Solver::Adam {
        return Ok(());
    }
    if settings.temperature == Some(Temperature::Auto) {
        return usage(
            "--temperature auto chooses by a sample of the cells, and a filter needs all of them: give a number",
        );
    }
    if settings.batches > 1 {
        return usage(
            "--batches: a filter needs every cell in every pass; leave it out, or take --mode cells",
        );
    }
    if settings.objective[Term::Entropy] != 0.0 {
        return usage(
            "--lambda-r: mirror divides each cell's step by how much the filter keeps of it, and the entropy of a cell counts in full; \
             leave it out, or add --solver adam",
        );
    }
    Ok(())
}

fn usage<T>(text: impl Into<String>) -> Result<T> {
    Err(PipelineError::Usage(text.into()))
}
