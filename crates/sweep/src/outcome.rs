//! What became of an item.

use crate::SweepError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What an item gave, as the record of its attempt keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outcome {
    /// Number of the item in the sweep.
    pub item: usize,
    /// Seconds it took.
    pub seconds: f64,
    /// What its maker wants to know of it later.
    pub result: Value,
}

impl Outcome {
    /// The outcome of an item.
    ///
    /// # Errors
    /// [`SweepError::Work`] if the result cannot be written as JSON.
    pub fn new(item: usize, seconds: f64, result: &impl Serialize) -> Result<Self, SweepError> {
        let result = serde_json::to_value(result).map_err(|e| wrong(item, &e))?;
        Ok(Self {
            item,
            seconds,
            result,
        })
    }

    /// The result.
    ///
    /// # Errors
    /// [`SweepError::Work`] if it is not what the maker of `T` writes.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, SweepError> {
        T::deserialize(&self.result).map_err(|e| wrong(self.item, &e))
    }
}

fn wrong(item: usize, error: &serde_json::Error) -> SweepError {
    SweepError::Work {
        what: format!("the result of item {item}"),
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Scores {
        loss: f64,
        names: Vec<String>,
    }

    #[test]
    fn a_result_comes_back_to_the_bit() {
        let scores = Scores {
            loss: 0.1 + 0.2,
            names: vec!["a".into()],
        };
        let written = Outcome::new(3, 1.25, &scores).unwrap();
        let text = serde_json::to_string(&written).unwrap();
        let read: Outcome = serde_json::from_str(&text).unwrap();
        assert_eq!(read, written);
        assert_eq!(read.result::<Scores>().unwrap(), scores);
        let error = read.result::<usize>().unwrap_err().to_string();
        assert!(error.contains("item 3"), "{error}");
    }
}
