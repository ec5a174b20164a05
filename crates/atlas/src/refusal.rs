//! Reasons why a registration is refused.

use std::fmt;

/// Why a registration was refused.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// No plane of the atlas has tissue of such a form.
    NoStart,
    /// The classes do not fit.
    Dice {
        /// Mean Dice.
        found: f64,
        /// The limit.
        least: f64,
    },
    /// Several depths fit almost equally well.
    Depths {
        /// Their largest difference, micrometres.
        found: f64,
        /// The limit.
        most: f64,
    },
    /// It is expected to be far off.
    Expected {
        /// Expected error, micrometres.
        found: f64,
        /// What nine of ten such sections are off by at most.
        p90: f64,
        /// The limit.
        most: f64,
    },
    /// The warp squeezes tissue to almost nothing.
    Jacobian {
        /// Smallest Jacobian.
        found: f64,
        /// The limit.
        least: f64,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStart => f.write_str("no plane of the atlas shows tissue like this"),
            Self::Dice { found, least } => write!(
                f,
                "the mask and the atlas overlap poorly (mean Dice {found:.2}, the limit is {least}); does the mask use the \
                 atlas's classes, and is --pixel-size right?"
            ),
            Self::Depths { found, most } => write!(
                f,
                "places {found:.0} µm apart fit almost equally well (the limit is {most} µm); the mask shows too little"
            ),
            Self::Expected { found, p90, most } => write!(
                f,
                "it is expected to be about {found:.0} µm off, nine of ten such sections at most {p90:.0} µm (the limit is {most} µm, --max-error); \
                 is the mask right, and does it show enough?"
            ),
            Self::Jacobian { found, least } => write!(
                f,
                "the warp squeezes tissue to {found:.2} of its area (the limit is {least})"
            ),
        }
    }
}
