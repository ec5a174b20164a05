//! How good a registration is, and when it is too poor to be a result.

use crate::expected::ExpectedError;
use crate::refusal::Refusal;
use crate::transform::InverseConsistency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Signs of how far off a registration may be, by name. Each is a finite number.
pub type Signs = BTreeMap<String, f64>;

/// Measures of a registration that need no known truth. A high Dice does not prove a small error inside a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Quality {
    /// Mean over the classes of the tissue, each weighted by the root of its area.
    pub mean_dice: f64,
    /// 2 Σ m q / (Σ m² + Σ q²) of mask and atlas, for every class that either shows.
    pub dice: BTreeMap<String, f64>,
    /// The loss that was minimised.
    pub loss: f64,
    /// The smallest factor by which the warp stretches an area.
    pub smallest_jacobian: f64,
    /// Whether the transform's two directions undo each other.
    pub inverse_consistency: InverseConsistency,
    /// Other starts that reached the last stage: how far their depth is from the result's, and by how much their loss
    /// is larger.
    pub other_starts: Vec<OtherStart>,
    /// The largest difference of depth among starts whose loss is almost as small, micrometres; 0 if there is none.
    pub depth_spread_um: f64,
    /// How far off the registration is expected to be; `None` in records of earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_error: Option<ExpectedError>,
    /// Numbers from which the error is predicted.
    #[serde(default)]
    pub signs: Signs,
}

/// A start whose loss was larger than that of the result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OtherStart {
    /// Its depth less that of the result.
    pub depth_difference_um: f64,
    /// Its turn in the image less that of the result, degrees.
    pub turn_difference_deg: f64,
    /// Its loss less that of the result.
    pub loss_difference: f64,
}

/// Limits beyond which a registration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// The smallest mean Dice.
    pub min_dice: f64,
    /// The largest depth spread of starts that fit almost equally well.
    pub max_depth_spread_um: f64,
    /// The smallest Jacobian of the warp.
    pub min_jacobian: f64,
    /// The largest expected error, its median.
    pub max_expected_error_um: f64,
}

/// Losses that differ by less are almost equal.
pub(crate) const ALMOST: f64 = 0.01;

impl Default for Limits {
    /// The first three were chosen by hand; the expected error is calibrated on synthetic sections.
    fn default() -> Self {
        Self {
            min_dice: 0.6,
            max_depth_spread_um: 600.0,
            min_jacobian: 0.05,
            max_expected_error_um: 300.0,
        }
    }
}

impl Limits {
    /// Whether a registration is good enough.
    ///
    /// # Errors
    /// The first reason why it is not.
    pub fn check(&self, quality: &Quality) -> Result<(), Refusal> {
        if quality.mean_dice.is_nan() || quality.mean_dice < self.min_dice {
            return Err(Refusal::Dice {
                found: quality.mean_dice,
                least: self.min_dice,
            });
        }
        if quality.depth_spread_um > self.max_depth_spread_um {
            return Err(Refusal::Depths {
                found: quality.depth_spread_um,
                most: self.max_depth_spread_um,
            });
        }
        if quality.smallest_jacobian < self.min_jacobian {
            return Err(Refusal::Jacobian {
                found: quality.smallest_jacobian,
                least: self.min_jacobian,
            });
        }
        match quality.expected_error {
            Some(expected) if expected.median_um > self.max_expected_error_um => {
                Err(Refusal::Expected {
                    found: expected.median_um,
                    p90: expected.p90_um,
                    most: self.max_expected_error_um,
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality() -> Quality {
        Quality {
            mean_dice: 0.9,
            dice: BTreeMap::new(),
            loss: 0.1,
            smallest_jacobian: 0.8,
            inverse_consistency: InverseConsistency {
                median_um: 0.1,
                max_um: 2.0,
            },
            other_starts: Vec::new(),
            depth_spread_um: 10.0,
            expected_error: None,
            signs: Signs::new(),
        }
    }

    #[test]
    fn each_limit_refuses_for_its_own_reason() {
        let limits = Limits::default();
        limits.check(&quality()).unwrap();
        let check = |quality: Quality, reason: &str| {
            let refusal = limits.check(&quality).unwrap_err().to_string();
            assert!(refusal.contains(reason), "{refusal}");
        };
        for mean_dice in [0.3, f64::NAN] {
            let poor = Quality {
                mean_dice,
                ..quality()
            };
            check(poor, "overlap poorly");
        }
        let torn = Quality {
            depth_spread_um: 900.0,
            ..quality()
        };
        check(torn, "900 µm apart");
        let squeezed = Quality {
            smallest_jacobian: -0.1,
            ..quality()
        };
        check(squeezed, "squeezes");
        let far = Quality {
            expected_error: Some(ExpectedError {
                median_um: 700.0,
                p90_um: 1500.0,
            }),
            ..quality()
        };
        check(far, "about 700 µm off");
    }
}
