//! Where the elements of an AnnData file lie in its tree.

use crate::tree::{Node, Tree};
use crate::{MatrixName, StoreError};
use std::path::Path;

/// Names of the elements of a group; none where there is no group.
pub(crate) fn children(tree: &dyn Tree, group: &str) -> Result<Vec<String>, StoreError> {
    match tree.node(group)? {
        Some(Node::Group) => tree.children(group),
        _ => Ok(Vec::new()),
    }
}

/// Where a matrix is in an AnnData file; anndata 0.6 wrote `raw.X` for `raw/X`.
pub(crate) fn place(tree: &dyn Tree, name: &MatrixName) -> Result<Option<String>, StoreError> {
    let places = match name {
        MatrixName::X => vec!["X".to_owned()],
        MatrixName::Raw => vec!["raw/X".to_owned(), "raw.X".to_owned()],
        MatrixName::Layer(layer) => vec![format!("layers/{layer}")],
    };
    for at in places {
        if tree.node(&at)?.is_some() {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The table of the variables of `raw`.
pub(crate) fn raw_variables(tree: &dyn Tree) -> Result<&'static str, StoreError> {
    Ok(if tree.node("raw/var")?.is_some() {
        "raw/var"
    } else {
        "raw.var"
    })
}

/// The error of an input that is none of the known kinds.
pub(crate) fn unknown(path: &Path, found: &str) -> StoreError {
    StoreError::UnknownKind {
        path: path.to_owned(),
        found: found.to_owned(),
    }
}
