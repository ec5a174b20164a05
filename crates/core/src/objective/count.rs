//! The count term, `+ λ_count · |Σ_i f_i − T|`: the filter keeps as many cells as are expected.

use super::sums::{Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};

pub(super) const ABOUT: About = About {
    name: "count",
    setting: "lambda-count",
    help: "Weight of the filter keeping as many cells as expected",
    default: DefaultWeight::Is(1.0),
    needs: Needs::PackageFilter,
    sense: Sense::Minimised,
    exchanges: |_| Vec::new(),
    shown: Shown::WhenComputed,
    matrices: 0,
    prepare: |data, _| {
        let target = data.target?;
        Some(Box::new(CountTerm { target }))
    },
};

/// Biancalani et al. 2021, Methods, equation 2: how far the filtered number of cells is from its target T.
///
/// It is no function of A and q: whoever moves the filter follows the slope by f_i, `λ_count sign(Σ f − T)`.
#[derive(Debug)]
struct CountTerm {
    /// T.
    target: f64,
}

impl LossTerm for CountTerm {
    fn evaluate(
        &self,
        _: f64,
        given: &Comparison<'_>,
        _: &Exchanges<'_, dyn Sums + '_>,
        _: &mut Slopes,
    ) -> f64 {
        (given.cells.mass - self.target).abs()
    }
}
