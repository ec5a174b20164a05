//! Values of flags, parsed and checked.

use std::fmt::{self, Display};
use std::str::FromStr;
use tangram_comm::GridShape;
use tangram_core::{Keep, KeepError};

/// Where the density prior comes from: written `rna`, `uniform`, `obs:COLUMN` or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PriorChoice {
    /// In proportion to the counts of each voxel.
    Rna,
    /// The same for every voxel.
    Uniform,
    /// A column of the voxels' obs.
    Obs(String),
    /// No prior.
    None,
}

impl Display for PriorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rna => f.write_str("rna"),
            Self::Uniform => f.write_str("uniform"),
            Self::Obs(column) => write!(f, "obs:{column}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for PriorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("obs:")) {
            ("rna", _) => Ok(Self::Rna),
            ("uniform", _) => Ok(Self::Uniform),
            ("none", _) => Ok(Self::None),
            (_, Some(column)) if !column.is_empty() => Ok(Self::Obs(column.to_owned())),
            _ => Err("write rna, uniform, obs:COLUMN or none".to_owned()),
        }
    }
}

/// A column of obs: written `obs:COLUMN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObsColumn(pub String);

impl Display for ObsColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "obs:{}", self.0)
    }
}

impl FromStr for ObsColumn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("obs:") {
            Some(column) if !column.is_empty() => Ok(Self(column.to_owned())),
            _ => Err("write obs:COLUMN, such as obs:cell_type".to_owned()),
        }
    }
}

/// How far logits may spread: written `off`, `auto` or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Temperature {
    /// As far as the loss takes them.
    Off,
    /// To be chosen by held-out genes.
    Auto,
    /// κ, the standard deviation of a cell's logits over the voxels when at rest.
    Kappa(f64),
}

impl Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Auto => f.write_str("auto"),
            Self::Kappa(kappa) => write!(f, "{kappa}"),
        }
    }
}

impl FromStr for Temperature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            number => positive(number)
                .map(Self::Kappa)
                .map_err(|_| "give off, auto or a number above 0".to_owned()),
        }
    }
}

/// How ranks share the work: written `auto` or `CELLSxVOXELSxGENES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GridChoice {
    /// To be chosen by sizes and memory.
    Auto,
    /// This.
    Shape(GridShape),
}

impl Display for GridChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Shape(shape) => write!(f, "{shape}"),
        }
    }
}

impl FromStr for GridChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            shape => shape.parse().map(Self::Shape),
        }
    }
}

/// What is stored of the probabilities: written `none`, or as [`Keep`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeepChoice {
    /// Nothing: factors give them back.
    None,
    /// These.
    Keep(Keep),
}

impl Display for KeepChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Keep(keep) => keep.fmt(f),
        }
    }
}

impl FromStr for KeepChoice {
    type Err = KeepError;

    fn from_str(text: &str) -> Result<Self, KeepError> {
        match text {
            "none" => Ok(Self::None),
            other => other.parse().map(Self::Keep),
        }
    }
}

/// Serialises a value that may be absent the way it is typed.
pub mod maybe_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes the text form.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        value: &Option<impl Display>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// If the text does not parse.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

/// Serialises a value the way it is typed.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes the text form.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        value: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// If the text does not parse.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// A whole number, 1 or more.
///
/// # Errors
/// If it is not.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("give a whole number, 1 or more".to_owned()),
    }
}

/// A seed: a whole number from 0 to 2⁶³ − 1, the largest that TOML holds.
///
/// # Errors
/// If it is not.
pub fn seed(text: &str) -> Result<u64, String> {
    match text.parse::<i64>().map(u64::try_from) {
        Ok(Ok(seed)) => Ok(seed),
        _ => Err("give a whole number from 0 to 9223372036854775807".to_owned()),
    }
}

/// A number, 0 or more.
///
/// # Errors
/// If it is not.
pub fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("give a number, 0 or more".to_owned()),
    }
}

/// A number above 0.
///
/// # Errors
/// If it is not.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("give a number above 0".to_owned()),
    }
}

/// The number of threads to use: what was asked for, or one for every core this process may use.
#[must_use]
pub fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_as_written() {
        for text in ["rna", "uniform", "none", "obs:n_cells"] {
            assert_eq!(text.parse::<PriorChoice>().unwrap().to_string(), text);
        }
        for text in ["", "RNA", "obs:", "density"] {
            assert!(text.parse::<PriorChoice>().is_err(), "{text}");
        }
        for text in ["off", "auto", "2", "0.5"] {
            assert_eq!(text.parse::<Temperature>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "inf", "hot"] {
            assert!(text.parse::<Temperature>().is_err(), "{text}");
        }
        for text in ["none", "all", "mass:0.99", "top:5"] {
            assert_eq!(text.parse::<KeepChoice>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn numbers_outside_their_range_are_refused() {
        assert!(
            at_least_one("0").is_err()
                && at_least_one("-1").is_err()
                && at_least_one("1.5").is_err()
        );
        assert!(
            not_negative("NaN").is_err()
                && not_negative("-0.1").is_err()
                && not_negative("inf").is_err()
        );
        assert!(positive("0").is_err());
        assert_eq!(
            (at_least_one("3"), not_negative("0"), positive("0.1")),
            (Ok(3), Ok(0.0), Ok(0.1))
        );
    }
}
