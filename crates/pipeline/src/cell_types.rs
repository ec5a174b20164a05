//! The cell types of a column of obs, as what spots are composed of.

use crate::carried_uns::colors_of;
use crate::choices::ObsColumn;
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::type_column::codes_of;
use crate::wording::count;
use ndarray::Array2;
use tangram_core::{Column, names::examples};
use tangram_store::{Dataset, Uns};

/// Types and the type of every cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CellTypes {
    /// Those that a cell has, in the order of the categories, texts sorted.
    pub(crate) names: Vec<String>,
    /// Index of the type; `None`: without a label.
    pub(crate) of_cells: Vec<Option<usize>>,
    /// Their colours, if the file has one for every category.
    pub(crate) colors: Option<Vec<String>>,
}

impl CellTypes {
    /// Reads a column of types.
    ///
    /// # Errors
    /// If there is none of this name, it holds numbers, or no cell has a label.
    pub(crate) fn read(
        cells: &Dataset,
        ObsColumn(name): &ObsColumn,
        listener: &dyn Listener,
    ) -> Result<Self> {
        let column = cells.obs_column(name)?;
        let wrong = |reason: String| PipelineError::Spots {
            path: cells.path().to_owned(),
            reason: format!("obs column `{name}` {reason}"),
        };
        let Some(codes) = codes_of(&column) else {
            return Err(wrong(
                "holds numbers; --annotation names a column of cell types: categories or texts"
                    .to_owned(),
            ));
        };
        let all = match &column {
            Column::Categorical { categories, .. } => categories.clone(),
            _ => {
                let mut texts: Vec<String> = column.texts();
                texts.retain(|text| !text.is_empty());
                texts.sort_unstable();
                texts.dedup();
                texts
            }
        };
        let mut has = vec![false; all.len()];
        codes
            .iter()
            .flatten()
            .for_each(|&code| has[code as usize] = true);
        let kept: Vec<usize> = (0..all.len()).filter(|&t| has[t]).collect();
        if kept.is_empty() {
            return Err(wrong("has no label for any cell".to_owned()));
        }
        let place = |code: u32| kept.iter().position(|&t| t == code as usize);
        let of_cells: Vec<Option<usize>> = codes.into_iter().map(|c| c.and_then(place)).collect();
        let unlabelled = of_cells.iter().filter(|t| t.is_none()).count();
        if unlabelled > 0 {
            listener.warn(format_args!(
                "{} without a label in obs `{name}` count for no type",
                count(unlabelled, "cell")
            ));
        }
        let absent = (0..all.len()).filter(|&t| !has[t]).map(|t| all[t].as_str());
        let absent: Vec<&str> = absent.collect();
        if !absent.is_empty() {
            listener.say(format_args!(
                "left out {} that no cell has: {}",
                count(absent.len(), "type"),
                examples(absent)
            ))?;
        }
        let colors = match colors_of(cells, name)? {
            Some(Uns::Texts(colors)) if colors.len() == all.len() => {
                Some(kept.iter().map(|&t| colors[t].clone()).collect())
            }
            _ => None,
        };
        Ok(Self {
            colors,
            names: kept.iter().map(|&t| all[t].clone()).collect(),
            of_cells,
        })
    }

    /// 1 where a cell is of a type, (cells, types).
    pub(crate) fn indicators(&self) -> Array2<f32> {
        let mut dense = Array2::zeros((self.of_cells.len(), self.names.len()));
        for (cell, t) in self.of_cells.iter().enumerate() {
            if let Some(t) = t {
                dense[[cell, *t]] = 1.0;
            }
        }
        dense
    }
}
