//! Types given to the cells of every spot, and what does not agree.

use crate::deconvolve_choices::TypesFrom;
use crate::deconvolve_settings::{DeconvolveSettings, Deconvolved};
use crate::error::Result;
use crate::listener::Listener;
use crate::mapped_types::MappedTypes;
use crate::wording::{count, thousands};
use ndarray::Array2;
use tangram_core::{SpotRandom, whole_numbers};

/// The types of the cells of a spot, in the order of the segmentation; `None`: a cell without one.
pub(crate) type Given = Vec<Option<usize>>;

/// Gives the cells of every spot their types, at random among the cells of a spot. Random numbers depend on the seed and the index of the
/// spot alone.
///
/// * `shares`: (spots, types)
/// * `n_cells`: of every spot
pub(crate) fn give(
    settings: &DeconvolveSettings,
    shares: &Array2<f64>,
    mapped: Option<&MappedTypes>,
    n_cells: &[usize],
) -> Vec<Given> {
    let of_spot = |(spot, &n): (usize, &usize)| -> Given {
        let mut random = SpotRandom::new(settings.seed, spot);
        let mut types: Given = match (settings.types_from, mapped) {
            (TypesFrom::Placed, Some(mapped)) => mapped.placed[spot].clone(),
            _ => {
                let shares = shares.row(spot).to_vec();
                match shares.iter().sum::<f64>() > 0.0 {
                    true => {
                        let counts = whole_numbers(&shares, n, random.uniform());
                        let each = counts.iter().enumerate();
                        each.flat_map(|(t, &c)| std::iter::repeat_n(Some(t), c))
                            .collect()
                    }
                    // The method finds nothing in the spot.
                    false => Vec::new(),
                }
            }
        };
        // Of too many placed cells some, of too few all.
        random.shuffle(&mut types);
        types.resize(n, None);
        random.shuffle(&mut types);
        types
    };
    n_cells.iter().enumerate().map(of_spot).collect()
}

/// Says what does not agree between cells that are counted and cells that are placed.
///
/// # Errors
/// If nobody listens any more.
pub(crate) fn tell(
    deconvolved: &Deconvolved,
    maps: bool,
    settings: &DeconvolveSettings,
    listener: &dyn Listener,
) -> Result<()> {
    let Some(n_cells) = deconvolved.n_cells_in_spots else {
        listener.say(format_args!(
            "no --segmentation and no --counts: compositions alone"
        ))?;
        return Ok(());
    };
    if maps {
        listener.say(format_args!(
            "the mapping places {} where the spots hold {}: {} more than the cells of their spots, {} with cells but none placed; counts.tsv lists them",
            count(deconvolved.n_placed, "cell"),
            thousands(n_cells),
            thousands(deconvolved.n_placed_beyond),
            count(deconvolved.n_spots_without_placed, "spot"),
        ))?;
    }
    if deconvolved.n_without_type > 0 {
        let remedy = match settings.types_from {
            TypesFrom::Placed => "; --types-from shares gives every cell one",
            TypesFrom::Shares => "",
        };
        listener.warn(format_args!(
            "{} in spots got no type{remedy}",
            count(deconvolved.n_without_type, "cell")
        ));
    }
    Ok(())
}
