//! Classes: the few groups of structures that a section's mask tells apart.

use crate::{AtlasError, StructureTree};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Class of voxels outside the brain, and of pixels beside the tissue.
pub const BACKGROUND: u8 = 0;
/// Class of what is not compared: tissue that no class claims, and pixels to be left out.
pub const NO_CLASS: u8 = 255;
/// The most classes a rule may have beside the background.
pub const MOST_CLASSES: usize = 31;

const REGIONS: &str = include_str!("rules/regions.toml");
const PAPER: &str = include_str!("rules/paper.toml");

/// Which structures belong to which class; the first class that has the structure or one that contains it wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassRule {
    /// Name of the rule.
    pub name: String,
    /// Structures that count as background, such as ventricles.
    #[serde(default)]
    pub background: Vec<String>,
    /// The classes, in order of precedence; the first has number 1.
    #[serde(rename = "class")]
    pub classes: Vec<Class>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// Its name.
    pub name: String,
    /// Acronyms or identifiers of the structures in it, with all that they contain.
    pub structures: Vec<String>,
}

impl ClassRule {
    /// The default: 16 regions of the mouse brain whose outlines change enough with depth to locate a plane.
    #[must_use]
    pub fn regions() -> Self {
        toml::from_str(REGIONS).expect("the built-in rule is valid")
    }

    /// The paper's: background with ventricles, cortex, cerebellum, white matter, other gray.
    #[must_use]
    pub fn paper() -> Self {
        toml::from_str(PAPER).expect("the built-in rule is valid")
    }

    /// Reads a rule from a TOML file.
    ///
    /// # Errors
    /// [`AtlasError::File`] if it is no such file.
    pub fn read(path: &Path) -> Result<Self, AtlasError> {
        let bytes = crate::error::read(path)?;
        let text = String::from_utf8_lossy(&bytes);
        toml::from_str(&text).map_err(|e| AtlasError::file(path, e.to_string()))
    }

    /// The class of every row of the tree; [`NO_CLASS`] for structures that no class claims.
    ///
    /// # Errors
    /// [`AtlasError::Rule`] if the tree does not have a structure of the rule, or there are too many classes.
    pub fn of_structures(&self, tree: &StructureTree) -> Result<Vec<u8>, AtlasError> {
        let wrong = |reason: String| AtlasError::Rule {
            rule: self.name.clone(),
            reason,
        };
        if !(1..=MOST_CLASSES).contains(&self.classes.len()) {
            let n = self.classes.len();
            return Err(wrong(format!(
                "{n} classes; 1 to {MOST_CLASSES} are possible"
            )));
        }
        let mut claims = Vec::new();
        let lists =
            std::iter::once(&self.background).chain(self.classes.iter().map(|c| &c.structures));
        for (class, structures) in lists.enumerate() {
            for name in structures {
                let row = tree
                    .row_of(name)
                    .ok_or_else(|| wrong(format!("the structure tree has no `{name}`")))?;
                claims.push((row, class as u8));
            }
        }
        Ok((0..tree.structures().len())
            .map(|row| {
                let lineage: Vec<usize> = tree.ancestors(row).collect();
                let claim = claims.iter().find(|(claimed, _)| lineage.contains(claimed));
                claim.map_or(NO_CLASS, |(_, class)| *class)
            })
            .collect())
    }

    /// Names of the classes, background first: the name of class `k` is at `k`.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        std::iter::once("background".to_owned())
            .chain(self.classes.iter().map(|c| c.name.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Structure;

    fn tree() -> StructureTree {
        let structure = |id, acronym: &str, parent| Structure {
            id,
            acronym: acronym.to_owned(),
            name: acronym.to_owned(),
            rgb: [0; 3],
            parent,
        };
        StructureTree::new(vec![
            structure(1, "root", None),
            structure(2, "CB", Some(0)),
            structure(3, "arb", Some(1)),
            structure(4, "VS", Some(0)),
            structure(5, "CTX", Some(0)),
        ])
        .unwrap()
    }

    #[test]
    fn the_first_claim_wins_and_the_unclaimed_have_no_class() {
        let rule: ClassRule = toml::from_str(
            "name = 'x'\nbackground = ['VS']\n[[class]]\nname = 'white'\nstructures = ['3']\n\
             [[class]]\nname = 'cerebellum'\nstructures = ['CB']",
        )
        .unwrap();
        let classes = rule.of_structures(&tree()).unwrap();
        assert_eq!(classes, [NO_CLASS, 2, 1, BACKGROUND, NO_CLASS]);
        assert_eq!(rule.names(), ["background", "white", "cerebellum"]);
    }

    #[test]
    fn unknown_structures_and_keys_are_refused() {
        let missing = ClassRule::regions().of_structures(&tree()).unwrap_err();
        assert!(missing.to_string().contains("the structure tree has no"));
        assert!(toml::from_str::<ClassRule>("name = 'x'\nclasses = []").is_err());
    }

    #[test]
    fn the_built_in_rules_have_their_classes() {
        assert_eq!(ClassRule::regions().classes.len(), 16);
        assert_eq!(
            ClassRule::paper().names(),
            [
                "background",
                "cortex",
                "cerebellum",
                "white matter",
                "other gray"
            ]
        );
    }
}
