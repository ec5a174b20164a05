//! Clusters of cells: which cell belongs to which, and sums over the cells of each.

use crate::{Annotations, Column, SparseRows};
use ndarray::Array2;
use std::collections::BTreeSet;

/// Cells grouped by their labels.
///
/// ```
/// use tangram_core::{Clusters, Column};
///
/// let labels = Column::Text(["B", "T", "", "T"].map(str::to_owned).to_vec());
/// let clusters = Clusters::of(&labels).unwrap();
/// assert_eq!(clusters.names(), ["B", "T"]);
/// assert_eq!((clusters.n_cells(), clusters.n_unlabelled()), (&[1, 2][..], 1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clusters {
    names: Vec<String>,
    /// The cluster of each cell; `None` for a cell without a label.
    of_cell: Vec<Option<u32>>,
    n_cells: Vec<usize>,
}

/// Why a column gives no clusters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClustersError {
    /// Numbers that are no labels.
    #[error(
        "it holds numbers that are not whole, so they are no labels; name a column of categories"
    )]
    Numbers,
    /// No cell has a label.
    #[error("no cell has a label there; name another column")]
    Unlabelled,
}

impl Clusters {
    /// The clusters of a column of labels, without those that have no cell: categories in their stored order, texts and whole numbers
    /// sorted.
    ///
    /// # Errors
    /// [`ClustersError`] if there are no labels.
    pub fn of(labels: &Column) -> Result<Self, ClustersError> {
        let (all, codes) = match labels {
            Column::Categorical {
                codes, categories, ..
            } => (categories.clone(), codes.clone()),
            Column::Text(texts) => coded(texts.iter().map(|t| (!t.is_empty()).then_some(t))),
            Column::Flag(values) => coded(values.iter().copied()),
            Column::Integer(values) => coded(values.iter().copied()),
            // AnnData stores integers as floats where some are missing.
            Column::Numeric(values) => {
                let whole = |v: f64| v.fract() == 0.0 && v.abs() < 1e15;
                if values.iter().flatten().any(|&v| v.is_finite() && !whole(v)) {
                    return Err(ClustersError::Numbers);
                }
                coded(
                    values
                        .iter()
                        .map(|v| v.filter(|v| whole(*v)).map(|v| v as i64)),
                )
            }
        };
        let mut counts = vec![0usize; all.len()];
        codes
            .iter()
            .flatten()
            .for_each(|&c| counts[c as usize] += 1);
        let kept: Vec<usize> = (0..all.len()).filter(|&c| counts[c] > 0).collect();
        if kept.is_empty() {
            return Err(ClustersError::Unlabelled);
        }
        let place = |c: u32| kept.binary_search(&(c as usize)).ok().map(|c| c as u32);
        Ok(Self {
            of_cell: codes.iter().map(|c| c.and_then(place)).collect(),
            n_cells: kept.iter().map(|&c| counts[c]).collect(),
            names: kept.iter().map(|&c| all[c].clone()).collect(),
        })
    }

    /// Number of clusters.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: a cluster has a cell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Their names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of cells of each.
    #[must_use]
    pub fn n_cells(&self) -> &[usize] {
        &self.n_cells
    }

    /// The cluster of each cell; `None` for a cell without a label.
    #[must_use]
    pub fn of_cell(&self) -> &[Option<u32>] {
        &self.of_cell
    }

    /// Number of cells without a label, which are in no cluster.
    #[must_use]
    pub fn n_unlabelled(&self) -> usize {
        self.of_cell.len() - self.n_cells.iter().sum::<usize>()
    }

    /// Sums of annotations over the cells of each cluster, (clusters, annotations).
    ///
    /// # Panics
    /// If the annotations are of another number of cells.
    #[must_use]
    pub fn sums(&self, annotations: &dyn Annotations) -> Array2<f64> {
        assert_eq!(
            annotations.n_cells(),
            self.of_cell.len(),
            "annotations are of the clusters' cells"
        );
        let mut sums = Array2::zeros((self.len(), annotations.n_annotations()));
        for (cell, cluster) in self.of_cell.iter().enumerate() {
            if let Some(cluster) = *cluster {
                let mut sum = sums.row_mut(cluster as usize);
                let sum = sum.as_slice_mut().expect("rows of an owned array");
                annotations.add_scaled(cell, 1.0, sum);
            }
        }
        sums
    }

    /// Divides the row of each cluster by the number of its cells: sums become means.
    #[must_use]
    pub fn per_cell(&self, mut sums: Array2<f64>) -> Array2<f64> {
        for (mut row, &n) in sums.rows_mut().into_iter().zip(&self.n_cells) {
            row /= n as f64;
        }
        sums
    }
}

/// Distinct values, sorted, as texts; and the place of each value among them.
fn coded<T: Ord + Clone + ToString>(
    values: impl Iterator<Item = Option<T>> + Clone,
) -> (Vec<String>, Vec<Option<u32>>) {
    let distinct: BTreeSet<T> = values.clone().flatten().collect();
    let distinct: Vec<T> = distinct.into_iter().collect();
    let code = |value: &T| distinct.binary_search(value).ok().map(|c| c as u32);
    let codes = values.map(|v| v.as_ref().and_then(code)).collect();
    (distinct.iter().map(ToString::to_string).collect(), codes)
}

/// Sums of expression over the cells of each cluster, (clusters, genes), which have the same bits whatever the order of the cells and
/// however they are shared by ranks.
///
/// Each value is rounded to a whole number of units, so few that sums of all cells are exact in double precision: for ten million cells
/// the rounding is below 1e-8 of the largest value.
#[derive(Debug)]
pub struct ClusterSums<'a> {
    clusters: &'a Clusters,
    unit: f64,
    /// In units.
    sums: Array2<f64>,
}

/// Whole numbers up to twice this are exact in double precision.
const UNITS: f64 = (1u64 << 52) as f64;

impl<'a> ClusterSums<'a> {
    /// Sums over no cell yet.
    ///
    /// * `largest`: no value is above this
    #[must_use]
    pub fn new(clusters: &'a Clusters, n_genes: usize, largest: f64) -> Self {
        let n_cells = clusters.n_cells.iter().max().copied().unwrap_or(1);
        let most = largest * n_cells as f64;
        let unit = match most > 0.0 {
            true => most.log2().ceil().exp2() / UNITS,
            false => 1.0,
        };
        Self {
            clusters,
            unit,
            sums: Array2::zeros((clusters.len(), n_genes)),
        }
    }

    /// Adds consecutive cells.
    ///
    /// * `cells`: (cells, genes), the first of them being `first_cell` of all
    pub fn add(&mut self, first_cell: usize, cells: &SparseRows) {
        for i in 0..cells.n_rows() {
            let Some(cluster) = self.clusters.of_cell[first_cell + i] else {
                continue;
            };
            let (genes, values) = cells.row(i);
            let mut sum = self.sums.row_mut(cluster as usize);
            for (&gene, &value) in genes.iter().zip(values) {
                sum[gene as usize] += (f64::from(value) / self.unit).round_ties_even();
            }
        }
    }

    /// The sums in units, which ranks that have added different cells add up.
    pub fn units_mut(&mut self) -> &mut [f64] {
        self.sums.as_slice_mut().expect("an owned array")
    }

    /// The sums.
    #[must_use]
    pub fn finish(self) -> Array2<f64> {
        self.sums * self.unit
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    fn texts(labels: &[&str]) -> Column {
        Column::Text(labels.iter().map(|&l| l.to_owned()).collect())
    }

    #[test]
    fn labels_of_every_kind_give_clusters() {
        let of = |column: &Column| {
            let clusters = Clusters::of(column).unwrap();
            (clusters.names().to_vec(), clusters.n_cells().to_vec())
        };
        let stored = Column::Categorical {
            codes: vec![Some(2), None, Some(0), Some(2)],
            categories: ["z", "unused", "a"].map(str::to_owned).to_vec(),
            ordered: false,
        };
        let named = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
        assert_eq!(of(&stored), (named(&["z", "a"]), vec![1, 2]));
        assert_eq!(
            of(&Column::Integer(vec![Some(10), Some(9), None])),
            (named(&["9", "10"]), vec![1, 1])
        );
        assert_eq!(
            of(&Column::Numeric(vec![
                Some(10.0),
                Some(9.0),
                None,
                Some(f64::NAN)
            ])),
            (named(&["9", "10"]), vec![1, 1])
        );
        assert_eq!(
            of(&Column::Flag(vec![Some(true), Some(false), Some(true)])),
            (named(&["false", "true"]), vec![1, 2])
        );
        let numbers = Column::Numeric(vec![Some(0.5)]);
        assert_eq!(Clusters::of(&numbers), Err(ClustersError::Numbers));
        for none in [texts(&["", ""]), Column::Integer(vec![None])] {
            assert_eq!(Clusters::of(&none), Err(ClustersError::Unlabelled));
        }
    }

    #[test]
    fn sums_are_over_the_labelled_cells() {
        let clusters = Clusters::of(&texts(&["b", "a", "", "b"])).unwrap();
        let values = array![[1.0f32, 2.0], [3.0, 4.0], [100.0, 100.0], [5.0, -6.0]];
        let sums = clusters.sums(&values);
        assert_eq!(sums, array![[3.0, 4.0], [6.0, -4.0]]);
        assert_eq!(clusters.per_cell(sums), array![[3.0, 4.0], [3.0, -2.0]]);
        assert_eq!(clusters.n_unlabelled(), 1);
    }

    proptest! {
        #[test]
        fn the_order_of_cells_changes_no_bit(
            cells in proptest::collection::vec((0usize..4, 0.0f32..900.0, 0.0f32..0.01), 1..60),
            step in 1usize..60,
        ) {
            let n = cells.len();
            let labels = |order: &[usize]| {
                let label = |&i: &usize| if cells[i].0 == 3 { "" } else { ["x", "y", "z"][cells[i].0] };
                texts(&order.iter().map(label).collect::<Vec<_>>())
            };
            let rows = |order: &[usize]| {
                let mut rows = SparseRows::empty(2);
                order.iter().for_each(|&i| rows.push_row([(0, cells[i].1), (1, cells[i].2)]));
                rows
            };
            let sums = |order: &[usize], part: usize| -> Option<Vec<u64>> {
                let clusters = Clusters::of(&labels(order)).ok()?;
                let rows = rows(order);
                // Ranks that have added different cells.
                let mut all = ClusterSums::new(&clusters, 2, 900.0);
                for first in (0..n).step_by(part) {
                    let mut own = ClusterSums::new(&clusters, 2, 900.0);
                    own.add(first, &rows.rows(first..n.min(first + part)));
                    let own = own.units_mut().to_vec();
                    all.units_mut().iter_mut().zip(own).for_each(|(a, b)| *a += b);
                }
                let found = all.finish();
                let plain = clusters.sums(&rows);
                for (found, plain) in found.iter().zip(&plain) {
                    prop_assert_close(*found, *plain);
                }
                Some(found.iter().map(|x| x.to_bits()).collect())
            };
            let order: Vec<usize> = (0..n).collect();
            let mut other = order.clone();
            other.rotate_left(step % n);
            other.reverse();
            prop_assert_eq!(sums(&order, n), sums(&order, 7));
            prop_assert_eq!(sums(&order, n), sums(&other, 3));
        }
    }

    fn prop_assert_close(found: f64, plain: f64) {
        assert!((found - plain).abs() < 1e-9, "{found} {plain}");
    }
}
