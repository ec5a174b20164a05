//! What a network does on held-out planes.

use crate::about::HeldOut;
use crate::settings::{Task, TrainSettings};
use crate::shapes::{DEPTH_UNIT_UM, Head, NetworkShape};
use crate::torch::layers::Mode;
use crate::torch::network::{Batch, Network, numbers, unscaled};
use crate::torch::views::segment;
use crate::{AtlasPlanes, LabelledImages, NetworkError, Share, has_class};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};

/// Images, or pairs, that are looked at.
const N: usize = 128;

/// Measures a network.
pub(crate) fn measure(
    network: &Network,
    planes: &AtlasPlanes,
    settings: &TrainSettings,
    device: Device,
) -> Result<HeldOut, NetworkError> {
    let mut measured = Measured::new(planes.class_names().len());
    let batch_size = settings.batch.min(N) as u64;
    let n = (N as u64).div_ceil(batch_size) * batch_size;
    for first in (0..n).step_by(batch_size as usize) {
        let numbers = first..first + batch_size;
        let batch = Batch::make(planes, settings, numbers, Share::HeldOut, device)?;
        let output = tch::no_grad(|| network.output(&batch, Mode::Evaluation));
        measured.add(&output, &batch, settings, planes.blocks().extent_um());
    }
    Ok(HeldOut {
        n: n as usize,
        measures: measured.measures(settings.task(), planes.class_names()),
    })
}

/// Measures a network of regions on labelled photographs that it did not learn from, as `tangram atlas segment` sees them.
///
/// # Returns
/// `None` for other networks.
pub(crate) fn measure_photographs(
    network: &Network,
    labelled: &LabelledImages,
    names: &[String],
    settings: &TrainSettings,
    device: Device,
) -> Option<HeldOut> {
    let Network::Regions(unet) = network else {
        return None;
    };
    let mut measured = Measured::new(names.len());
    for image in labelled.held_out() {
        let found = segment(unet, &image.photograph, settings.edge, device);
        let pairs = found.classes.iter().zip(&image.mask.classes);
        for (found, truth) in pairs.filter(|(_, truth)| has_class(**truth)) {
            let (found, truth) = (usize::from(*found), usize::from(*truth));
            measured.classes[found][1] += 1.0;
            measured.classes[truth][2] += 1.0;
            if found == truth {
                measured.classes[truth][0] += 1.0;
            }
        }
    }
    Some(HeldOut {
        n: labelled.held_out().len(),
        measures: measured.measures(Task::Regions, names),
    })
}

/// Sums over batches.
struct Measured {
    /// Absolute errors of depth, and of the guess.
    depth_um: Vec<f64>,
    guess_um: Vec<f64>,
    angle_deg: Vec<f64>,
    /// Pixels by class: in both, in the prediction, in the truth.
    classes: Vec<[f64; 3]>,
}

impl Measured {
    fn new(n_classes: usize) -> Self {
        Self {
            depth_um: Vec::new(),
            guess_um: Vec::new(),
            angle_deg: Vec::new(),
            classes: vec![[0.0; 3]; n_classes],
        }
    }

    fn add(&mut self, output: &Tensor, batch: &Batch, settings: &TrainSettings, extent: [f64; 3]) {
        match &settings.network {
            NetworkShape::Depth(shape) => {
                for (found, truth) in numbers(output).into_iter().zip(numbers(&batch.truth)) {
                    let found = found * DEPTH_UNIT_UM;
                    let truth = match shape.head {
                        Head::Paper => truth,
                        Head::ReleasedCode => truth.abs(),
                    };
                    self.depth_um.push((found - truth).abs());
                    self.guess_um.push(truth);
                }
            }
            NetworkShape::Plane {} => {
                let (found, truth) = (numbers(output), numbers(&batch.truth));
                for (found, truth) in found.chunks_exact(3).zip(truth.chunks_exact(3)) {
                    let plane = |x: &[f64]| unscaled([x[0], x[1], x[2]], extent);
                    let (found, truth) = (plane(found), plane(truth));
                    self.depth_um.push((found.depth_um - truth.depth_um).abs());
                    self.guess_um.push(truth.depth_um);
                    let pitch = (found.pitch_deg - truth.pitch_deg).abs();
                    self.angle_deg
                        .push(pitch.max((found.yaw_deg - truth.yaw_deg).abs()));
                }
            }
            NetworkShape::Regions { .. } => {
                let known = batch
                    .truth
                    .sum_dim_intlist([1].as_slice(), true, Kind::Float);
                let best = output.argmax(1, true);
                let predicted = output.zeros_like().scatter_value(1, &best, 1.0) * known;
                let over = [0, 2, 3];
                let sum =
                    |x: &Tensor| numbers(&x.sum_dim_intlist(over.as_slice(), false, Kind::Double));
                let sums = [
                    sum(&(&predicted * &batch.truth)),
                    sum(&predicted),
                    sum(&batch.truth),
                ];
                for (class, total) in self.classes.iter_mut().enumerate() {
                    for (total, sums) in total.iter_mut().zip(&sums) {
                        *total += sums[class];
                    }
                }
            }
        }
    }

    fn measures(self, task: Task, names: &[String]) -> BTreeMap<String, f64> {
        let mut measures = BTreeMap::new();
        let mut put = |name: &str, value: f64| measures.insert(name.to_owned(), value);
        match task {
            Task::Depth | Task::Plane => {
                // The best guess without looking is the middle one.
                let middle = quantile(&self.guess_um, 0.5);
                let guess: Vec<f64> = self.guess_um.iter().map(|d| (d - middle).abs()).collect();
                put("depth-error-median-um", quantile(&self.depth_um, 0.5));
                put("depth-error-p90-um", quantile(&self.depth_um, 0.9));
                put("guess-depth-error-median-um", quantile(&guess, 0.5));
                if task == Task::Plane {
                    put("angle-error-median-deg", quantile(&self.angle_deg, 0.5));
                }
            }
            Task::Regions => {
                let all: f64 = self.classes.iter().map(|[_, _, truth]| truth).sum();
                let right: f64 = self.classes.iter().map(|[both, ..]| both).sum();
                put("pixel-accuracy", right / all.max(1.0));
                put("guess-pixel-accuracy", self.classes[0][2] / all.max(1.0));
                let shown = self.classes.iter().enumerate().skip(1);
                let shown = shown.filter(|(_, [_, _, truth])| *truth > 0.0);
                let dice: Vec<(usize, f64)> = shown
                    .map(|(class, [both, found, truth])| (class, 2.0 * both / (found + truth)))
                    .collect();
                let sum: f64 = dice.iter().map(|(_, dice)| dice).sum();
                put("mean-dice", sum / dice.len().max(1) as f64);
                for (class, dice) in dice {
                    put(&format!("dice {}", names[class]), dice);
                }
            }
        }
        measures
    }
}

/// A quantile of numbers, between neighbours the lower; 0 of none.
fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * part).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}
