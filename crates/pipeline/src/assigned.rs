//! Cells at their most probable voxels, as columns of obs and coordinates.

use ndarray::Array2;
use tangram_core::{Column, MostProbableVoxel, Table};

/// Adds to the cells' table the most probable voxel of every cell and its probability.
pub(crate) fn add_most_probable_voxels(
    obs: &mut Table,
    best: &[Option<MostProbableVoxel>],
    voxels: &[String],
) {
    let name =
        |b: &Option<MostProbableVoxel>| b.map(|b| voxels[b.voxel].clone()).unwrap_or_default();
    obs.set(
        "most_probable_voxel",
        Column::Text(best.iter().map(name).collect()),
    );
    let probability = |b: &Option<MostProbableVoxel>| b.map(|b| f64::from(b.probability));
    obs.set(
        "most_probable_voxel_probability",
        Column::Numeric(best.iter().map(probability).collect()),
    );
}

/// The coordinates of every cell's most probable voxel; NaN where it has none.
pub(crate) fn places_of(best: &[Option<MostProbableVoxel>], voxels: &Array2<f64>) -> Array2<f64> {
    let mut places = Array2::from_elem((best.len(), voxels.ncols()), f64::NAN);
    for (mut row, best) in places.rows_mut().into_iter().zip(best) {
        if let Some(best) = best {
            row.assign(&voxels.row(best.voxel));
        }
    }
    places
}
