//! The density term, `+ λ_d · Σ_j d_j (log d_j − log q_j)`: cells lie as densely as the prior expects. By the paper's convention it is
//! `+ λ_d · Σ_j q_j (log q_j − log d_j)`.

use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};
use super::weights::Convention;

/// A predicted density is clamped from below at this: a voxel without cells must cost much, not everything.
/// Differs: the package lets log 0 turn the whole run to NaN.
const SMALLEST_DENSITY: f64 = 1e-30;

pub(super) const ABOUT: About = About {
    name: "density",
    setting: "lambda-d",
    help: "Weight of the cells lying as densely as the prior expects",
    default: DefaultWeight::Is(1.0),
    needs: Needs::Prior,
    sense: Sense::Minimised,
    exchanges: |shard| match shard.has_prior {
        true => vec![Exchange::SumOverVoxels(1)],
        false => Vec::new(),
    },
    shown: Shown::Always,
    matrices: 0,
    prepare: |data, _| {
        let prior = data.prior?.to_vec();
        Some(match data.convention {
            Convention::Package => Box::new(DensityTerm { prior }) as Box<dyn LossTerm>,
            Convention::Paper => Box::new(ReverseDensityTerm { prior }),
        })
    },
};

/// Kullback-Leibler divergence of the predicted density q from the prior d, in nats.
///
/// Slope by q_j: `− λ_d d_j / q_j`.
#[derive(Debug)]
struct DensityTerm {
    /// d, (voxels).
    prior: Vec<f64>,
}

impl LossTerm for DensityTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let pairs = given.density.iter().zip(&self.prior);
        let slope = pairs.map(|(q, d)| -weight * d / q.max(SMALLEST_DENSITY));
        slopes.add_by_density(slope.collect());
        exchanges.over_voxels(|voxels| {
            vec![divergence(
                &self.prior[voxels.clone()],
                &given.density[voxels],
            )]
        })[0]
    }
}

/// Kullback-Leibler divergence of the prior d from the predicted density q, in nats: the paper's, Biancalani et al. 2021, equation 1.
///
/// Slope by q_j: `λ_d (log q_j − log d_j + 1)`. A prior is clamped from below, too.
#[derive(Debug)]
struct ReverseDensityTerm {
    /// d, (voxels).
    prior: Vec<f64>,
}

impl LossTerm for ReverseDensityTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let log = |x: f64| x.max(SMALLEST_DENSITY).ln();
        let pairs = given.density.iter().zip(&self.prior);
        let slope = pairs.map(|(&q, &d)| weight * (log(q) - log(d) + 1.0));
        slopes.add_by_density(slope.collect());
        exchanges.over_voxels(|voxels| {
            let density = given.density[voxels.clone()].iter();
            let pairs = density.zip(&self.prior[voxels]);
            vec![pairs.map(|(&q, &d)| q * (log(q) - log(d))).sum()]
        })[0]
    }
}

/// `Σ_j d_j (log d_j − log q_j)`; voxels where the prior is 0 do not count.
fn divergence(prior: &[f64], density: &[f64]) -> f64 {
    let pairs = prior.iter().zip(density).filter(|(d, _)| **d > 0.0);
    pairs
        .map(|(d, q)| d * (d.ln() - q.max(SMALLEST_DENSITY).ln()))
        .sum()
}
