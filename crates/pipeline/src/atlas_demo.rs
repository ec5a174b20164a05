//! A registration whose truth is known: a section of a synthetic brain, made, registered and compared.

use crate::error::Result;
use crate::figures::write_bytes;
use crate::registrations::FINEST_UM;
use crate::run_directory::write;
use crate::section_report::SectionSource;
use crate::versions::Versions;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::Instant;
use tangram_atlas::ladder::compare;
use tangram_atlas::outputs::write_registration;
use tangram_atlas::synthetic::{Rung, brain, section};
use tangram_atlas::synthetic_files::{write_mask, write_sources};
use tangram_atlas::{
    Atlas, Limits, Plane, PlaneChoice, ProbabilityPyramid, RegisterSettings, SectionMask,
    WarpChoice, import, register_within,
};
use tangram_store::{Existing, StoreError, write_aside};

/// The file that shows that a folder holds a demonstration.
pub const DEMO_FILE: &str = "demo.toml";
/// The atlas store.
pub const ATLAS_STORE: &str = "atlas.zarr";
/// The mask of the section.
pub const MASK_FILE: &str = "mask.png";
/// The registered section.
pub const SECTION_FOLDER: &str = "section";
/// The figure of the section in its atlas.
pub const FIGURE_FILE: &str = "section.svg";

/// Voxels of the synthetic annotation.
const VOXEL_UM: f64 = 100.0;
/// The section is tilted, warped, torn and partly of wrong classes: see [`Rung::LADDER`].
const RUNG: Rung = Rung::LADDER[2].1;

/// Where a section lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Place {
    /// On the mid-axis, from the anterior end.
    pub depth_um: f64,
    /// See [`Plane`].
    pub pitch_deg: f64,
    /// See [`Plane`].
    pub yaw_deg: f64,
}

impl From<Plane> for Place {
    fn from(plane: Plane) -> Self {
        Self {
            depth_um: plane.depth_um,
            pitch_deg: plane.pitch_deg,
            yaw_deg: plane.yaw_deg,
        }
    }
}

/// What the found place differs by from the true one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Differences {
    /// Difference of depth on the mid-axis.
    pub depth_um: f64,
    /// The larger of the differences of pitch and yaw.
    pub angle_deg: f64,
    /// Target registration error: median over the tissue of the distance between found and true atlas positions.
    pub target_registration_error_um: f64,
    /// The same distance, the 90th percentile over the tissue.
    pub target_registration_error_p90_um: f64,
}

/// A section whose place is known, registered; `demo.toml` holds this.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AtlasDemo {
    /// Seed of the section.
    pub seed: u64,
    /// Edge of a pixel of the mask in µm; the registration is given it as `--pixel-size`.
    pub pixel_um: f64,
    /// Mean Dice of the fit.
    pub mean_dice: f64,
    /// Where the section was cut.
    pub truth: Place,
    /// Where the registration puts it.
    pub found: Place,
    /// How far these differ.
    pub error: Differences,
    /// Versions of the program and its libraries.
    pub versions: Versions,
}

/// Makes a synthetic brain and a section of it, imports the one, registers the other, and compares with the truth.
///
/// The folder `out` then holds the files of the brain, the atlas, the mask, the registered section, a figure, and
/// `demo.toml`. The same seed gives the same result.
///
/// # Returns
/// The comparison, and the seconds that the registration took.
///
/// # Errors
/// If the registration is refused or `out` cannot be written.
pub fn atlas_demo(out: &Path, existing: Existing, seed: u64) -> Result<(AtlasDemo, f64)> {
    write_aside(out, existing, |folder| {
        let make = |path: &Path| {
            fs::create_dir(path).map_err(|e| StoreError::Write {
                path: out.to_owned(),
                reason: e.to_string(),
            })
        };
        make(folder)?;
        let brain = brain(VOXEL_UM);
        let sources = write_sources(folder, &brain)?;
        let store = folder.join(ATLAS_STORE);
        import(&sources, &store, Existing::Refuse)?;
        let truth = section(&brain.classes, &RUNG, seed);
        let mask_path = folder.join(MASK_FILE);
        write_mask(&mask_path, &truth)?;

        let atlas = Atlas::open(&store)?;
        let mask = SectionMask::read(&mask_path, atlas.rule().names().len())?;
        let pyramid = ProbabilityPyramid::of_atlas(&atlas, FINEST_UM)?;
        let settings = RegisterSettings {
            pixel_um: Some(truth.pixel_um),
            plane: PlaneChoice::Fitted,
            warp: WarpChoice::Warped,
            caller: None,
        };
        let begin = Instant::now();
        let registration = register_within(
            &pyramid,
            &mask,
            &out.join(MASK_FILE),
            &settings,
            &Limits::default(),
        )?;
        let seconds = begin.elapsed().as_secs_f64();
        let errors = compare(&truth, &registration, seed, seconds);
        let demo = AtlasDemo {
            seed,
            pixel_um: truth.pixel_um,
            mean_dice: registration.quality.mean_dice,
            truth: truth.plane.into(),
            found: registration.transform.parameters().plane.into(),
            error: Differences {
                depth_um: errors.depth_um,
                angle_deg: errors.angle_deg,
                target_registration_error_um: errors.tre_um,
                target_registration_error_p90_um: errors.tre_p90_um,
            },
            versions: Versions::current(),
        };
        let section = folder.join(SECTION_FOLDER);
        make(&section)?;
        write_registration(&section, out, &atlas, &mask, &registration)?;
        let figure = SectionSource {
            name: SECTION_FOLDER,
            atlas: &atlas,
            mask: &mask,
            transform: &registration.transform,
            quality: &registration.quality,
        }
        .figure()?;
        write_bytes(&folder.join(FIGURE_FILE), figure.svg().as_bytes())?;
        let text = toml::to_string(&demo).expect("numbers and texts");
        write(&folder.join(DEMO_FILE), &text)?;
        Ok((demo, seconds))
    })
}
