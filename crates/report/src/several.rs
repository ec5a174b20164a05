//! Charts about several runs: agreement of replicates, progress and cost of a sweep, scores by the share of genes that trained.

use crate::axes::{Labels, axes, blue, broad_line, legend, line, nothing, orange, points, wide};
use crate::canvas::{Anchor, Area, FINE, INK, fitted, paint, write_in, write_text};
use crate::charts::{Group, draw_histogram};
use crate::error::PictureError;
use crate::figure::Figure;
use crate::palette::{GREY, sequential, type_colors};
use plotters::prelude::{Color as _, PathElement, Rectangle, SeriesLabelPosition, WHITE};
use std::collections::BTreeMap;

/// Runs of an agreement above which its numbers have no room.
const MOST_NUMBERS: usize = 14;
/// Runs whose curves have colours of their own.
const MOST_CURVES: usize = 8;

/// How alike runs are, pair by pair, and how widely each spreads its cells.
///
/// * `runs`: name and entropies of the cells of each, as [`charts::entropy`](crate::charts::entropy) has them
/// * `alike`: (runs, runs), from 0 to 1
/// * `about`: what was compared
///
/// # Errors
/// If there are fewer than two runs, or not one number for every pair.
pub fn agreement(runs: &[Group], alike: &[Vec<f64>], about: &str) -> Result<Figure, PictureError> {
    if runs.len() < 2 || alike.len() != runs.len() || alike.iter().any(|r| r.len() != runs.len()) {
        return Err(nothing("pair of runs"));
    }
    paint((1040, 460), |area, _| {
        let (left, right) = area.split_horizontally(520 * FINE);
        draw_matrix(&left, runs, alike, about)?;
        let labels = Labels {
            title: "Entropy of the cells",
            x: "entropy, 0: one voxel, 1: all voxels alike",
            y: "share of cells with at most this entropy",
        };
        let x = wide(runs.iter().flat_map(|r| r.values.iter().copied()));
        let x = x.start.max(0.0)..x.end.min(1.0).max(x.start.max(0.0) + 1e-6);
        let mut chart = axes(&right, labels, x.clone(), 0.0..1.0)?;
        let many = runs.len() > MOST_CURVES;
        let colors = type_colors(runs.len(), None);
        for (k, (run, color)) in runs.iter().zip(colors).enumerate() {
            let mut sorted = run.values.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let n = sorted.len() as f64;
            // A curve of more points looks no smoother.
            let step = (sorted.len() / 400).max(1);
            let path = sorted.iter().enumerate().step_by(step);
            let path = path.map(|(k, &e)| (e, (k + 1) as f64 / n));
            let path = path.chain(sorted.last().map(|&last| (last, 1.0)));
            let (color, name) = match many {
                true => (blue(), None),
                false => (color, Some(run.name.as_str())),
            };
            // A curve that hides others is narrower than they are.
            let broader = if many { 0 } else { runs.len() - 1 - k } as u32;
            broad_line(&mut chart, path.collect(), color, name, broader)?;
        }
        match many {
            true => Ok(()),
            false => legend(&mut chart, SeriesLabelPosition::UpperLeft),
        }
    })
}

fn draw_matrix(
    area: &Area<'_>,
    runs: &[Group],
    alike: &[Vec<f64>],
    about: &str,
) -> Result<(), PictureError> {
    const NAMES: i32 = 130;
    const TOP: i32 = 44;
    let n = runs.len() as i32;
    let cell = (370 / n).min(92) * FINE;
    let title = fitted("Agreement of runs", 14.0, 500.0);
    write_text(area, &title, 14.0, (260 * FINE, 20 * FINE), Anchor::Middle)?;
    let at = |k: i32, begin: i32| begin * FINE + k * cell;
    for (i, row) in alike.iter().enumerate() {
        let middle = at(i as i32, TOP) + cell / 2;
        let name = fitted(&runs[i].name, 11.0, f64::from(NAMES) - 12.0);
        let right = ((NAMES - 6) * FINE, middle);
        write_text(area, &name, 11.0, right, Anchor::Right)?;
        for (j, &value) in row.iter().enumerate() {
            let left = at(j as i32, NAMES);
            let top = at(i as i32, TOP);
            let corners = [(left, top), (left + cell, top + cell)];
            let color = sequential(value as f32).plotters().filled();
            area.draw(&Rectangle::new(corners, color))?;
            if runs.len() <= MOST_NUMBERS {
                let ink = if value < 0.6 { WHITE } else { INK };
                let text = match value {
                    1.0 => "1".to_owned(),
                    _ => format!("{value:.2}"),
                };
                let place = (left + cell / 2, middle);
                write_in(area, &text, 11.0, place, (Anchor::Middle, ink))?;
            }
        }
    }
    let below = at(n, TOP) + 16 * FINE;
    let text = fitted(about, 10.0, 500.0);
    write_text(area, &text, 10.0, (12 * FINE, below), Anchor::Left)
}

/// A number of things, as a bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// Its label.
    pub name: String,
    /// Its length: a number of tasks or attempts.
    pub number: usize,
    /// Its meaning, which sets its colour.
    pub kind: BarKind,
}

/// The meaning of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BarKind {
    /// As it should be.
    Good,
    /// Neither.
    Open,
    /// Something to look at.
    Bad,
}

/// How far a sweep is and what it costs: how its tasks stand, seconds of its items, how attempts ended.
///
/// * `noun`: what an item is, `fold` or `run`
///
/// # Errors
/// If there is no task.
pub fn progress(
    heading: &str,
    noun: &str,
    tasks: &[Bar],
    seconds: &[f64],
    attempts: &[Bar],
) -> Result<Figure, PictureError> {
    if tasks.iter().all(|t| t.number == 0) {
        return Err(nothing("task"));
    }
    paint((1140, 360), |area, _| {
        let (top, rest) = area.split_vertically(40 * FINE);
        let heading = fitted(heading, 16.0, 1110.0);
        let at = (12 * FINE, 20 * FINE);
        write_text(&top, &heading, 16.0, at, Anchor::Left)?;
        let (tasks_area, rest) = rest.split_horizontally(370 * FINE);
        let (seconds_area, attempts_area) = rest.split_horizontally(400 * FINE);
        draw_bars(&tasks_area, "Tasks", tasks)?;
        draw_bars(&attempts_area, "Attempts", attempts)?;
        let title = format!("Seconds for each {noun}");
        if seconds.is_empty() {
            let at = (200 * FINE, 16 * FINE);
            write_text(&seconds_area, &title, 14.0, at, Anchor::Middle)?;
            let none = format!("no {noun} is done");
            let at = (200 * FINE, 150 * FINE);
            return write_text(&seconds_area, &none, 12.0, at, Anchor::Middle);
        }
        let most = seconds.iter().copied().fold(0.0, f64::max).max(1e-3);
        let labels = Labels {
            title: &title,
            x: "seconds",
            y: &format!("share of {noun}s"),
        };
        let group = Group {
            name: format!("{noun}s"),
            values: seconds.to_vec(),
        };
        draw_histogram(&seconds_area, &[group], 0.0..most * 1.05, labels)
    })
}

fn draw_bars(area: &Area<'_>, title: &str, bars: &[Bar]) -> Result<(), PictureError> {
    const NAMES: i32 = 140;
    const LENGTH: i32 = 160;
    let (width, _) = area.dim_in_pixel();
    let middle = width as i32 / 2;
    write_text(area, title, 14.0, (middle, 16 * FINE), Anchor::Middle)?;
    let most = bars.iter().map(|b| b.number).max().unwrap_or(0).max(1);
    let shown = bars.iter().filter(|b| b.number > 0);
    for (k, bar) in shown.enumerate() {
        let y = (50 + 26 * k as i32) * FINE;
        let name = fitted(&bar.name, 11.0, f64::from(NAMES) - 14.0);
        write_text(area, &name, 11.0, ((NAMES - 6) * FINE, y), Anchor::Right)?;
        let length = bar.number as f64 / most as f64 * f64::from(LENGTH * FINE);
        let right = NAMES * FINE + length.round() as i32;
        let color = match bar.kind {
            BarKind::Good => blue(),
            BarKind::Open => GREY,
            BarKind::Bad => orange(),
        };
        let corners = [(NAMES * FINE, y - 8 * FINE), (right, y + 8 * FINE)];
        area.draw(&Rectangle::new(corners, color.plotters().filled()))?;
        let at = (right + 6 * FINE, y);
        write_text(area, &bar.number.to_string(), 11.0, at, Anchor::Left)?;
    }
    Ok(())
}

/// Mean score of the genes held out against the share of genes that trained, with the spread of the repeats.
///
/// * `folds`: (share of genes that trained, mean score of the genes held out) of each
/// * `n_genes`: number of genes that the fractions refer to
///
/// # Errors
/// If there is no fold.
pub fn fractions(folds: &[(f64, f64)], n_genes: usize) -> Result<Figure, PictureError> {
    if folds.is_empty() {
        return Err(nothing("fold"));
    }
    let mut by_share: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (share, score) in folds {
        // Of one fraction, up to rounding.
        let key = (share * 1e4).round() as u64;
        by_share.entry(key).or_default().push(*score);
    }
    paint((620, 420), |area, images| {
        let x_label = format!("share of {n_genes} genes that trained");
        let labels = Labels {
            title: "Scores of held-out genes by the share that trained",
            x: &x_label,
            y: "mean cosine of the genes held out",
        };
        let y = wide(folds.iter().map(|f| f.1));
        let mut chart = axes(area, labels, 0.0..1.0, y)?;
        let mut means = Vec::new();
        let ink = orange().plotters().stroke_width(2 * FINE.unsigned_abs());
        for (share, scores) in &by_share {
            let n = scores.len() as f64;
            let mean = scores.iter().sum::<f64>() / n;
            let square = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>();
            let x = *share as f64 / 1e4;
            if scores.len() > 1 {
                let spread = (square / (n - 1.0)).sqrt();
                let path = vec![(x, mean - spread), (x, mean + spread)];
                chart.draw_series([PathElement::new(path, ink)])?;
            }
            means.push((x, mean));
        }
        let name = "mean of the repeats, ± 1 standard deviation";
        line(&mut chart, means, orange(), Some(name))?;
        let name = format!("trainings ({})", folds.len());
        points(&mut chart, images, folds, blue(), &name)?;
        legend(&mut chart, SeriesLabelPosition::LowerRight)
    })
}
