//! The loss of a run by epoch, read from its history.

use crate::error::{PipelineError, Result};
use crate::pictures::{LossHistory, Source};
use crate::run_directory::HISTORY_FILE;

impl Source {
    /// The loss and its terms by epoch, from `history.tsv`.
    ///
    /// # Errors
    /// [`PipelineError::NoPicture`] if the file cannot be read.
    pub fn history(&self) -> Result<LossHistory> {
        let path = self.run.path().join(HISTORY_FILE);
        let wrong = |reason: String| PipelineError::NoPicture {
            path: path.clone(),
            reason: format!("{reason}; copy the run again from where it is whole"),
        };
        let text =
            tangram_store::read_text(&path).map_err(|e| wrong(format!("cannot be read ({e})")))?;
        let mut lines = text
            .lines()
            .map(|line| line.split('\t').collect::<Vec<_>>());
        let names = lines.next().unwrap_or_default();
        let (Some("epoch"), Some(end)) = (
            names.first().copied(),
            names.iter().position(|n| *n == "cells"),
        ) else {
            return Err(wrong("is no history of a training".to_owned()));
        };
        let mut history = LossHistory {
            epochs: Vec::new(),
            terms: names[1..end]
                .iter()
                .map(|name| ((*name).to_owned(), Vec::new()))
                .collect(),
        };
        for fields in lines {
            let bad = || wrong("has a line that is not of numbers".to_owned());
            let number = |k: usize| match fields.get(k) {
                Some(&"") => Ok(None),
                Some(field) => field.parse::<f64>().map(Some).map_err(|_| bad()),
                None => Err(bad()),
            };
            history.epochs.push(number(0)?.ok_or_else(bad)?);
            for (k, (_, values)) in history.terms.iter_mut().enumerate() {
                values.push(number(k + 1)?);
            }
        }
        Ok(history)
    }
}
