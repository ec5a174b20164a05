//! What a caller may do about an error, by the error's type.

use crate::error::PipelineError;
use tangram_atlas::AtlasError;
use tangram_comm::GridError;
use tangram_core::{AnnotationError, GeneError, PriorError, TissueError};
use tangram_mapper::MapError;
use tangram_networks::NetworkError;
use tangram_store::StoreError;
use tangram_sweep::{Cause, SweepError};

/// What a caller may do about an error of this crate or of one below it; `None` if it is of another type.
#[must_use]
pub fn cause_of(error: &(dyn std::error::Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<PipelineError>() {
        return Some(error.cause());
    }
    if let Some(error) = error.downcast_ref() {
        return Some(of_store(error));
    }
    if let Some(error) = error.downcast_ref() {
        return Some(of_sweep(error));
    }
    if let Some(error) = error.downcast_ref() {
        return Some(of_map(error));
    }
    if error.is::<TissueError>() || error.is::<GridError>() {
        return Some(Cause::Usage);
    }
    let of_input =
        error.is::<GeneError>() || error.is::<PriorError>() || error.is::<AnnotationError>();
    of_input.then_some(Cause::Input)
}

impl PipelineError {
    /// What a caller may do about it.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Within { source, .. } | Self::Alone { source, .. } => source.cause(),
            Self::OtherRank { cause } | Self::Run { cause, .. } => *cause,
            Self::Store(error) => of_store(error),
            Self::Map(error) => of_map(error),
            Self::Sweep(error) => of_sweep(error),
            Self::Atlas(error) => of_atlas(error),
            Self::Network(error) => of_network(error),
            Self::Usage(_)
            | Self::Grid(_)
            | Self::Launcher(_)
            | Self::RanksDiffer { .. }
            | Self::Tissue(_) => Cause::Usage,
            Self::NotOurs { .. }
            | Self::Interrupted { .. }
            | Self::NotInterrupted { .. }
            | Self::Checkpoint { .. }
            | Self::ForeignCheckpoint { .. }
            | Self::AtWork { .. } => Cause::Output,
            Self::Memory { .. } | Self::NoGridFits { .. } => Cause::Memory,
            Self::NoEpoch | Self::Picture(_) | Self::Toml(_) | Self::System(_) | Self::Slurm(_) => {
                Cause::Unexpected
            }
            Self::NotARun { .. }
            | Self::Hopeless { .. }
            | Self::Torn { .. }
            | Self::Changed { .. }
            | Self::ChangedInput { .. }
            | Self::OtherNames { .. }
            | Self::GeneList { .. }
            | Self::GeneNames(_)
            | Self::Values { .. }
            | Self::Empty { .. }
            | Self::TrainingGenes { .. }
            | Self::Prior { .. }
            | Self::ZeroVoxels { .. }
            | Self::NoPlaces { .. }
            | Self::Places { .. }
            | Self::InitialLogits { .. }
            | Self::Clusters { .. }
            | Self::TargetCount { .. }
            | Self::InitialFilter { .. }
            | Self::Segmentation { .. }
            | Self::Spots { .. }
            | Self::OtherCheckpoint { .. }
            | Self::DamagedCheckpoint { .. }
            | Self::Factors { .. }
            | Self::NoPicture { .. }
            | Self::Genes(_)
            | Self::Density(_)
            | Self::Annotation(_) => Cause::Input,
        }
    }
}

fn of_atlas(error: &AtlasError) -> Cause {
    match error {
        AtlasError::Store(error) => of_store(error),
        AtlasError::Rule { .. } => Cause::Usage,
        _ => Cause::Input,
    }
}

fn of_network(error: &NetworkError) -> Cause {
    match error {
        NetworkError::Atlas(error) => of_atlas(error),
        NetworkError::Store(error) => of_store(error),
        NetworkError::NoLibtorch | NetworkError::Settings(_) => Cause::Usage,
        NetworkError::Stopped { .. } => Cause::Signal,
        _ => Cause::Input,
    }
}

pub(crate) fn of_map(error: &MapError) -> Cause {
    match error {
        MapError::Threads { .. } | MapError::Torch(_) => Cause::Unexpected,
        MapError::DeviceMemory { .. } | MapError::DeviceFull => Cause::Memory,
        MapError::Keep(_) => Cause::Output,
        MapError::Stopped { .. } => Cause::Signal,
        _ => Cause::Input,
    }
}

pub(crate) fn of_sweep(error: &SweepError) -> Cause {
    match error {
        SweepError::Store(error) => of_store(error),
        SweepError::Superseded { .. } => Cause::Superseded,
        SweepError::NoTask { .. } => Cause::Usage,
        SweepError::Write { .. } | SweepError::AtWork { .. } | SweepError::Submitting { .. } => {
            Cause::Output
        }
        _ => Cause::Input,
    }
}

pub(crate) fn of_store(error: &StoreError) -> Cause {
    match error {
        StoreError::Exists { .. } | StoreError::Ending { .. } | StoreError::Write { .. } => {
            Cause::Output
        }
        StoreError::Unwritable { .. } => Cause::Unexpected,
        _ => Cause::Input,
    }
}
