//! The regions of a photograph: twelve views of it, each segmented, turned back and averaged.

use crate::segmentation::Segmentation;
use crate::torch::layers::Mode;
use crate::torch::unet::UNet;
use rayon::prelude::*;
use tangram_atlas::Photograph;
use tch::{Kind, Tensor};

/// Sizes of the image in the network, in quarters of the size that it was trained with.
const SCALES: [usize; 3] = [3, 4, 5];
/// Axes along which an image is mirrored: none, columns, rows, and both, which is half a turn.
const FLIPS: [&[i64]; 4] = [&[], &[3], &[2], &[2, 3]];

/// What a network of regions gives to a photograph.
///
/// * `edge`: of the images that it was trained with, pixels
pub(crate) fn segment(
    unet: &UNet,
    photograph: &Photograph,
    edge: usize,
    device: tch::Device,
) -> Segmentation {
    Averaged::over_views(unet, photograph, edge, device).segmentation(photograph.size())
}

/// Class probabilities averaged over the views, on a square that the photograph's longer edge spans.
#[derive(Debug)]
struct Averaged {
    edge: usize,
    n_classes: usize,
    /// (classes, edge, edge)
    p: Vec<f32>,
    disagreement: f64,
}

impl Averaged {
    fn over_views(unet: &UNet, photograph: &Photograph, edge: usize, device: tch::Device) -> Self {
        tch::no_grad(|| {
            let views: Vec<Tensor> = SCALES
                .iter()
                .flat_map(|quarters| {
                    let step = UNet::STEP as usize;
                    let size = (edge * quarters / 4).div_ceil(step) * step;
                    let image = Tensor::from_slice(&square(photograph, size));
                    let image = image.reshape([1, 1, size as i64, size as i64]);
                    let image = image.to(device).repeat([1, 3, 1, 1]);
                    let views: Vec<Tensor> = FLIPS.iter().map(|flip| image.flip(*flip)).collect();
                    let p = unet
                        .log_probabilities(&Tensor::cat(&views, 0), Mode::Evaluation)
                        .exp();
                    let back = |(i, flip): (usize, &&[i64])| {
                        let back = p.narrow(0, i as i64, 1).flip(*flip);
                        back.upsample_bilinear2d([edge as i64; 2], false, None, None)
                    };
                    let back: Vec<Tensor> = FLIPS.iter().enumerate().map(back).collect();
                    back
                })
                .collect();
            let all = Tensor::cat(&views, 0);
            let mean = all.mean_dim([0].as_slice(), true, Kind::Float);
            let best = mean.argmax(1, true);
            let differs = all.argmax(1, true).ne_tensor(&best);
            let disagreement = differs
                .to_kind(Kind::Float)
                .mean(Kind::Float)
                .double_value(&[]);
            let cores = mean.to_device(tch::Device::Cpu).contiguous().flatten(0, -1);
            Self {
                edge,
                n_classes: mean.size()[1] as usize,
                p: Vec::try_from(cores).expect("f32"),
                disagreement,
            }
        })
    }

    /// The most probable class of every pixel of the photograph.
    fn segmentation(&self, [width, height]: [usize; 2]) -> Segmentation {
        let longer = width.max(height) as f64;
        // From pixels of the photograph to those of the square.
        let along = |at: usize, n: usize| {
            let part = (at as f64 + 0.5 - n as f64 / 2.0) / longer + 0.5;
            let at = (part * self.edge as f64 - 0.5).clamp(0.0, (self.edge - 1) as f64);
            let first = (at as usize).min(self.edge - 2);
            (first, (at - first as f64) as f32)
        };
        let columns: Vec<(usize, f32)> = (0..width).map(|x| along(x, width)).collect();
        let n = self.edge * self.edge;
        let rows = (0..height).into_par_iter().map(|y| {
            let (row, down) = along(y, height);
            let mut sure = 0.0_f64;
            let classes: Vec<u8> = columns
                .iter()
                .map(|&(column, across)| {
                    let at = row * self.edge + column;
                    let p = |class: usize| {
                        let p = &self.p[class * n..(class + 1) * n];
                        let upper = p[at] * (1.0 - across) + p[at + 1] * across;
                        let lower =
                            p[at + self.edge] * (1.0 - across) + p[at + self.edge + 1] * across;
                        upper * (1.0 - down) + lower * down
                    };
                    let mut best = (0, p(0));
                    for class in 1..self.n_classes {
                        let p = p(class);
                        if p > best.1 {
                            best = (class, p);
                        }
                    }
                    sure += f64::from(best.1);
                    best.0 as u8
                })
                .collect();
            (classes, sure)
        });
        let rows: Vec<(Vec<u8>, f64)> = rows.collect();
        let sure: f64 = rows.iter().map(|(_, sure)| sure).sum();
        Segmentation {
            size: [width, height],
            classes: rows.into_iter().flat_map(|(classes, _)| classes).collect(),
            mean_probability: sure / (width * height) as f64,
            disagreement: self.disagreement,
        }
    }
}

/// The photograph in the middle of a square that its longer edge spans; beyond its border as at it.
fn square(photograph: &Photograph, edge: usize) -> Vec<f32> {
    let [width, height] = photograph.size();
    let longer = width.max(height) as f64;
    let pixel = longer / edge as f64;
    // A pixel that covers several of the photograph is their mean: n × n places are read in it.
    let n = pixel.ceil().max(1.0) as usize;
    let offsets: Vec<f64> = (0..n).map(|k| (k as f64 + 0.5) / n as f64 - 0.5).collect();
    let value = |i: usize| {
        let place = |k: usize, length: usize, offset: f64| {
            length as f64 / 2.0 + ((k as f64 + 0.5 + offset) / edge as f64 - 0.5) * longer
        };
        let mut sum = 0.0;
        for dy in &offsets {
            for dx in &offsets {
                sum += photograph.at([place(i % edge, width, *dx), place(i / edge, height, *dy)]);
            }
        }
        sum / (n * n) as f32
    };
    (0..edge * edge).into_par_iter().map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shapes::ResNetShape;
    use crate::torch::parameters::Parameters;
    use tch::Device;

    /// Sums in f32 in another order, through the network.
    const ROUNDING: f32 = 2e-5;

    #[test]
    fn a_mirrored_photograph_has_the_mirrored_probabilities() {
        let (width, height) = (90, 61);
        let gray = |x: usize, y: usize| ((x * 37 + y * 91 + x * y * 5) % 101) as f32 / 101.0;
        let photograph = |mirror: [bool; 2]| {
            let value = |i: usize| {
                let (x, y) = (i % width, i / width);
                let x = if mirror[0] { width - 1 - x } else { x };
                gray(x, if mirror[1] { height - 1 - y } else { y })
            };
            Photograph::new(width, height, (0..width * height).map(value).collect()).unwrap()
        };
        let shape = ResNetShape {
            first: 4,
            blocks: [1, 1, 1, 1],
        };
        let mut parameters = Parameters::new(3, Device::Cpu);
        let unet = UNet::new(&mut parameters, &shape, 3);
        let p = |mirror| Averaged::over_views(&unet, &photograph(mirror), 64, Device::Cpu);
        let plain = p([false, false]);
        let spread = |p: &[f32]| {
            p.iter()
                .fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)))
        };
        let (low, high) = spread(&plain.p);
        assert!(high - low > 0.05, "the image matters: {low} to {high}");
        for mirror in [[true, false], [false, true], [true, true]] {
            let mirrored = p(mirror);
            let n = plain.edge;
            for (i, value) in mirrored.p.iter().enumerate() {
                let (class, x, y) = (i / (n * n), i % n, i / n % n);
                let x = if mirror[0] { n - 1 - x } else { x };
                let y = if mirror[1] { n - 1 - y } else { y };
                let expected = plain.p[(class * n + y) * n + x];
                assert!((value - expected).abs() < ROUNDING, "{value} {expected}");
            }
        }
        let sums = (0..64 * 64).map(|at| (0..3).map(|c| plain.p[c * 64 * 64 + at]).sum::<f32>());
        assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-5));
        let segmentation = plain.segmentation([width, height]);
        assert_eq!(segmentation.classes.len(), width * height);
    }

    #[test]
    fn one_view_alone_is_not_equivariant() {
        let shape = ResNetShape {
            first: 4,
            blocks: [1, 1, 1, 1],
        };
        let mut parameters = Parameters::new(3, Device::Cpu);
        let unet = UNet::new(&mut parameters, &shape, 3);
        let ramp: Vec<f32> = (0..64 * 64).map(|i| (i % 97) as f32 / 97.0).collect();
        let x = Tensor::from_slice(&ramp)
            .reshape([1, 1, 64, 64])
            .repeat([1, 3, 1, 1]);
        let (plain, mirrored) = tch::no_grad(|| {
            let p = |x: &Tensor| unet.log_probabilities(x, Mode::Evaluation).exp();
            (p(&x), p(&x.flip([3])).flip([3]))
        });
        let apart = (plain - mirrored).abs().max().double_value(&[]);
        assert!(apart > 100.0 * f64::from(ROUNDING), "{apart}");
    }
}
