//! Many sections in one Zarr store: transform, labels and quality of each, and a table of all.
//!
//! `table/` holds a row a section, in the order in which they were given. `sections/NAME/` has the state of a section, its transform and its
//! quality as attributes, and, where it is registered, the structure identifiers of its pixels as `labels`, (rows, columns).

use crate::outcome::{SectionFit, SectionOutcome, SectionState};
use crate::outputs::ids_at;
use crate::store::Atlas;
use crate::{AtlasError, Transform, Volume};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use tangram_store::{Existing, StoreError, VolumeValues, VolumeWriter, Volumes};

/// The format's name and version, an attribute of the root.
const FORMAT: &str = "tangram-sections 1";
/// The group of the sections.
const SECTIONS: &str = "sections";
/// The word for a section whose task is not done.
pub const MISSING: &str = "missing";

/// A section and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct SectionRecord {
    /// Its name.
    pub name: String,
    /// The mask that was registered.
    pub regions: PathBuf,
    /// SHA-256 of the mask.
    pub regions_sha256: String,
    /// What became of it; `None` if it was not tried yet.
    pub outcome: Option<SectionOutcome>,
}

impl SectionRecord {
    /// Its state, as tables write it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        self.outcome.as_ref().map_or(MISSING, |o| o.state.name())
    }

    /// Its fit, whether it was accepted or not.
    #[must_use]
    pub fn fit(&self) -> Option<&SectionFit> {
        self.outcome.as_ref()?.fit.as_ref()
    }

    /// Whether it has a place in the atlas.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        let state = self.outcome.as_ref().map(|o| o.state);
        state == Some(SectionState::Registered)
    }

    fn reason(&self) -> String {
        let reason = self.outcome.as_ref().and_then(|o| o.reason.clone());
        reason.unwrap_or_default()
    }
}

/// Writes a store.
///
/// * `about`: attributes of the root, such as settings and versions
///
/// # Errors
/// [`AtlasError`] if the atlas cannot be read or the store not be written.
pub fn write_sections(
    path: &Path,
    existing: Existing,
    about: &[(&str, &str)],
    atlas: &Atlas,
    records: &[SectionRecord],
) -> Result<(), AtlasError> {
    let root: Vec<(&str, &str)> = [("format", FORMAT)].iter().chain(about).copied().collect();
    let mut store = VolumeWriter::create(path, existing, &root)?;
    write_table(&mut store, records)?;
    store.group(SECTIONS, &[])?;
    let mut levels: BTreeMap<usize, Volume<u16>> = BTreeMap::new();
    for record in records {
        let at = format!("{SECTIONS}/{}", record.name);
        let broken = |e: &dyn std::fmt::Display| StoreError::Unwritable {
            path: path.to_owned(),
            field: at.clone(),
            reason: e.to_string(),
        };
        let (reason, regions) = (record.reason(), record.regions.to_string_lossy());
        let mut attributes = vec![
            ("state", record.state().to_owned()),
            ("regions", regions.into_owned()),
            ("regions_sha256", record.regions_sha256.clone()),
        ];
        if !reason.is_empty() {
            attributes.push(("reason", reason));
        }
        if let Some(outcome) = &record.outcome {
            let text = serde_json::to_string(outcome).map_err(|e| broken(&e))?;
            attributes.push(("outcome", text));
        }
        let texts: Vec<(&str, &str)> = attributes.iter().map(|(k, v)| (*k, v.as_str())).collect();
        store.group(&at, &texts)?;
        let Some(fit) = record.fit().filter(|_| record.is_registered()) else {
            continue;
        };
        let transform = Transform::new(fit.transform.clone())
            .ok_or_else(|| broken(&"its transform cannot be inverted"))?;
        let level = atlas.level_of(fit.transform.pixel_um);
        let labels = match levels.entry(level) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(atlas.labels(level)?),
        };
        let ids = ids_at(atlas, labels, &transform);
        let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
        let [width, height] = fit.transform.image;
        let about = [("what", "structure identifiers, 0 outside the brain")];
        let at = format!("{at}/labels");
        store.array(&at, &[height, width], VolumeValues::I64(&ids), &about)?;
    }
    Ok(store.finish()?)
}

/// A column of the table that has a number where a section has a fit.
type Column = (&'static str, fn(&SectionFit) -> f64);

/// The columns with numbers.
pub const COLUMNS: [Column; 7] = [
    ("depth_um", |fit| fit.transform.plane.depth_um),
    ("pitch_deg", |fit| fit.transform.plane.pitch_deg),
    ("yaw_deg", |fit| fit.transform.plane.yaw_deg),
    ("pixel_um", |fit| fit.transform.pixel_um),
    ("mean_dice", |fit| fit.quality.mean_dice),
    ("expected_error_um", |fit| {
        fit.quality.expected_error.map_or(f64::NAN, |e| e.median_um)
    }),
    ("expected_error_p90_um", |fit| {
        fit.quality.expected_error.map_or(f64::NAN, |e| e.p90_um)
    }),
];

fn write_table(store: &mut VolumeWriter, records: &[SectionRecord]) -> Result<(), StoreError> {
    store.group("table", &[])?;
    let n = [records.len()];
    let mut texts = |name: &str, values: Vec<String>| {
        store.array(
            &format!("table/{name}"),
            &n,
            VolumeValues::Texts(&values),
            &[],
        )
    };
    texts("name", records.iter().map(|r| r.name.clone()).collect())?;
    texts(
        "state",
        records.iter().map(|r| r.state().to_owned()).collect(),
    )?;
    texts(
        "reason",
        records.iter().map(SectionRecord::reason).collect(),
    )?;
    for (name, value) in COLUMNS {
        let of = |record: &SectionRecord| record.fit().map_or(f64::NAN, value);
        let values: Vec<f64> = records.iter().map(of).collect();
        let about = [("missing", "NaN where no fit was found")];
        store.array(
            &format!("table/{name}"),
            &n,
            VolumeValues::F64(&values),
            &about,
        )?;
    }
    Ok(())
}

/// The table as tab-separated text.
#[must_use]
pub fn table_of(records: &[SectionRecord]) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let mut text = format!("section\tstate\t{}\treason\n", names.join("\t"));
    for record in records {
        let fit = record.fit();
        let number = |(_, value): &Column| {
            let number = fit.map(value).filter(|number| number.is_finite());
            number.map(|n| n.to_string()).unwrap_or_default()
        };
        let numbers: Vec<String> = COLUMNS.iter().map(number).collect();
        let reason = record.reason().replace(['\t', '\n'], " ");
        text.push_str(&format!(
            "{}\t{}\t{}\t{reason}\n",
            record.name,
            record.state(),
            numbers.join("\t")
        ));
    }
    text
}

/// Reads the sections of a store, in the order in which they were given.
///
/// # Errors
/// [`AtlasError`] if it is no such store or is damaged.
pub fn read_sections(path: &Path) -> Result<Vec<SectionRecord>, AtlasError> {
    let store = Volumes::open(path)?;
    let format = store.attribute("", "format")?;
    if format.as_deref() != Some(FORMAT) {
        return Err(AtlasError::file(
            path,
            "not a store of sections; `tangram sweep collect` writes one",
        ));
    }
    let of = |name: String| -> Result<SectionRecord, AtlasError> {
        let at = format!("{SECTIONS}/{name}");
        let broken = |reason: String| StoreError::Broken {
            path: path.to_owned(),
            field: at.clone(),
            reason,
        };
        let text = |what: &str| {
            let found = store.attribute(&at, what)?;
            found.ok_or_else(|| broken(format!("it has no {what}")))
        };
        let outcome = match store.attribute(&at, "outcome")? {
            None => None,
            Some(outcome) => {
                let outcome = serde_json::from_str(&outcome);
                Some(outcome.map_err(|e| broken(e.to_string()))?)
            }
        };
        Ok(SectionRecord {
            regions: text("regions")?.into(),
            regions_sha256: text("regions_sha256")?,
            outcome,
            name,
        })
    };
    store.texts("table/name")?.into_iter().map(of).collect()
}

/// The transform of a section, by a path such as `sections.zarr/NAME`, and the file that holds it.
///
/// # Returns
/// `None` if the path is not of that form.
///
/// # Errors
/// [`AtlasError`] if the section is not registered, or its store cannot be read.
pub(crate) fn section_at(path: &Path) -> Result<Option<(PathBuf, Transform)>, AtlasError> {
    let Some((store, name)) = path.parent().zip(path.file_name()) else {
        return Ok(None);
    };
    // The place within the store may be typed in full.
    let store = match store.file_name().is_some_and(|name| name == SECTIONS) {
        true => store.parent().unwrap_or(store),
        false => store,
    };
    if !store.join("zarr.json").is_file() || !store.join(SECTIONS).is_dir() {
        return Ok(None);
    }
    let name = name.to_string_lossy();
    let Some(record) = read_sections(store)?.into_iter().find(|r| r.name == name) else {
        let reason = format!("the store has no section `{name}`");
        return Err(AtlasError::file(store, reason));
    };
    if !record.is_registered() {
        let why = match record.reason() {
            reason if reason.is_empty() => String::new(),
            reason => format!(": {reason}"),
        };
        let reason = format!("the section is {}{why}; it has no place", record.state());
        return Err(AtlasError::file(path, reason));
    }
    let transform = record
        .fit()
        .and_then(|fit| Transform::new(fit.transform.clone()));
    let transform =
        transform.ok_or_else(|| AtlasError::file(path, "a transform that cannot be inverted"))?;
    let file = store.join(SECTIONS).join(&*name).join("zarr.json");
    Ok(Some((file, transform)))
}
