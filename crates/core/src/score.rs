//! Agreement of predicted with measured genes.
//!
//! [`score_gene`] scores one gene, [`Summary`] summarises many, [`auc`] is the package's summary of held-out genes.

use serde::{Deserialize, Serialize};

/// Lower bound of each norm in a cosine, as in the loss.
const SMALLEST_NORM: f64 = 1e-8;

/// A gene with a cosine above this counts as well predicted; the threshold of the paper.
pub const WELL_PREDICTED: f64 = 0.4;

/// The quantiles of a [`Summary`].
pub const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// Agreement of the predicted with the measured values of one gene, over all voxels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GeneScore {
    /// Cosine similarity; `score` in the package.
    pub cosine: f64,
    /// Pearson correlation; `None` if the predicted or the measured values are all equal.
    pub pearson: Option<f64>,
    /// Share of voxels in which the measured value is 0.
    pub sparsity_measured: f64,
    /// Share of voxels in which the predicted value is 0.
    pub sparsity_predicted: f64,
}

impl GeneScore {
    /// Whether the gene has values other than 0 on both sides, so that its score says something.
    #[must_use]
    pub fn has_pattern(&self) -> bool {
        self.sparsity_measured < 1.0 && self.sparsity_predicted < 1.0
    }
}

/// Summary of the scores of many genes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Number of genes.
    pub n_genes: usize,
    /// Mean cosine.
    pub mean_cosine: f64,
    /// Mean Pearson correlation of the genes that have one; `None` if none has.
    pub mean_pearson: Option<f64>,
    /// Quantiles of the cosine at [`QUANTILES`], interpolated linearly.
    pub quantiles: [f64; 5],
    /// Share of genes with a cosine above [`WELL_PREDICTED`].
    pub share_above: f64,
}

/// Scores one gene.
///
/// * `predicted`, `measured`: one value per voxel
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn score_gene(predicted: &[f32], measured: &[f32]) -> GeneScore {
    assert_eq!(
        predicted.len(),
        measured.len(),
        "one value per voxel on both sides"
    );
    let sparsity = |values: &[f32]| {
        values.iter().filter(|&&v| v == 0.0).count() as f64 / values.len().max(1) as f64
    };
    GeneScore {
        cosine: cosine(predicted, measured, 0.0, 0.0),
        pearson: pearson(predicted, measured),
        sparsity_measured: sparsity(measured),
        sparsity_predicted: sparsity(predicted),
    }
}

/// `Σ (a − m_a)(b − m_b) / (‖a − m_a‖ ‖b − m_b‖)`, each norm at least [`SMALLEST_NORM`].
fn cosine(a: &[f32], b: &[f32], mean_a: f64, mean_b: f64) -> f64 {
    let (mut dot, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a) - mean_a, f64::from(b) - mean_b);
        dot += a * b;
        square_a += a * a;
        square_b += b * b;
    }
    dot / (square_a.sqrt().max(SMALLEST_NORM) * square_b.sqrt().max(SMALLEST_NORM))
}

/// Pearson correlation; `None` if the values of one side are all equal.
fn pearson(a: &[f32], b: &[f32]) -> Option<f64> {
    let varies = |values: &[f32]| values.iter().any(|&v| v != values[0]);
    let mean =
        |values: &[f32]| values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
    (varies(a) && varies(b)).then(|| cosine(a, b, mean(a), mean(b)))
}

/// Pearson correlation of `a` and `b` with `c` partialled out: `(r_ab − r_ac r_bc) / √((1 − r_ac²)(1 − r_bc²))`; that of `a` and `b`
/// where `c` is the same everywhere. `None` where `a` or `b` does not vary, or is a multiple of `c`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn partial_correlation(a: &[f32], b: &[f32], c: &[f32]) -> Option<f64> {
    assert!(
        a.len() == b.len() && b.len() == c.len(),
        "one value per voxel on every side"
    );
    let plain = pearson(a, b)?;
    let (Some(of_a), Some(of_b)) = (pearson(a, c), pearson(b, c)) else {
        return Some(plain);
    };
    let left = ((1.0 - of_a * of_a) * (1.0 - of_b * of_b)).sqrt();
    (left > SMALLEST_NORM).then(|| ((plain - of_a * of_b) / left).clamp(-1.0, 1.0))
}

impl Summary {
    /// Summarises `scores`; `None` if there are none.
    #[must_use]
    pub fn of(scores: &[GeneScore]) -> Option<Self> {
        let mut cosines: Vec<f64> = scores.iter().map(|s| s.cosine).collect();
        cosines.sort_unstable_by(f64::total_cmp);
        let correlations: Vec<f64> = scores.iter().filter_map(|s| s.pearson).collect();
        let above = scores.iter().filter(|s| s.cosine > WELL_PREDICTED).count();
        Some(Self {
            n_genes: scores.len(),
            mean_cosine: mean(&cosines)?,
            mean_pearson: mean(&correlations),
            quantiles: QUANTILES.map(|q| quantile(&cosines, q)),
            share_above: above as f64 / scores.len() as f64,
        })
    }
}

/// The mean; `None` if there are no values.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The `q`-quantile of ascending values, interpolated linearly.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

/// Number of points, from 0 to 1, at which [`auc`] evaluates its curve.
const CURVE_POINTS: usize = 10;

/// A curve of measured sparsity against cosine, and the area under it.
#[derive(Debug, Clone, PartialEq)]
pub struct AucCurve {
    /// (cosine, sparsity), ascending in the cosine, within the unit square.
    pub points: Vec<(f64, f64)>,
    /// The area under them.
    pub area: f64,
}

/// Area under the curve of measured sparsity against cosine: `auc_score` of the package, meant for held-out genes.
///
/// The area of [`auc_curve`]; `None` where there is no curve.
#[must_use]
pub fn auc(scores: &[GeneScore]) -> Option<f64> {
    auc_curve(scores).map(|curve| curve.area)
}

/// The curve of measured sparsity against cosine whose area the package takes for a score.
///
/// 1. Fit the parabola `sparsity = a cosine² + b cosine + c` by least squares.
/// 2. Evaluate it at 10 points from 0 to 1; limit the value at 0 to at most 1.
/// 3. Add its first real root in `[0, 1]` as a point (roots in the order of numpy: the larger in size first).
/// 4. Drop points outside the unit square, and integrate by the trapezoid rule.
///
/// Differs: points are sorted by cosine. The package fails if the curve rises again after its root.
///
/// `None` with fewer than three distinct cosines, or fewer than two points in the unit square.
#[must_use]
pub fn auc_curve(scores: &[GeneScore]) -> Option<AucCurve> {
    let points: Vec<(f64, f64)> = scores
        .iter()
        .map(|s| (s.cosine, s.sparsity_measured))
        .collect();
    let [c, b, a] = parabola(&points)?;
    let mut curve: Vec<(f64, f64)> = (0..CURVE_POINTS)
        .map(|i| i as f64 / (CURVE_POINTS - 1) as f64)
        .map(|x| (x, c + x * (b + x * a)))
        .collect();
    curve[0].1 = curve[0].1.min(1.0);
    let inside = |v: &f64| (0.0..=1.0).contains(v);
    curve.extend(
        real_roots(a, b, c)
            .into_iter()
            .find(inside)
            .map(|x| (x, 0.0)),
    );
    curve.retain(|(x, y)| inside(x) && inside(y));
    curve.sort_by(|p, q| p.0.total_cmp(&q.0));
    let area = |w: &[(f64, f64)]| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0;
    (curve.len() >= 2).then(|| AucCurve {
        area: curve.windows(2).map(area).sum(),
        points: curve,
    })
}

/// Coefficients `[c, b, a]` of the least-squares `y = a x² + b x + c`; `None` for fewer than three distinct `x`.
fn parabola(points: &[(f64, f64)]) -> Option<[f64; 3]> {
    let mut distinct: Vec<f64> = points.iter().map(|p| p.0).collect();
    distinct.sort_unstable_by(f64::total_cmp);
    distinct.dedup();
    if distinct.len() < 3 {
        return None;
    }
    // Fitted in t = (x − middle) / spread, in which the normal equations are well conditioned.
    let (low, high) = (distinct[0], distinct[distinct.len() - 1]);
    let (middle, spread) = ((low + high) / 2.0, (high - low) / 2.0);
    let mut system = [[0.0; 4]; 3];
    for &(x, y) in points {
        let t = (x - middle) / spread;
        let powers = [1.0, t, t * t];
        for (row, p) in system.iter_mut().zip(powers) {
            for (entry, q) in row.iter_mut().zip(powers) {
                *entry += p * q;
            }
            row[3] += p * y;
        }
    }
    let [c, b, a] = solve(system);
    let (slope, bend) = (b / spread, a / (spread * spread));
    Some([
        c - slope * middle + bend * middle * middle,
        slope - 2.0 * bend * middle,
        bend,
    ])
}

/// Solves `M x = y` for three unknowns by Gaussian elimination with pivots; `system`: rows `[M, y]`.
fn solve(mut system: [[f64; 4]; 3]) -> [f64; 3] {
    for i in 0..3 {
        let size = |r: &usize| system[*r][i].abs();
        let pivot = (i..3)
            .max_by(|r, s| size(r).total_cmp(&size(s)))
            .unwrap_or(i);
        system.swap(i, pivot);
        let row = system[i];
        for other in (0..3).filter(|&other| other != i) {
            let factor = system[other][i] / row[i];
            for (entry, pivot) in system[other].iter_mut().zip(row) {
                *entry -= factor * pivot;
            }
        }
    }
    [0, 1, 2].map(|i| system[i][3] / system[i][i])
}

/// Real roots of `a x² + b x + c`, the larger in size first. A root that does not exist is not finite.
fn real_roots(a: f64, b: f64, c: f64) -> Vec<f64> {
    let discriminant = b * b - 4.0 * a * c;
    if discriminant < 0.0 {
        return vec![];
    }
    let q = -(b + discriminant.sqrt().copysign(b)) / 2.0;
    vec![q / a, c / q]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tolerance: double precision, compared with values computed by numpy.
    const ROUNDING: f64 = 1e-12;

    fn gene(cosine: f64, sparsity_measured: f64) -> GeneScore {
        GeneScore {
            cosine,
            pearson: None,
            sparsity_measured,
            sparsity_predicted: 0.0,
        }
    }

    fn check_auc(cosines: &[f64], sparsities: &[f64], wanted: f64) {
        let genes: Vec<_> = cosines
            .iter()
            .zip(sparsities)
            .map(|(&x, &y)| gene(x, y))
            .collect();
        let found = auc(&genes).unwrap();
        assert!((found - wanted).abs() < 1e-10, "{found} is not {wanted}");
    }

    #[test]
    fn auc_is_that_of_the_package() {
        // Expected values: `auc_score` of `eval_metric`, tangram-sc 1.0.4, for the same points.
        check_auc(
            &[0.1, 0.2, 0.35, 0.5, 0.62, 0.8, 0.9],
            &[0.97, 0.93, 0.8, 0.66, 0.41, 0.2, 0.05],
            0.566_685_998_782_432_6,
        );
        check_auc(
            &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            &[0.98, 0.9, 0.7, 0.55, 0.3, 0.04],
            0.394_677_726_558_278_3,
        );
        check_auc(
            &[0.2, 0.3, 0.4, 0.45, 0.7],
            &[0.5, 0.6, 0.4, 0.55, 0.45],
            0.474_885_056_876_582_4,
        );
        check_auc(
            &[0.3, 0.4, 0.5, 0.6, 0.7],
            &[1.0, 0.95, 0.8, 0.5, 0.1],
            0.513_617_031_583_155_4,
        );
        check_auc(&[0.0, 0.25, 0.5, 1.0], &[1.0, 0.75, 0.5, 0.0], 0.5);
    }

    #[test]
    fn auc_needs_three_scores_and_survives_a_rising_curve() {
        assert_eq!(auc(&[gene(0.1, 0.9), gene(0.5, 0.5), gene(0.5, 0.4)]), None);
        let bowl = [
            (0.05, 0.9),
            (0.2, 0.35),
            (0.4, 0.02),
            (0.6, 0.01),
            (0.8, 0.3),
            (0.95, 0.85),
        ];
        let area = auc(&bowl.map(|(x, y)| gene(x, y))).unwrap();
        assert!((0.0..1.0).contains(&area), "{area}");
    }

    #[test]
    fn scores_agree_with_numpy() {
        // Expected values: numpy, a @ b / norms, np.corrcoef, (b == 0).mean() of the same numbers.
        let (predicted, measured) = (
            [0.5, 1.5, 0.0, 2.25, 3.0, 0.125],
            [1.0, 0.0, 0.0, 4.0, 2.0, 0.0],
        );
        let score = score_gene(&predicted, &measured);
        assert!(
            (score.cosine - 0.830_719_386_748_479_8).abs() < ROUNDING,
            "{}",
            score.cosine
        );
        assert!(
            (score.pearson.unwrap() - 0.702_279_065_308_254_6).abs() < ROUNDING,
            "{:?}",
            score.pearson
        );
        assert_eq!(
            (score.sparsity_measured, score.sparsity_predicted),
            (0.5, 1.0 / 6.0)
        );
    }

    #[test]
    fn scale_changes_no_score_and_constants_have_no_correlation() {
        let (a, b) = ([0.5f32, 1.5, 0.0, 2.25], [1.0f32, 0.0, 0.0, 4.0]);
        let one = score_gene(&a, &b);
        let other = score_gene(&a.map(|v| v * 1024.0), &b.map(|v| v / 512.0));
        assert!((one.cosine - other.cosine).abs() < ROUNDING);
        // The mean of this constant is not exact in binary. Rounding must not count as variance.
        let flat = score_gene(&[0.1; 7], &[1.0, 2.0, 0.0, 0.0, 0.0, 1.0, 5.0]);
        assert_eq!(flat.pearson, None);
        let zero = score_gene(&[0.0; 4], &b);
        assert_eq!(
            (zero.cosine, zero.pearson, zero.sparsity_predicted),
            (0.0, None, 1.0)
        );
    }

    #[test]
    fn summary_is_that_of_its_genes() {
        let cosines = [0.9, 0.1, 0.4, 0.5, 0.3, 0.8];
        let mut genes = cosines.map(|c| gene(c, 0.0));
        genes[1].pearson = Some(0.5);
        genes[2].pearson = Some(-0.25);
        let summary = Summary::of(&genes).unwrap();
        assert_eq!((summary.n_genes, summary.share_above), (6, 0.5));
        assert!((summary.mean_cosine - 0.5).abs() < ROUNDING);
        assert_eq!(summary.mean_pearson, Some(0.125));
        // Expected values: numpy.quantile of the same six numbers.
        for (found, wanted) in summary
            .quantiles
            .iter()
            .zip([0.15, 0.325, 0.45, 0.725, 0.875])
        {
            assert!((found - wanted).abs() < ROUNDING, "{found} is not {wanted}");
        }
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&genes[..1]).unwrap().quantiles, [0.9; 5]);
    }
}
