//! The entropy term, `+ λ_r · H`, `H = − Σ_ij P_ij log P_ij`: every cell sits in few voxels.

use super::sums::{Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};

pub(super) const ABOUT: About = About {
    name: "entropy",
    setting: "lambda-r",
    help: "Weight of every cell sitting in few voxels (entropy)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Nothing,
    sense: Sense::Minimised,
    exchanges: |_| Vec::new(),
    shown: Shown::Always,
    matrices: 0,
    prepare: |_, _| Some(Box::new(EntropyTerm)),
};

/// Entropy of P summed over cells, in nats.
///
/// H is no function of A and q. The solvers sum it while they compute P, and follow its slope by P_ij,
/// `− λ_r (log P_ij + 1)`, themselves.
#[derive(Debug)]
struct EntropyTerm;

impl LossTerm for EntropyTerm {
    fn evaluate(
        &self,
        _: f64,
        given: &Comparison<'_>,
        _: &Exchanges<'_, dyn Sums + '_>,
        _: &mut Slopes,
    ) -> f64 {
        given
            .cells
            .entropy
            .expect("solvers sum the entropy where its weight is not 0")
    }
}
