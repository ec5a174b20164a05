//! Images and masks made on the fly from planes of an atlas and from labelled photographs: training data, and data held out for validation.

mod appearance;
mod blocks;
mod damage;
mod draw;
mod labelled;
mod variety;
mod view;

use crate::NetworkError;
use appearance::Appearance;
pub use blocks::{Blocks, Share};
use damage::Damage;
pub use labelled::LabelledImages;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use tangram_atlas::{Atlas, BACKGROUND, NO_CLASS, Plane, Volume};
pub use variety::Variety;
use view::View;

/// Planes nearer than this are the same image.
const APART_UM: f64 = 25.0;
/// Draws after which an atlas has no plane with tissue.
const MOST_DRAWS: usize = 1000;

/// An image with its truth.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Gray values from 0 to 1, row after row.
    pub image: Vec<f32>,
    /// The class of every pixel; [`NO_CLASS`] where there is none.
    pub classes: Vec<u8>,
    /// Where the plane meets the mid-axis.
    pub plane: Plane,
}

/// An image with the classes of its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Gray values from 0 to 1, row after row.
    pub image: Vec<f32>,
    /// The class of every pixel; [`NO_CLASS`] where there is none.
    pub classes: Vec<u8>,
}

/// An atlas whose planes become images, and labelled photographs that do, if there are any.
#[derive(Debug)]
pub struct AtlasPlanes {
    labels: Volume<u16>,
    /// Class of every label.
    class_of: Vec<u8>,
    names: Vec<String>,
    /// From 0 to 1.
    template: Option<Volume<f32>>,
    blocks: Blocks,
    labelled: Option<LabelledImages>,
}

impl AtlasPlanes {
    /// Reads what images are made of.
    ///
    /// * `edge`: of the images to be made, pixels; the atlas is read in a level that is about as fine
    ///
    /// # Errors
    /// [`NetworkError::Atlas`] if the atlas cannot be read.
    pub fn of_atlas(atlas: &Atlas, edge: usize) -> Result<Self, NetworkError> {
        let extent = atlas.levels()[0].extent_um();
        let pixel_um = extent[1].max(extent[2]) / edge as f64;
        let level = atlas.level_of(pixel_um / 2.0);
        let of_structures = atlas.rule().of_structures(atlas.tree())?;
        let class_of = std::iter::once(BACKGROUND).chain(of_structures);
        let template = atlas.template()?.map(|template| {
            let brightest = brightest(&template.values);
            template.map(|v| (v / brightest).clamp(0.0, 1.0))
        });
        Ok(Self {
            labels: atlas.labels(level)?,
            class_of: class_of.collect(),
            names: atlas.rule().names(),
            template,
            blocks: Blocks::along(extent),
            labelled: None,
        })
    }

    /// The same with labelled photographs: [`pictures`](Self::pictures) makes a part of its images from them.
    #[must_use]
    pub fn with_labelled(self, labelled: LabelledImages) -> Self {
        Self {
            labelled: Some(labelled),
            ..self
        }
    }

    /// Labelled photographs.
    #[must_use]
    pub fn labelled(&self) -> Option<&LabelledImages> {
        self.labelled.as_ref()
    }

    /// Names of the classes, background first.
    #[must_use]
    pub fn class_names(&self) -> &[String] {
        &self.names
    }

    /// Which depths are held out.
    #[must_use]
    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    /// Whether the atlas has a template, which half of the images then show; the others are painted, a gray value for every structure.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// Images from the share of planes.
    ///
    /// The same seed and numbers give the same images, on any number of threads.
    ///
    /// * `numbers`: of the images
    /// * `edge`: pixels
    ///
    /// # Errors
    /// [`NetworkError::Settings`] if there is no tissue at these depths.
    pub fn samples(
        &self,
        seed: u64,
        numbers: std::ops::Range<u64>,
        share: Share,
        edge: usize,
        variety: &Variety,
    ) -> Result<Vec<Sample>, NetworkError> {
        let draw =
            |number| self.sample(&mut stream(seed, number, share), share, edge, variety, None);
        numbers.into_par_iter().map(draw).collect()
    }

    /// Images from the share of planes, and for training, in their part, from labelled photographs.
    ///
    /// # Errors
    /// As [`samples`](Self::samples).
    pub fn pictures(
        &self,
        seed: u64,
        numbers: std::ops::Range<u64>,
        share: Share,
        edge: usize,
        variety: &Variety,
    ) -> Result<Vec<Picture>, NetworkError> {
        let draw = |number| {
            let rng = &mut stream(seed, number, share);
            let labelled = self.labelled.as_ref();
            if let Some(labelled) = labelled.filter(|l| share == Share::Training && l.makes(number))
            {
                return Ok(labelled.picture(rng, edge, variety));
            }
            let Sample { image, classes, .. } = self.sample(rng, share, edge, variety, None)?;
            Ok(Picture { image, classes })
        };
        numbers.into_par_iter().map(draw).collect()
    }

    /// Pairs of images of different planes.
    ///
    /// # Errors
    /// As [`samples`](Self::samples).
    pub fn pairs(
        &self,
        seed: u64,
        numbers: std::ops::Range<u64>,
        share: Share,
        edge: usize,
        variety: &Variety,
    ) -> Result<Vec<[Sample; 2]>, NetworkError> {
        let draw = |number| {
            let rng = &mut stream(seed, number, share);
            let first = self.sample(rng, share, edge, variety, None)?;
            let second = self.sample(rng, share, edge, variety, Some(first.plane.depth_um))?;
            Ok([first, second])
        };
        numbers.into_par_iter().map(draw).collect()
    }

    /// One image whose depth differs from another's.
    fn sample(
        &self,
        rng: &mut ChaCha8Rng,
        share: Share,
        edge: usize,
        variety: &Variety,
        other_depth_um: Option<f64>,
    ) -> Result<Sample, NetworkError> {
        for _ in 0..MOST_DRAWS {
            let plane = self.blocks.draw(rng, share, variety.tilt_deg);
            if other_depth_um.is_some_and(|other| (plane.depth_um - other).abs() < APART_UM) {
                continue;
            }
            let is_tissue = |point| self.labels.at(point).is_some_and(|label| label > 0);
            let extent = self.blocks.extent_um();
            if let Some(view) = View::of_plane(rng, &plane, extent, variety, is_tissue) {
                return Ok(self.picture(rng, plane, &view, edge, variety));
            }
        }
        Err(NetworkError::Settings(format!(
            "the atlas shows no tissue at the depths of its {} blocks",
            share.name()
        )))
    }

    fn picture(
        &self,
        rng: &mut ChaCha8Rng,
        plane: Plane,
        view: &View,
        edge: usize,
        variety: &Variety,
    ) -> Sample {
        let appearance = Appearance::draw(rng, self.class_of.len(), self.template.is_some());
        let damage = Damage::draw(rng, self.names.len(), variety.wrong_masks);
        let mut image = Vec::with_capacity(edge * edge);
        let mut classes = Vec::with_capacity(edge * edge);
        for i in 0..edge * edge {
            let at = place_in_image(i, edge);
            let point = plane.point(view.place(at));
            let label = self.labels.at(point).unwrap_or(0);
            let is_there = !damage.removes(at);
            let label = if is_there { label } else { 0 };
            let class = self.class_of[usize::from(label)];
            classes.push(damage.class(at, class));
            let template = self.template.as_ref().filter(|_| appearance.of_template);
            image.push(match template {
                Some(volume) if is_there => between_voxels(volume, point),
                Some(_) => 0.0,
                None => appearance.paint(label, class),
            });
        }
        Appearance::photograph(rng, &mut image, edge);
        Sample {
            image,
            classes,
            plane,
        }
    }
}

/// The middle of a pixel, from −0.5 to 0.5 along columns and rows.
fn place_in_image(pixel: usize, edge: usize) -> [f64; 2] {
    [pixel % edge, pixel / edge].map(|k| (k as f64 + 0.5) / edge as f64 - 0.5)
}

/// The random numbers of one image.
fn stream(seed: u64, number: u64, share: Share) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let held_out = u64::from(share == Share::HeldOut);
    rng.set_stream(2 * number + held_out);
    rng
}

/// The value that all but one of 200 tissue voxels stay below.
fn brightest(values: &[f32]) -> f32 {
    let mut tissue: Vec<f32> = values.iter().copied().filter(|v| *v > 0.0).collect();
    tissue.sort_unstable_by(f32::total_cmp);
    let at = (tissue.len() * 199 / 200).min(tissue.len().saturating_sub(1));
    tissue.get(at).copied().unwrap_or(1.0)
}

/// Linear between the middles of voxels; 0 outside.
fn between_voxels(volume: &Volume<f32>, point: [f64; 3]) -> f32 {
    let at = point.map(|x| x / volume.grid.voxel_um - 0.5);
    let first = at.map(f64::floor);
    let mut sum = 0.0;
    for corner in 0..8_usize {
        let mut weight = 1.0;
        let mut voxel = [0; 3];
        let mut inside = true;
        for axis in 0..3 {
            let up = (corner >> axis) & 1;
            let along = at[axis] - first[axis];
            weight *= if up == 1 { along } else { 1.0 - along };
            let index = first[axis] + up as f64;
            inside &= index >= 0.0 && index < volume.grid.shape[axis] as f64;
            voxel[axis] = index.max(0.0) as usize;
        }
        if inside {
            sum += weight * f64::from(volume.values[volume.grid.index(voxel)]);
        }
    }
    sum as f32
}

/// Whether a pixel of a mask has a class.
#[must_use]
pub fn has_class(class: u8) -> bool {
    class != NO_CLASS
}

#[cfg(test)]
mod tests;
