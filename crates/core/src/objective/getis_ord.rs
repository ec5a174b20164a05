//! The Getis-Ord term, `− λ_go · mean_k cos(G*(A)_·k, G*(G)_·k)`: every gene has its hot and cold spots where they are measured.

use super::neighbourhood::{SurroundingsTerm, surroundings_exchanges};
use super::term::{About, DefaultWeight, Needs, Sense, Shown};

/// The package's main branch, `lambda_getis_ord`: Getis-Ord's `G*_·k = (B + I) X_·k / Σ_j X_jk`, with B the graph whose weights are 1.
///
/// The sum of a gene is one factor of its column, which its cosine does not see: the term is that of the neighbourhood with B for W.
pub(super) const ABOUT: About = About {
    name: "getis-ord",
    setting: "lambda-getis-ord",
    help: "Weight of every gene having its hot spots where they are measured (Getis-Ord G*; --neighbours)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Neighbours,
    sense: Sense::Maximised,
    exchanges: surroundings_exchanges,
    shown: Shown::WhenComputed,
    matrices: 3,
    prepare: |data, sums| {
        let graph = data.neighbours?.unweighted();
        Some(Box::new(SurroundingsTerm::new(&graph, data, sums)))
    },
};
