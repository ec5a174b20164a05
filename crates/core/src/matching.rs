//! Which names of two files are the same gene.
//!
//! Names are compared by keys: the name itself, the name without its case, an identifier, a symbol. [`paired`] pairs the columns of
//! two files whose keys are the same.

use std::collections::HashMap;

/// The columns of one file, each with the column of another file that is the same gene.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// For every column of the second file its column in the first.
    pub of_second: Vec<Option<usize>>,
    /// Keys that both files have but one of them more than once, so that they pair nothing.
    pub ambiguous: Vec<String>,
}

impl Pairs {
    /// Number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.of_second.iter().flatten().count()
    }

    /// Whether nothing is paired.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pairs columns: those of the same name, then those of the same key, if it occurs once on each side among what is left.
///
/// * `first`, `second`: names, and a key for each; `None` where there is no key
///
/// ```
/// use tangram_core::matching::{caseless, paired};
///
/// let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
/// let (cells, voxels) = (names("Sst Gad1 Aqp4"), names("AQP4 MOG Gad1"));
/// let keys = |names: &[String]| names.iter().map(|n| caseless(n)).collect::<Vec<_>>();
/// let pairs = paired((&cells, &keys(&cells)), (&voxels, &keys(&voxels)));
/// assert_eq!(pairs.of_second, [Some(2), None, Some(1)]);
/// ```
#[must_use]
pub fn paired(
    (first_names, first_keys): (&[String], &[Option<String>]),
    (second_names, second_keys): (&[String], &[Option<String>]),
) -> Pairs {
    let by_name: HashMap<&str, usize> = (0..)
        .zip(first_names)
        .map(|(i, name)| (name.as_str(), i))
        .collect();
    let mut pairs = Pairs {
        of_second: second_names
            .iter()
            .map(|name| by_name.get(name.as_str()).copied())
            .collect(),
        ambiguous: Vec::new(),
    };
    let mut taken = vec![false; first_names.len()];
    pairs
        .of_second
        .iter()
        .flatten()
        .for_each(|&i| taken[i] = true);
    let first = by_key(first_keys, |i| !taken[i]);
    let second = by_key(second_keys, |j| pairs.of_second[j].is_none());
    for (key, columns) in second {
        match (first.get(key).map(Vec::as_slice), columns.as_slice()) {
            (None, _) => {}
            (Some(&[i]), &[j]) => pairs.of_second[j] = Some(i),
            _ => pairs.ambiguous.push(key.to_owned()),
        }
    }
    pairs.ambiguous.sort_unstable();
    pairs
}

/// The columns of every key, of those that are wanted.
fn by_key(keys: &[Option<String>], wanted: impl Fn(usize) -> bool) -> HashMap<&str, Vec<usize>> {
    let mut columns: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, key) in keys.iter().enumerate() {
        if let Some(key) = key.as_deref().filter(|key| !key.is_empty() && wanted(i)) {
            columns.entry(key).or_default().push(i);
        }
    }
    columns
}

/// A name without its case.
#[must_use]
pub fn caseless(name: &str) -> Option<String> {
    Some(name.to_lowercase())
}

/// An Ensembl identifier without its version, as `ENSG00000141510` for `ENSG00000141510.18`; `None` for other names.
#[must_use]
pub fn identifier(name: &str) -> Option<String> {
    let id = match name.rsplit_once('.') {
        Some((id, version)) if version.parse::<u32>().is_ok() => id,
        _ => name,
    };
    let digits = id.chars().rev().take_while(char::is_ascii_digit).count();
    (id.starts_with("ENS") && digits >= 11).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_name_is_worth_more_than_a_key_and_a_key_of_two_is_worth_nothing() {
        let (cells, voxels) = (names("a A b Cd CD e"), names("A B cD E f"));
        let keys = |names: &[String]| names.iter().map(|n| caseless(n)).collect::<Vec<_>>();
        let pairs = paired((&cells, &keys(&cells)), (&voxels, &keys(&voxels)));
        assert_eq!(pairs.of_second, [Some(1), Some(2), None, Some(5), None]);
        assert_eq!((pairs.len(), pairs.ambiguous), (3, names("cd")));
    }

    #[test]
    fn identifiers_lose_their_version() {
        assert_eq!(
            identifier("ENSG00000141510.18").as_deref(),
            Some("ENSG00000141510")
        );
        assert_eq!(
            identifier("ENSMUSG00000000001").as_deref(),
            Some("ENSMUSG00000000001")
        );
        for other in ["Sst", "ENSA", "ENS.1", "HLA-DRB1.2"] {
            assert_eq!(identifier(other), None, "{other}");
        }
    }
}
