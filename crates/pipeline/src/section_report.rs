//! The picture and the report of a section that was registered to an atlas.

use crate::atlas_segment::MaskOrigin;
use crate::error::{PipelineError, Result};
use crate::figures::write_bytes;
use crate::versions::Versions;
use crate::wording::thousands;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tangram_atlas::outputs::section_ids;
use tangram_atlas::{Atlas, Limits, Quality, RegisteredSection, SectionMask, Transform};
use tangram_report::{Figure, Page, Profile, RunPage, Section, Warning, registered_section};
use tangram_store::fingerprint;

/// Dice below which a class hardly lies where the atlas has it.
const POOR: f64 = 0.5;

/// The file of a registration's settings and quality.
pub const REGISTRATION_FILE: &str = "registration.toml";

/// A registered section with what it was made from.
#[derive(Debug, Clone, Copy)]
pub struct SectionSource<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The atlas.
    pub atlas: &'a Atlas,
    /// The mask of its regions.
    pub mask: &'a SectionMask,
    /// From the section to the atlas and back.
    pub transform: &'a Transform,
    /// How good the fit is.
    pub quality: &'a Quality,
}

impl SectionSource<'_> {
    /// The mask under the borders of the atlas's regions, and the plane in which the section was cut.
    ///
    /// # Errors
    /// If the atlas cannot be read.
    pub fn figure(&self) -> Result<Figure> {
        let parameters = self.transform.parameters();
        let regions = section_ids(self.atlas, self.transform)?;
        let names = self.atlas.rule().names();
        let dice: Vec<Option<f64>> = names
            .iter()
            .map(|name| self.quality.dice.get(name).copied())
            .collect();
        let labels = self.atlas.labels(self.atlas.levels().len() - 1)?;
        let [ap, dv, ml] = labels.grid.shape;
        let inside: Vec<bool> = (0..ap * dv)
            .map(|k| labels.values[k * ml..(k + 1) * ml].iter().any(|v| *v != 0))
            .collect();
        let plane = parameters.plane;
        // From the dorsal to the ventral end of the atlas, along the mid-axis.
        let end = |depth: f64| {
            let t = (depth - plane.mid_axis_um[0]) / plane.pitch_deg.to_radians().cos();
            let [ap, dv, _] = plane.point([0.0, t]);
            (ap, dv)
        };
        let extent = labels.grid.extent_um();
        let heading = format!(
            "{}: {} µm from the anterior end, mean Dice {:.2}",
            self.name,
            thousands(plane.depth_um.round() as usize),
            self.quality.mean_dice
        );
        Ok(registered_section(&Section {
            heading: &heading,
            size: self.mask.size(),
            classes: self.mask.classes(),
            names: &names,
            dice: &dice,
            regions: &regions,
            pixel_um: parameters.pixel_um,
            profile: Profile {
                size: [ap, dv],
                inside: &inside,
                voxel_um: labels.grid.voxel_um,
                plane: [end(0.0), end(extent[1])],
            },
        })?)
    }

    /// Writes the report.
    ///
    /// * `command`: that made the registration
    /// * `settings`: what `registration.toml` holds
    /// * `origin`: where the mask comes from
    ///
    /// # Errors
    /// If the atlas cannot be read, or the file not be written.
    pub fn write_report(
        &self,
        out: &Path,
        command: &str,
        settings: &str,
        origin: &MaskOrigin,
    ) -> Result<()> {
        let quality = self.quality;
        let parameters = self.transform.parameters();
        let plane = parameters.plane;
        let mut facts = vec![
            (
                "plane",
                format!(
                    "{} µm from the anterior end, pitch {:.1}°, yaw {:.1}°",
                    thousands(plane.depth_um.round() as usize),
                    plane.pitch_deg,
                    plane.yaw_deg
                ),
            ),
            ("mean Dice", format!("{:.3}", quality.mean_dice)),
            (
                "smallest Jacobian of the warp",
                format!("{:.2}", quality.smallest_jacobian),
            ),
            (
                "there and back",
                format!("within {:.1} µm", quality.inverse_consistency.max_um),
            ),
            (
                "other starts that fit almost as well",
                format!("within {:.0} µm of the depth", quality.depth_spread_um),
            ),
        ];
        if let Some(expected) = quality.expected_error {
            facts.push((
                "expected error",
                format!(
                    "{:.0} µm, nine of ten such sections at most {:.0} µm",
                    expected.median_um, expected.p90_um
                ),
            ));
        }
        let pixel = match parameters.pixel_size_given {
            true => format!("{} µm", parameters.pixel_um),
            false => format!("{:.2} µm, found by the fit", parameters.pixel_um),
        };
        facts.push(("edge of a pixel", pixel));
        let caption = "The mask of the section under the borders of the atlas's regions, with the Dice of each class; right, the plane in which the section was cut";
        let run = RunPage {
            name: self.name.to_owned(),
            warnings: self.warnings(origin),
            facts: facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            command: command.to_owned(),
            settings: settings.to_owned(),
            figures: vec![(caption.to_owned(), self.figure()?)],
            ..RunPage::default()
        };
        let page = Page {
            title: format!("tangram: {}", self.name),
            command: command.to_owned(),
            version: Versions::current().tangram,
            runs: vec![run],
        };
        write_bytes(out, page.html().as_bytes())
    }

    fn warnings(&self, origin: &MaskOrigin) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |text: String, remedy: &str| {
            warnings.push(Warning {
                text,
                remedy: remedy.to_owned(),
            });
        };
        let poor: Vec<String> = self
            .quality
            .dice
            .iter()
            .filter(|(_, dice)| **dice < POOR)
            .map(|(class, dice)| format!("{class} ({dice:.2})"))
            .collect();
        if !poor.is_empty() {
            warn(
                format!("Dice below {POOR}: {}.", poor.join(", ")),
                "Look at these classes in the figure: is the mask right, is the tissue torn there?",
            );
        }
        if origin.by_network {
            warn(
                "A network made the mask, and the expected error was fitted on masks without a network's mistakes: it may be far too small.".to_owned(),
                "Compare the figure with the tissue before you use the result.",
            );
        }
        if !self.transform.parameters().pixel_size_given {
            warn(
                "The size of a pixel was not given: it is what fits best.".to_owned(),
                "Give --pixel-size if you know it.",
            );
        }
        if self.quality.depth_spread_um > Limits::default().max_depth_spread_um / 3.0 {
            warn(
                format!(
                    "Other planes within {:.0} µm fit almost as well.",
                    self.quality.depth_spread_um
                ),
                "Compare the figure with the atlas before you rely on the depth.",
            );
        }
        warn(
            "A high Dice does not prove a small error inside a class.".to_owned(),
            "Compare landmarks where it matters.",
        );
        warnings
    }
}

/// What is read of `registration.toml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Recorded {
    /// Where relative paths begin.
    working_directory: Option<PathBuf>,
    register: Inputs,
    quality: Quality,
    inputs: Digests,
}

#[derive(Debug, Deserialize)]
struct Inputs {
    atlas: PathBuf,
    regions: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Digests {
    atlas_sha256: String,
    regions_sha256: String,
}

impl Recorded {
    /// Where a file of the registration is: as it was typed there and, if it is not there any more, as it would be typed here.
    ///
    /// # Errors
    /// The places that were looked at, if it is at none of them, or the first file found, if it is another one by now.
    fn find(&self, typed: &Path, digest: &str) -> Result<PathBuf> {
        let there = match &self.working_directory {
            Some(at) => at.join(typed),
            None => typed.to_owned(),
        };
        let no = |path: &Path, reason: String| PipelineError::NoPicture {
            path: path.to_owned(),
            reason,
        };
        let places = [there.as_path(), typed];
        let places = &places[..if there == typed { 1 } else { 2 }];
        let found: Vec<&Path> = places.iter().copied().filter(|p| p.exists()).collect();
        let Some(first) = found.first() else {
            let here = match places.len() {
                1 => String::new(),
                _ => format!(", nor is there a {} here", typed.display()),
            };
            let reason = format!(
                "is not there any more, where it was when the section was registered{here}; put it back, or register the section again"
            );
            return Err(no(&there, reason));
        };
        for place in &found {
            if fingerprint(place)? == digest {
                return Ok(place.to_path_buf());
            }
        }
        let reason = "has changed since the section was registered; register it again".to_owned();
        Err(no(first, reason))
    }
}

/// The figure of a folder that `tangram atlas register` wrote; its atlas and its mask are read again.
///
/// # Errors
/// If the folder, the atlas or the mask cannot be read, or the mask is another by now.
pub fn section_figure(folder: &Path) -> Result<Figure> {
    let path = folder.join(REGISTRATION_FILE);
    let no = |path: &Path, reason: String| PipelineError::NoPicture {
        path: path.to_owned(),
        reason,
    };
    let text = tangram_store::read_text(&path).map_err(|e| {
        no(
            folder,
            format!("no registered section ({e}); make one with `tangram atlas register`"),
        )
    })?;
    let recorded: Recorded = toml::from_str(&text).map_err(|e| {
        no(
            &path,
            format!("not as this program writes it ({})", e.message()),
        )
    })?;
    let Inputs { atlas, regions } = &recorded.register;
    let atlas = recorded.find(atlas, &recorded.inputs.atlas_sha256)?;
    let regions = recorded.find(regions, &recorded.inputs.regions_sha256)?;
    let atlas = Atlas::open(&atlas)?;
    let mask = SectionMask::read(&regions, atlas.rule().names().len())?;
    let section = RegisteredSection::open(folder)?;
    SectionSource {
        name: &section.name(),
        atlas: &atlas,
        mask: &mask,
        transform: &section.transform,
        quality: &recorded.quality,
    }
    .figure()
}
