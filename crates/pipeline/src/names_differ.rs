//! Names of genes that differ between two files: what the user is to decide.

use crate::wording::count;
use std::fmt;

/// Two sides whose genes another way of matching would match many more of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamesDiffer {
    /// Genes of the same name.
    pub n_shared: usize,
    /// Number of genes on one side, and which side.
    pub first: String,
    /// The other side.
    pub second: String,
    /// Genes that the other way of matching finds.
    pub better: usize,
    /// The other way, in words.
    pub words: String,
    /// The other way, as it is typed.
    pub flag: String,
    /// Some names that it matches.
    pub examples: String,
}

impl fmt::Display for NamesDiffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            n_shared,
            first,
            second,
            better,
            words,
            flag,
            examples,
        } = self;
        let shared = count(*n_shared, "gene");
        write!(
            f,
            "{first} and {second} share {shared} by their exact names, and {better} {words} ({examples}): add --match-genes {flag}"
        )?;
        match n_shared {
            0 => Ok(()),
            _ => write!(f, ", or --match-genes exact to go on with {shared}"),
        }
    }
}
