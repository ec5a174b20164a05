//! The truth of a simulated tissue as tables: genes, cells, voxels and spots.

use super::Tissue;
use super::expression::{Kind, Specimen};
use super::section::{LAYERS, Place};
use super::specimen_anywhere;
use super::types::CELL_TYPES;
use crate::{Column, Table};
use ndarray::Array2;
use rayon::prelude::*;
use std::ops::Range;

impl Tissue {
    /// All genes, the `var` of cells and spots. Columns: `kind` (marker, gradient or background), `cell_type` (the type of
    /// a marker or gradient gene).
    #[must_use]
    pub fn genes_table(&self) -> Table {
        self.table_of_genes(&(0..self.genes.len()).collect::<Vec<_>>())
    }

    /// The genes of the panel, the `var` of voxels. Columns as in [`genes_table`](Self::genes_table).
    #[must_use]
    pub fn panel_table(&self) -> Table {
        self.table_of_genes(&self.panel)
    }

    fn table_of_genes(&self, which: &[usize]) -> Table {
        let kinds = || which.iter().map(|&g| self.genes[g].kind);
        let mut table =
            Table::of_names(which.iter().map(|&g| self.gene_names[g].clone()).collect());
        table.set(
            "kind",
            Column::categories(&kinds().map(|k| k.name()).collect::<Vec<_>>()),
        );
        table.set("cell_type", self.of_types(kinds().map(Kind::owner)));
        table
    }

    /// The truth of dissociated cells. Columns: `cell_type`, `layer`, `depth_um`, `x_um` and `y_um` (place on the slide),
    /// `library_factor`, `true_voxel` and `true_spot` (indices of the nearest voxel and spot).
    ///
    /// # Panics
    /// If the range ends beyond the last cell.
    #[must_use]
    pub fn cells_table(&self, range: Range<usize>) -> Table {
        assert!(range.end <= self.settings.n_cells, "cells {range:?} exist");
        let specimens: Vec<Specimen> = range
            .clone()
            .into_par_iter()
            .map(|cell| specimen_anywhere(&self.ecology, &mut self.stream.cell(cell)))
            .collect();
        let mut table = self.table_of("cell", range, &specimens);
        for (name, places) in [("true_voxel", &self.voxels), ("true_spot", &self.spots)] {
            let nearest: Vec<usize> = specimens
                .par_iter()
                .map(|cell| places.find(&cell.place))
                .collect();
            table.set(name, Column::numbers(nearest.into_iter().map(|i| i as f64)));
        }
        table
    }

    /// The truth of the cell in each voxel. Columns: `cell_type`, `layer`, `depth_um`, `x_um`, `y_um`, `library_factor`.
    ///
    /// # Panics
    /// If the range ends beyond the last voxel.
    #[must_use]
    pub fn voxels_table(&self, range: Range<usize>) -> Table {
        assert!(
            range.end <= self.settings.n_voxels,
            "voxels {range:?} exist"
        );
        let specimens: Vec<_> = range
            .clone()
            .into_par_iter()
            .map(|voxel| self.voxel_specimen(voxel).0)
            .collect();
        self.table_of("voxel", range, &specimens)
    }

    /// Places of voxels on the slide in µm, (voxels of the range, 2): x and y.
    ///
    /// # Panics
    /// If the range ends beyond the last voxel.
    #[must_use]
    pub fn voxels_spatial(&self, range: Range<usize>) -> Array2<f64> {
        on_slide_um(&self.voxels.places()[range])
    }

    /// The truth of spots. Columns: `layer`, `depth_um`, `x_um`, `y_um` of their centres, and `n_cells`.
    ///
    /// # Panics
    /// If the range ends beyond the last spot.
    #[must_use]
    pub fn spots_table(&self, range: Range<usize>) -> Table {
        let mut table = table_of_places("spot", range.clone(), &self.spots.places()[range.clone()]);
        let n_cells = range.map(|spot| self.n_cells_of_spot(spot) as f64);
        table.set("n_cells", Column::numbers(n_cells));
        table
    }

    /// Centres of spots on the slide in µm, (spots of the range, 2): x and y.
    ///
    /// # Panics
    /// If the range ends beyond the last spot.
    #[must_use]
    pub fn spots_spatial(&self, range: Range<usize>) -> Array2<f64> {
        on_slide_um(&self.spots.places()[range])
    }

    /// Diameter of a spot in µm.
    #[must_use]
    pub fn spot_diameter_um(&self) -> f64 {
        self.grid.diameter_um()
    }

    /// Share of each type among the cells of each spot, (spots of the range, [`cell_types`](Self::cell_types)).
    ///
    /// # Panics
    /// If the range ends beyond the last spot.
    #[must_use]
    pub fn spot_truth(&self, range: Range<usize>) -> Array2<f64> {
        let mut shares = Array2::zeros((range.len(), CELL_TYPES.len()));
        for (mut row, spot) in shares.rows_mut().into_iter().zip(range) {
            let n_cells = self.n_cells_of_spot(spot);
            for cell in 0..n_cells {
                row[self.spot_specimen(spot, cell).0.cell_type] += 1.0;
            }
            row /= n_cells as f64;
        }
        shares
    }

    /// The truth of the cells of one spot. Columns as in [`voxels_table`](Self::voxels_table).
    ///
    /// # Panics
    /// If there is no such spot.
    #[must_use]
    pub fn spot_cells_table(&self, spot: usize) -> Table {
        let n_cells = self.n_cells_of_spot(spot);
        let specimens: Vec<_> = (0..n_cells)
            .map(|cell| self.spot_specimen(spot, cell).0)
            .collect();
        self.table_of(&format!("spot_{spot:07}_cell"), 0..n_cells, &specimens)
    }

    fn table_of(&self, what: &str, range: Range<usize>, specimens: &[Specimen]) -> Table {
        let places: Vec<Place> = specimens.iter().map(|s| s.place).collect();
        let of_places = table_of_places(what, range, &places);
        let mut table = Table::of_names(of_places.names);
        table.set(
            "cell_type",
            self.of_types(specimens.iter().map(|s| Some(s.cell_type))),
        );
        table.columns.extend(of_places.columns);
        let factors = specimens.iter().map(|s| s.library_factor);
        table.set("library_factor", Column::numbers(factors));
        table
    }

    /// A column of types. Its categories are always all types in the same order, so that blocks of rows can be joined.
    fn of_types(&self, types: impl Iterator<Item = Option<usize>>) -> Column {
        let codes = types.map(|t| t.map(|t| t as u32)).collect();
        Column::Categorical {
            codes,
            categories: self.cell_types.clone(),
            ordered: false,
        }
    }
}

/// A table with names, layer, depth and place on the slide.
fn table_of_places(what: &str, range: Range<usize>, places: &[Place]) -> Table {
    let mut table = Table::of_names(range.map(|i| format!("{what}_{i:07}")).collect());
    let codes = places.iter().map(|p| Some(p.layer() as u32)).collect();
    let categories = LAYERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    table.set(
        "layer",
        Column::Categorical {
            codes,
            categories,
            ordered: false,
        },
    );
    table.set(
        "depth_um",
        Column::numbers(places.iter().map(|p| p.depth_um)),
    );
    table.set(
        "x_um",
        Column::numbers(places.iter().map(|p| p.on_slide_um()[0])),
    );
    table.set(
        "y_um",
        Column::numbers(places.iter().map(|p| p.on_slide_um()[1])),
    );
    table
}

fn on_slide_um(places: &[Place]) -> Array2<f64> {
    Array2::from_shape_fn((places.len(), 2), |(i, axis)| places[i].on_slide_um()[axis])
}
