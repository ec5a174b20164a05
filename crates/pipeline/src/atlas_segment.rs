//! Regions of photographs, from images to masks that a registration takes.

use crate::atlas_train::{NetworkDevice, compute_device};
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::run_directory::write;
use crate::trained_network::{check_classes, network_file};
use crate::versions::Versions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tangram_atlas::{Atlas, Photograph, write_classes};
use tangram_comm::World;
use tangram_networks::Segmenter;
use tangram_store::{Existing, StoreError, fingerprint, read_text, write_aside};

/// The file that shows that a segmentation wrote a folder: which network made the masks.
pub const SEGMENTATION_FILE: &str = "segmentation.toml";

/// What to segment.
#[derive(Debug, Clone)]
pub struct AtlasSegmentation {
    /// The photographs.
    pub images: Vec<PathBuf>,
    /// The network's file, or the folder that a training wrote.
    pub network: PathBuf,
    /// The atlas that the masks are for.
    pub atlas: PathBuf,
    /// Where to compute.
    pub device: NetworkDevice,
    /// Threads of libtorch.
    pub threads: usize,
}

/// What `segmentation.toml` holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SegmentationRecord {
    /// How the network's weights began, in words.
    pub weights: String,
    /// SHA-256 of the network's file.
    pub network_sha256: String,
    /// Whether the network learned from this atlas.
    pub learned_from_this_atlas: bool,
    /// Names of the classes; a pixel's value is the place of its class in this list, counted from 0.
    pub classes: Vec<String>,
    /// The masks.
    #[serde(rename = "mask")]
    pub masks: Vec<MaskRecord>,
    /// Versions of the program and its libraries.
    pub versions: Versions,
}

/// A mask that was written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct MaskRecord {
    /// The photograph.
    pub image: PathBuf,
    /// Its SHA-256.
    pub image_sha256: String,
    /// Whether the network learned from this photograph; its mask is then better than that of a new one.
    pub learned_from_this_image: bool,
    /// Name of the mask in the folder.
    pub mask: String,
    /// Its SHA-256.
    pub mask_sha256: String,
    /// Mean probability of the most probable class.
    pub mean_probability: f64,
    /// Share of pixels that single views see otherwise.
    pub disagreement: f64,
    /// Share of pixels that are tissue.
    pub tissue: f64,
    /// Edge of a pixel of the mask, micrometres, where the image tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_um: Option<f64>,
}

/// Segments photographs and writes a folder with a mask for each, as large as the photograph.
///
/// # Errors
/// If an input cannot be read, the network is for other classes than the atlas's, two images have the same name, the build has no
/// libtorch, or the output cannot be written.
pub fn atlas_segment(
    order: &AtlasSegmentation,
    out: &Path,
    existing: Existing,
    listener: &dyn Listener,
) -> Result<SegmentationRecord> {
    let names = mask_names(&order.images)?;
    let network = network_file(&order.network);
    let device = compute_device(order.device, order.threads, &World::alone())?;
    let segmenter = Segmenter::read(&network, device)?;
    let atlas = Atlas::open(&order.atlas)?;
    check_classes(segmenter.about(), &network, &atlas)?;
    write_aside(out, existing, |folder| {
        std::fs::create_dir(folder).map_err(|e| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        })?;
        let steps = listener.steps("image", names.len());
        let mut masks = Vec::new();
        for (done, (image, name)) in order.images.iter().zip(names).enumerate() {
            let photograph = Photograph::read(image)?;
            let found = segmenter.segment(&photograph);
            let image_sha256 = fingerprint(image)?;
            let photographs = segmenter.about().photographs.iter();
            let mut learned = photographs.flat_map(|learned| &learned.training_sha256);
            let n_tissue = found.classes.iter().filter(|class| **class != 0).count();
            masks.push(MaskRecord {
                image: image.clone(),
                learned_from_this_image: learned.any(|sha256| *sha256 == image_sha256),
                image_sha256,
                mean_probability: found.mean_probability,
                disagreement: found.disagreement,
                tissue: n_tissue as f64 / found.classes.len() as f64,
                pixel_um: photograph.pixel_um(),
                mask_sha256: {
                    let mask = folder.join(&name);
                    write_classes(&mask, found.size, found.classes)?;
                    fingerprint(&mask)?
                },
                mask: name,
            });
            steps.step(done + 1, &String::new);
        }
        let about = segmenter.about();
        let record = SegmentationRecord {
            weights: about.beginning.to_string(),
            network_sha256: fingerprint(&network)?,
            learned_from_this_atlas: about.atlas_sha256 == fingerprint(&order.atlas)?,
            classes: atlas.rule().names(),
            masks,
            versions: Versions::current(),
        };
        write(&folder.join(SEGMENTATION_FILE), &toml::to_string(&record)?)?;
        Ok(record)
    })
}

/// The warning about a registration whose mask a network made; begins with what follows the name of the mask.
pub const NETWORK_MASKS: &str = "made by a network. The expected error was fitted on masks without a network's mistakes and may be far too small: look at overlay.png before you use the result";

/// Where the regions of a mask come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskOrigin {
    /// In words.
    pub told: String,
    /// Whether a network made it, as it is or before it was changed.
    pub by_network: bool,
}

/// Where the regions of a mask come from: a segmentation that stands in the same folder, or the user.
///
/// # Errors
/// If the mask cannot be read.
pub fn origin_of(mask: &Path) -> Result<MaskOrigin> {
    /// What is read of [`SEGMENTATION_FILE`].
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Told {
        weights: String,
        network_sha256: String,
        mask: Vec<ToldMask>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct ToldMask {
        mask: String,
        mask_sha256: String,
    }
    let told = read_text(&mask.with_file_name(SEGMENTATION_FILE)).ok();
    let told = told.and_then(|text| toml::from_str::<Told>(&text).ok());
    let name = mask.file_name().unwrap_or_default().to_string_lossy();
    let Some((told, of_mask)) = told.as_ref().and_then(|told| {
        let of_mask = told.mask.iter().find(|m| m.mask == name)?;
        Some((told, of_mask))
    }) else {
        return Ok(MaskOrigin {
            told: "the user's mask".to_owned(),
            by_network: false,
        });
    };
    let network: String = told.network_sha256.chars().take(12).collect();
    let by = format!(
        "`tangram atlas segment` with the network of SHA-256 {network}…; {}",
        told.weights
    );
    Ok(MaskOrigin {
        told: match of_mask.mask_sha256 == fingerprint(mask)? {
            true => format!("a mask of {by}"),
            false => format!("changed since it was a mask of {by}"),
        },
        by_network: true,
    })
}

/// The image's name with the ending .png instead of its own.
fn mask_names(images: &[PathBuf]) -> Result<Vec<String>> {
    let mut seen = BTreeSet::new();
    let name = |image: &PathBuf| {
        let stem = image.file_stem().unwrap_or_default().to_string_lossy();
        let stem = stem.strip_suffix(".ome").unwrap_or(&stem);
        let name = format!("{stem}.png");
        match seen.insert(name.clone()) {
            true => Ok(name),
            false => Err(PipelineError::Usage(format!(
                "{}: another image has the same name; segment them into folders of their own",
                image.display()
            ))),
        }
    };
    images.iter().map(name).collect()
}
