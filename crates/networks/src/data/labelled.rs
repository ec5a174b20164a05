//! Images made from labelled photographs: real tissue, with the classes that a person drew.

use super::appearance::Appearance;
use super::damage::Damage;
use super::view::View;
use super::{Picture, Share, Variety, place_in_image};
use crate::NetworkError;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tangram_atlas::{BACKGROUND, ClassImage, LabelledFiles, LabelledPair, NO_CLASS, Photograph};
use tangram_store::{fingerprint, fingerprint_names};

/// Blocks of photographs in their order, because neighbours look alike.
const N_BLOCKS: usize = 12;
/// Of four blocks this one is held out.
const HELD_OUT: usize = 2;
/// Fewer photographs have no such block.
const FEWEST: usize = HELD_OUT + 1;
/// In blocks of at least this length the photographs at the borders of held-out blocks are not used.
const LONG: usize = 4;
/// Photographs are held this many times as fine as the images to be made, at least.
const FINER: usize = 2;

/// A photograph with the classes of its pixels.
#[derive(Debug)]
pub(crate) struct LabelledImage {
    /// As `tangram atlas segment` sees it.
    pub photograph: Photograph,
    /// Of the same size.
    pub mask: ClassImage,
    name: String,
    /// Of the photograph.
    sha256: String,
    /// The photograph on coarser pixels, and their edge.
    coarse: (Photograph, usize),
    /// The gray value beside the tissue, if the mask shows such a place.
    outside: Option<f32>,
}

/// Labelled photographs: those to learn from, and those that are held out.
#[derive(Debug)]
pub struct LabelledImages {
    training: Vec<LabelledImage>,
    held_out: Vec<LabelledImage>,
    n_between: usize,
    share: f64,
    sha256: String,
}

impl LabelledImages {
    /// Reads pairs of photographs and masks, in an order in which neighbours are alike.
    ///
    /// * `n_classes`: with the background
    /// * `edge`: of the images to be made, pixels
    /// * `share`: of the images for training that are made of these photographs
    ///
    /// # Errors
    /// [`NetworkError::Atlas`] if a file cannot be read, a mask has another size than its photograph, a value that is no class, or leaves
    /// every pixel out; [`NetworkError::Settings`] if there are fewer than three.
    pub fn read(
        files: &LabelledFiles,
        n_classes: usize,
        edge: usize,
        share: f64,
    ) -> Result<Self, NetworkError> {
        let n = files.pairs.len();
        if n < FEWEST {
            return Err(NetworkError::Settings(format!(
                "--labelled: {n} labelled images are too few: give {FEWEST} or more, because at least one is held out"
            )));
        }
        let mut images = Self {
            training: Vec::new(),
            held_out: Vec::new(),
            n_between: 0,
            share,
            sha256: String::new(),
        };
        let mut contents = Vec::new();
        for (i, pair) in files.pairs.iter().enumerate() {
            let image = LabelledImage::read(pair, n_classes, edge)?;
            contents.extend([image.sha256.clone(), fingerprint(&pair.mask)?]);
            match share_of(i, n) {
                Some(Share::Training) => images.training.push(image),
                Some(Share::HeldOut) => images.held_out.push(image),
                None => images.n_between += 1,
            }
        }
        images.sha256 = fingerprint_names(&contents);
        Ok(images)
    }

    /// SHA-256 of all photographs and masks in their order.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Photographs that are learned from.
    #[must_use]
    pub fn n_training(&self) -> usize {
        self.training.len()
    }

    /// SHA-256 of each photograph that is learned from.
    #[must_use]
    pub fn training_sha256(&self) -> Vec<String> {
        let images = self.training.iter();
        images.map(|image| image.sha256.clone()).collect()
    }

    /// Photographs that are neither learned from nor measured on: those at the borders of held-out blocks.
    #[must_use]
    pub fn n_between(&self) -> usize {
        self.n_between
    }

    /// Names of the photographs that are held out.
    #[must_use]
    pub fn held_out_names(&self) -> Vec<String> {
        self.held_out
            .iter()
            .map(|image| image.name.clone())
            .collect()
    }

    #[cfg_attr(not(feature = "torch"), allow(dead_code))]
    pub(crate) fn held_out(&self) -> &[LabelledImage] {
        &self.held_out
    }

    /// Whether the image of this number is made of one of these photographs: they are spread evenly over the numbers.
    pub(crate) fn makes(&self, number: u64) -> bool {
        let before = |number: u64| (number as f64 * self.share).floor();
        before(number + 1) > before(number)
    }

    pub(super) fn picture(&self, rng: &mut ChaCha8Rng, edge: usize, variety: &Variety) -> Picture {
        let image = &self.training[rng.random_range(0..self.training.len())];
        image.picture(rng, edge, variety)
    }
}

impl LabelledImage {
    fn read(pair: &LabelledPair, n_classes: usize, edge: usize) -> Result<Self, NetworkError> {
        let photograph = Photograph::read(&pair.image)?;
        let mask = ClassImage::read(&pair.mask, n_classes)?;
        let wrong = |reason: String| NetworkError::Labelled {
            path: pair.mask.clone(),
            reason,
        };
        let [width, height] = photograph.size();
        if [mask.width, mask.height] != [width, height] {
            return Err(wrong(format!(
                "{} × {} pixels, and its photograph {} has {width} × {height}; they must be the same",
                mask.width,
                mask.height,
                pair.image.display()
            )));
        }
        if mask.classes.iter().all(|class| *class == NO_CLASS) {
            return Err(wrong(
                "the mask leaves every pixel out; remove it".to_owned(),
            ));
        }
        let name = pair.image.file_name().unwrap_or_default();
        let n = (width.max(height) / (FINER * edge)).max(1);
        Ok(Self {
            name: name.to_string_lossy().into_owned(),
            sha256: fingerprint(&pair.image)?,
            outside: outside(&photograph, &mask),
            coarse: (photograph.coarser(n), n),
            photograph,
            mask,
        })
    }

    fn picture(&self, rng: &mut ChaCha8Rng, edge: usize, variety: &Variety) -> Picture {
        let size = self.photograph.size().map(|n| n as f64);
        let view = View::of_box(rng, [0.0; 2], size, 0.0, variety);
        // Blobs of wrong classes are for masks alone.
        let damage = Damage::draw(rng, 0, false);
        let mut picture = Picture {
            image: Vec::with_capacity(edge * edge),
            classes: Vec::with_capacity(edge * edge),
        };
        let pixel = 1.0 / edge as f64;
        let [right, below] = [view.step([pixel, 0.0]), view.step([0.0, pixel])];
        let (coarse, coarse_edge) = (&self.coarse.0, self.coarse.1 as f64);
        let longest = right[0].hypot(right[1]).max(below[0].hypot(below[1]));
        // A pixel that covers several of the photograph is their mean, as where a photograph is segmented.
        let n = (longest / coarse_edge).ceil().max(1.0) as usize;
        let offsets: Vec<f64> = (0..n).map(|k| (k as f64 + 0.5) / n as f64 - 0.5).collect();
        for i in 0..edge * edge {
            let at = place_in_image(i, edge);
            let place = view.place(at);
            let class = self.class(place);
            let removed = self.outside.filter(|_| damage.removes(at));
            let mean = || {
                let mut sum = 0.0;
                for v in &offsets {
                    for u in &offsets {
                        sum += coarse.at([0, 1].map(|axis| {
                            (place[axis] + u * right[axis] + v * below[axis]) / coarse_edge
                        }));
                    }
                }
                sum / (n * n) as f32
            };
            picture.image.push(removed.unwrap_or_else(mean));
            picture.classes.push(match removed {
                Some(_) if class != NO_CLASS => BACKGROUND,
                _ => class,
            });
        }
        Appearance::photograph(rng, &mut picture.image, edge);
        picture
    }

    /// The class at a place; none beyond the border.
    fn class(&self, [x, y]: [f64; 2]) -> u8 {
        let ClassImage {
            width,
            height,
            classes,
        } = &self.mask;
        match x >= 0.0 && y >= 0.0 && x < *width as f64 && y < *height as f64 {
            true => classes[y as usize * width + x as usize],
            false => NO_CLASS,
        }
    }
}

/// The middle gray value where the mask shows background.
fn outside(photograph: &Photograph, mask: &ClassImage) -> Option<f32> {
    let middle = |i: usize| [i % mask.width, i / mask.width].map(|k| k as f64 + 0.5);
    let classes = mask.classes.iter().enumerate();
    let outside = classes.filter(|(_, class)| **class == BACKGROUND);
    let mut values: Vec<f32> = outside.map(|(i, _)| photograph.at(middle(i))).collect();
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What a photograph is for, by its place in the order; `None` at the borders of held-out blocks.
fn share_of(i: usize, n: usize) -> Option<Share> {
    let n_blocks = N_BLOCKS.min(n);
    let is_held_out = |i: usize| i * n_blocks / n % 4 == HELD_OUT;
    match is_held_out(i) {
        false => Some(Share::Training),
        true => {
            let beside = [i.checked_sub(1), Some(i + 1).filter(|i| *i < n)];
            let borders = beside.into_iter().flatten().any(|i| !is_held_out(i));
            (!borders || n / n_blocks < LONG).then_some(Share::HeldOut)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::path::Path;
    use tangram_atlas::write_classes;

    /// A photograph in which the gray value tells the class, the left half of whose mask is left out.
    fn write_pair(folder: &Path, number: usize) -> LabelledPair {
        let (width, height) = (96, 80);
        let class = |i: usize| [0_u8, 1, 2, 3][(i % width) / 8 % 4];
        let gray = (0..width * height).map(|i| 40 + 60 * class(i)).collect();
        let mask = |i: usize| {
            if i % width < width / 2 {
                NO_CLASS
            } else {
                class(i)
            }
        };
        let pair = LabelledPair {
            image: folder.join(format!("{number}.png")),
            mask: folder.join(format!("{number}_mask.png")),
        };
        write_classes(&pair.image, [width, height], gray).unwrap();
        write_classes(
            &pair.mask,
            [width, height],
            (0..width * height).map(mask).collect(),
        )
        .unwrap();
        pair
    }

    #[test]
    fn photographs_of_a_block_are_held_out_and_their_neighbours_are_not_used() {
        let shares: Vec<Option<Share>> = (0..132).map(|i| share_of(i, 132)).collect();
        let n = |share: Option<Share>| shares.iter().filter(|s| **s == share).count();
        assert_eq!((n(Some(Share::HeldOut)), n(None)), (27, 6));
        for pair in shares.windows(2) {
            assert!(
                !pair.contains(&Some(Share::HeldOut)) || !pair.contains(&Some(Share::Training))
            );
        }
        let few: Vec<Option<Share>> = (0..5).map(|i| share_of(i, 5)).collect();
        let held_out = few.iter().filter(|s| **s == Some(Share::HeldOut)).count();
        assert_eq!((held_out, few[2]), (1, Some(Share::HeldOut)));
    }

    #[test]
    fn what_is_left_out_stays_so_and_classes_move_with_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let pairs = (0..3).map(|i| write_pair(folder.path(), i)).collect();
        let files = LabelledFiles {
            pairs,
            without_mask: Vec::new(),
        };
        let images = LabelledImages::read(&files, 4, 64, 0.5).unwrap();
        assert_eq!(
            (images.n_training(), images.held_out_names()),
            (2, vec!["2.png".to_owned()])
        );
        assert_eq!((0..8).map(|i| images.makes(i)).filter(|m| *m).count(), 4);
        let draw = |seed| {
            let rng = &mut ChaCha8Rng::seed_from_u64(seed);
            images.picture(rng, 64, &Variety::IMAGES)
        };
        assert_eq!(draw(5), draw(5));
        let (mut known, mut related) = (0, 0);
        for seed in 0..24 {
            let picture = draw(seed);
            assert!(
                picture.classes.iter().all(|c| *c < 4 || *c == NO_CLASS),
                "one-hot"
            );
            assert!(picture.image.iter().all(|v| (0.0..=1.0).contains(v)));
            // Mean gray value of each class: in order, or backwards where the image is inverted.
            let mean = |class: u8| {
                let of = picture.classes.iter().zip(&picture.image);
                let values: Vec<f32> = of.filter(|(c, _)| **c == class).map(|(_, v)| *v).collect();
                values.iter().sum::<f32>() / values.len() as f32
            };
            let means = [1, 2, 3].map(mean);
            if means.iter().any(|m| m.is_nan()) {
                continue;
            }
            known += 1;
            let rises = means[0] < means[1] && means[1] < means[2];
            let falls = means[0] > means[1] && means[1] > means[2];
            related += usize::from(rises || falls);
            let n_out = picture.classes.iter().filter(|c| **c == NO_CLASS).count();
            assert!(
                n_out > 300,
                "the left half and what lies beyond the border: {n_out}"
            );
        }
        assert!(
            known > 15 && related * 10 >= known * 9,
            "{related} of {known}"
        );
    }

    #[test]
    fn pairs_that_do_not_fit_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pairs: Vec<LabelledPair> = (0..3).map(|i| write_pair(folder.path(), i)).collect();
        let read = |pairs: &[LabelledPair], n_classes| {
            let files = LabelledFiles {
                pairs: pairs.to_vec(),
                without_mask: Vec::new(),
            };
            let error = LabelledImages::read(&files, n_classes, 64, 0.5).unwrap_err();
            error.to_string()
        };
        assert!(read(&pairs[..2], 4).contains("2 labelled images are too few: give 3 or more"));
        let error = read(&pairs, 3);
        assert!(
            error.contains("0_mask.png") && error.contains("has the value 3"),
            "{error}"
        );
        write_classes(&pairs[1].mask, [40, 40], vec![1; 1600]).unwrap();
        let error = read(&pairs, 4);
        assert!(
            error.contains("1_mask.png: 40 × 40 pixels") && error.contains("96 × 80"),
            "{error}"
        );
        write_classes(&pairs[1].mask, [96, 80], vec![NO_CLASS; 96 * 80]).unwrap();
        assert!(read(&pairs, 4).contains("leaves every pixel out"));
    }
}
