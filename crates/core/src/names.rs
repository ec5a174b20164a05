//! [`examples`]: a short list of names for a message.

/// The first five names, separated by commas, and `…` if there are more.
#[must_use]
pub fn examples<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut text = names.by_ref().take(5).collect::<Vec<_>>().join(", ");
    if names.next().is_some() {
        text.push_str(", …");
    }
    text
}
