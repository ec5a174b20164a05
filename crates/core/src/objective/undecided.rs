//! The filter's own term, `+ λ_f · Σ_i (f_i − f_i²)`: a cell takes part wholly or not at all.

use super::sums::{Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};

pub(super) const ABOUT: About = About {
    name: "undecided",
    setting: "lambda-f-reg",
    help: "Weight of the filter keeping a cell wholly or not at all",
    default: DefaultWeight::Is(1.0),
    needs: Needs::PackageFilter,
    sense: Sense::Minimised,
    exchanges: |_| Vec::new(),
    shown: Shown::WhenComputed,
    matrices: 0,
    prepare: |data, _| {
        data.target?;
        Some(Box::new(UndecidedTerm))
    },
};

/// Biancalani et al. 2021, Methods, equation 2: the sum over cells of `f − f²`, 0 where every f is 0 or 1.
///
/// It is no function of A and q: whoever moves the filter follows the slope by f_i, `λ_f (1 − 2 f_i)`.
#[derive(Debug)]
struct UndecidedTerm;

impl LossTerm for UndecidedTerm {
    fn evaluate(
        &self,
        _: f64,
        given: &Comparison<'_>,
        _: &Exchanges<'_, dyn Sums + '_>,
        _: &mut Slopes,
    ) -> f64 {
        given
            .cells
            .undecided
            .expect("solvers with a filter sum f − f²")
    }
}
