//! Text that a terminal shows and does not obey: names from files may hold escape sequences.

use std::fmt::{self, Display, Write};
use tangram_pipeline::report::quoted;

/// Displays as what it holds, with control characters written out (`\u{1b}`); ends of lines and tabs stay.
#[derive(Debug, Clone, Copy)]
pub struct Plain<T>(pub T);

impl<T: Display> Display for Plain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_obeyed) {
            let character = rest[at..].chars().next().expect("it was found");
            write!(self.0, "{}{}", &rest[..at], character.escape_unicode())?;
            rest = &rest[at + character.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Characters that change how a terminal shows others: controls, and those that turn the direction of writing.
fn is_obeyed(character: char) -> bool {
    let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    turns || (character.is_control() && !matches!(character, '\n' | '\t'))
}

/// The command line as a shell takes it, the program called by its usual name.
pub fn command_line() -> String {
    let words = std::env::args_os().skip(1);
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    let all: Vec<String> = std::iter::once("tangram".to_owned()).chain(words).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_written_out() {
        let plain = |text: &str| Plain(text).to_string();
        assert_eq!(plain("gène 1\t2\n"), "gène 1\t2\n");
        assert_eq!(plain("\x1b[31mred\x07"), "\\u{1b}[31mred\\u{7}");
        assert_eq!(plain("a\u{9b}2J\r\u{202e}b"), "a\\u{9b}2J\\u{d}\\u{202e}b");
    }
}
