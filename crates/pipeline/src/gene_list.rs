//! Lists of genes in text files.

use crate::error::PipelineError;
use std::collections::HashSet;
use std::path::Path;

/// Reads the names in a file, one a line; empty lines and text after a `#` are ignored.
///
/// # Errors
/// [`PipelineError::GeneList`] if the file cannot be read, is empty, or names a gene twice.
pub fn read(path: &Path) -> Result<Vec<String>, PipelineError> {
    let wrong = |reason: String| PipelineError::GeneList {
        path: path.to_owned(),
        reason,
    };
    let text = tangram_store::read_text(path)
        .map_err(|e| wrong(format!("cannot read the list of genes: {e}")))?;
    let names: Vec<String> = text
        .lines()
        .map(|line| {
            line.split_once('#')
                .map_or(line, |(name, _)| name)
                .trim()
                .to_owned()
        })
        .filter(|name| !name.is_empty())
        .collect();
    if names.is_empty() {
        return Err(wrong("names no gene; write one name a line".to_owned()));
    }
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(wrong(format!(
            "names the gene {twice} twice; take one of them out"
        ))),
        None => Ok(names),
    }
}
