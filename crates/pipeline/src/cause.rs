//! What a caller may do about an error, by the error's type.

use crate::error::PipelineError;
use tangram_comm::GridError;
use tangram_core::{AnnotationError, GeneError, PriorError, TissueError};
use tangram_mapper::MapError;
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
