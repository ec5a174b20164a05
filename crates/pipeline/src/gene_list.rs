//! Lists and tables of genes in text files.

use crate::error::PipelineError;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Reads the names in a file, one a line; empty lines and text after a `#` are ignored.
///
/// # Errors
/// [`PipelineError::GeneList`] if the file cannot be read, is empty, or names a gene twice.
pub fn read(path: &Path) -> Result<Vec<String>, PipelineError> {
    let wrong = |reason: String| wrong(path, reason);
    let text = text_of(path)?;
    let names: Vec<String> = lines(&text).map(str::to_owned).collect();
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

/// Reads a table of two columns, apart by a tab or a comma: a name, and the name that it stands for.
///
/// # Errors
/// [`PipelineError::GeneList`] if the file cannot be read, is empty, a line is not two names, or a name stands for two.
pub fn read_table(path: &Path) -> Result<HashMap<String, String>, PipelineError> {
    let wrong = |reason: String| wrong(path, reason);
    let text = text_of(path)?;
    let mut table = HashMap::new();
    for line in lines(&text) {
        let apart = line.split_once('\t').or_else(|| line.split_once(','));
        let names = apart.map(|(name, other)| (name.trim(), other.trim()));
        let Some((name, other)) = names.filter(|(a, b)| !a.is_empty() && !b.is_empty()) else {
            return Err(wrong(format!(
                "the line `{line}` is not two names apart by a tab or a comma"
            )));
        };
        match table.insert(name.to_owned(), other.to_owned()) {
            Some(earlier) if earlier != other => {
                return Err(wrong(format!(
                    "{name} stands for {earlier} and for {other}; take one of the lines out"
                )));
            }
            _ => {}
        }
    }
    match table.is_empty() {
        true => Err(wrong(
            "holds no pair of names; write two names a line, apart by a tab".to_owned(),
        )),
        false => Ok(table),
    }
}

fn wrong(path: &Path, reason: String) -> PipelineError {
    PipelineError::GeneList {
        path: path.to_owned(),
        reason,
    }
}

fn text_of(path: &Path) -> Result<String, PipelineError> {
    tangram_store::read_text(path)
        .map_err(|e| wrong(path, format!("cannot read the list of genes: {e}")))
}

/// Lines without comments and blanks around them, empty ones left out.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.split_once('#').map_or(line, |(names, _)| names).trim())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_gene() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("genes.txt");
        std::fs::write(&path, "\u{feff}Sst\r\nGad1 # a comment\r\n\r\n").unwrap();
        assert_eq!(read(&path).unwrap(), ["Sst", "Gad1"]);
    }

    #[test]
    fn tables_are_two_names_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.tsv");
        let table = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_table(&path)
        };
        let read = table("ENSG1\tSst\nENSG2,Gad1\nENSG1\tSst\n").unwrap();
        assert_eq!(
            (read["ENSG1"].as_str(), read["ENSG2"].as_str()),
            ("Sst", "Gad1")
        );
        for (text, part) in [
            ("", "holds no pair"),
            ("Sst", "`Sst` is not two names"),
            ("a\tb\na\tc", "a stands for b and for c"),
        ] {
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
