//! The expected error of a registration: predicted from its [signs](crate::Signs) by a regression that was fitted on synthetic sections.

use crate::quality::Signs;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// How far off a registration is expected to be.
///
/// The error is the median distance, over the section's tissue, between found and true atlas positions. What predicts it was fitted on
/// synthetic sections: where tissue differs in ways that they do not, the expectation does not know of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExpectedError {
    /// Half of the sections with such signs are off by less.
    pub median_um: f64,
    /// Nine of ten sections with such signs are off by less.
    pub p90_um: f64,
}

/// Predicts the logarithm of the target registration error, linearly in standardised signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ErrorPredictor {
    /// What it was fitted on.
    pub made_from: String,
    /// Natural logarithm of the error, in µm, where all signs have their mean.
    pub intercept: f64,
    /// Nine of ten logarithms of errors are larger than predicted by less, in cross-validation.
    pub log_p90: f64,
    /// The signs.
    #[serde(rename = "sign")]
    pub signs: Vec<Sign>,
}

/// A sign and how it counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Sign {
    /// Its name.
    pub name: String,
    /// Mean over the sections of the fit.
    pub mean: f64,
    /// Standard deviation over them.
    pub deviation: f64,
    /// Values beyond are taken to be at its ends.
    pub range: [f64; 2],
    /// What a standard deviation adds to the logarithm.
    pub weight: f64,
}

impl Sign {
    /// The standardised value among some signs; `None` if it is not there or no number.
    #[must_use]
    pub fn terms(&self, signs: &Signs) -> Option<f64> {
        let value = signs.get(&self.name).filter(|v| v.is_finite())?;
        let [low, high] = self.range;
        Some((value.clamp(low, high) - self.mean) / self.deviation)
    }
}

impl ErrorPredictor {
    /// The one that registrations use.
    ///
    /// # Panics
    /// If its file is damaged; a test reads it.
    #[must_use]
    pub fn built_in() -> &'static Self {
        static PREDICTOR: OnceLock<ErrorPredictor> = OnceLock::new();
        PREDICTOR.get_or_init(|| {
            toml::from_str(include_str!("error_predictor.toml")).expect("a predictor")
        })
    }

    /// The expected error; `None` if a sign is missing.
    #[must_use]
    pub fn expect(&self, signs: &Signs) -> Option<ExpectedError> {
        let mut log = self.intercept;
        for sign in &self.signs {
            log += sign.weight * sign.terms(signs)?;
        }
        Some(ExpectedError {
            median_um: log.exp(),
            p90_um: (log + self.log_p90).exp(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_predictor_is_whole_and_worse_signs_mean_more() {
        let predictor = ErrorPredictor::built_in();
        assert!(predictor.made_from.contains("seeds 2000000"));
        let usual: Signs = predictor
            .signs
            .iter()
            .map(|sign| (sign.name.clone(), sign.mean))
            .collect();
        let expected = predictor.expect(&usual).unwrap();
        assert!((expected.median_um.ln() - predictor.intercept).abs() < 1e-9);
        assert!(expected.p90_um > expected.median_um);
        let dice = predictor.signs.iter().find(|s| s.name == "dice").unwrap();
        let with = |value: f64| {
            let mut signs = usual.clone();
            signs.insert("dice".to_owned(), value);
            predictor.expect(&signs)
        };
        let worse = with(dice.mean + dice.deviation).unwrap().median_um;
        assert!((worse / expected.median_um).ln() > 0.5, "{worse}");
        // Beyond what the sections of the fit had, nothing is added.
        assert_eq!(with(dice.range[1]), with(dice.range[1] + 100.0));
        assert_eq!(with(f64::NAN), None);
        assert_eq!(predictor.expect(&Signs::new()), None);
    }
}
