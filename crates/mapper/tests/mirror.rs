//! What must hold of the factored solver, whatever the data.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::{Array1, Array2, Axis, concatenate, s};
use std::error::Error;
use std::iter;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use tangram_core::normalize::transform;
use tangram_core::{
    CellChunks, DensityPrior, Filtered, LossFunction, MappingRows, Objective, PBlock, SparseRows,
    Term, Transform, VisitChunk, transfer,
};
use tangram_mapper::{
    AdamSettings, Engine, Factors, InitialLogits, MapError, MirrorSettings, Mirrored, Precision,
    Problem, train_adam, train_mirror,
};

/// Pseudo-random numbers in [0, 1) by a fixed rule of the place.
fn number(i: usize, j: usize, salt: u64) -> f64 {
    let mut x = (i as u64) << 32 ^ (j as u64) << 8 ^ salt;
    for _ in 0..3 {
        x = (x ^ x >> 31)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(salt);
    }
    (x >> 11) as f64 / (1u64 << 53) as f64
}

fn counts(rows: usize, columns: usize, density: f64, salt: u64) -> SparseRows {
    let dense = Array2::from_shape_fn((rows, columns), |(i, j)| {
        let present = number(i, j, salt) < density;
        if present {
            1.0 + (9.0 * number(i, j, salt + 1)) as f32
        } else {
            0.0
        }
    });
    SparseRows::from_dense(dense.view())
}

fn scaled(mut counts: SparseRows, by: f32) -> SparseRows {
    counts.values_mut().iter_mut().for_each(|x| *x *= by);
    counts
}

fn prior(n_voxels: usize) -> DensityPrior {
    DensityPrior::new((0..n_voxels).map(|j| 0.5 + number(j, 0, 9)).collect()).unwrap()
}

fn problem(n_cells: usize, n_voxels: usize, n_genes: usize, density: f64) -> Problem {
    let cells = counts(n_cells, n_genes, density, 1);
    let voxels = counts(n_voxels, n_genes, 0.7, 5);
    Problem::new(cells, voxels, Some(prior(n_voxels))).unwrap()
}

const fn terms([gene, voxel, density, entropy]: [f64; 4]) -> Objective {
    Objective::NONE
        .with(Term::Gene, gene)
        .with(Term::Voxel, voxel)
        .with(Term::Density, density)
        .with(Term::Entropy, entropy)
}

const EVERY_TERM: Objective = terms([1.0, 0.5, 1.0, 1e-4]);
/// So heavy a density that the first step is too long on some problems.
const HEAVY_DENSITY: Objective = terms([1.0, 0.5, 2.0, 1e-4]);
const DEFAULT_TERMS: Objective = terms([1.0, 0.0, 1.0, 0.0]);

fn settings(precision: Precision, passes: usize, temperature: Option<f64>) -> MirrorSettings {
    MirrorSettings {
        objective: EVERY_TERM,
        passes,
        temperature,
        batches: 1,
        batch_passes: None,
        seed: 7,
        threads: 2,
        precision,
        tolerance: 0.0,
        engine: Engine::Native,
    }
}

fn with(mut settings: MirrorSettings, change: impl FnOnce(&mut MirrorSettings)) -> MirrorSettings {
    change(&mut settings);
    settings
}

fn train<C: CellChunks>(problem: &Problem<C>, settings: &MirrorSettings) -> Mirrored {
    train_mirror(problem, settings, None, &mut |_| ()).unwrap()
}

fn totals(mirrored: &Mirrored) -> Vec<f64> {
    mirrored.history().iter().map(|e| e.total).collect()
}

fn least(losses: &[f64]) -> f64 {
    losses.iter().copied().fold(f64::INFINITY, f64::min)
}

fn largest_difference(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    assert_eq!(a.dim(), b.dim());
    (a - b).iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

fn largest_relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.fold(0.0, |m: f64, (a, b)| m.max((a - b).abs() / b.abs()))
}

/// Cells in memory that pretend to be on a disk: parts of a hundred, of which reading may fail.
struct InHundreds {
    cells: SparseRows,
    /// Parts that can still be read.
    left: AtomicUsize,
}

impl InHundreds {
    fn new(cells: &SparseRows, left: usize) -> Self {
        Self {
            cells: cells.clone(),
            left: left.into(),
        }
    }
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("cells from {first} on are gone")]
struct Gone {
    first: usize,
}

impl CellChunks for InHundreds {
    type Error = Gone;

    fn n_cells(&self) -> usize {
        self.cells.n_rows()
    }

    fn n_genes(&self) -> usize {
        self.cells.n_cols()
    }

    fn for_each_chunk(
        &self,
        range: Range<usize>,
        visit: &mut VisitChunk<'_, Gone>,
    ) -> Result<(), Gone> {
        for first in range.clone().step_by(100) {
            let take = |left: usize| left.checked_sub(1);
            let order = Ordering::Relaxed;
            if self.left.fetch_update(order, order, take).is_err() {
                return Err(Gone { first });
            }
            if visit(first, &self.cells.rows(first..range.end.min(first + 100)))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// The inverse of a matrix, by elimination without pivots: for matrices whose diagonal is large.
fn inverse(matrix: &Array2<f64>) -> Array2<f64> {
    let n = matrix.nrows();
    let mut both = concatenate![Axis(1), matrix.clone(), Array2::eye(n)];
    for i in 0..n {
        let row = both.row(i).to_owned() / both[[i, i]];
        for mut other in both.rows_mut() {
            let by = other[i];
            other.scaled_add(-by, &row);
        }
        both.row_mut(i).assign(&row);
    }
    both.slice(s![.., n..]).to_owned()
}

/// The formulas as they are written, in dense matrices. Factors are (voxels, genes + 1): Z, and b as the last column.
struct Plain {
    /// S with a gene of ones, (cells, genes + 1).
    cells: Array2<f64>,
    /// G, (voxels, genes).
    measured: Array2<f64>,
    prior: Array1<f64>,
    objective: Objective,
    /// Cells of the probe.
    probe: Vec<usize>,
    /// `S Sᵀ / s + 1` of the probe, and the inverse of it with a ridge.
    kernel: Array2<f64>,
    inverse: Array2<f64>,
    scale: f64,
}

impl Plain {
    fn new(problem: &Problem, objective: Objective) -> Self {
        let ones = Array2::ones((problem.n_cells(), 1));
        let cells = problem.cells().to_dense().mapv(f64::from);
        let most = if objective[Term::Voxel] > 0.0 {
            256
        } else {
            128
        };
        let n = problem.n_cells().min(most);
        let probe: Vec<usize> = (0..n).map(|i| i * problem.n_cells() / n).collect();
        let expression = cells.select(Axis(0), &probe);
        let products = expression.dot(&expression.t());
        let scale = products.diag().mean().unwrap();
        let kernel = products / scale + 1.0;
        let mut with_ridge = kernel.clone();
        with_ridge.diag_mut().mapv_inplace(|x| x + 0.01);
        Self {
            probe,
            inverse: inverse(&with_ridge),
            kernel,
            scale,
            cells: concatenate![Axis(1), cells, ones],
            measured: problem.voxels().to_dense().mapv(f64::from),
            prior: Array1::from(problem.prior().unwrap().weights().to_vec()),
            objective,
        }
    }

    /// P = softmax(S Zᵀ + 1 bᵀ).
    fn probabilities(&self, factors: &Array2<f64>) -> Array2<f64> {
        let mut p = self.cells.dot(&factors.t());
        for mut row in p.rows_mut() {
            let max = row.fold(f64::MIN, |m, &x| m.max(x));
            row.mapv_inplace(|x| (x - max).exp());
            row /= row.sum();
        }
        p
    }

    /// A and q.
    fn predicted(&self, p: &Array2<f64>) -> (Array2<f64>, Array1<f64>) {
        let sums = p.t().dot(&self.cells);
        let n_genes = self.measured.ncols();
        (
            sums.slice(s![.., ..n_genes]).to_owned(),
            sums.column(n_genes).to_owned() / p.nrows() as f64,
        )
    }

    /// Loss of P, and its slope without the entropy's: W, and u / C as the last column.
    fn loss_and_slope(&self, p: &Array2<f64>) -> (f64, Array2<f64>) {
        let (a, q) = self.predicted(p);
        let (g, d, weights) = (&self.measured, &self.prior, &self.objective);
        let mut loss = 0.0;
        let mut slope = Array2::zeros(a.dim());
        // Sums over voxels are the genes' cosines, sums over genes the voxels'.
        for (axis, weight) in [
            (Axis(0), weights[Term::Gene]),
            (Axis(1), weights[Term::Voxel]),
        ] {
            let sum = |m: Array2<f64>| m.sum_axis(axis).insert_axis(axis);
            let (a_norm, g_norm) = (sum(&a * &a).mapv(f64::sqrt), sum(g * g).mapv(f64::sqrt));
            let norms = &a_norm * &g_norm;
            let cosines = sum(&a * g) / &norms;
            loss -= weight * cosines.mean().unwrap();
            let toward = g / &norms - &a * &(&cosines / (&a_norm * &a_norm));
            slope -= &(toward * (weight / cosines.len() as f64));
        }
        loss += weights[Term::Density] * (d * &(d.ln() - q.ln())).sum();
        loss -= weights[Term::Entropy] * p.mapv(|p| p * p.ln()).sum();
        let u = d / &q * (-weights[Term::Density] / p.nrows() as f64);
        (loss, concatenate![Axis(1), slope, u.insert_axis(Axis(1))])
    }

    /// What a slope takes from the logits of the probe's cells.
    fn changes(&self, slope: &Array2<f64>) -> Array2<f64> {
        self.cells.select(Axis(0), &self.probe).dot(&slope.t())
    }

    /// Standard deviation over the voxels of what a slope takes, mean over the probe.
    fn spread(&self, slope: &Array2<f64>) -> f64 {
        let changes = self.changes(slope);
        changes.std_axis(Axis(1), 0.0).mean().unwrap()
    }

    /// The slope `c_j (slope_j − centre)`, and the largest change of a cell's logits by it: mean over the probe.
    fn balanced(&self, slope: &Array2<f64>, p: &Array2<f64>) -> (Array2<f64>, f64) {
        let mut changes = self.changes(slope);
        let mut slope = slope.clone();
        if self.objective[Term::Voxel] > 0.0 {
            let p = p.select(Axis(0), &self.probe);
            let alpha = self.inverse.dot(&(&changes * &p).sum_axis(Axis(1)));
            let probe = self.cells.select(Axis(0), &self.probe);
            let mut centre = probe.t().dot(&alpha) / self.scale;
            *centre.last_mut().unwrap() = alpha.sum();
            changes -= &self.kernel.dot(&alpha).insert_axis(Axis(1));
            let squares = (&changes * &changes).mean_axis(Axis(0)).unwrap();
            let lengths = squares.mapv(f64::sqrt);
            let typical = lengths.mapv(f64::sqrt).mean().unwrap().powi(2);
            let shares = lengths.mapv(|length| (typical / length).powf(0.7).min(1.0));
            changes *= &shares;
            slope = (slope - &centre) * &shares.insert_axis(Axis(1));
        }
        let apart = &changes - &changes.mean_axis(Axis(1)).unwrap().insert_axis(Axis(1));
        let rows = apart.rows().into_iter();
        let largest = rows.map(|row| row.fold(0.0, |m: f64, x| m.max(x.abs())));
        (slope, largest.sum::<f64>() / apart.nrows() as f64)
    }

    /// Z = 0, b = log d.
    fn at_rest(&self) -> Array2<f64> {
        let (n_voxels, n_genes) = self.measured.dim();
        let mut factors = Array2::zeros((n_voxels, n_genes + 1));
        factors.column_mut(n_genes).assign(&self.prior.ln());
        factors
    }

    /// Loss and step of every pass, and P of the pass that is chosen.
    fn train(
        &self,
        start: &Array2<f64>,
        passes: usize,
        temperature: Option<f64>,
    ) -> (Vec<[f64; 2]>, Array2<f64>) {
        let (n_cells, n_genes) = (self.cells.nrows(), self.measured.ncols());
        let (mut moving, mut average) = (start.clone(), start.clone());
        let (mut steps, mut weights, mut reach) = (0.0, 0.0, 1.5);
        let (mut best, mut chosen) = (f64::INFINITY, Array2::zeros((0, 0)));
        let mut history: Vec<[f64; 2]> = vec![];
        for _ in 0..passes {
            let point = &moving * 0.02 + &average * 0.98;
            let p = self.probabilities(&point);
            let (loss, mut slope) = self.loss_and_slope(&p);
            let out_of_hand = loss > best + 0.1 * best.abs();
            assert!(!out_of_hand, "a pass that goes back is not written here");
            if loss < best || temperature.is_some() {
                chosen = p.clone();
            }
            best = best.min(loss);
            let worse = match (temperature, &history[..]) {
                (None, _) => loss > best,
                (Some(_), [.., [before, _], [last, _]]) => (last - before) * (loss - last) < 0.0,
                _ => false,
            };
            reach = f64::min(1.5, reach * if worse { 0.95 } else { 1.05 });

            let steepest = -self.objective[Term::Density] / (0.02 * n_cells as f64);
            let mut u = slope.column_mut(n_genes);
            u.mapv_inplace(|u| u.max(steepest));
            let pull = temperature.map_or(0.0, |kappa| self.spread(&slope) / kappa);
            slope.scaled_add(pull - self.objective[Term::Entropy], &point);
            slope.scaled_add(-pull, &self.at_rest());
            let longest = if pull > 0.0 {
                0.1 * reach / 1.5 / pull
            } else {
                f64::MAX
            };
            let (slope, largest) = self.balanced(&slope, &p);
            let step = f64::min(reach / largest, longest);
            steps += 1.0;
            weights += steps;
            moving.scaled_add(-step, &slope);
            average = &average + &((&moving - &average) * (steps / weights));
            history.push([loss, step]);
        }
        (history, chosen)
    }
}

#[test]
fn double_precision_follows_the_formulas_pass_by_pass() {
    // The two differ in the order of sums only, which is near 1e-15: room for steps that let differences grow.
    const HISTORY: f64 = 1e-9;
    const PROBABILITY: f64 = 1e-7;
    // More cells than a probe, more voxels than a tile.
    let (even, uneven) = (problem(300, 110, 23, 0.4), problem(300, 110, 12, 0.8));
    // `lowered`: what the start's logits of a voxel are below log d, so that the voxel is nearly empty.
    for (problem, objective, passes, temperature, lowered, gets_worse) in [
        (&even, EVERY_TERM, 25, None, 0.0, false),
        (&even, DEFAULT_TERMS, 25, None, 0.0, true),
        (&even, DEFAULT_TERMS, 25, Some(2.0), 0.0, false),
        (&even, EVERY_TERM, 25, Some(2.0), 0.0, false),
        (&even, EVERY_TERM, 150, Some(0.5), 0.0, true),
        (&even, EVERY_TERM, 25, None, 6.0, false),
        (&uneven, HEAVY_DENSITY, 25, None, 0.0, true),
    ] {
        let settings = settings(Precision::F64, passes, temperature);
        let settings = with(settings, |s| s.objective = objective);
        let plain = Plain::new(problem, objective);
        let mut start = plain.at_rest();
        start[[5, problem.n_genes()]] -= lowered;
        let (z, b) = (start.slice(s![.., ..-1]), start.column(problem.n_genes()));
        let given = Factors::new(z, &b.to_vec());
        let given = (lowered > 0.0).then_some(&given);
        let mirrored = train_mirror(problem, &settings, given, &mut |_| ()).unwrap();
        let (history, p) = plain.train(&start, passes, temperature);
        for (epoch, [loss, step]) in mirrored.history().iter().zip(&history) {
            let apart = (epoch.total - loss).abs() / loss.abs();
            assert!(apart < HISTORY, "{temperature:?}, {epoch:?}: {loss}");
            let apart = (epoch.step.unwrap() - step).abs() / step;
            assert!(apart < HISTORY, "{temperature:?}, {epoch:?}: {step}");
        }
        let q = mirrored.factors().probabilities(problem.cells());
        let apart = largest_difference(&p, &q);
        assert!(apart < PROBABILITY, "{temperature:?}: {apart:e}");
        assert_eq!(history.len(), mirrored.history().len());
        // Both turns of the reach of a step are taken.
        let worse = history.windows(2).any(|h| h[1][0] > h[0][0]);
        assert_eq!(worse, gets_worse, "{temperature:?}");
        assert!(history[passes - 1][0] < history[0][0] - 0.01, "it learns");
    }
}

#[test]
fn the_slope_by_the_factors_is_its_finite_differences() {
    const STEP: f64 = 1e-5;
    // Rounding of a loss of size 17 (an entropy), 4e-15 / step, and step² times third derivatives of up to about 10.
    const DIFFERENCES: f64 = 2e-9;
    let (n_cells, n_voxels, n_genes) = (23, 13, 7);
    let cells = scaled(counts(n_cells, n_genes, 0.5, 1), 0.1);
    let voxels = counts(n_voxels, n_genes, 0.7, 5);
    let measured = voxels.transpose().to_dense();
    let problem = Problem::new(cells, voxels, Some(prior(n_voxels))).unwrap();
    let factors = Array2::from_shape_fn((n_voxels, n_genes + 1), |(j, k)| {
        2.0 * number(j, k, 77) - 1.0
    });
    for weights in [
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 0.3],
        [1.0, 0.7, 1.3, 0.01],
    ] {
        let objective = terms(weights);
        let plain = Plain::new(&problem, objective);
        let p = plain.probabilities(&factors);
        let (a, q) = plain.predicted(&p);
        let mut w = a.t().as_standard_layout().into_owned();
        let mut u = q.to_vec();
        let loss = LossFunction::new(&objective, measured.clone(), problem.own_prior());
        let entropy = -p.mapv(|p| p * p.ln()).sum();
        loss.evaluate(w.view_mut(), &mut u, n_cells as f64, Some(entropy));
        let u = Array1::from(u) / n_cells as f64;
        let w = concatenate![Axis(1), w.t(), u.insert_axis(Axis(1))];
        // By P, by logits, by the factors.
        let by_p = plain.cells.dot(&w.t()) - p.mapv(|p| objective[Term::Entropy] * (p.ln() + 1.0));
        let mean = (&p * &by_p).sum_axis(Axis(1)).insert_axis(Axis(1));
        let slope = (&p * &(by_p - &mean)).t().dot(&plain.cells);
        for (at, slope) in slope.indexed_iter() {
            let loss = |change: f64| {
                let mut moved = factors.clone();
                moved[at] += change;
                plain.loss_and_slope(&plain.probabilities(&moved)).0
            };
            let difference = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
            assert!(
                (difference - slope).abs() < DIFFERENCES,
                "{weights:?} at {at:?}: {difference:e} {slope:e}"
            );
        }
        assert!(slope.iter().any(|x| x.abs() > 1e4 * DIFFERENCES));
    }
}

#[test]
fn the_chosen_pass_is_the_best_and_what_a_start_continues() {
    // One pass over the same factors, rounded nowhere.
    const SAME: f64 = 1e-12;
    let problem = problem(300, 40, 25, 0.3);
    for objective in [EVERY_TERM, DEFAULT_TERMS] {
        let settings = with(settings(Precision::F64, 70, None), |s| {
            s.objective = objective;
        });
        let one = with(settings, |s| s.passes = 1);
        let mut seen = vec![];
        let mirrored = train_mirror(&problem, &settings, None, &mut |e| seen.push(e.total));
        let mirrored = mirrored.unwrap();
        let losses = totals(&mirrored);
        assert_eq!(seen, losses, "every pass is seen once");
        assert_eq!(losses.len(), 70);
        assert_eq!(mirrored.chosen().total, least(&losses));
        assert!(mirrored.chosen().total < losses[0]);
        assert_eq!(train(&problem, &one).chosen().total, losses[0]);
        let again = train_mirror(&problem, &one, Some(mirrored.factors()), &mut |_| ());
        let (first, chosen) = (again.unwrap().history()[0].total, mirrored.chosen().total);
        assert!((first - chosen).abs() < SAME, "{first} {chosen}");
    }
    let two = with(settings(Precision::F64, 2, None), |s| {
        s.objective = HEAVY_DENSITY;
    });
    let worse = train(&self::problem(150, 110, 12, 0.8), &two);
    assert!(worse.history()[1].total > worse.history()[0].total);
    assert_eq!(worse.chosen().epoch, 1);
    let zeros = worse.factors().weights().iter().all(|z| *z == 0.0);
    assert!(zeros, "the factors are those of the chosen pass");
    let with_temperature = settings(Precision::F64, 70, Some(1.0));
    assert_eq!(train(&problem, &with_temperature).chosen().epoch, 70);
}

#[test]
fn single_precision_agrees_with_double() {
    // Numbers good to 6e-8 in sums of some hundred, after 15 steps; those of bf16 are good to 4e-3.
    let bf16 = cfg!(feature = "torch").then_some((Precision::Bf16, 3e-2));
    for (precision, tolerance) in iter::once((Precision::F32, 1e-5)).chain(bf16) {
        // Below and above the share of non-zero counts at which products are dense.
        for density in [0.2, 0.8] {
            let problem = problem(300, 70, 50, density);
            let losses = |p| totals(&train(&problem, &settings(p, 15, None)));
            let apart = largest_relative(&losses(precision), &losses(Precision::F64));
            assert!(apart < tolerance, "{precision:?}, {density}: {apart:e}");
        }
    }
}

#[test]
fn threads_and_repetition_change_no_bit() {
    let single = [(Precision::F32, 0.2), (Precision::F32, 0.8)];
    let bf16 = cfg!(feature = "torch").then_some((Precision::Bf16, 0.4));
    for (precision, density) in single.into_iter().chain(bf16) {
        // More cells than a super-block, more voxels than a tile, more genes than a chunk.
        let problem = problem(4_500, 130, 70, density);
        let settings = settings(precision, 5, Some(3.0));
        let run = |threads| train(&problem, &with(settings, |s| s.threads = threads));
        let one = run(1);
        for threads in [1, 2, 3] {
            let other = run(threads);
            assert_eq!(totals(&one), totals(&other), "{precision:?}, {threads}");
            assert_eq!(one.factors(), other.factors(), "{precision:?}, {threads}");
        }
    }
}

/// Problems at the edge of what there is, each with what is strange about it.
fn strange_problems() -> Vec<(&'static str, Problem)> {
    let (cells, voxels) = (counts(40, 10, 0.5, 1), counts(12, 10, 0.7, 5));
    let of = |cells: &SparseRows, voxels: &SparseRows, prior: Option<DensityPrior>| {
        Problem::new(cells.clone(), voxels.clone(), prior).unwrap()
    };
    let half = (0..12).map(|j| if j < 6 { 1.0 } else { 0.0 }).collect();
    let half = DensityPrior::new(half).unwrap();
    let mut without = cells.to_dense();
    without.column_mut(3).fill(0.0);
    let without = SparseRows::from_dense(without.view());
    let mut alike = SparseRows::empty(4);
    for _ in 0..100_000 {
        alike.push_row([(0, 3.0), (2, 1.0)]);
    }
    let few = counts(5, 4, 0.7, 5);
    let mut strange = vec![
        ("one of all", problem(1, 1, 1, 1.0)),
        ("one cell", problem(1, 30, 5, 0.8)),
        ("one voxel", problem(30, 1, 5, 0.8)),
        ("one gene", problem(30, 17, 1, 1.0)),
        ("no prior", of(&cells, &voxels, None)),
        ("voxels that must be empty", of(&cells, &voxels, Some(half))),
        ("a gene of no cell", of(&without, &voxels, Some(prior(12)))),
        ("cells all alike", of(&alike, &few, Some(prior(5)))),
    ];
    for (name, by) in [("tiny", 1e-6), ("huge", 1e6)] {
        let (s, g) = (scaled(cells.clone(), by), scaled(voxels.clone(), by));
        for (s, g) in [(&s, &voxels), (&cells, &g), (&s, &g)] {
            strange.push((name, of(s, g, Some(prior(12)))));
        }
    }
    strange
}

#[test]
fn smallest_and_strangest_problems_give_numbers() {
    // Sums of at most 30 numbers in double precision.
    const SUM: f64 = 1e-12;
    for (name, problem) in &strange_problems() {
        for (precision, temperature) in [
            (Precision::F32, None),
            (Precision::F32, Some(2.0)),
            (Precision::F64, None),
        ] {
            let mirrored = train(problem, &settings(precision, 30, temperature));
            let losses = totals(&mirrored);
            assert!(losses.iter().all(|x| x.is_finite()), "{name}: {losses:?}");
            let factors = mirrored.factors();
            assert!(factors.weights().iter().all(|x| x.is_finite()), "{name}");
            assert!(factors.bias().iter().all(|x| x.is_finite()), "{name}");
            let p = factors.probabilities(problem.cells());
            assert!(p.iter().all(|p| (0.0..=1.0).contains(p)), "{name}");
            let sums = p.sum_axis(Axis(1));
            assert!(sums.iter().all(|s| (s - 1.0).abs() < SUM), "{name}");
        }
    }
}

#[test]
fn cells_in_parts_are_as_cells_in_memory() {
    // Sums over parts are taken in another order; 20 passes.
    const ROUNDING: f64 = 1e-9;
    let problem = problem(1_234, 30, 20, 0.3);
    let stream = |left| {
        let parts = InHundreds::new(problem.cells(), left);
        Problem::new(parts, problem.voxels().clone(), problem.prior().cloned()).unwrap()
    };
    let settings = with(settings(Precision::F64, 20, None), |s| s.batches = 4);
    let whole = train(&problem, &settings);
    let streamed = train(&stream(usize::MAX), &settings);
    assert!(largest_relative(&totals(&streamed), &totals(&whole)) < ROUNDING);
    let probabilities = |m: &Mirrored| m.factors().probabilities(problem.cells());
    let apart = largest_difference(&probabilities(&streamed), &probabilities(&whole));
    assert!(apart < ROUNDING, "{apart:e}");

    // Thirteen parts are read for the probe, for the sample, in every pass over all.
    for (left, first) in [(0, 0), (13 + 5, 500), (26 + 2, 200), (52 + 12, 1200)] {
        let failed = train_mirror(&stream(left), &settings, None, &mut |_| ());
        let Err(error @ MapError::Cells(_)) = failed else {
            panic!("{failed:?}");
        };
        let source = error.source().unwrap().downcast_ref::<Gone>();
        assert_eq!(source, Some(&Gone { first }));
    }
}

#[test]
fn what_cells_carry_part_by_part_is_what_the_whole_mapping_carries() {
    // Sums in single precision of a hundred cells, and of 256.
    const ROUNDING: f32 = 1e-5;
    let problem = problem(1_234, 30, 20, 0.3);
    let factors = train(&problem, &settings(Precision::F32, 20, None));
    let factors = factors.factors();
    let parts = |left| InHundreds::new(problem.cells(), left);
    for how in [Transform::None, Transform::Sqrt] {
        let mut mapped = problem.cells().clone();
        transform(&mut mapped, how);
        let whole = transfer(&factors.mapping(&mapped), problem.cells()).unwrap();
        let found = factors.carried(&parts(usize::MAX), how, None).unwrap();
        let pairs = found.iter().zip(&whole);
        let apart = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs() / b.max(1.0)));
        assert!(found.dim() == whole.dim() && apart < ROUNDING, "{apart:e}");
    }
    let n_cells = problem.n_cells();
    let half: Vec<f64> = (0..n_cells).map(|i| (i % 3) as f64 / 2.0).collect();
    let (mapping, none) = (factors.mapping(problem.cells()), Transform::None);
    let whole = transfer(&Filtered::new(&mapping, Some(&half)), problem.cells()).unwrap();
    let found = factors
        .carried(&parts(usize::MAX), none, Some(&half))
        .unwrap();
    let pairs = found.iter().zip(&whole);
    let apart = pairs.fold(0f32, |m, (a, b)| m.max((a - b).abs() / b.max(1.0)));
    assert!(apart < ROUNDING, "{apart:e}");
    let failed = factors.carried(&parts(3), none, None);
    assert_eq!(failed.unwrap_err(), Gone { first: 300 });
}

#[test]
fn passes_over_a_part_of_the_cells_come_to_the_same() {
    // Both runs stop where ten passes change less than 1e-4 of the loss.
    const SAME: f64 = 1e-3;
    let problem = problem(4_000, 12, 20, 0.4);
    let all = with(settings(Precision::F32, 300, None), |s| {
        (s.objective, s.tolerance) = (DEFAULT_TERMS, 1e-4);
    });
    let some = with(all, |s| s.batches = 16);
    let (all, mirrored) = (train(&problem, &all), train(&problem, &some));
    let mut n_cells: Vec<usize> = mirrored.history().iter().map(|e| e.n_cells).collect();
    n_cells.dedup();
    assert_eq!(n_cells, [250, 500, 1_000, 2_000, 4_000]);
    assert_eq!(mirrored.chosen().n_cells, 4_000);
    let apart = mirrored.chosen().total - all.chosen().total;
    assert!(apart.abs() < SAME, "{apart:e}");

    let again = train(&problem, &some);
    assert_eq!(totals(&mirrored), totals(&again));
    assert_eq!(mirrored.factors(), again.factors());
    let other = train(&problem, &with(some, |s| s.seed = 8));
    assert_ne!(mirrored.history()[0].total, other.history()[0].total);
}

#[test]
fn settings_out_of_range_are_refused() {
    let problem = problem(5, 4, 3, 0.8);
    let good = settings(Precision::F32, 1, None);
    train(&problem, &good);
    let infinite = terms([1.0, 0.0, f64::INFINITY, 0.0]);
    for bad in [
        with(good, |s| s.passes = 0),
        with(good, |s| s.batches = 0),
        with(good, |s| s.threads = 0),
        with(good, |s| s.tolerance = f64::NAN),
        with(good, |s| s.objective = infinite),
        with(good, |s| s.temperature = Some(0.0)),
        with(good, |s| s.temperature = Some(-1.0)),
        with(good, |s| s.temperature = Some(f64::NAN)),
        with(good, |s| s.temperature = Some(f64::INFINITY)),
    ] {
        let refused = train_mirror(&problem, &bad, None, &mut |_| ());
        assert!(matches!(refused, Err(MapError::Setting { .. })), "{bad:?}");
    }
}

/// Every row comes once, in order, and is that of `whole`.
fn blocks_are<M: MappingRows>(mapping: &M, whole: &Array2<f64>, tolerance: f64)
where
    M::Error: std::fmt::Debug,
{
    assert_eq!((mapping.n_cells(), mapping.n_voxels()), whole.dim());
    let mut next = 0;
    let outcome = mapping.for_each_block(&mut |block| {
        assert_eq!(block.first_cell, next);
        let PBlock::Dense(rows) = block.rows else {
            panic!("rows of a softmax are dense");
        };
        let expected = whole.slice(s![next..next + rows.nrows(), ..]).to_owned();
        assert!(largest_difference(&rows.mapv(f64::from), &expected) < tolerance);
        next += rows.nrows();
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(next, whole.nrows());
}

#[test]
fn blocks_of_a_factored_mapping_are_its_rows() {
    // Blocks are in single precision, of logits of size 10.
    const SINGLE: f64 = 1e-5;
    const DOUBLE: f64 = 1e-12;
    let (n_cells, n_voxels, n_genes) = (5_321, 17, 9);
    let joined = Array2::from_shape_fn((n_voxels, n_genes + 1), |(j, k)| number(j, k, 3) - 0.5);
    let (z, b) = (joined.slice(s![.., ..n_genes]), joined.column(n_genes));
    let factors = Factors::new(z, &b.to_vec());
    assert_eq!((factors.n_voxels(), factors.n_genes()), (n_voxels, n_genes));
    assert_eq!(factors.weights(), z);
    assert_eq!(factors.bias(), b);
    // Below and above the share of non-zero counts at which products are dense.
    for density in [0.3, 0.9] {
        let problem = problem(n_cells, n_voxels, n_genes, density);
        let cells = problem.cells();
        let whole = factors.probabilities(cells);
        let plain = Plain::new(&problem, EVERY_TERM).probabilities(&joined);
        assert!(largest_difference(&whole, &plain) < DOUBLE);
        blocks_are(&factors.mapping(cells), &whole, SINGLE);
        let parts = InHundreds::new(cells, usize::MAX);
        blocks_are(&factors.mapping(&parts), &whole, SINGLE);
        let parts = InHundreds::new(cells, 3);
        let failed = factors.mapping(&parts).for_each_block(&mut |_| Ok(()));
        assert_eq!(failed, Err(Gone { first: 300 }));
    }
}

/// The least loss of Adam's 600 epochs, and what mirror ends at.
fn adam_and_mirror(problem: &Problem, objective: Objective, tolerance: f64) -> (f64, Mirrored) {
    let adam = AdamSettings {
        objective,
        epochs: 600,
        learning_rate: 0.1,
        seed: 7,
        threads: 2,
        precision: Precision::F32,
        tolerance: 0.0,
        engine: Engine::Native,
    };
    let adam = train_adam(problem, &adam, InitialLogits::Random, &mut |_| ()).unwrap();
    let adam: Vec<f64> = adam.history().iter().map(|e| e.total).collect();
    let mirror = with(settings(Precision::F32, 300, None), |s| {
        (s.objective, s.tolerance) = (objective, tolerance);
    });
    (least(&adam), train(problem, &mirror))
}

#[test]
fn the_loss_is_at_or_below_that_of_adam() {
    // What the solver may be behind where it stops: its own tolerance.
    const BEHIND: f64 = 5e-4;
    let problem = problem(200, 50, 40, 0.3);
    let (adam, mirror) = adam_and_mirror(&problem, DEFAULT_TERMS, BEHIND);
    assert!(mirror.stopped_early());
    assert!(mirror.chosen().total < adam + BEHIND, "{mirror:?} {adam}");
}

/// The hardest for the solver: few genes, as many voxels as cells, some voxels with a hundred times the counts of others.
#[test]
fn few_cells_in_a_voxel_do_not_hold_up_the_others() {
    let cells = counts(200, 24, 0.5, 1);
    let mut voxels = counts(200, 24, 0.7, 5).to_dense();
    for (j, mut row) in voxels.rows_mut().into_iter().enumerate() {
        row *= 10f32.powf(2.0 * number(j, 0, 77) as f32);
    }
    let totals = voxels.sum_axis(Axis(1)).mapv(f64::from);
    let prior = DensityPrior::new(totals.to_vec()).unwrap();
    let voxels = SparseRows::from_dense(voxels.view());
    let problem = Problem::new(cells, voxels, Some(prior)).unwrap();
    let (adam, mirror) = adam_and_mirror(&problem, terms([1.0, 1.0, 1.0, 0.0]), 5e-4);
    // With steps that are not balanced it is 0.3 % behind after 133 passes; so 0.06 % after 64.
    let (found, passes) = (mirror.chosen().total, mirror.history().len());
    assert!(found < adam + 1.5e-3 * adam.abs(), "{found} for {adam}");
    assert!(passes < 100, "{passes}");
}

/// Common genes, and some that few cells express.
fn with_rare_genes(rare: usize, of_cells: usize) -> Problem {
    let common = counts(4_000, 60, 0.4, 1).to_dense();
    let mut cells = Array2::zeros((4_000, 60 + rare));
    cells.slice_mut(s![.., ..60]).assign(&common);
    for k in 60..60 + rare {
        for r in 0..of_cells {
            cells[[(number(k, r, 55) * 4_000.0) as usize, k]] = 1.0;
        }
    }
    let voxels = counts(12, 60 + rare, 0.7, 5);
    Problem::new(
        SparseRows::from_dense(cells.view()),
        voxels,
        Some(prior(12)),
    )
    .unwrap()
}

#[test]
fn genes_that_a_part_of_the_cells_does_not_express_do_no_harm() {
    /// Other stages end elsewhere on the plateau.
    const SAME: f64 = 2e-3;
    for (rare, of_cells, batches) in [
        (0, 0, 16),
        (1, 10, 16),
        (1, 3, 4),
        (1, 3, 16),
        (5, 10, 16),
        (10, 20, 16),
    ] {
        let problem = with_rare_genes(rare, of_cells);
        let all = with(settings(Precision::F32, 300, None), |s| {
            (s.objective, s.tolerance) = (DEFAULT_TERMS, 5e-4);
        });
        let part = train(&problem, &with(all, |s| s.batches = batches));
        let all = train(&problem, &all);
        let behind = part.chosen().total - all.chosen().total;
        assert!(
            behind < SAME,
            "{rare} genes in {of_cells} cells, part {batches}: behind {behind}"
        );
    }
}

#[test]
fn a_gene_of_no_cell_has_weights_like_any_other() {
    let mut cells = counts(40, 10, 0.5, 1).to_dense();
    cells.column_mut(3).fill(0.0);
    let cells = SparseRows::from_dense(cells.view());
    let problem = Problem::new(cells, counts(12, 10, 0.7, 5), Some(prior(12))).unwrap();
    let mirrored = train(&problem, &settings(Precision::F32, 30, None));
    let z = mirrored.factors().weights();
    let size = |k: usize| z.column(k).fold(0.0, |m: f64, x| m.max(x.abs()));
    assert!(size(3) < 100.0 * size(4));
}
