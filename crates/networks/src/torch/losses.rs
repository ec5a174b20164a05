//! Losses.

use tch::{Kind, Tensor};

/// Added to intersection and union, so that a class that neither shows has the ratio 1.
const SMOOTH: f64 = 1e-5;

/// Mean squared error: `1/N Σ (d − d̂)²`; Biancalani 2021, Methods, Siamese network.
pub fn mean_squared_error(predicted: &Tensor, label: &Tensor) -> Tensor {
    (predicted - label).square().mean(Kind::Float)
}

/// Cross-entropy minus intersection over union: `−g·log p − (p ∩ g) / (p ∪ g)`; Biancalani 2021, Methods, semantic segmentation.
///
/// The first term is the mean over pixels; in the second the intersection is Σ p g and the union Σ p + Σ g − Σ p g over all pixels of the
/// batch, by class, and the ratio's mean over classes counts. Pixels without a class count in neither.
///
/// * `log_p`: (images, classes, rows, columns)
/// * `g`: one-hot, the same shape; all 0 where a pixel has no class
///
/// # Returns
/// The loss and its two terms: cross-entropy, and intersection over union.
pub fn regions_loss(log_p: &Tensor, g: &Tensor) -> (Tensor, Tensor, Tensor) {
    let over = [0, 2, 3];
    let known = g.sum_dim_intlist([1].as_slice(), true, Kind::Float);
    let cross_entropy = -(g * log_p).sum(Kind::Float) / known.sum(Kind::Float).clamp_min(1.0);
    let p = log_p.exp() * known;
    let both = (&p * g).sum_dim_intlist(over.as_slice(), false, Kind::Float);
    let either = (&p + g).sum_dim_intlist(over.as_slice(), false, Kind::Float) - &both;
    let ratio = ((both + SMOOTH) / (either + SMOOTH)).mean(Kind::Float);
    (&cross_entropy - &ratio, cross_entropy, ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(x: &Tensor) -> f64 {
        x.double_value(&[])
    }

    #[test]
    fn the_mean_squared_error_of_three_pairs() {
        let (d, label) = ([0.5_f32, -0.25, 1.0], [0.25_f32, 0.25, 1.0]);
        let mse = mean_squared_error(&Tensor::from_slice(&d), &Tensor::from_slice(&label));
        // (1/16 + 1/4 + 0) / 3
        assert!((number(&mse) - 0.312_5 / 3.0).abs() < 1e-7);
    }

    #[test]
    fn two_pixels_of_two_classes_and_one_without() {
        // Class 0: 0.75, 0.5, 0.9; class 1: the rest. The first pixel is of class 0, the second of class 1, the third of none.
        let p = Tensor::from_slice(&[0.75_f32, 0.5, 0.9, 0.25, 0.5, 0.1]).reshape([1, 2, 1, 3]);
        let g = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 0.0, 1.0, 0.0]).reshape([1, 2, 1, 3]);
        let (loss, cross_entropy, ratio) = regions_loss(&p.log(), &g);
        let by_hand = -(0.75_f64.ln() + 0.5_f64.ln()) / 2.0;
        assert!((number(&cross_entropy) - by_hand).abs() < 1e-6);
        // Class 0: 0.75 / (1.25 + 1 − 0.75); class 1: 0.5 / (0.75 + 1 − 0.5).
        let overlap = (0.75 / 1.5 + 0.5 / 1.25) / 2.0;
        assert!((number(&ratio) - overlap).abs() < 1e-5);
        assert!((number(&loss) - (by_hand - overlap)).abs() < 1e-5);
    }

    #[test]
    fn a_perfect_prediction_has_the_least_loss() {
        let g = Tensor::from_slice(&[1.0_f32, 0.0, 0.0, 1.0]).reshape([1, 2, 1, 2]);
        let p = (&g * 0.999_999 + 5e-7).log();
        let (loss, ..) = regions_loss(&p, &g);
        assert!((number(&loss) + 1.0).abs() < 1e-4, "0 − 1");
    }
}
