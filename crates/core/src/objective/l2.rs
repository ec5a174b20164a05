//! The L2 term, `+ λ_l2 · Σ M̃_ij²`: no logit is large.

use super::sums::{Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};

pub(super) const ABOUT: About = About {
    name: "l2",
    setting: "lambda-l2",
    help: "Weight of no logit being large, by the sum of their squares (adam only)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Nothing,
    sense: Sense::Minimised,
    exchanges: |_| Vec::new(),
    shown: Shown::WhenComputed,
    matrices: 0,
    prepare: |_, _| Some(Box::new(L2Term)),
};

/// The package's main branch, `lambda_l2`.
///
/// It is no function of A and q: Adam sums it over its logits and follows the slope by M̃_ij, `2 λ_l2 M̃_ij`, itself.
#[derive(Debug)]
struct L2Term;

impl LossTerm for L2Term {
    fn evaluate(
        &self,
        _: f64,
        given: &Comparison<'_>,
        _: &Exchanges<'_, dyn Sums + '_>,
        _: &mut Slopes,
    ) -> f64 {
        let [_, sum] = given
            .cells
            .logits
            .expect("Adam sums its logits where a weight asks for it");
        sum
    }
}
