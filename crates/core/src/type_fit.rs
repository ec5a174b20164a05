//! How much of each cell type a spot holds, by its counts and the types' mean profiles alone.
//!
//! The model of both fits is `y_k ≈ Σ_t x_t M_tk` with `x ≥ 0`: y are the counts of a spot, M the profiles, (types, genes). [`nnls`] takes
//! least squares, [`poisson`] the likelihood of Poisson counts.

use ndarray::{Array2, ArrayView2};

/// A pivot below this share of the largest diagonal entry means that a profile is a combination of others.
const DEPENDENT: f64 = 1e-11;
/// A slope below this share of the largest right-hand side is 0.
const NO_SLOPE: f64 = 1e-10;

/// Non-negative least squares, `argmin_{x ≥ 0} ‖Mᵀ x − y‖²`, from the products `M Mᵀ` and `M y`; Lawson and Hanson 1974, chapter 23.
///
/// A profile that is a combination of those in use gets 0.
///
/// * `gram`: `M Mᵀ`, (types, types); `right`: `M y`, (types)
///
/// # Panics
/// If the sizes differ.
#[must_use]
pub fn nnls(gram: ArrayView2<'_, f64>, right: &[f64]) -> Vec<f64> {
    let n = right.len();
    assert_eq!(gram.dim(), (n, n), "a product for every pair of types");
    let largest = right.iter().fold(0.0_f64, |m, r| m.max(r.abs()));
    let mut x = vec![0.0; n];
    let mut used: Vec<usize> = Vec::new();
    let mut refused = vec![false; n];
    // Every step lowers the residual; the limit stands for rounding that undoes it.
    for _ in 0..10 * n.max(1) {
        let slope = |t: usize| right[t] - (0..n).map(|u| gram[[t, u]] * x[u]).sum::<f64>();
        let candidates = (0..n).filter(|t| !used.contains(t) && !refused[*t]);
        let best = candidates
            .map(|t| (t, slope(t)))
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let Some((entering, slope)) = best else {
            break;
        };
        if slope <= NO_SLOPE * largest {
            break;
        }
        used.push(entering);
        while let Some(solved) = solve(gram, right, &used) {
            if solved.iter().all(|&z| z > 0.0) {
                x.fill(0.0);
                used.iter().zip(&solved).for_each(|(&t, &z)| x[t] = z);
                break;
            }
            // As far towards the solution as no share falls below 0.
            let reach = used
                .iter()
                .zip(&solved)
                .filter(|(_, z)| **z <= 0.0)
                .map(|(&t, &z)| x[t] / (x[t] - z).max(f64::MIN_POSITIVE))
                .fold(1.0, f64::min);
            let size = x.iter().fold(0.0_f64, |m, x| m.max(*x));
            let mut left = Vec::with_capacity(used.len());
            for (&t, &z) in used.iter().zip(&solved) {
                x[t] += reach * (z - x[t]);
                let leaves = z <= 0.0 && x[t] <= 1e-14 * size;
                match leaves {
                    true => x[t] = 0.0,
                    false => left.push(t),
                }
            }
            if left.len() == used.len() {
                // Rounding: the one nearest to 0 leaves.
                let least = used.iter().zip(&solved).min_by(|a, b| a.1.total_cmp(b.1));
                let least = least.map_or(entering, |(&t, _)| t);
                x[least] = 0.0;
                left.retain(|&t| t != least);
            }
            used = left;
        }
        if used.contains(&entering) && x[entering] == 0.0 {
            // Its profile is a combination of the others.
            used.retain(|&t| t != entering);
        }
        refused[entering] = !used.contains(&entering);
    }
    x
}

/// The unconstrained solution among some types, by Cholesky's decomposition; `None` if their profiles depend on each other.
fn solve(gram: ArrayView2<'_, f64>, right: &[f64], used: &[usize]) -> Option<Vec<f64>> {
    let n = used.len();
    let mut lower = Array2::<f64>::zeros((n, n));
    let scale = used.iter().fold(0.0_f64, |m, &t| m.max(gram[[t, t]]));
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[[i, k]] * lower[[j, k]]).sum();
            let rest = gram[[used[i], used[j]]] - sum;
            if i == j {
                if rest <= DEPENDENT * scale {
                    return None;
                }
                lower[[i, i]] = rest.sqrt();
            } else {
                lower[[i, j]] = rest / lower[[j, j]];
            }
        }
    }
    let mut x = vec![0.0; n];
    for (i, &t) in used.iter().enumerate() {
        let sum: f64 = (0..i).map(|k| lower[[i, k]] * x[k]).sum();
        x[i] = (right[t] - sum) / lower[[i, i]];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|k| lower[[k, i]] * x[k]).sum();
        x[i] = (x[i] - sum) / lower[[i, i]];
    }
    Some(x)
}

/// Most passes of a Poisson fit.
const MOST_PASSES: usize = 2_000;
/// A Poisson fit ends once no share changes by more than this in a pass.
const CONVERGED: f64 = 1e-6;

/// Poisson regression with x ≥ 0: the x of the largest likelihood of counts `y_k ~ Poisson(Σ_t x_t M_tk)`.
///
/// Iterates `x_t ← x_t / Σ_k M_tk · Σ_k M_tk y_k / Σ_u x_u M_uk`. Every iteration raises the likelihood (Lucy 1974, Lange and Carson
/// 1984). The fit begins with the same x for all types and ends once no share changes by more than 10⁻⁶.
///
/// * `profiles`: of the genes with a count, (genes, types)
/// * `totals`: of every type over all genes
/// * `counts`: of those genes
///
/// # Panics
/// If the sizes differ.
#[must_use]
pub fn poisson(profiles: ArrayView2<'_, f64>, totals: &[f64], counts: &[f64]) -> Vec<f64> {
    let n = totals.len();
    assert_eq!(profiles.dim(), (counts.len(), n), "a profile of every gene");
    let all: f64 = totals.iter().sum();
    let count: f64 = counts.iter().sum();
    if all <= 0.0 || count <= 0.0 {
        return vec![0.0; n];
    }
    let mut x: Vec<f64> = totals
        .iter()
        .map(|&total| match total > 0.0 {
            true => count / all,
            false => 0.0,
        })
        .collect();
    let mut next = vec![0.0; n];
    for _ in 0..MOST_PASSES {
        next.fill(0.0);
        for (profile, &y) in profiles.rows().into_iter().zip(counts) {
            let expected: f64 = profile.iter().zip(&x).map(|(m, x)| m * x).sum();
            if expected > 0.0 {
                let ratio = y / expected;
                next.iter_mut()
                    .zip(profile)
                    .for_each(|(n, m)| *n += m * ratio);
            }
        }
        let sum: f64 = x.iter().sum();
        let mut moved = 0.0_f64;
        for (t, x) in x.iter_mut().enumerate() {
            let new = match totals[t] > 0.0 {
                true => *x * next[t] / totals[t],
                false => 0.0,
            };
            moved = moved.max((new - *x).abs());
            *x = new;
        }
        if moved <= CONVERGED * sum {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    /// M Mᵀ and M y.
    fn products(m: &Array2<f64>, y: &[f64]) -> (Array2<f64>, Vec<f64>) {
        let y = ndarray::Array1::from(y.to_vec());
        (m.dot(&m.t()), m.dot(&y).to_vec())
    }

    #[test]
    fn small_cases_are_those_of_the_hand() {
        // One profile: x = (m·y) / (m·m).
        let m = array![[1.0, 2.0]];
        let (gram, right) = products(&m, &[3.0, 1.0]);
        assert_eq!(nnls(gram.view(), &right), [1.0]);
        // Without the bound x = (2, −1).
        let m = array![[1.0, 0.0], [1.0, 1.0]];
        let (gram, right) = products(&m, &[1.0, -1.0]);
        let x = nnls(gram.view(), &right);
        assert!((x[0] - 1.0).abs() < 1e-12 && x[1] == 0.0, "{x:?}");
        // A second type of the same profile adds nothing.
        let m = array![[1.0, 2.0], [1.0, 2.0]];
        let (gram, right) = products(&m, &[2.0, 4.0]);
        let x = nnls(gram.view(), &right);
        assert!((x.iter().sum::<f64>() - 2.0).abs() < 1e-12, "{x:?}");
        assert_eq!(nnls(gram.view(), &[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn a_poisson_fit_of_one_type_is_the_ratio_of_totals() {
        let x = poisson(array![[1.0], [3.0]].view(), &[4.0], &[5.0, 3.0]);
        assert!((x[0] - 2.0).abs() < 1e-12, "{x:?}");
        let apart = array![[1.0, 0.0], [0.0, 2.0]];
        let x = poisson(apart.view(), &[1.0, 2.0], &[3.0, 8.0]);
        assert!((x[0] - 3.0).abs() < 1e-5 && (x[1] - 4.0).abs() < 1e-5);
        let absent = poisson(array![[1.0, 0.0]].view(), &[1.0, 0.0], &[2.0]);
        assert_eq!(absent, [2.0, 0.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_direction_improves_a_least_squares_fit(
            m in proptest::collection::vec(0.0f64..5.0, 5 * 9),
            y in proptest::collection::vec(0.0f64..5.0, 9),
        ) {
            let m = Array2::from_shape_vec((5, 9), m).unwrap();
            let (gram, right) = products(&m, &y);
            let x = nnls(gram.view(), &right);
            let largest = right.iter().fold(1.0f64, |a, b| a.max(*b));
            for t in 0..5 {
                let slope = right[t] - (0..5).map(|u| gram[[t, u]] * x[u]).sum::<f64>();
                prop_assert!(x[t] >= 0.0);
                prop_assert!(slope <= 1e-7 * largest, "{} at {}", slope, t);
                prop_assert!(x[t] == 0.0 || slope.abs() <= 1e-7 * largest, "{} at {}", slope, t);
            }
        }

        #[test]
        fn exact_mixtures_are_found_again(
            x in proptest::collection::vec(0.1f64..5.0, 4),
            m in proptest::collection::vec(0.0f64..1.0, 4 * 30),
        ) {
            let mut m = Array2::from_shape_vec((4, 30), m).unwrap();
            for t in 0..4 {
                // A marker of its own.
                m[[t, t]] += 20.0;
            }
            let y: Vec<f64> = (0..30).map(|k| (0..4).map(|t| x[t] * m[[t, k]]).sum()).collect();
            let (gram, right) = products(&m, &y);
            let least = nnls(gram.view(), &right);
            let totals = m.sum_axis(ndarray::Axis(1)).to_vec();
            let likely = poisson(m.t(), &totals, &y);
            for t in 0..4 {
                prop_assert!((least[t] - x[t]).abs() < 1e-6 * x[t].max(1.0));
                prop_assert!((likely[t] - x[t]).abs() < 1e-3 * x[t].max(1.0), "{:?} {:?}", likely, x);
            }
        }
    }
}
