//! `TANGRAM_TEST_PAUSE_MS`: a pause after every pass of a training, for tests.
//!
//! A test that stops, kills or preempts a training needs one that lasts; this makes it last without keeping the cores busy. The pause
//! changes no result, and a warning says that it is on.

use std::sync::OnceLock;
use std::time::Duration;
use tangram_pipeline::error::PipelineError;

const VARIABLE: &str = "TANGRAM_TEST_PAUSE_MS";

static PAUSE: OnceLock<Duration> = OnceLock::new();

/// Reads the variable, once, before anything is trained; gives the warning to print if it is set.
///
/// # Errors
/// [`PipelineError::Usage`] if it is not a number of milliseconds.
pub fn set_by_environment() -> Result<Option<String>, PipelineError> {
    let Some(value) = std::env::var_os(VARIABLE) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|text| text.parse().ok());
    let pause = number.map(Duration::from_millis).ok_or_else(|| {
        PipelineError::Usage(format!(
            "{VARIABLE} is {value:?}: give a number of milliseconds, or unset it (it is for tests)"
        ))
    })?;
    let milliseconds = PAUSE.get_or_init(|| pause).as_millis();
    Ok(Some(format!(
        "{VARIABLE}: trainings wait {milliseconds} ms after every pass, for tests"
    )))
}

/// Waits, if the environment says so.
pub fn after_pass() {
    if let Some(pause) = PAUSE.get() {
        std::thread::sleep(*pause);
    }
}
