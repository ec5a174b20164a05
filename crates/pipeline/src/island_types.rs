//! The types of the cells, for the term of the loss that compares how many of each neighbouring voxels have.

use crate::choices::ObsColumn;
use crate::clusters::CellClusters;
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::settings::MapSettings;
use ndarray::Array2;
use tangram_core::{Clusters, SparseRows, Term};
use tangram_store::Dataset;

/// Types of all rows of the mapping, (rows, types), if a term of the loss compares them: 1 at a cell's type, nothing for a cell without a
/// label; of a cluster the share of its cells.
///
/// # Errors
/// [`PipelineError::Clusters`] if the column tells no types; if it cannot be read.
pub(crate) fn island_types(
    settings: &MapSettings,
    cells: &Dataset,
    clusters: Option<&CellClusters>,
) -> Result<Option<SparseRows>> {
    let compared = settings.objective[Term::Islands] != 0.0;
    let Some(ObsColumn(column)) = settings.island_types.as_ref().filter(|_| compared) else {
        return Ok(None);
    };
    let labels = cells.obs_column(column)?;
    let types = Clusters::of(&labels).map_err(|error| PipelineError::Clusters {
        path: cells.path().to_owned(),
        column: column.clone(),
        what: "types of --island-types",
        reason: error.to_string(),
    })?;
    let of_cells = types.of_cell();
    let Some(clusters) = clusters.map(CellClusters::clusters) else {
        let mut rows = SparseRows::empty(types.len());
        for of_cell in of_cells {
            rows.push_row(of_cell.map(|t| (t, 1.0)));
        }
        return Ok(Some(rows));
    };
    let mut shares = Array2::<f32>::zeros((clusters.len(), types.len()));
    for (cluster, of_cell) in clusters.of_cell().iter().zip(of_cells) {
        if let (Some(c), Some(t)) = (cluster, of_cell) {
            shares[[*c as usize, *t as usize]] += 1.0;
        }
    }
    for (mut row, &n) in shares.rows_mut().into_iter().zip(clusters.n_cells()) {
        row /= n as f32;
    }
    Ok(Some(SparseRows::from_dense(shares.view())))
}

/// Says that types are given to no purpose.
pub(crate) fn tell(settings: &MapSettings, listener: &dyn Listener) {
    if let Some(column) = &settings.island_types
        && settings.objective[Term::Islands] == 0.0
    {
        listener.warn(format_args!(
            "--island-types {column} has no effect: no term of the loss compares types, which --lambda-islands would"
        ));
    }
}
