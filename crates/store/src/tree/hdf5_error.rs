//! What the HDF5 library says of a failure.

/// The last words of HDF5's error chain say what went wrong; all before are its call stack.
pub(super) fn brief(message: &str) -> String {
    message
        .rsplit(": ")
        .next()
        .unwrap_or(message)
        .trim()
        .to_owned()
}
