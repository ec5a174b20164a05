//! What of a mapping's inputs may be a mistake of the user.

use crate::choices::{FilterChoice, PriorChoice};
use crate::error::Result;
use crate::listener::Listener;
use crate::settings::MapSettings;
use tangram_core::normalize::median_positive;
use tangram_core::{Normalize, Term};
use tangram_store::{Dataset, Place};

/// Doubts about the files as they are.
pub(crate) fn of_files(
    settings: &MapSettings,
    cells: &Dataset,
    voxels: &Dataset,
    listener: &dyn Listener,
) -> Result<()> {
    let same_file = match (
        settings.cells.canonicalize(),
        settings.voxels.canonicalize(),
    ) {
        (Ok(cells), Ok(voxels)) => cells == voxels,
        _ => false,
    };
    if same_file && settings.cells_matrix == settings.voxels_matrix {
        listener.warn(format_args!(
            "--cells and --voxels are the same file, {}: is one of them a mistake?",
            settings.cells.display()
        ));
    }
    let of_cells = cells.coordinates()?;
    match voxels.coordinates()? {
        Some((_, Place::Obsm(name))) if name == "spatial" => {}
        Some((_, place)) => listener.say(format_args!(
            "coordinates of the voxels: {place}; results have them as obsm `spatial`"
        ))?,
        None => {
            let text = "the voxels have no coordinates that are known (obsm `spatial`, or x and y in obs): \
                        results have none, and cannot be drawn in space";
            match of_cells {
                Some((_, place)) => listener.warn(format_args!(
                    "{text}; the cells have some ({place}): are --cells and --voxels swapped?"
                )),
                None => listener.warn(format_args!("{text}")),
            }
        }
    }
    Ok(())
}

/// Whether totals are all the same, as after normalisation.
fn are_equal(totals: &[f64]) -> bool {
    const EQUAL: f64 = 1e-3;
    let Some(median) = median_positive(totals) else {
        return false;
    };
    totals.len() > 2 && totals.iter().all(|t| (t - median).abs() < EQUAL * median)
}

/// Warns of a filter where the loss has fitted factors for the genes: these absorb the differences by which the filter would know
/// types that the tissue lacks.
pub(crate) fn of_filter(settings: &MapSettings, listener: &dyn Listener) {
    let learns = settings.filter == Some(FilterChoice::Learned);
    if learns && settings.objective[Term::CompositionScaled] > 0.0 {
        listener.warn(format_args!(
            "the loss fits a factor to every gene (--goal impute, --lambda-h-scaled), and these factors hide which types the tissue lacks: \
             the filter keeps cells hardly better than by chance; use --goal place"
        ));
    }
}

/// Says that the prior of the settings knows nothing, where every voxel has the same total.
pub(crate) fn of_prior(settings: &MapSettings, totals: &[f64], listener: &dyn Listener) {
    let by_totals = settings.prior == PriorChoice::Rna && settings.objective[Term::Density] > 0.0;
    if by_totals && settings.normalize_voxels == Normalize::None && are_equal(totals) {
        listener.warn(format_args!(
            "every voxel has the same total, so that --prior rna expects the same number of cells everywhere; \
             if voxels were normalised, give their counts"
        ));
    }
}
