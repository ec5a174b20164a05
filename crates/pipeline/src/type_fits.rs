//! Compositions of spots from the types' mean profiles alone: least squares and Poisson regression.

use crate::cell_types::CellTypes;
use crate::deconvolve_choices::Platform;
use crate::error::Result;
use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;
use tangram_core::{SparseRows, nnls, poisson};
use tangram_store::{ExpressionFile, cells_per_chunk};

/// A fit of types' profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    LeastSquares,
    Poisson,
}

/// The types' profiles and the spots' counts, of the same genes.
#[derive(Debug)]
pub(crate) struct TypeFits {
    /// Mean counts of a cell of each type, (types, genes); genes without a count on either side are left out.
    profiles: Array2<f64>,
    /// (spots, genes)
    spots: SparseRows,
    /// Mean count of every gene over the spots.
    means: Vec<f64>,
}

impl TypeFits {
    /// Reads the genes of both files.
    ///
    /// * `columns`: of the same genes in the cells and in the spots
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn read(
        cells: &ExpressionFile,
        spots: &ExpressionFile,
        columns: (&[usize], &[usize]),
        types: &CellTypes,
    ) -> Result<Self> {
        let profiles = mean_profiles(cells, columns.0, types)?;
        let spots = spots.read_rows(0..spots.n_rows(), columns.1)?;
        let sums = spots.column_sums();
        let known = profiles.sum_axis(Axis(0));
        let kept: Vec<usize> = (0..sums.len())
            .filter(|&k| sums[k] > 0.0 && known[k] > 0.0)
            .collect();
        let n_spots = spots.n_rows().max(1) as f64;
        Ok(Self {
            profiles: profiles.select(Axis(1), &kept),
            spots: spots.select_columns(&kept),
            means: kept.iter().map(|&k| sums[k] / n_spots).collect(),
        })
    }

    /// Genes with a count on both sides.
    pub(crate) fn n_genes(&self) -> usize {
        self.means.len()
    }

    /// Cells of each type in each spot, (spots, types), up to a factor of the spot.
    ///
    /// With [`Platform::Fit`] every gene has a factor `s_k = Σ_j G_jk / Σ_j (X M)_jk`, from a first fit X without factors; Cable et al.
    /// 2022 (RCTD) have one, too.
    pub(crate) fn fit(&self, how: Fit, platform: Platform) -> Array2<f64> {
        let first = self.with_profiles(how, &self.profiles);
        match platform {
            Platform::None => first,
            Platform::Fit => {
                let of_types = first.sum_axis(Axis(0));
                let fitted: Array1<f64> = of_types.dot(&self.profiles);
                let n_spots = self.spots.n_rows() as f64;
                let factors = self.means.iter().zip(&fitted).map(|(mean, fitted)| {
                    // A gene of types that no spot has says nothing of its factor.
                    match *fitted > 0.0 {
                        true => mean * n_spots / fitted,
                        false => 1.0,
                    }
                });
                let factors: Array1<f64> = factors.collect();
                self.with_profiles(how, &(&self.profiles * &factors))
            }
        }
    }

    fn with_profiles(&self, how: Fit, profiles: &Array2<f64>) -> Array2<f64> {
        match how {
            Fit::LeastSquares => self.least_squares(profiles),
            Fit::Poisson => self.poisson(profiles),
        }
    }

    /// `argmin_{x ≥ 0} Σ_k (G_jk − Σ_t x_t M_tk)² / m_k`, m_k the mean of the gene over the spots: the variance of Poisson counts.
    fn least_squares(&self, profiles: &Array2<f64>) -> Array2<f64> {
        let weights = Array1::from_iter(self.means.iter().map(|m| 1.0 / m));
        let weighted = profiles * &weights;
        let gram = weighted.dot(&profiles.t());
        self.of_spots(profiles.nrows(), |genes, counts| {
            let mut right = vec![0.0; profiles.nrows()];
            for (t, right) in right.iter_mut().enumerate() {
                let products = genes.iter().zip(counts);
                *right = products
                    .map(|(&k, &y)| weighted[[t, k as usize]] * f64::from(y))
                    .sum();
            }
            nnls(gram.view(), &right)
        })
    }

    fn poisson(&self, profiles: &Array2<f64>) -> Array2<f64> {
        let totals = profiles.sum_axis(Axis(1)).to_vec();
        self.of_spots(profiles.nrows(), |genes, counts| {
            let of_genes = Array2::from_shape_fn((genes.len(), totals.len()), |(k, t)| {
                profiles[[t, genes[k] as usize]]
            });
            let counts: Vec<f64> = counts.iter().map(|&y| f64::from(y)).collect();
            poisson(of_genes.view(), &totals, &counts)
        })
    }

    /// A row for every spot, from its counts above 0. Spots do not depend on each other, so threads change no bits.
    fn of_spots(
        &self,
        n_types: usize,
        of_spot: impl Fn(&[u32], &[f32]) -> Vec<f64> + Sync,
    ) -> Array2<f64> {
        let rows: Vec<Vec<f64>> = (0..self.spots.n_rows())
            .into_par_iter()
            .map(|spot| {
                let (genes, counts) = self.spots.row(spot);
                of_spot(genes, counts)
            })
            .collect();
        Array2::from_shape_fn((rows.len(), n_types), |(spot, t)| rows[spot][t])
    }
}

/// The mean counts of each type's cells, (types, genes). Cells are read some at a time.
fn mean_profiles(
    cells: &ExpressionFile,
    columns: &[usize],
    types: &CellTypes,
) -> Result<Array2<f64>> {
    let n_types = types.names.len();
    let mut sums = Array2::<f64>::zeros((n_types, columns.len()));
    let mut n_cells = vec![0_usize; n_types];
    let step = cells_per_chunk(columns.len());
    for first in (0..cells.n_rows()).step_by(step) {
        let rows = cells.read_cells(first..cells.n_rows().min(first + step), columns)?;
        for i in 0..rows.n_rows() {
            let Some(t) = types.of_cells[first + i] else {
                continue;
            };
            n_cells[t] += 1;
            let (genes, counts) = rows.row(i);
            for (&k, &count) in genes.iter().zip(counts) {
                sums[[t, k as usize]] += f64::from(count);
            }
        }
    }
    for (mut row, n) in sums.rows_mut().into_iter().zip(n_cells) {
        row /= n.max(1) as f64;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    /// Two types and three genes that each measures otherwise: `G = X M diag(s)`.
    fn mixed(factors: [f64; 3]) -> (TypeFits, Array2<f64>) {
        let profiles = array![[8.0, 1.0, 2.0], [1.0, 6.0, 2.0]];
        let x = array![[2.0, 1.0], [0.0, 3.0], [4.0, 0.0]];
        let g = x.dot(&profiles) * Array1::from(factors.to_vec());
        let means = g.mean_axis(Axis(0)).unwrap().to_vec();
        let spots = SparseRows::from_dense(g.mapv(|v| v as f32).view());
        (
            TypeFits {
                profiles,
                spots,
                means,
            },
            x,
        )
    }

    #[test]
    fn exact_mixtures_are_found_again() {
        let (fits, x) = mixed([1.0; 3]);
        for how in [Fit::LeastSquares, Fit::Poisson] {
            for platform in [Platform::None, Platform::Fit] {
                let found = fits.fit(how, platform);
                let apart = (&found - &x).mapv(f64::abs);
                // The passes of a Poisson fit come to a share of 0 slowly: it ends once none changes by more than 1e-6 in a pass.
                let near = if how == Fit::Poisson { 1e-2 } else { 2e-3 };
                assert!(apart.iter().all(|a| *a < near), "{how:?} {found}");
            }
        }
    }

    #[test]
    fn factors_of_genes_bring_a_fit_nearer() {
        let (fits, x) = mixed([1.0, 1.0, 4.0]);
        let truth = tangram_core::shares_of(x.view());
        let error = |platform| {
            let found = fits.fit(Fit::Poisson, platform);
            let shares = tangram_core::shares_of(found.view());
            (&shares - &truth).mapv(|d| d * d).sum()
        };
        assert!(error(Platform::Fit) < 0.8 * error(Platform::None));
    }
}
