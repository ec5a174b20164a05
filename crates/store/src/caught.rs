//! Panics of the library that decodes Zarr: a damaged chunk makes some of its codecs index beyond their input.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of calls in progress; the library may do its work on any thread.
static CALLS: AtomicUsize = AtomicUsize::new(0);
/// Panics from source files whose paths contain one of these are caught.
const SOURCES: [&str; 4] = ["/zarrs", "/blosc", "/zstd", "/flate2"];

/// Calls the library; a panic becomes an error with its text.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    CALLS.fetch_add(1, Ordering::SeqCst);
    // After a panic nothing that the call changed is used: the array being read is discarded.
    let result = catch_unwind(AssertUnwindSafe(call));
    CALLS.fetch_sub(1, Ordering::SeqCst);
    result.map_err(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let said = said.unwrap_or("it does not say why");
        format!("it cannot be decoded ({said}); it is damaged: copy it or make it again")
    })
}

/// Lets panics that this crate catches, and reports as errors, pass the panic hook that is set now: it would print them, or end all ranks
/// of a program. To be called again after another hook was set.
pub fn pass_caught_panics() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !is_caught(panic) {
            hook(panic);
        }
    }));
}

fn is_caught(panic: &PanicHookInfo<'_>) -> bool {
    let of_library = panic
        .location()
        .is_some_and(|place| SOURCES.iter().any(|source| place.file().contains(source)));
    of_library && CALLS.load(Ordering::SeqCst) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        assert_eq!(caught(|| 7), Ok(7));
        let error = caught(|| -> u8 { panic!("range end index 80 out of range") });
        assert!(error.unwrap_err().contains("index 80"));
    }
}
