//! What one grid kept any other grid reads; a part with a number for every cell.

use super::*;
use ndarray::s;
use tangram_comm::{GridShape, Reduce};

const LENS: [usize; 3] = [23, 17, 13];

fn shares(shape: &str) -> Vec<Shares> {
    let shape: GridShape = shape.parse().unwrap();
    let of = |rank| Shares::at(shape, Reduce::Fast, LENS, rank).unwrap();
    (0..shape.n_ranks()).map(of).collect()
}

/// A whole array with another number in every place.
fn whole(axes: Axes) -> Array2<f64> {
    let len = |extent| match extent {
        Extent::Cells => LENS[0],
        Extent::Voxels => LENS[1],
        Extent::Genes => LENS[2],
        Extent::GenesAndOne => LENS[2] + 1,
        Extent::Alike => 3,
    };
    let size = (len(axes.rows), len(axes.columns));
    Array2::from_shape_fn(size, |(i, j)| (100 * i + j) as f64)
}

/// A rank's shard, place by place.
fn shard(axes: Axes, shares: &Shares) -> Array2<f64> {
    let whole = whole(axes);
    let places = |extent: Extent, len| -> Vec<usize> {
        extent.places(shares, len).into_iter().flatten().collect()
    };
    let rows = places(axes.rows, whole.nrows());
    let columns = places(axes.columns, whole.ncols());
    Array2::from_shape_fn((rows.len(), columns.len()), |(i, j)| {
        whole[[rows[i], columns[j]]]
    })
}

#[test]
fn what_one_grid_kept_any_other_grid_reads() {
    let per_gene = Axes {
        rows: Extent::Genes,
        columns: Extent::Alike,
    };
    for axes in [
        Axes::CELLS,
        per_gene,
        Axes::ANY_BY_VOXELS,
        Axes::CELLS_BY_VOXELS,
        Axes::GENES_AND_ONE_BY_VOXELS,
    ] {
        assert_eq!(Axes::named(&axes.name()), Some(axes));
        for from in ["1x1x1", "3x1x1", "1x2x1", "1x1x3", "2x2x2"] {
            let keepers: Vec<Shares> = shares(from);
            let keepers: Vec<Shares> = keepers.into_iter().filter(|s| axes.is_keeper(s)).collect();
            let kept: Vec<Array2<f64>> = keepers.iter().map(|s| shard(axes, s)).collect();
            let places = keepers.into_iter().zip(kept.iter().map(Array2::dim));
            let places: Vec<_> = places.collect();
            for to in ["1x1x1", "4x1x1", "2x3x1", "1x1x2", "2x2x2"] {
                for own in shares(to) {
                    let read = |keeper: usize, rows, columns| {
                        Ok::<_, ()>(kept[keeper].slice(s![rows, columns]).to_owned())
                    };
                    let found = axes.assemble(&own, &places, read).unwrap();
                    assert_eq!(found, shard(axes, &own), "{axes:?}: {from} to {to}");
                }
            }
        }
    }
}

/// A part with a number for every cell, as a filter will be.
struct PerCell(Vec<f64>);

impl Resumable for PerCell {
    const NAME: &'static str = "per_cell";

    fn save(&self, to: &mut Section<'_>) {
        to.common(&self.0.len());
        let column = Array2::from_shape_vec((self.0.len(), 1), self.0.clone());
        to.array("values", Axes::CELLS, Numbers::Double(column.unwrap()));
    }

    fn restore(&mut self, from: &Saved<'_>, shares: &Shares) -> Result<(), MapError> {
        let values = from.array("values", (Some(shares.cells.len()), 1))?;
        assert_eq!(from.common::<usize>()?, values.len());
        self.0 = values.into_raw_vec_and_offset().0;
        Ok(())
    }
}

#[test]
fn a_part_with_a_number_for_every_cell_restores_itself() {
    let shares = Shares::whole(5, 1, 1);
    let snapshot = Parts::default()
        .with(&PerCell(vec![0.5, 1.5, 2.5, 3.5, 4.5]))
        .after(3);
    let mut part = PerCell(Vec::new());
    snapshot.restore(&mut part, &shares).unwrap();
    assert_eq!(part.0, [0.5, 1.5, 2.5, 3.5, 4.5]);
    let other = Shares::whole(6, 1, 1);
    assert!(snapshot.restore(&mut part, &other).is_err());
    let nothing = Parts::default().after(3);
    assert!(nothing.restore(&mut part, &shares).is_err());
}
