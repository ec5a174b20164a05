//! The sections of a sweep in one place: a store with transform, labels and quality of each, and a table.

use crate::error::Result;
use crate::listener::Listener;
use crate::registrations::{ATLAS, REGIONS, RegistrationSettings, atlas_of, input, outcomes};
use crate::run_directory::write;
use crate::runs::unchanged;
use crate::sweep_collect::CollectSettings;
use std::path::PathBuf;
use tangram_atlas::{Atlas, SectionRecord, SectionState, table_of_sections, write_sections};
use tangram_store::{Existing, StoreError, write_aside};
use tangram_sweep::{Manifest, TaskProgress};

/// The store of the sections.
pub const SECTIONS_STORE: &str = "sections.zarr";
/// The table of the sections.
pub const SECTIONS_TABLE: &str = "sections.tsv";

/// Sections that were collected.
#[derive(Debug, Clone, Default)]
pub struct CollectedSections {
    /// The store.
    pub store: PathBuf,
    /// The table.
    pub table: PathBuf,
    /// Sections that have a place.
    pub n_registered: usize,
    /// Name and reason of those whose fit is too poor.
    pub refused: Vec<(String, String)>,
    /// Name and reason of those whose file is no mask.
    pub failed: Vec<(String, String)>,
    /// Those whose task is not done.
    pub missing: Vec<String>,
}

/// Writes the store and the table.
///
/// # Errors
/// If the atlas is not what it was, or the outputs are there already or cannot be written.
pub(crate) fn collect(
    settings: &CollectSettings<'_>,
    manifest: &Manifest,
    shared: &RegistrationSettings,
    progress: &[TaskProgress],
    listener: &dyn Listener,
) -> Result<CollectedSections> {
    let store = settings.out.join(SECTIONS_STORE);
    let table = settings.out.join(SECTIONS_TABLE);
    for path in [&store, &table] {
        if settings.existing == Existing::Refuse && path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.clone() }.into());
        }
    }
    let mut known = outcomes(progress)?;
    let record = |(number, item): (usize, &tangram_sweep::Item)| -> Result<SectionRecord> {
        let mask = input(&item.inputs, REGIONS)?;
        Ok(SectionRecord {
            name: item.name.clone(),
            regions: mask.path.clone(),
            regions_sha256: mask.sha256.clone(),
            outcome: known.remove(&number),
        })
    };
    let numbered = manifest.items.iter().enumerate();
    let records: Vec<SectionRecord> = numbered.map(record).collect::<Result<_>>()?;
    unchanged(&manifest.inputs, settings.sweep)?;
    let place = atlas_of(manifest)?;
    let atlas = Atlas::open(&place)?;
    let about = [
        ("atlas", place.to_string_lossy().into_owned()),
        (
            "atlas_sha256",
            input(&manifest.inputs, ATLAS)?.sha256.clone(),
        ),
        ("settings", toml::to_string(shared)?),
        ("version", manifest.version.clone()),
    ];
    let about: Vec<(&str, &str)> = about.iter().map(|(k, v)| (*k, v.as_str())).collect();
    write_sections(&store, settings.existing, &about, &atlas, &records)?;
    listener.say(format_args!("wrote {}", store.display()))?;
    let text = table_of_sections(&records);
    write_aside(&table, settings.existing, |aside| write(aside, &text))?;
    listener.say(format_args!("wrote {}", table.display()))?;

    let mut collected = CollectedSections {
        store,
        table,
        ..CollectedSections::default()
    };
    for record in records {
        let state = record.outcome.as_ref().map(|o| o.state);
        let reason = record.outcome.and_then(|o| o.reason).unwrap_or_default();
        match state {
            Some(SectionState::Registered) => collected.n_registered += 1,
            Some(SectionState::Refused) => collected.refused.push((record.name, reason)),
            Some(SectionState::Failed) => collected.failed.push((record.name, reason)),
            None => collected.missing.push(record.name),
        }
    }
    Ok(collected)
}
