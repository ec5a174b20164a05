//! Times and memory, as Slurm writes them.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::str::FromStr;

/// The limit of a job's time; written `4:00:00`, `2-00:00:00`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeLimit {
    seconds: u64,
}

impl TimeLimit {
    /// A limit in seconds; at least one.
    #[must_use]
    pub fn of_seconds(seconds: u64) -> Self {
        Self {
            seconds: seconds.max(1),
        }
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.seconds
    }

    /// Multiplied by a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self::of_seconds((self.seconds as f64 * factor).ceil() as u64)
    }
}

impl Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minutes, seconds) = (self.seconds / 60, self.seconds % 60);
        let (hours, minutes) = (minutes / 60, minutes % 60);
        match (hours / 24, hours % 24) {
            (0, hours) => write!(f, "{hours}:{minutes:02}:{seconds:02}"),
            (days, hours) => write!(f, "{days}-{hours:02}:{minutes:02}:{seconds:02}"),
        }
    }
}

impl FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no time; write [DAYS-]HOURS:MINUTES:SECONDS, such as 4:00:00");
        let (days, rest) = match text.split_once('-') {
            Some((days, rest)) => (number(days).ok_or_else(wrong)?, rest),
            None => (0, text),
        };
        let parts: Option<Vec<u64>> = rest.split(':').map(number).collect();
        let [hours, minutes, seconds] = parts.ok_or_else(wrong)?[..] else {
            return Err(wrong());
        };
        if minutes > 59 || seconds > 59 || days > 3650 || hours > 87_600 {
            return Err(wrong());
        }
        match ((days * 24 + hours) * 60 + minutes) * 60 + seconds {
            0 => Err("a job needs more than no time".to_owned()),
            seconds => Ok(Self { seconds }),
        }
    }
}

/// Memory of a node for a job; written `16G`, `500M`, `1T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Memory {
    mebibytes: u64,
}

impl Memory {
    /// An amount in MiB; at least one.
    #[must_use]
    pub fn of_mebibytes(mebibytes: u64) -> Self {
        Self {
            mebibytes: mebibytes.max(1),
        }
    }

    /// In MiB.
    #[must_use]
    pub fn mebibytes(self) -> u64 {
        self.mebibytes
    }

    /// Multiplied by a factor.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self::of_mebibytes((self.mebibytes as f64 * factor).ceil() as u64)
    }
}

/// MiB of the units.
const UNITS: [(char, u64); 3] = [('T', 1 << 20), ('G', 1 << 10), ('M', 1)];

impl Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS
            .iter()
            .find(|(_, size)| self.mebibytes.is_multiple_of(*size));
        let (unit, size) = whole.expect("every number is one of mebibytes");
        write!(f, "{}{unit}", self.mebibytes / size)
    }
}

impl FromStr for Memory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no memory; write a whole number and M, G or T, such as 16G");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let size = UNITS.iter().find(|(u, _)| *u == unit.to_ascii_uppercase());
        let (_, size) = size.ok_or_else(wrong)?;
        match number(&text[..text.len() - 1]).and_then(|n| n.checked_mul(*size)) {
            None | Some(0) => Err(wrong()),
            Some(mebibytes) => Ok(Self { mebibytes }),
        }
    }
}

/// Digits and nothing else, since `parse` would take a sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

macro_rules! as_text {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

as_text!(TimeLimit);
as_text!(Memory);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_slurm_reads_them() {
        let read = |text: &str| text.parse::<TimeLimit>().map(TimeLimit::seconds);
        assert_eq!(read("4:00:00"), Ok(14_400));
        assert_eq!(read("0:01:30"), Ok(90));
        assert_eq!(read("2-03:00:00"), Ok(183_600));
        for bad in [
            "", "4", "4:00", "-1:00:00", "0:00:00", "1:60:00", "1:00:00 ", "+1:00:00", "$(id)",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        for seconds in [1, 59, 3_600, 86_399, 86_400, 1_000_000] {
            let limit = TimeLimit::of_seconds(seconds);
            assert_eq!(limit.to_string().parse(), Ok(limit));
        }
    }

    #[test]
    fn memory_is_read_with_its_unit() {
        let read = |text: &str| text.parse::<Memory>().map(Memory::mebibytes);
        assert_eq!(read("16G"), Ok(16_384));
        assert_eq!(read("500m"), Ok(500));
        assert_eq!(read("1T"), Ok(1 << 20));
        for bad in [
            "",
            "16",
            "G",
            "0M",
            "-1G",
            "1.5G",
            "16GB",
            "1é",
            "99999999999999999T",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            "16G".parse::<Memory>().unwrap().times(1.5).to_string(),
            "24G"
        );
        assert_eq!(Memory::of_mebibytes(1_025).to_string(), "1025M");
    }
}
