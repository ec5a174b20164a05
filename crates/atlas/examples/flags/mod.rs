//! Flags of the examples.

use std::collections::HashMap;

/// Reads the rest of the arguments as pairs of a flag and its value.
///
/// # Errors
/// If the last flag has no value.
pub fn flags(
    mut arguments: impl Iterator<Item = String>,
) -> Result<HashMap<String, String>, String> {
    let mut flags = HashMap::new();
    while let Some(flag) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        flags.insert(flag, value);
    }
    Ok(flags)
}
