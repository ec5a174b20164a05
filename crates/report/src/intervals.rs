//! A chart of prediction intervals: where measured values lie for a predicted one.

use crate::axes::{Labels, axes, blue, dashes, legend, line, nothing};
use crate::canvas::{FINE, paint};
use crate::error::PictureError;
use crate::figure::Figure;
use plotters::prelude::{Color as _, Polygon, Rectangle, SeriesLabelPosition};

/// Quantiles of the measured values at a predicted one. Both are multiples of their gene's mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The predicted value.
    pub predicted: f64,
    /// 5, 25, 50, 75 and 95 % of the measured values lie below these.
    pub measured: [f64; 5],
}

/// The part of the measured values that two bands hold, of genes that the bands were not made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Held {
    /// From 5 to 95 %.
    pub ninety: f64,
    /// From 25 to 75 %.
    pub fifty: f64,
}

/// Bands over the predicted value, their median, and the line on which both are equal.
///
/// * `bands`: by increasing predicted value
/// * `n_genes`: number of genes behind them
///
/// # Errors
/// If there are fewer than two bands.
pub fn intervals(bands: &[Band], held: Held, n_genes: usize) -> Result<Figure, PictureError> {
    let (Some(first), Some(last)) = (bands.first(), bands.last()) else {
        return Err(nothing("predicted value"));
    };
    if bands.len() < 2 {
        return Err(nothing("two predicted values that differ"));
    }
    let top = bands.iter().map(|b| b.measured[4]).fold(0.0, f64::max);
    let (x, y) = (first.predicted..last.predicted, 0.0..top.max(1e-6) * 1.04);
    let title = format!("What is measured where a gene was predicted, {n_genes} genes");
    paint((620, 460), |area, _| {
        let labels = Labels {
            title: &title,
            x: "predicted, in means of the gene",
            y: "measured, in means of the gene",
        };
        let mut chart = axes(area, labels, x.clone(), y.clone())?;
        let ranges = [
            ([0, 4], 0.2, "90 %", held.ninety),
            ([1, 3], 0.4, "50 %", held.fifty),
        ];
        for ([low, high], strength, name, held) in ranges {
            let below = bands.iter().map(|b| (b.predicted, b.measured[low]));
            let above = bands.iter().rev().map(|b| (b.predicted, b.measured[high]));
            let style = blue().plotters().mix(strength).filled();
            let name = format!(
                "{name} of the values (of other genes: {:.1} %)",
                held * 100.0
            );
            chart
                .draw_series([Polygon::new(below.chain(above).collect::<Vec<_>>(), style)])?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5 * FINE), (x + 16 * FINE, y + 5 * FINE)], style)
                });
        }
        let median = bands.iter().map(|b| (b.predicted, b.measured[2]));
        line(&mut chart, median.collect(), blue(), Some("median"))?;
        let from = x.start.max(y.start);
        let to = x.end.min(y.end);
        if to > from {
            dashes(&mut chart, (from, from), (to, to))?;
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)
    })
}
