//! What must hold of every mapping, whatever the data.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::{Array2, Axis};
use std::iter;
use tangram_core::{
    Convention, DensityPrior, MappingRows, Neighbours, Objective, SparseRows, Term,
};
use tangram_mapper::{
    AdamSettings, Engine, InitialLogits, MapError, MirrorSettings, Precision, Problem, Trained,
    memory_needed, train_adam, train_mirror,
};

/// Which only libtorch multiplies on cores.
const BF16: Option<Precision> = match cfg!(feature = "torch") {
    true => Some(Precision::Bf16),
    false => None,
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

fn prior(n_voxels: usize) -> DensityPrior {
    DensityPrior::new((0..n_voxels).map(|j| 0.5 + number(j, 0, 9)).collect()).unwrap()
}

fn problem(n_cells: usize, n_voxels: usize, n_genes: usize, density: f64) -> Problem {
    let cells = counts(n_cells, n_genes, density, 1);
    let voxels = counts(n_voxels, n_genes, 0.7, 5);
    Problem::new(cells, voxels, Some(prior(n_voxels))).unwrap()
}

const EVERY_TERM: Objective = Objective::NONE
    .with(Term::Gene, 1.0)
    .with(Term::Voxel, 0.5)
    .with(Term::Density, 1.0)
    .with(Term::Entropy, 1e-4);
const DEFAULT_TERMS: Objective = Objective::NONE
    .with(Term::Gene, 1.0)
    .with(Term::Density, 1.0);

fn settings(precision: Precision, epochs: usize) -> AdamSettings {
    AdamSettings {
        objective: EVERY_TERM,
        epochs,
        learning_rate: 0.1,
        seed: 7,
        threads: 2,
        precision,
        tolerance: 0.0,
        engine: Engine::Native,
    }
}

fn train(problem: &Problem, settings: &AdamSettings) -> Trained {
    train_adam(problem, settings, InitialLogits::Random, &mut |_| ()).unwrap()
}

fn probabilities(trained: &Trained) -> Array2<f64> {
    trained.probabilities(0..trained.n_cells())
}

fn largest_difference(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
    (a - b).iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

/// The loss written down from its formula, term by term, for one set of logits.
fn plain_loss(problem: &Problem, objective: &Objective, logits: &Array2<f64>) -> f64 {
    let exps = logits.mapv(f64::exp);
    let p = &exps / &exps.sum_axis(Axis(1)).insert_axis(Axis(1));
    let cells = problem.cells().to_dense().mapv(f64::from);
    let measured = problem.voxels().to_dense().mapv(f64::from);
    let predicted = p.t().dot(&cells);
    let cosines = |axis: Axis| {
        let sum = |m: Array2<f64>| m.sum_axis(axis);
        let norms = sum(&predicted * &predicted).mapv(f64::sqrt)
            * sum(&measured * &measured).mapv(f64::sqrt);
        (sum(&predicted * &measured) / norms).mean().unwrap()
    };
    let q = p.sum_axis(Axis(0)) / p.nrows() as f64;
    let d = problem.prior().unwrap().weights();
    let log_ratio = |a: f64, b: f64| a * (a.ln() - b.ln());
    let pairs = d.iter().zip(&q);
    let (divergence, n): (f64, _) = match objective.convention() {
        Convention::Package => (pairs.map(|(&d, &q)| log_ratio(d, q)).sum(), [1, 1]),
        // Cosines are summed, and the divergence is that of q.
        Convention::Paper => (
            pairs.map(|(&d, &q)| log_ratio(q, d)).sum(),
            [measured.ncols(), measured.nrows()],
        ),
    };
    let entropy = -p.mapv(|p| p * p.ln()).sum();
    -objective[Term::Gene] * n[0] as f64 * cosines(Axis(0))
        - objective[Term::Voxel] * n[1] as f64 * cosines(Axis(1))
        + objective[Term::Density] * divergence
        + objective[Term::Entropy] * entropy
        + objective[Term::Islands] * islands(problem, &p)
        + objective[Term::L1] * logits.mapv(f64::abs).sum()
        + objective[Term::L2] * logits.mapv(|x| x * x).sum()
}

/// The mean over voxels and types of what a voxel has above the sum of its neighbours.
fn islands(problem: &Problem, p: &Array2<f64>) -> f64 {
    let (Some(graph), Some(types)) = (problem.neighbours(), problem.types()) else {
        return 0.0;
    };
    let c = p.t().dot(&types.to_dense().mapv(f64::from));
    let of = |(j, t): (usize, usize)| {
        let around: f64 = graph.of(j).map(|(l, _)| c[[l, t]]).sum();
        (c[[j, t]] - around).max(0.0)
    };
    let all = c.indexed_iter().map(|(place, _)| of(place));
    all.sum::<f64>() / c.len() as f64
}

/// Voxels in a row, each a neighbour of the next and of the last but one; cells of three types, every seventh of none.
fn with_types(problem: Problem) -> Problem {
    let (n_cells, n_voxels) = (problem.n_cells(), problem.n_voxels());
    let row = |j: usize| {
        let near = [Some(j + 1), j.checked_sub(2)];
        let near = near.into_iter().flatten().filter(|&l| l < n_voxels);
        near.map(|l| (l, 0.3)).collect()
    };
    let graph = Neighbours::new((0..n_voxels).map(row).collect()).unwrap();
    let mut types = SparseRows::empty(3);
    for i in 0..n_cells {
        types.push_row((i % 7 > 0).then_some((i as u32 % 3, 1.0)));
    }
    let problem = problem.with_neighbours(graph).unwrap();
    problem.with_types(types).unwrap()
}

#[test]
fn loss_and_gradient_are_those_of_the_formulas() {
    let problem = with_types(problem(23, 19, 11, 0.4));
    let logits = Array2::from_shape_fn((23, 19), |(i, j)| 4.0 * number(i, j, 77) - 2.0);
    let terms = [
        Term::Gene,
        Term::Voxel,
        Term::Density,
        Term::Entropy,
        Term::Islands,
        Term::L1,
        Term::L2,
    ];
    let of = |weights: [f64; 7]| {
        let weights = terms.into_iter().zip(weights);
        weights.fold(Objective::NONE, |sum, (term, w)| sum.with(term, w))
    };
    let all = of([1.0, 0.7, 1.3, 0.01, 0.9, 1e-3, 1e-3]);
    for objective in [
        of([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        of([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        of([0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]),
        of([0.0, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0]),
        of([0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]),
        of([0.0, 0.0, 0.0, 0.0, 0.0, 1e-2, 0.0]),
        of([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1e-2]),
        all,
        of([0.1, 0.05, 1.0, 0.0, 0.0, 0.0, 0.0]).by(Convention::Paper),
    ] {
        let settings = AdamSettings {
            objective,
            ..settings(Precision::F64, 1)
        };
        let initial = InitialLogits::Given(logits.clone());
        let trained = train_adam(&problem, &settings, initial, &mut |_| ()).unwrap();
        let loss = plain_loss(&problem, &objective, &logits);
        assert!((trained.history()[0].total - loss).abs() < 1e-12 * loss.abs().max(1.0));
        // After one step the first moment is (1 − β₁) times the gradient.
        let gradient = trained.first_moment(0..23) / 0.1;
        let step = 1e-5;
        for i in (0..23).step_by(5) {
            for j in 0..19 {
                let at = |change: f64| {
                    let mut moved = logits.clone();
                    moved[[i, j]] += change;
                    plain_loss(&problem, &objective, &moved)
                };
                let difference = (at(step) - at(-step)) / (2.0 * step);
                // Differences of a loss of size 1 to 5 carry rounding of about 1e-16 / step.
                assert!(
                    (difference - gradient[[i, j]]).abs() < 3e-10,
                    "{objective:?} at {i}, {j}: {difference:e} {:e}",
                    gradient[[i, j]]
                );
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    // More cells than a super-block, more voxels than a tile, more genes than a chunk.
    let problem = problem(9_000, 130, 70, 0.2);
    for precision in iter::once(Precision::F32).chain(BF16) {
        let run = |threads| {
            train(
                &problem,
                &AdamSettings {
                    threads,
                    ..settings(precision, 4)
                },
            )
        };
        let (one, two, three) = (run(1), run(2), run(3));
        assert_eq!(probabilities(&one), probabilities(&two));
        assert_eq!(probabilities(&one), probabilities(&three));
        for (a, b) in one.history().iter().zip(two.history()) {
            assert_eq!(a.total.to_bits(), b.total.to_bits());
        }
    }
}

#[test]
fn dense_and_sparse_products_agree() {
    // Above and below the share of non-zero counts at which libtorch takes over.
    let bf16 = BF16.map(|precision| (precision, 2e-2));
    for (precision, tolerance) in iter::once((Precision::F32, 2e-5)).chain(bf16) {
        let problem = problem(700, 90, 70, 0.8);
        let exact = train(&problem, &settings(Precision::F64, 5));
        let dense = train(&problem, &settings(precision, 5));
        for (a, b) in exact.history().iter().zip(dense.history()) {
            assert!(
                (a.total - b.total).abs() < tolerance,
                "{precision:?}: {} {}",
                a.total,
                b.total
            );
        }
    }
}

/// Sums are taken in another order; 20 epochs of either solver carry a rounding of 1e-16 no further than this.
const REORDERED: f64 = 1e-10;

/// P by both solvers: by Adam from given logits, by mirror descent from its own start.
fn both_solvers(problem: &Problem, logits: Array2<f64>) -> [Array2<f64>; 2] {
    let settings = settings(Precision::F64, 20);
    let initial = InitialLogits::Given(logits);
    let adam = train_adam(problem, &settings, initial, &mut |_| ()).unwrap();
    let mirror = MirrorSettings {
        objective: EVERY_TERM,
        passes: 20,
        temperature: Some(2.0),
        batches: 1,
        batch_passes: None,
        seed: 7,
        threads: 2,
        precision: Precision::F64,
        tolerance: 0.0,
        engine: Engine::Native,
    };
    let mirror = train_mirror(problem, &mirror, None, &mut |_| ()).unwrap();
    let mirror = mirror.factors().probabilities(problem.cells());
    [probabilities(&adam), mirror]
}

/// What both solvers learn of a problem whose cells, voxels and genes come in another order, brought back into the first.
fn check_permuted(cells: &[usize], voxels: &[usize], genes: &[usize]) {
    let (problem, logits) = (
        problem(50, 20, 15, 0.4),
        Array2::from_shape_fn((50, 20), |(i, j)| number(i, j, 3)),
    );
    let weights = problem.prior().unwrap().weights();
    let permuted = Problem::new(
        problem.cells().select_rows(cells).select_columns(genes),
        problem.voxels().select_rows(voxels).select_columns(genes),
        DensityPrior::new(voxels.iter().map(|&j| weights[j]).collect()).ok(),
    )
    .unwrap();
    let reorder = |m: &Array2<f64>| m.select(Axis(0), cells).select(Axis(1), voxels);
    let moved = both_solvers(&permuted, reorder(&logits));
    for (plain, moved) in both_solvers(&problem, logits).iter().zip(&moved) {
        let apart = largest_difference(&reorder(plain), moved);
        assert!(apart < REORDERED, "{apart:e}");
    }
}

fn in_order(n: usize) -> Vec<usize> {
    (0..n).collect()
}

/// Every place once, in another order; `step` has no factor in common with `n`.
fn out_of_order(n: usize, step: usize) -> Vec<usize> {
    (0..n).map(|i| i * step % n).collect()
}

#[test]
fn permuting_cells_permutes_rows() {
    check_permuted(&out_of_order(50, 7), &in_order(20), &in_order(15));
}

#[test]
fn permuting_voxels_permutes_columns() {
    check_permuted(&in_order(50), &out_of_order(20, 7), &in_order(15));
}

#[test]
fn permuting_genes_changes_nothing() {
    check_permuted(&in_order(50), &in_order(20), &out_of_order(15, 7));
}

#[test]
fn smallest_and_strangest_problems_give_numbers() {
    for (n_cells, n_voxels, n_genes) in [(1, 1, 1), (1, 30, 5), (30, 1, 5), (30, 17, 1)] {
        let trained = train(
            &problem(n_cells, n_voxels, n_genes, 1.0),
            &settings(Precision::F32, 20),
        );
        let p = probabilities(&trained);
        assert!(p.iter().all(|x| x.is_finite()));
        assert!(p.sum_axis(Axis(1)).iter().all(|s| (s - 1.0).abs() < 1e-5));
    }
    let huge = {
        let mut cells = counts(40, 10, 0.5, 1);
        cells.values_mut().iter_mut().for_each(|x| *x *= 1e12);
        Problem::new(cells, counts(12, 10, 0.5, 2), Some(prior(12))).unwrap()
    };
    let trained = train(&huge, &settings(Precision::F32, 300));
    assert!(trained.history().iter().all(|e| e.total.is_finite()));
    assert!(probabilities(&trained).iter().all(|x| x.is_finite()));
}

#[test]
fn training_stops_on_a_plateau_only_when_asked() {
    let problem = problem(60, 20, 15, 0.4);
    let asked = AdamSettings {
        objective: DEFAULT_TERMS,
        tolerance: 1e-3,
        ..settings(Precision::F32, 2_000)
    };
    let stopped = train(&problem, &asked);
    assert!(stopped.stopped_early() && stopped.history().len() < 2_000);
    let never = train(
        &problem,
        &AdamSettings {
            tolerance: 0.0,
            epochs: 200,
            ..asked
        },
    );
    assert!(!never.stopped_early() && never.history().len() == 200);
    assert_eq!(never.history()[100].total, stopped.history()[100].total);
}

#[test]
fn blocks_of_a_mapping_are_its_rows() {
    let trained = train(&problem(700, 33, 9, 0.4), &settings(Precision::F32, 2));
    let (mut next, whole) = (0, probabilities(&trained).mapv(|p| p as f32));
    trained
        .for_each_block(&mut |block| {
            assert_eq!(block.first_cell, next);
            block
                .rows
                .for_each_entry(|i, j, p| assert_eq!(whole[[next + i, j]], p));
            next += block.rows.n_cells();
            Ok(())
        })
        .unwrap();
    assert_eq!(next, 700);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (cells, voxels) = (counts(5, 4, 0.5, 1), counts(3, 4, 0.5, 2));
    let wrong = Problem::new(cells.clone(), counts(3, 5, 0.5, 2), None);
    assert!(matches!(
        wrong,
        Err(MapError::Shapes {
            cell_genes: 4,
            voxel_genes: 5,
            ..
        })
    ));
    let wrong = Problem::new(cells.clone(), voxels.clone(), Some(prior(4)));
    assert!(matches!(
        wrong.unwrap_err(),
        MapError::Prior {
            found: 4,
            n_voxels: 3
        }
    ));
    let problem = Problem::new(cells, voxels, None).unwrap();
    let run = |settings: &AdamSettings, initial| {
        train_adam(&problem, settings, initial, &mut |_| ()).unwrap_err()
    };
    let good = settings(Precision::F32, 1);
    let shape = run(&good, InitialLogits::Given(Array2::zeros((3, 5))));
    assert!(matches!(
        shape,
        MapError::Logits {
            rows: 3,
            columns: 5,
            ..
        }
    ));
    let mut logits = Array2::zeros((5, 3));
    logits[[2, 1]] = f64::NAN;
    assert!(matches!(
        run(&good, InitialLogits::Given(logits)),
        MapError::LogitNotFinite { cell: 2, voxel: 1 }
    ));
    for bad in [
        AdamSettings { epochs: 0, ..good },
        AdamSettings {
            learning_rate: 0.0,
            ..good
        },
        AdamSettings { threads: 0, ..good },
        AdamSettings {
            tolerance: -1.0,
            ..good
        },
        AdamSettings {
            objective: EVERY_TERM.with(Term::Voxel, f64::NAN),
            ..good
        },
    ] {
        assert!(matches!(
            run(&bad, InitialLogits::Random),
            MapError::Setting { .. }
        ));
    }
}

#[test]
fn memory_grows_with_three_matrices_of_cells_by_voxels() {
    let bytes = |precision| memory_needed(10_000, 5_000, 100, 150_000, &settings(precision, 1));
    let three = 3 * 10_000 * 5_000 * 4;
    assert!((three..three * 11 / 10).contains(&bytes(Precision::F32)));
    assert!(bytes(Precision::F64) > 2 * three);
}

#[test]
fn libtorch_tells_the_version_that_was_built_against() {
    // tch is pinned to the release for this libtorch.
    let version = tangram_mapper::libtorch_version();
    assert_eq!(version.is_some(), cfg!(feature = "torch"));
    assert!(version.is_none_or(|version| version.starts_with("2.11.")));
}
