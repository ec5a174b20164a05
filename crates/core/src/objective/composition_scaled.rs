//! The composition term with a factor for every gene, fitted at every pass: cells and voxels were measured by different methods.

use super::composition::{CompositionTerm, Platform};
use super::sums::Exchange;
use super::term::{About, DefaultWeight, Needs, Sense, Shown};

pub(super) const ABOUT: About = About {
    name: "composition-scaled",
    setting: "lambda-h-scaled",
    help: "The same with a factor for every gene, fitted at every pass: for cells and voxels measured by different methods",
    default: DefaultWeight::OfGoal,
    needs: Needs::Expression,
    sense: Sense::Maximised,
    exchanges: |shard| {
        vec![
            Exchange::SumOverVoxels(shard.n_genes),
            Exchange::SumOverGenes(shard.n_voxels),
            Exchange::SumOverGenes(2 * shard.n_voxels),
            Exchange::SumOverVoxels(1),
            Exchange::SumOverVoxels(shard.n_genes),
        ]
    },
    shown: Shown::WhenComputed,
    // Shares of G, and the slope.
    matrices: 2,
    prepare: |data, sums| Some(Box::new(CompositionTerm::new(Platform::Fitted, data, sums))),
};
