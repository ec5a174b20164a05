//! Replicates: runs of the same cells and voxels, and how alike their mappings are.

use crate::error::{PipelineError, Result};
use crate::pictures::{PictureSettings, Source};
use crate::sweep_work::SweepWork;
use crate::wording::thousands;
use ndarray::{Array2, ArrayView1, Axis};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use tangram_core::{MappingRows, PBlock};
use tangram_report::Figure;
use tangram_report::charts::Group;
use tangram_report::several;
use tangram_sweep::{MANIFEST, Manifest};

/// Probabilities of all runs that are held at once: 1 GB.
const MOST_VALUES: usize = 250_000_000;

/// Runs of the same cells and voxels.
#[derive(Debug)]
pub struct Replicates {
    /// Their names and the entropies of their cells, from 0 (one voxel) to 1 (all voxels alike).
    pub runs: Vec<Group>,
    /// (runs, runs): the mean over the cells of Σ min(p, q) over the voxels, the probability that two mappings share.
    pub alike: Vec<Vec<f64>>,
    /// Cells that were compared, spread evenly over all, and all.
    pub n_compared: (usize, usize),
}

impl Replicates {
    /// Their figure.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn figure(&self) -> Result<Figure> {
        let (some, all) = self.n_compared;
        let cells = match some == all {
            true => format!("{} cells", thousands(all)),
            false => format!("{} of {} cells", thousands(some), thousands(all)),
        };
        let about = format!("probability that two runs share (Σ min(p, q)), mean over {cells}");
        Ok(several::agreement(&self.runs, &self.alike, &about)?)
    }
}

/// The runs that folders stand for: runs themselves, and the complete runs of sweeps over seeds, sections or a list.
///
/// # Errors
/// If a folder is neither, or there are fewer than two runs.
pub fn runs_of(folders: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    for folder in folders {
        if !folder.join(MANIFEST).is_file() {
            runs.push(folder.clone());
            continue;
        }
        let SweepWork::Runs(items) = SweepWork::of(&Manifest::read(folder)?)? else {
            return Err(PipelineError::NoPicture {
                path: folder.clone(),
                reason: "a sweep over genes or of registrations keeps no mappings to compare; name runs, or a sweep made by `tangram sweep new seeds`".to_owned(),
            });
        };
        let complete = items.iter().filter(|run| run.is_complete(folder));
        runs.extend(complete.map(|run| run.place(folder)));
    }
    if runs.len() < 2 {
        return Err(PipelineError::Usage(format!(
            "agreement compares two runs or more of the same cells and voxels, and there {}; name them one after the other, or a sweep of seeds",
            if runs.len() == 1 { "is 1" } else { "are none" }
        )));
    }
    Ok(runs)
}

/// Compares runs.
///
/// # Errors
/// If a run cannot be read, or is of other cells or voxels than the first.
pub fn compare(folders: &[PathBuf]) -> Result<Replicates> {
    let runs = runs_of(folders)?;
    let mut first: Option<(String, Vec<String>)> = None;
    let mut rows: Vec<Array2<f32>> = Vec::with_capacity(runs.len());
    let mut n_cells = 0;
    for path in &runs {
        let source = Source::open(&PictureSettings::new(path))?;
        let record = source.run().record();
        let names = (record.cell_names_sha256.clone(), source.mapping.voxels()?);
        match &first {
            None => first = Some(names),
            Some(first) if *first == names => {}
            Some(first) => {
                let what = if first.0 == names.0 {
                    "voxels"
                } else {
                    "cells"
                };
                return Err(PipelineError::NoPicture {
                    path: path.clone(),
                    reason: format!(
                        "its {what} are not those of {}, so that the two cannot be compared; name runs of the same files",
                        runs[0].display()
                    ),
                });
            }
        }
        n_cells = source.mapping.n_cells();
        rows.push(some_rows(&source, runs.len())?);
    }
    let groups = runs.iter().zip(&rows).map(|(path, rows)| Group {
        name: last_name(path),
        values: rows.outer_iter().map(entropy).collect(),
    });
    let n = runs.len();
    let mut alike = vec![vec![1.0; n]; n];
    for i in 0..n {
        for j in i + 1..n {
            let shared = mean_shared(&rows[i], &rows[j]);
            (alike[i][j], alike[j][i]) = (shared, shared);
        }
    }
    Ok(Replicates {
        runs: groups.collect(),
        alike,
        n_compared: (rows[0].nrows(), n_cells),
    })
}

fn last_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Rows of cells spread evenly over all, as many as fit beside those of the other runs, each scaled to a sum of 1.
fn some_rows(source: &Source, n_runs: usize) -> Result<Array2<f32>> {
    let (n_cells, n_voxels) = (source.mapping.n_cells(), source.mapping.n_voxels());
    let most = (MOST_VALUES / n_runs / n_voxels.max(1)).max(1);
    let step = n_cells.div_ceil(most).max(1);
    let mut rows = Array2::zeros((n_cells.div_ceil(step), n_voxels));
    source.mapping.for_each_block(&mut |block| {
        let n_rows = match &block.rows {
            PBlock::Dense(rows) => rows.nrows(),
            PBlock::Sparse(rows) => rows.n_rows(),
        };
        let wanted = (0..n_rows).filter(|i| (block.first_cell + i) % step == 0);
        for i in wanted {
            let mut row = rows.row_mut((block.first_cell + i) / step);
            match &block.rows {
                PBlock::Dense(rows) => row.assign(&rows.row(i)),
                PBlock::Sparse(rows) => {
                    let (columns, values) = rows.row(i);
                    for (&column, &value) in columns.iter().zip(values) {
                        row[column as usize] = value;
                    }
                }
            }
            let sum = row.sum();
            if sum > 0.0 {
                row /= sum;
            }
        }
        Ok(())
    })?;
    Ok(rows)
}

/// −Σ p ln p of a row, as a share of that of a cell which may be in any voxel alike.
fn entropy(row: ArrayView1<'_, f32>) -> f64 {
    let most = (row.len() as f64).ln();
    let of = |p: &f32| match *p > 0.0 {
        true => -f64::from(*p) * f64::from(*p).ln(),
        false => 0.0,
    };
    match most > 0.0 {
        true => (row.iter().map(of).sum::<f64>() / most).clamp(0.0, 1.0),
        false => 0.0,
    }
}

fn mean_shared(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    // Summed in the order of the cells: the same for any number of threads.
    let shared: Vec<f64> = a
        .axis_iter(Axis(0))
        .into_par_iter()
        .zip(b.axis_iter(Axis(0)))
        .map(|(p, q)| {
            let both = p.iter().zip(q);
            both.map(|(p, q)| f64::from(p.min(*q))).sum()
        })
        .collect();
    shared.iter().sum::<f64>() / shared.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn what_two_mappings_share_and_how_wide_they_are() {
        let one = array![[1.0f32, 0.0], [0.5, 0.5]];
        let other = array![[0.0f32, 1.0], [0.25, 0.75]];
        assert_eq!(mean_shared(&one, &one), 1.0);
        assert_eq!(mean_shared(&one, &other), 0.375);
        let entropies: Vec<f64> = one.outer_iter().map(entropy).collect();
        assert_eq!(entropies, [0.0, 1.0]);
    }
}
