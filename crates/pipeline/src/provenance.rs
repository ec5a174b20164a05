//! What a file was made from: settings, versions and hashes, in its uns.

use crate::error::Result;
use crate::versions::Versions;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use tangram_store::{Uns, fingerprint};
use toml::{Table, Value};

/// `uns/tangram` of a file that was made from the cells' file and a mapping.
///
/// # Errors
/// If TOML cannot hold the settings, or a file cannot be read.
pub(crate) fn of(settings: &impl Serialize, cells: &Path, mapping: &Path) -> Result<Uns> {
    let text = |value: Value| match value {
        Value::String(text) => Uns::Text(text),
        other => Uns::Text(other.to_string()),
    };
    let texts = |table: Table| Uns::Map(table.into_iter().map(|(k, v)| (k, text(v))).collect());
    let hash = |path: &Path| fingerprint(path).map(Uns::Text);
    Ok(Uns::Map(BTreeMap::from([
        ("settings".to_owned(), texts(Table::try_from(settings)?)),
        (
            "versions".to_owned(),
            texts(Table::try_from(Versions::current())?),
        ),
        ("cells_sha256".to_owned(), hash(cells)?),
        ("mapping_sha256".to_owned(), hash(mapping)?),
    ])))
}
