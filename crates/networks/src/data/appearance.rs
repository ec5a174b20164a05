//! What a stain and a camera make of a plane.

use super::draw::within;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;
use tangram_atlas::BACKGROUND;

/// Gray values of structures and what the camera does to them.
#[derive(Debug, Clone)]
pub(super) struct Appearance {
    /// Whether the template is shown; otherwise every structure has a gray value.
    pub(super) of_template: bool,
    by_label: Vec<f32>,
    by_class: Vec<f32>,
    outside: f32,
}

impl Appearance {
    pub(super) fn draw(rng: &mut ChaCha8Rng, n_labels: usize, has_template: bool) -> Self {
        let of_template = has_template && rng.random_bool(0.5);
        // Classes differ more than the structures within one.
        let by_class = (0..256).map(|_| rng.random_range(0.25..0.9)).collect();
        let by_label = (0..n_labels).map(|_| within(rng, 0.15) as f32).collect();
        Self {
            of_template,
            by_label,
            by_class,
            outside: rng.random_range(0.0..0.1),
        }
    }

    /// The gray value of a structure.
    pub(super) fn paint(&self, label: u16, class: u8) -> f32 {
        match (label, class) {
            (0, _) => self.outside,
            // Ventricles are nearly empty.
            (_, BACKGROUND) => self.outside + 0.05,
            _ => self.by_class[usize::from(class)] + self.by_label[usize::from(label)],
        }
    }

    /// Photometric augmentation: uneven light, contrast, blur, emboss or sharpening, noise, dropout, inversion.
    pub(super) fn photograph(rng: &mut ChaCha8Rng, image: &mut [f32], edge: usize) {
        let gamma = 2.0_f32.powf(within(rng, 0.7) as f32);
        let gain = rng.random_range(0.7..1.2_f32);
        let light = within(rng, 0.2) as f32;
        let direction = rng.random_range(0.0..TAU);
        let (dy, dx) = direction.sin_cos();
        for (i, value) in image.iter_mut().enumerate() {
            let [x, y] = [i % edge, i / edge].map(|k| k as f64 / edge as f64 - 0.5);
            let light = 1.0 + 2.0 * light * (dx * x + dy * y) as f32;
            *value = (value.clamp(0.0, 1.0).powf(gamma) * gain * light).clamp(0.0, 1.0);
        }
        if rng.random_bool(0.6) {
            smooth(image, edge);
        }
        match rng.random_range(0..10) {
            0 | 1 => sharpen(image, edge, rng.random_range(0.3..1.2)),
            2 => emboss(image, edge, rng.random_range(0.2..0.8)),
            _ => {}
        }
        let noise = rng.random_range(0.0..0.08_f32);
        let dropped = if rng.random_bool(0.3) { 0.03 } else { 0.0 };
        let invert = rng.random_bool(0.4);
        for value in image.iter_mut() {
            let drop = dropped > 0.0 && rng.random_bool(dropped);
            // The sum of three uniform numbers is nearly normal; its variance is 1.
            let normal: f32 = (0..3).map(|_| rng.random_range(-1.0..1.0_f32)).sum();
            *value = if drop {
                0.0
            } else {
                (*value + noise * normal).clamp(0.0, 1.0)
            };
            if invert {
                *value = 1.0 - *value;
            }
        }
    }
}

/// The weights ¼, ½, ¼ along rows and columns; the border repeats.
fn smooth(image: &mut [f32], edge: usize) {
    for (step, stride) in [(1, edge), (edge, 1)] {
        for line in 0..edge {
            let mut before = image[line * stride];
            for k in 0..edge {
                let at = line * stride + k * step;
                let next = if k + 1 < edge {
                    image[at + step]
                } else {
                    image[at]
                };
                let here = image[at];
                image[at] = 0.25 * before + 0.5 * here + 0.25 * next;
                before = here;
            }
        }
    }
}

/// Adds what smoothing takes away.
fn sharpen(image: &mut [f32], edge: usize, strength: f32) {
    let mut smoothed = image.to_vec();
    smooth(&mut smoothed, edge);
    for (value, smoothed) in image.iter_mut().zip(smoothed) {
        *value = (*value + strength * (*value - smoothed)).clamp(0.0, 1.0);
    }
}

/// Adds the difference to the pixel above on the left.
fn emboss(image: &mut [f32], edge: usize, strength: f32) {
    for i in (edge + 1..image.len()).rev() {
        if i % edge > 0 {
            image[i] = (image[i] + strength * (image[i] - image[i - edge - 1])).clamp(0.0, 1.0);
        }
    }
}
