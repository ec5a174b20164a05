//! Prediction intervals: where the measured values of held-out genes lie for a predicted one.

use crate::error::Result;
use tangram_report::Figure;
use tangram_report::intervals::{Band, Held, intervals};

/// What the chart shows, in a sentence.
pub(crate) const ABOUT: &str = "Prediction intervals: where 50 and 90 % of the measured values of a held-out gene lie, by its predicted value. Bands made of four fifths of the genes hold the told part of the values of the others";
/// Bins of the predicted values, with as many values each.
const BINS: usize = 20;
/// The quantiles of a band.
const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];
/// Parts of the genes: the bands of all others judge each.
const PARTS: usize = 5;
/// Pairs above which not every voxel is looked at.
const MOST_PAIRS: usize = 4_000_000;

/// Predicted and measured values of genes, both as multiples of the gene's mean.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// Of the voxels, the first of every `step` counts.
    step: usize,
    of_genes: Vec<Vec<(f32, f32)>>,
}

impl Pairs {
    /// Without a gene yet.
    pub(crate) fn new(n_voxels: usize, n_genes: usize) -> Self {
        Self {
            step: (n_voxels * n_genes).div_ceil(MOST_PAIRS).max(1),
            of_genes: Vec::new(),
        }
    }

    /// Adds a gene; one without a mean above 0 on either side has no multiples of it and is left out.
    ///
    /// * `predicted`, `measured`: one for each voxel
    pub(crate) fn add(&mut self, predicted: &[f32], measured: &[f32]) {
        let mean = |values: &[f32]| {
            values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
        };
        let (p, m) = (mean(predicted), mean(measured));
        if p > 0.0 && m > 0.0 {
            let pairs = predicted.iter().zip(measured).step_by(self.step);
            let pairs = pairs.map(|(a, b)| {
                let [a, b] = [(a, p), (b, m)].map(|(v, mean)| (f64::from(*v) / mean) as f32);
                (a, b)
            });
            self.of_genes.push(pairs.collect());
        }
    }

    /// The chart; `None` if there are too few genes to judge some by others.
    pub(crate) fn figure(&self) -> Result<Option<Figure>> {
        if self.of_genes.len() < PARTS {
            return Ok(None);
        }
        let bands = self.bands(|_| true);
        if bands.len() < 2 {
            return Ok(None);
        }
        Ok(Some(intervals(&bands, self.held(), self.of_genes.len())?))
    }

    /// Quantiles of the measured values in bins of the predicted ones, of chosen genes.
    fn bands(&self, chosen: impl Fn(usize) -> bool) -> Vec<Band> {
        let genes = self.of_genes.iter().enumerate();
        let mut pairs: Vec<(f32, f32)> = genes
            .filter(|(gene, _)| chosen(*gene))
            .flat_map(|(_, pairs)| pairs.iter().copied())
            .collect();
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut bands: Vec<Band> = Vec::with_capacity(BINS);
        for bin in 0..BINS {
            let part = &pairs[bin * pairs.len() / BINS..(bin + 1) * pairs.len() / BINS];
            if part.is_empty() {
                continue;
            }
            let mut measured: Vec<f32> = part.iter().map(|p| p.1).collect();
            measured.sort_unstable_by(f32::total_cmp);
            let at = |q: f64| {
                let rank = (q * measured.len() as f64).ceil() as usize;
                f64::from(measured[rank.clamp(1, measured.len()) - 1])
            };
            let predicted = f64::from(part[part.len() / 2].0);
            // Values that are alike fill several bins.
            if bands.last().is_none_or(|b| b.predicted < predicted) {
                bands.push(Band {
                    predicted,
                    measured: QUANTILES.map(at),
                });
            }
        }
        bands
    }

    /// The part of the values within the bands that genes of other parts make.
    fn held(&self) -> Held {
        let (mut n, mut ninety, mut fifty) = (0usize, 0usize, 0usize);
        for part in 0..PARTS {
            let bands = self.bands(|gene| gene % PARTS != part);
            for pairs in self.of_genes.iter().skip(part).step_by(PARTS) {
                for &(predicted, measured) in pairs {
                    let range = at(&bands, f64::from(predicted));
                    let within = |low: usize, high: usize| {
                        (range[low]..=range[high]).contains(&f64::from(measured))
                    };
                    n += 1;
                    ninety += usize::from(within(0, 4));
                    fifty += usize::from(within(1, 3));
                }
            }
        }
        let share = |k: usize| k as f64 / n.max(1) as f64;
        Held {
            ninety: share(ninety),
            fifty: share(fifty),
        }
    }
}

/// The quantiles at a predicted value: on the lines between the bands, at the ends those of the last band.
fn at(bands: &[Band], predicted: f64) -> [f64; 5] {
    let after = bands.partition_point(|b| b.predicted <= predicted);
    let (a, b) = match after {
        0 => return bands[0].measured,
        n if n == bands.len() => return bands[n - 1].measured,
        n => (bands[n - 1], bands[n]),
    };
    let t = (predicted - a.predicted) / (b.predicted - a.predicted);
    std::array::from_fn(|q| a.measured[q] + t * (b.measured[q] - a.measured[q]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number from 0 to 1 that looks drawn at random.
    fn noise(i: usize) -> f32 {
        let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 40) as f32
            / (1u32 << 24) as f32
    }

    #[test]
    fn bands_hold_their_part_of_the_values_of_other_genes() {
        let mut pairs = Pairs::new(400, 50);
        for gene in 0..50 {
            let at = |k: usize| 4000 * gene + k;
            let predicted: Vec<f32> = (0..400).map(|k| 3.0 * noise(at(k))).collect();
            // Uniform between 0 and twice what was predicted, in other units.
            let values = predicted.iter().enumerate();
            let measured: Vec<f32> = values.map(|(k, p)| 70.0 * p * noise(at(k) + 777)).collect();
            pairs.add(&predicted, &measured);
        }
        pairs.add(&[0.0; 400], &[1.0; 400]);
        assert_eq!(pairs.of_genes.len(), 50);
        let held = pairs.held();
        assert!((held.ninety - 0.9).abs() < 0.02, "{held:?}");
        assert!((held.fifty - 0.5).abs() < 0.02, "{held:?}");
        let bands = pairs.bands(|_| true);
        assert_eq!(bands.len(), BINS);
        let median = at(&bands, 1.0)[2];
        assert!((median - 1.0).abs() < 0.1, "{median}");
        assert_eq!(at(&bands, -1.0), bands[0].measured);
        assert_eq!(at(&bands, 99.0), bands[BINS - 1].measured);
        assert!(pairs.figure().unwrap().is_some());
        assert!(Pairs::new(1, 1).figure().unwrap().is_none());
    }
}
