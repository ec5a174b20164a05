//! Charts: scores, losses and densities along axes.

use crate::axes::{
    Labels, axes, blue, dashes, legend, line, nothing, of_scores, orange, points, wide,
};
use crate::canvas::{Area, FINE, fitted, paint, short};
use crate::error::PictureError;
use crate::figure::Figure;
use crate::maps::{Panel, Scale, panel_grid};
use crate::places::Places;
use plotters::prelude::{Color as _, Rectangle, SeriesLabelPosition};
use std::ops::Range;
use tangram_core::{GeneScore, WELL_PREDICTED, auc_curve};

/// Bars of a histogram.
const BINS: usize = 25;

/// A named group of numbers with the colour of its order.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What they are.
    pub name: String,
    /// The numbers.
    pub values: Vec<f64>,
}

/// A term of the loss.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Its name.
    pub name: String,
    /// One for each epoch, `None` where it was not computed.
    pub values: Vec<Option<f64>>,
}

/// A gene with its measured and its predicted values.
#[derive(Debug, Clone, Copy)]
pub struct GenePanel<'a> {
    /// Its name.
    pub name: &'a str,
    /// A second line: why it is shown, its score.
    pub note: &'a str,
    /// Measured, one for each voxel; `None` if the voxels lack the gene.
    pub measured: Option<&'a [f32]>,
    /// Predicted, one for each voxel.
    pub predicted: &'a [f32],
}

/// Measured above predicted values of genes, five genes a row.
///
/// # Errors
/// If there is no gene, or the values do not fit the voxels.
pub fn genes(
    places: &Places,
    genes: &[GenePanel<'_>],
    heading: &str,
) -> Result<Figure, PictureError> {
    let columns = genes.len().clamp(1, 5);
    let mut panels = Vec::new();
    for row in genes.chunks(columns) {
        let titles: Vec<[String; 2]> = row
            .iter()
            .map(|g| ["measured", "predicted"].map(|what| format!("{}, {what}", g.name)))
            .collect();
        panels.push((row, titles));
    }
    let mut placed: Vec<Option<Panel<'_>>> = Vec::new();
    for (row, titles) in &panels {
        for which in 0..2 {
            placed.extend(row.iter().zip(titles).map(|(gene, titles)| {
                let values = match which {
                    0 => gene.measured,
                    _ => Some(gene.predicted),
                };
                values.map(|values| Panel {
                    title: &titles[which],
                    note: if which == 0 { gene.note } else { "" },
                    values,
                })
            }));
            placed.resize(placed.len().div_ceil(columns) * columns, None);
        }
    }
    panel_grid(places, &placed, columns, heading, Scale::Own)
}

/// Distribution function of the scores of groups of genes, and the score above which a gene counts as well predicted.
///
/// # Errors
/// If there is no score.
pub fn distribution(groups: &[Group]) -> Result<Figure, PictureError> {
    let all = || groups.iter().flat_map(|g| g.values.iter().copied());
    if all().next().is_none() {
        return Err(nothing("score"));
    }
    paint((620, 400), |area, _| {
        let labels = Labels {
            title: "Distribution of scores",
            x: "cosine similarity of predicted and measured values",
            y: "share of genes with at most this score",
        };
        let x = of_scores(all());
        let mut chart = axes(area, labels, x.clone(), 0.0..1.0)?;
        let colors = [blue(), orange()];
        for (group, color) in groups.iter().zip(colors) {
            if group.values.is_empty() {
                continue;
            }
            let mut sorted = group.values.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let n = sorted.len() as f64;
            let mut steps = vec![(x.start, 0.0)];
            for (k, &score) in sorted.iter().enumerate() {
                steps.push((score, k as f64 / n));
                steps.push((score, (k + 1) as f64 / n));
            }
            steps.push((1.0, 1.0));
            let above = sorted.iter().filter(|s| **s > WELL_PREDICTED).count() as f64 / n;
            let name = format!(
                "{} ({}): {:.0} % above {WELL_PREDICTED}",
                group.name,
                sorted.len(),
                above * 100.0
            );
            line(&mut chart, steps, color, Some(&name))?;
        }
        dashes(&mut chart, (WELL_PREDICTED, 0.0), (WELL_PREDICTED, 1.0))?;
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    })
}

/// Histograms of the scores of groups of genes, each as shares of its group.
///
/// # Errors
/// If there is no score.
pub fn histograms(groups: &[Group]) -> Result<Figure, PictureError> {
    let all = || groups.iter().flat_map(|g| g.values.iter().copied());
    if all().next().is_none() {
        return Err(nothing("score"));
    }
    histogram_of(
        groups,
        of_scores(all()),
        Labels {
            title: "Scores of training and held-out genes",
            x: "cosine similarity of predicted and measured values",
            y: "share of genes",
        },
    )
}

fn histogram_of(
    groups: &[Group],
    x: Range<f64>,
    labels: Labels<'_>,
) -> Result<Figure, PictureError> {
    paint((620, 400), |area, _| {
        draw_histogram(area, groups, x, labels)
    })
}

/// Draws histograms of groups, each as shares of its group.
pub(crate) fn draw_histogram(
    area: &Area<'_>,
    groups: &[Group],
    x: Range<f64>,
    labels: Labels<'_>,
) -> Result<(), PictureError> {
    let step = (x.end - x.start) / BINS as f64;
    let shares = |group: &Group| {
        let mut shares = vec![0.0; BINS];
        for value in &group.values {
            let bin = ((value - x.start) / step) as usize;
            shares[bin.min(BINS - 1)] += 1.0 / group.values.len() as f64;
        }
        shares
    };
    let bars: Vec<Vec<f64>> = groups.iter().map(shares).collect();
    let most = bars.iter().flatten().copied().fold(0.0, f64::max);
    let mut chart = axes(area, labels, x.clone(), 0.0..most * 1.25)?;
    let colors = [orange(), blue()];
    for ((group, shares), color) in groups.iter().zip(&bars).zip(colors) {
        if group.values.is_empty() {
            continue;
        }
        let style = color.plotters().mix(0.6).filled();
        let bar = |(k, &share): (usize, &f64)| {
            let left = x.start + k as f64 * step;
            Rectangle::new([(left, 0.0), (left + step, share)], style)
        };
        let drawn = shares.iter().enumerate().filter(|(_, share)| **share > 0.0);
        let mean = group.values.iter().sum::<f64>() / group.values.len() as f64;
        let name = format!(
            "{} ({}): mean {}",
            group.name,
            group.values.len(),
            short(mean)
        );
        chart
            .draw_series(drawn.map(bar))?
            .label(fitted(&name, 11.0, 400.0))
            .legend(move |(x, y)| {
                let corners = [(x, y - 5 * FINE), (x + 16 * FINE, y + 5 * FINE)];
                Rectangle::new(corners, style)
            });
    }
    legend(&mut chart, SeriesLabelPosition::UpperLeft)
}

/// Score against the share of voxels without a count, with the parabola whose area summarises it.
///
/// * `name`: what the genes are
///
/// # Errors
/// If there is no gene.
pub fn sparsity(scores: &[GeneScore], name: &str) -> Result<Figure, PictureError> {
    if scores.is_empty() {
        return Err(nothing("gene"));
    }
    paint((620, 420), |area, images| {
        let curve = auc_curve(scores);
        let title = match &curve {
            Some(curve) => format!(
                "Sparsity against score: area under the curve {:.3}",
                curve.area
            ),
            None => "Sparsity against score".to_owned(),
        };
        let labels = Labels {
            title: &title,
            x: "cosine similarity of predicted and measured values",
            y: "share of voxels without a count",
        };
        let at: Vec<(f64, f64)> = scores
            .iter()
            .map(|s| (s.cosine, s.sparsity_measured))
            .collect();
        let x = of_scores(at.iter().map(|p| p.0));
        let mut chart = axes(area, labels, x, 0.0..1.0)?;
        let name = format!("{name} ({})", scores.len());
        points(&mut chart, images, &at, blue(), &name)?;
        if let Some(curve) = curve {
            line(
                &mut chart,
                curve.points,
                orange(),
                Some("curve of this area"),
            )?;
        }
        dashes(&mut chart, (WELL_PREDICTED, 0.0), (WELL_PREDICTED, 1.0))?;
        legend(&mut chart, SeriesLabelPosition::LowerLeft)
    })
}

/// The score of each gene against that of a prediction which knows no cells.
///
/// * `pairs`: (score of the baseline, score of the mapping)
/// * `name`: what the genes are
///
/// # Errors
/// If there is no gene.
pub fn baseline(pairs: &[(f64, f64)], name: &str) -> Result<Figure, PictureError> {
    if pairs.is_empty() {
        return Err(nothing("gene"));
    }
    let above = pairs.iter().filter(|(base, score)| score > base).count();
    let title = format!(
        "{above} of {} genes score higher than the voxels' totals",
        pairs.len()
    );
    paint((520, 500), |area, images| {
        let labels = Labels {
            title: &title,
            x: "cosine of the voxels' totals (the baseline)",
            y: "cosine of the mapping",
        };
        let ends = of_scores(pairs.iter().flat_map(|p| [p.0, p.1]));
        let mut chart = axes(area, labels, ends.clone(), ends.clone())?;
        points(&mut chart, images, pairs, blue(), name)?;
        dashes(&mut chart, (ends.start, ends.start), (ends.end, ends.end))?;
        legend(&mut chart, SeriesLabelPosition::LowerRight)
    })
}

/// The loss and its terms by epoch, a chart for each.
///
/// * `epochs`: their numbers
///
/// # Errors
/// If there is no epoch or no term.
pub fn loss(epochs: &[f64], terms: &[Term]) -> Result<Figure, PictureError> {
    let drawn: Vec<&Term> = terms
        .iter()
        .filter(|t| t.values.iter().any(Option::is_some))
        .collect();
    if epochs.is_empty() || drawn.is_empty() {
        return Err(nothing("epoch"));
    }
    let columns = drawn.len().min(3);
    let rows = drawn.len().div_ceil(columns);
    let size = (columns as u32 * 360, rows as u32 * 270);
    paint(size, |area, _| {
        for (part, term) in area.split_evenly((rows, columns)).iter().zip(&drawn) {
            let labels = Labels {
                title: &term.name,
                x: "epoch",
                y: "",
            };
            let x = wide(epochs.iter().copied());
            let y = wide(term.values.iter().flatten().copied());
            let mut chart = axes(part, labels, x, y)?;
            let path: Vec<(f64, f64)> = epochs
                .iter()
                .copied()
                .zip(&term.values)
                .filter_map(|(epoch, value)| Some((epoch, (*value)?)))
                .collect();
            line(&mut chart, path, blue(), None)?;
        }
        Ok(())
    })
}

/// The prior density of cells against that of the mapping.
///
/// * `pairs`: (prior, learned) of each voxel, as expected numbers of cells
///
/// # Errors
/// If there is no voxel.
pub fn density(pairs: &[(f64, f64)]) -> Result<Figure, PictureError> {
    if pairs.is_empty() {
        return Err(nothing("voxel"));
    }
    paint((520, 500), |area, images| {
        let labels = Labels {
            title: "Expected cells in each voxel",
            x: "by the prior",
            y: "by the mapping",
        };
        let most = pairs.iter().flat_map(|p| [p.0, p.1]).fold(0.0, f64::max) * 1.05;
        let ends = 0.0..if most > 0.0 { most } else { 1.0 };
        let mut chart = axes(area, labels, ends.clone(), ends.clone())?;
        points(&mut chart, images, pairs, blue(), "voxels")?;
        dashes(&mut chart, (0.0, 0.0), (ends.end, ends.end))?;
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    })
}

/// Histogram of the entropy of each cell's probabilities, as a share of the entropy of a cell that may be anywhere.
///
/// * `entropies`: between 0 (one voxel) and 1 (all voxels alike)
/// * `n_voxels`: number of voxels
///
/// # Errors
/// If there is no cell.
pub fn entropy(entropies: &[f64], n_voxels: usize) -> Result<Figure, PictureError> {
    if entropies.is_empty() {
        return Err(nothing("cell"));
    }
    let mut sorted = entropies.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted[sorted.len() / 2];
    let voxels = (n_voxels as f64).powf(middle);
    let title = format!(
        "Entropy of the cells: the median cell spreads over {} of {n_voxels} voxels",
        short(voxels)
    );
    let group = Group {
        name: "cells".to_owned(),
        values: sorted,
    };
    histogram_of(
        &[group],
        0.0..1.0,
        Labels {
            title: &title,
            x: "entropy, 0: one voxel, 1: all voxels alike",
            y: "share of cells",
        },
    )
}
