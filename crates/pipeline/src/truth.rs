//! True compositions of spots, and scores against them.

use crate::deconvolve_choices::TruthChoice;
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::wording::count;
use ndarray::Array2;
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use tangram_core::names::examples;
use tangram_core::{Agreement, agreement, shares_of};
use tangram_store::{Dataset, MatrixName, Names, read_text};

/// True shares of types in spots.
#[derive(Debug)]
pub(crate) struct Truth {
    /// Spots with a truth, as rows of the predictions.
    spots: Vec<usize>,
    /// Types of either side, those of the predictions first.
    types: Vec<String>,
    /// (those spots, those types)
    shares: Array2<f64>,
}

/// A score of one type, or of all together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TypeScore {
    /// The method.
    pub method: String,
    /// The type; `None`: all pairs of spot and type.
    #[serde(rename = "type")]
    pub of_type: Option<String>,
    /// Pearson's correlation.
    pub pearson: Option<f64>,
    /// Root of the mean squared difference.
    pub rmse: f64,
    /// Jensen–Shannon divergence in bits.
    pub jensen_shannon: Option<f64>,
}

/// Amounts of types in named spots, as they are found.
struct Found {
    path: std::path::PathBuf,
    at: String,
    types: Vec<String>,
    /// Names of the rows; `None`: the spots of the voxels' file.
    spots: Option<Vec<String>>,
    values: Array2<f64>,
}

impl Truth {
    /// Reads a truth for spots and types.
    ///
    /// # Errors
    /// [`PipelineError::Spots`] if it shares no type or no spot with the predictions, or holds something else than amounts.
    pub(crate) fn read(
        choice: &TruthChoice,
        voxels: &Dataset,
        (spots, types): (&[String], &[String]),
        listener: &dyn Listener,
    ) -> Result<Self> {
        let found = Found::read(choice, voxels, types)?;
        let wrong = |reason: String| PipelineError::Spots {
            path: found.path.clone(),
            reason: format!("{}: {reason}", found.at),
        };
        if let Some(((i, t), value)) = found
            .values
            .indexed_iter()
            .find(|(_, v)| !(v.is_finite() && **v >= 0.0))
        {
            return Err(wrong(format!(
                "spot {i} (from 0) has {value} of `{}`; a truth holds shares or counts, 0 or more",
                found.types[t]
            )));
        }
        let shared = found.types.iter().filter(|t| types.contains(t)).count();
        if shared == 0 {
            return Err(wrong(format!(
                "has no type of the cells: {}; the cells have {}",
                examples(found.types.iter().map(String::as_str)),
                examples(types.iter().map(String::as_str)),
            )));
        }
        let mut all = types.to_vec();
        let others = found.types.iter().filter(|t| !types.contains(t)).cloned();
        let others: Vec<String> = others.collect();
        let missing = types.iter().filter(|t| !found.types.contains(t));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        for (names, told) in [
            (
                others.iter().map(String::as_str).collect::<Vec<_>>(),
                "of the truth no cell has, predicted as 0",
            ),
            (missing, "the truth does not have, counted there as 0"),
        ] {
            if !names.is_empty() {
                listener.warn(format_args!(
                    "{} {told}: {}",
                    count(names.len(), "type"),
                    examples(names)
                ));
            }
        }
        all.extend(others);
        let row_of: Option<HashMap<&str, usize>> = found
            .spots
            .as_ref()
            .map(|names| names.iter().map(String::as_str).zip(0..).collect());
        let row = |spot: usize| match &row_of {
            Some(rows) => rows.get(spots[spot].as_str()).copied(),
            None => Some(spot),
        };
        let pairs: Vec<(usize, usize)> = (0..spots.len())
            .filter_map(|spot| Some((spot, row(spot)?)))
            .filter(|(_, row)| found.values.row(*row).sum() > 0.0)
            .collect();
        if pairs.is_empty() {
            return Err(wrong(
                "has no spot of the voxels with any amount".to_owned(),
            ));
        }
        if pairs.len() < spots.len() {
            listener.warn(format_args!(
                "{} without a truth {} not scored",
                count(spots.len() - pairs.len(), "spot"),
                if spots.len() - pairs.len() == 1 {
                    "is"
                } else {
                    "are"
                },
            ));
        }
        let column: Vec<Option<usize>> = all
            .iter()
            .map(|t| found.types.iter().position(|f| f == t))
            .collect();
        let amounts = Array2::from_shape_fn((pairs.len(), all.len()), |(i, t)| {
            column[t].map_or(0.0, |t| found.values[[pairs[i].1, t]])
        });
        Ok(Self {
            spots: pairs.into_iter().map(|(spot, _)| spot).collect(),
            types: all,
            shares: shares_of(amounts.view()),
        })
    }

    /// Scores of predicted shares, (spots, types): of all types together, then of each.
    pub(crate) fn scores(&self, method: &str, predicted: &Array2<f64>) -> Vec<TypeScore> {
        let predicted =
            Array2::from_shape_fn(self.shares.dim(), |(i, t)| match t < predicted.ncols() {
                true => predicted[[self.spots[i], t]],
                false => 0.0,
            });
        let (types, pooled) = agreement(predicted.view(), self.shares.view());
        let score = |of_type: Option<&String>, agreement: Agreement| TypeScore {
            method: method.to_owned(),
            of_type: of_type.cloned(),
            pearson: agreement.pearson,
            rmse: agreement.rmse,
            jensen_shannon: agreement.jensen_shannon,
        };
        let of_types = self.types.iter().zip(types);
        std::iter::once(score(None, pooled))
            .chain(of_types.map(|(name, a)| score(Some(name), a)))
            .collect()
    }
}

impl Found {
    fn read(choice: &TruthChoice, voxels: &Dataset, types: &[String]) -> Result<Self> {
        match choice {
            TruthChoice::Obsm(name) => {
                let values = voxels.obsm(name)?.mapv(f64::from);
                let types = crate::annotations::labels_of(name, values.ncols(), voxels)?;
                Ok(Self {
                    path: voxels.path().to_owned(),
                    at: format!("obsm `{name}`"),
                    types,
                    spots: None,
                    values,
                })
            }
            TruthChoice::Obs => Self::of_columns(voxels, types),
            TruthChoice::File(path) => match path.extension().and_then(|e| e.to_str()) {
                Some("h5ad" | "zarr") => Self::of_anndata(path),
                _ => Self::of_table(path),
            },
        }
    }

    /// Columns of obs that are named as types.
    fn of_columns(voxels: &Dataset, types: &[String]) -> Result<Self> {
        let obs = voxels.obs()?;
        let named = types.iter().filter_map(|t| Some((t, obs.column(t)?)));
        let mut columns: Vec<(String, Vec<f64>)> = Vec::new();
        for (name, column) in named {
            let Some(values) = column.as_numbers() else {
                continue;
            };
            let values = values.into_iter().map(|v| v.unwrap_or(f64::NAN));
            columns.push((name.clone(), values.collect()));
        }
        Ok(Self {
            path: voxels.path().to_owned(),
            at: "obs columns".to_owned(),
            values: Array2::from_shape_fn((obs.len(), columns.len()), |(i, t)| columns[t].1[i]),
            types: columns.into_iter().map(|(name, _)| name).collect(),
            spots: None,
        })
    }

    /// X of an AnnData of voxels × types.
    fn of_anndata(path: &Path) -> Result<Self> {
        tangram_store::try_file(path)?;
        let file = Dataset::open(path)?;
        let matrix = file.matrix(&MatrixName::X)?;
        let values = matrix.read_rows_any(0..file.n_obs())?;
        Ok(Self {
            path: path.to_owned(),
            at: "X".to_owned(),
            types: file.var_names()?,
            spots: Some(file.unique_names(Names::Obs)?),
            values: values.to_dense().mapv(f64::from),
        })
    }

    /// A table: names of spots in the first column, a column for each type.
    fn of_table(path: &Path) -> Result<Self> {
        let wrong = |reason: String| PipelineError::Spots {
            path: path.to_owned(),
            reason,
        };
        let text = read_text(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let header = lines.next().unwrap_or_default();
        let apart = match header.contains('\t') {
            true => '\t',
            false => ',',
        };
        let fields = |line: &str| -> Vec<String> {
            let field = |f: &str| f.trim().trim_matches('"').to_owned();
            line.split(apart).map(field).collect()
        };
        let types: Vec<String> = fields(header).into_iter().skip(1).collect();
        if types.is_empty() {
            return Err(wrong(
                "as a table of compositions its first line names no types; give a line of names, then a line for each spot, beginning with its name"
                    .to_owned(),
            ));
        }
        let (mut spots, mut values) = (Vec::new(), Vec::new());
        for line in lines {
            let line = fields(line);
            let name = line[0].clone();
            let numbers: Option<Vec<f64>> = line[1..].iter().map(|v| v.parse().ok()).collect();
            let Some(numbers) = numbers.filter(|n| n.len() == types.len()) else {
                return Err(wrong(format!(
                    "the line of spot `{name}` does not hold {} numbers",
                    types.len()
                )));
            };
            spots.push(name);
            values.extend(numbers);
        }
        let shape = (spots.len(), types.len());
        Ok(Self {
            path: path.to_owned(),
            at: "table".to_owned(),
            values: Array2::from_shape_vec(shape, values).expect("as many as counted"),
            types,
            spots: Some(spots),
        })
    }
}

/// A table of scores: one line a method and type.
#[must_use]
pub(crate) fn table(scores: &[TypeScore]) -> String {
    let number = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
    let mut text = "method\ttype\tpearson\trmse\tjensen_shannon_bits\n".to_owned();
    for score in scores {
        let of_type = score.of_type.as_deref().unwrap_or("(all)");
        text.push_str(&format!(
            "{}\t{of_type}\t{}\t{}\t{}\n",
            score.method,
            number(score.pearson),
            score.rmse,
            number(score.jensen_shannon),
        ));
    }
    text
}
