//! What a mapping says of spots: expected cells of every type, and the cells that it places in them.

use crate::cell_types::CellTypes;
use crate::error::Result;
use crate::filter::KEPT;
use crate::run_directory::RunDirectory;
use crate::stored_mapping::StoredMapping;
use ndarray::Array2;
use std::path::Path;
use tangram_core::{MostProbableVoxel, density, transfer};

/// Cells of a mapping by spot.
#[derive(Debug)]
pub(crate) struct MappedTypes {
    /// `Σ_i f_i P_ij` over the cells of each type, (spots, types).
    pub(crate) expected: Array2<f64>,
    /// `Σ_i f_i P_ij` over all cells, of every spot.
    pub(crate) expected_cells: Vec<f64>,
    /// The types of the cells with f above ½ whose most probable spot it is, of every spot; `None`: a cell without a label.
    pub(crate) placed: Vec<Vec<Option<usize>>>,
}

impl MappedTypes {
    /// Reads a run.
    ///
    /// # Errors
    /// If it or its cells cannot be read.
    pub(crate) fn read(run: &Path, cells: &Path, types: &CellTypes) -> Result<Self> {
        let run = RunDirectory::open(run)?;
        let mapping = StoredMapping::open(&run, cells, None)?;
        let filtered = mapping.filtered();
        let expected = transfer(&filtered, &types.indicators())?.mapv(f64::from);
        let expected_cells = density(&filtered)?;
        let mut placed = vec![Vec::new(); expected_cells.len()];
        for (cell, best) in MostProbableVoxel::of_cells(&mapping)?.iter().enumerate() {
            let kept = mapping.filter().is_none_or(|f| f[cell] > KEPT);
            if let (Some(best), true) = (best, kept) {
                placed[best.voxel].push(types.of_cells[cell]);
            }
        }
        Ok(Self {
            expected,
            expected_cells,
            placed,
        })
    }
}
