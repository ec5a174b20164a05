//! The L1 term, `+ λ_l1 · Σ |M̃_ij|`: no logit is large.

use super::sums::{Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};

pub(super) const ABOUT: About = About {
    name: "l1",
    setting: "lambda-l1",
    help: "Weight of no logit being large, by the sum of their magnitudes (adam only)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Nothing,
    sense: Sense::Minimised,
    exchanges: |_| Vec::new(),
    shown: Shown::WhenComputed,
    matrices: 0,
    prepare: |_, _| Some(Box::new(L1Term)),
};

/// The package's main branch, `lambda_l1`.
///
/// It is no function of A and q: Adam sums it over its logits and follows the slope by M̃_ij, `λ_l1 sign M̃_ij`, itself.
#[derive(Debug)]
struct L1Term;

impl LossTerm for L1Term {
    fn evaluate(
        &self,
        _: f64,
        given: &Comparison<'_>,
        _: &Exchanges<'_, dyn Sums + '_>,
        _: &mut Slopes,
    ) -> f64 {
        let [sum, _] = given
            .cells
            .logits
            .expect("Adam sums its logits where a weight asks for it");
        sum
    }
}
