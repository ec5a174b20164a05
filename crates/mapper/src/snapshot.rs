//! The state of a training between two passes, and who keeps it.

use crate::MapError;
use ndarray::Array2;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What one rank needs to go on as if nothing had happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Passes, or epochs, that are done.
    pub passes: usize,
    /// What all ranks know alike, as JSON.
    pub common: String,
    /// This rank's part of what is large.
    pub arrays: Vec<SnapshotArray>,
}

/// One array of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotArray {
    /// Its name.
    pub name: &'static str,
    /// What its rows and columns are.
    pub axes: Axes,
    /// Its values.
    pub values: Numbers,
}

/// Rows and columns of an array of which ranks have parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axes {
    /// This rank's genes and one row more, which all ranks along the genes have alike; this rank's voxels.
    GenesVoxels,
    /// Something that all ranks count alike; this rank's voxels.
    AnyVoxels,
    /// This rank's cells; this rank's voxels.
    CellsVoxels,
}

/// Numbers in the precision in which they are needed.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Single precision.
    Single(Array2<f32>),
    /// Double precision.
    Double(Array2<f64>),
}

impl Numbers {
    /// In double precision, which holds either exactly.
    #[must_use]
    pub fn to_double(&self) -> Array2<f64> {
        match self {
            Self::Single(values) => values.mapv(f64::from),
            Self::Double(values) => values.clone(),
        }
    }
}

impl Snapshot {
    pub(crate) fn new(passes: usize, common: &impl Serialize) -> Self {
        Self {
            passes,
            common: serde_json::to_string(common).expect("numbers and texts"),
            arrays: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, axes: Axes, values: Numbers) -> Self {
        self.arrays.push(SnapshotArray { name, axes, values });
        self
    }

    pub(crate) fn common<C: DeserializeOwned>(&self) -> Result<C, MapError> {
        serde_json::from_str(&self.common).map_err(|e| MapError::Snapshot {
            reason: e.to_string(),
        })
    }

    /// An array of the given shape, in double precision.
    pub(crate) fn array(
        &self,
        name: &str,
        shape: (Option<usize>, usize),
    ) -> Result<Array2<f64>, MapError> {
        let wrong = |reason: String| MapError::Snapshot { reason };
        let found = self.arrays.iter().find(|a| a.name == name);
        let values = found
            .ok_or_else(|| wrong(format!("it has no `{name}`")))?
            .values
            .to_double();
        let fits = values.ncols() == shape.1 && shape.0.is_none_or(|rows| rows == values.nrows());
        match fits {
            true => Ok(values),
            false => Err(wrong(format!("`{name}` is {:?}", values.dim()))),
        }
    }
}

/// What is to be done with the state after a pass; where ranks differ, the last of these wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Nothing.
    GoOn,
    /// Keep it.
    Save,
    /// Keep it and stop.
    SaveAndStop,
}

/// Keeps snapshots.
pub trait Keeper: Send {
    /// What this rank wishes, asked after every pass, and by the factored solver within passes, where all but
    /// [`Wish::SaveAndStop`] goes on.
    fn wish(&mut self) -> Wish;

    /// What this rank wishes when the training has come to its end. A training that goes on from the state kept then ends at once.
    fn wish_at_end(&mut self) -> Wish {
        Wish::GoOn
    }

    /// Keeps this rank's part; called on all ranks.
    ///
    /// # Errors
    /// Why it cannot.
    fn save(&mut self, snapshot: &Snapshot)
    -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Told when the training goes on although a snapshot could not be kept.
    fn lost(&mut self, error: &(dyn std::error::Error + Send + Sync));
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoKeeper;

impl Keeper for NoKeeper {
    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }

    fn save(&mut self, _: &Snapshot) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    fn lost(&mut self, _: &(dyn std::error::Error + Send + Sync)) {}
}
