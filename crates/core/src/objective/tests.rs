//! Every term against finite differences, and shards against the whole.

use super::{
    Convention, Exchange, Known, LossFunction, Objective, OfCells, Shard, Sums, Term, VoxelShards,
};
use crate::{DensityPrior, Neighbours};
use ndarray::{Array2, array};
use std::ops::Range;
use std::sync::{Barrier, Mutex};

const STEP: f64 = 1e-6;
/// Central differences in f64 with this step are good to about step² plus rounding / step.
const DIFFERENCES: f64 = 1e-8;
const CELLS: OfCells = OfCells {
    mass: 50.0,
    entropy: Some(0.7),
    undecided: Some(3.0),
    logits: Some([5.0, 7.0]),
};
/// Rows of A after those of the genes.
const N_TYPES: usize = 2;

/// What the terms know beforehand; the target count differs from the mass of [`CELLS`].
fn known<'a>(prior: &'a [f64], graph: &'a Neighbours) -> Known<'a> {
    Known {
        prior: Some(prior),
        target: Some(42.0),
        neighbours: Some(graph),
        n_types: N_TYPES,
    }
}

/// Four voxels in a row with weights of their own.
fn graph() -> Neighbours {
    Neighbours::new(vec![
        vec![(1, 0.7)],
        vec![(0, 0.4), (2, 0.6)],
        vec![(1, 0.3), (3, 1.1)],
        vec![(2, 0.9)],
    ])
    .unwrap()
}

/// Each term alone, and all together.
fn objectives() -> Vec<Objective> {
    let alone = Term::ALL.map(|term| Objective::NONE.with(term, 1.0));
    let different = |place: usize| [0.7, 1.3, 2.1, 0.2, 0.9][place % 5];
    let all = Term::ALL.into_iter().enumerate();
    let all = all.fold(Objective::NONE, |sum, (place, term)| {
        sum.with(term, different(place))
    });
    let paper = all.by(Convention::Paper);
    alone.into_iter().chain([all, paper]).collect()
}

fn whole(n_voxels: usize, n_genes: usize) -> super::Whole {
    super::Whole { n_voxels, n_genes }
}

#[test]
fn gradients_of_every_term_are_its_finite_differences() {
    let g = array![
        [1.0f32, 0.0, 2.0, 0.5],
        [0.0, 3.0, 1.0, 0.0],
        [2.0, 1.0, 0.0, 4.0]
    ];
    let a = array![
        [0.3, 0.2, 1.1, 0.7],
        [0.9, 2.0, 0.4, 0.1],
        [1.5, 0.6, 0.2, 2.2],
        // Cells of two types: some voxels have more than their neighbours.
        [3.1, 0.2, 0.9, 0.1],
        [0.3, 0.5, 0.4, 0.6]
    ];
    let q = vec![0.4, 0.3, 0.1, 0.2];
    let prior = DensityPrior::new(vec![1.0, 0.0, 2.0, 3.0]).unwrap();
    for objective in objectives() {
        let (graph, sums) = (graph(), whole(4, 3));
        let known = known(prior.weights(), &graph);
        let loss = LossFunction::of_shard(&objective, g.clone(), known, &sums);
        let at = |a: &Array2<f64>, q: &[f64]| {
            let (mut a, mut q) = (a.clone(), q.to_vec());
            loss.evaluate_shard(a.view_mut(), &mut q, CELLS, &sums)
                .total
        };
        let (mut w, mut u) = (a.clone(), q.clone());
        loss.evaluate_shard(w.view_mut(), &mut u, CELLS, &sums);
        for (place, slope) in w.indexed_iter() {
            let (mut up, mut down) = (a.clone(), a.clone());
            up[place] += STEP;
            down[place] -= STEP;
            let difference = (at(&up, &q) - at(&down, &q)) / (2.0 * STEP);
            assert!(
                (difference - slope).abs() < DIFFERENCES,
                "{objective:?} A{place:?}: {difference} {slope}"
            );
        }
        for (j, slope) in u.iter().enumerate() {
            let (mut up, mut down) = (q.clone(), q.clone());
            up[j] += STEP;
            down[j] -= STEP;
            let difference = (at(&a, &up) - at(&a, &down)) / (2.0 * STEP);
            assert!(
                (difference - slope).abs() < 1e-4 * DIFFERENCES.max(slope.abs()),
                "{objective:?} q{j}: {difference} {slope}"
            );
        }
    }
}

#[test]
fn an_empty_voxel_or_gene_costs_but_is_no_nan() {
    let objective = Objective::NONE
        .with(Term::Gene, 1.0)
        .with(Term::Voxel, 1.0)
        .with(Term::Density, 1.0);
    let prior = DensityPrior::uniform(2).unwrap();
    let measured = array![[1.0f32, 0.0], [2.0, 0.0]];
    let loss = LossFunction::new(&objective, measured, Some(prior.weights()));
    let (mut a, mut q) = (array![[1.0, 0.0], [0.0, 0.0]], vec![1.0, 0.0]);
    let loss = loss.evaluate(a.view_mut(), &mut q, 1.0, None);
    assert!(loss.total.is_finite() && loss.terms[Term::Density].unwrap() > 10.0);
    assert!(a.iter().chain(&q).all(|x| x.is_finite()));
}

#[test]
fn the_papers_convention_sums_cosines_and_turns_the_divergence_round() {
    let objective = Objective::NONE
        .with(Term::Gene, 0.5)
        .with(Term::Voxel, 2.0)
        .with(Term::Density, 3.0);
    let measured = array![[1.0f32, 0.0, 2.0], [0.0, 3.0, 1.0]];
    let (a, q) = (array![[0.3, 0.2, 1.1], [0.9, 2.0, 0.4]], [0.5, 0.3, 0.2]);
    let prior = [0.2, 0.2, 0.6];
    let of = |objective: &Objective| {
        let loss = LossFunction::new(objective, measured.clone(), Some(&prior));
        loss.evaluate(a.clone().view_mut(), &mut q.to_vec(), 1.0, None)
    };
    let (package, paper) = (of(&objective), of(&objective.by(Convention::Paper)));
    for term in [Term::Gene, Term::Voxel] {
        assert_eq!(package.terms[term], paper.terms[term], "means are shown");
    }
    let value = |term: Term| paper.terms[term].unwrap();
    let divergence: f64 = q.iter().zip(prior).map(|(q, d)| q * (q / d).ln()).sum();
    assert!((value(Term::Density) - divergence).abs() < 1e-15);
    let total = 3.0 * divergence - 0.5 * 2.0 * value(Term::Gene) - 2.0 * 3.0 * value(Term::Voxel);
    assert!((paper.total - total).abs() < 1e-14);
}

#[test]
fn a_term_without_weight_or_data_is_not_computed() {
    let objective = Objective::NONE.with(Term::Density, 1.0);
    let loss = LossFunction::new(&objective, array![[1.0f32, 2.0]], None);
    let (mut a, mut q) = (array![[1.0, 0.5]], vec![0.5, 0.5]);
    let loss = loss.evaluate(a.view_mut(), &mut q, 1.0, None);
    assert_eq!(loss.total, 0.0);
    assert!(Term::ALL.iter().all(|&term| loss.terms[term].is_none()));
    assert!(a.iter().chain(&q).all(|&x| x == 0.0));
}

/// Voxels of ranks that are threads: 0 to 2, and the others.
struct OfTwo<'a> {
    rank: usize,
    board: &'a (Barrier, Mutex<[Vec<Vec<f64>>; 2]>),
    /// What this rank exchanged.
    done: Mutex<Vec<Exchange>>,
}

const SPLIT: usize = 3;
const N: (usize, usize) = (4, 3);

impl OfTwo<'_> {
    fn exchange(&self, mine: Vec<Vec<f64>>) -> [Vec<Vec<f64>>; 2] {
        let (barrier, board) = self.board;
        board.lock().unwrap()[self.rank] = mine;
        barrier.wait();
        let all = board.lock().unwrap().clone();
        barrier.wait();
        all
    }
}

impl Sums for OfTwo<'_> {
    fn voxel_blocks(&self) -> Vec<Range<usize>> {
        match self.rank {
            // Two blocks on one rank.
            0 => vec![0..2, 2..SPLIT],
            _ => std::iter::once(0..N.0 - SPLIT).collect(),
        }
    }
    fn gene_blocks(&self) -> Vec<Range<usize>> {
        vec![0..1, 1..2, 2..3]
    }
    fn over_voxels(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        let n = blocks[0].len();
        self.done.lock().unwrap().push(Exchange::SumOverVoxels(n));
        add(self.exchange(blocks).concat())
    }
    fn over_genes(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        let n = blocks[0].len();
        self.done.lock().unwrap().push(Exchange::SumOverGenes(n));
        add(blocks)
    }
    fn size(&self) -> (usize, usize) {
        N
    }
    fn voxel_shards(&self) -> VoxelShards {
        VoxelShards {
            ranges: vec![0..SPLIT, SPLIT..N.0],
            own: self.rank,
        }
    }
    fn swap_voxels(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        assert!(to[self.rank].is_empty(), "nothing to itself");
        let n = to.iter().map(Vec::len).sum();
        self.done.lock().unwrap().push(Exchange::ToNeighbours(n));
        let all = self.exchange(to);
        all.map(|from| from[self.rank].clone()).to_vec()
    }
}

fn add(blocks: Vec<Vec<f64>>) -> Vec<f64> {
    let add = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a + b).collect();
    blocks.into_iter().reduce(add).unwrap()
}

#[test]
fn two_shards_of_voxels_are_the_whole_and_exchange_what_they_declare() {
    let g = Array2::from_shape_fn((3, 4), |(k, j)| ((k * 5 + j * 3) % 7) as f32);
    let a = Array2::from_shape_fn((3 + N_TYPES, 4), |(k, j)| {
        0.5 + ((k * 2 + j * 11) % 5) as f64
    });
    let (prior, q, graph) = ([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.1, 0.2], graph());
    for objective in objectives() {
        let all = whole(4, 3);
        let one = LossFunction::of_shard(&objective, g.clone(), known(&prior, &graph), &all);
        let (mut w, mut u) = (a.clone(), q.to_vec());
        let one = one.evaluate_shard(w.view_mut(), &mut u, CELLS, &all);
        let board = (Barrier::new(2), Mutex::default());
        let rank = |rank: usize| {
            let sums = OfTwo {
                rank,
                board: &board,
                done: Mutex::default(),
            };
            let shards = sums.voxel_shards();
            let own = shards.range();
            let part = g.slice(ndarray::s![.., own.clone()]).to_owned();
            let known = known(&prior[own.clone()], &graph);
            let loss = LossFunction::of_shard(&objective, part, known, &sums);
            let mut part = a.slice(ndarray::s![.., own.clone()]).to_owned();
            let mut density = q[own.clone()].to_vec();
            sums.done.lock().unwrap().clear();
            let two = loss.evaluate_shard(part.view_mut(), &mut density, CELLS, &sums);
            assert!((one.total - two.total).abs() < 1e-14, "{objective:?}");
            let expected = w.slice(ndarray::s![.., own.clone()]);
            let apart = (&expected - &part)
                .iter()
                .fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(apart < 1e-14, "{objective:?}: {apart}");
            assert_eq!(density, u[own.clone()]);
            let shard = Shard {
                n_genes: 3,
                n_voxels: own.len(),
                has_prior: true,
                neighbours: Some((&graph, &shards)),
                n_types: N_TYPES,
            };
            assert_eq!(objective.exchanges(&shard), *sums.done.lock().unwrap());
        };
        std::thread::scope(|scope| {
            let ranks = [0, 1].map(|r| scope.spawn(move || rank(r)));
            ranks.into_iter().for_each(|r| r.join().unwrap());
        });
    }
}

#[test]
fn the_terms_of_a_filter_are_its_count_and_how_undecided_it_is() {
    let objective = Objective::NONE
        .with(Term::Count, 0.5)
        .with(Term::Undecided, 2.0);
    let (graph, all) = (graph(), whole(4, 1));
    let measured = array![[1.0f32, 0.0, 2.0, 0.5]];
    let known = known(&[0.25; 4], &graph);
    let loss = LossFunction::of_shard(&objective, measured.clone(), known, &all);
    let mut a = array![[1.0, 0.5, 1.0, 2.0], [0.0; 4], [0.0; 4]];
    let mut q = vec![0.25; 4];
    let loss = loss.evaluate_shard(a.view_mut(), &mut q, CELLS, &all);
    assert_eq!(loss.total, 0.5 * 8.0 + 2.0 * 3.0);
    assert_eq!(loss.terms[Term::Count], Some(8.0));
    // Without a filter there is nothing to count.
    let none = Known::default();
    let loss = LossFunction::of_shard(&objective, measured, none, &all);
    let genes = a.slice_mut(ndarray::s![..1, ..]);
    let loss = loss.evaluate(genes, &mut q, 1.0, None);
    assert_eq!((loss.total, loss.terms[Term::Count]), (0.0, None));
}
