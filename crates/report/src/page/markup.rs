//! Text in HTML and data in script blocks.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::io::Write;

/// Text that is text in HTML, also within double quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\0' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// A block of data for the script. In JSON these characters occur within texts only, where they may be written as escapes; so no text
/// can end the block.
pub(super) fn data_block(i: usize, data: &impl Serialize) -> String {
    let json = serde_json::to_string(data).expect("texts, numbers and lists are JSON");
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                safe.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => safe.push(c),
        }
    }
    format!("<script type=\"application/json\" id=\"run-{i}\">{safe}</script>\n")
}

/// Texts as JSON, compressed by zlib, then base64.
pub(super) fn pack_texts(texts: &[String]) -> String {
    let json = serde_json::to_vec(texts).expect("texts are JSON");
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(&json)
        .expect("a vector takes what is written");
    STANDARD.encode(encoder.finish().expect("a vector takes what is written"))
}

/// A list of names and values.
pub(super) fn definitions(html: &mut String, facts: &[(String, String)]) {
    html.push_str("<dl class=\"facts\">\n");
    for (name, value) in facts {
        let (name, value) = (escaped(name), escaped(value));
        html.push_str(&format!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
    }
    html.push_str("</dl>\n");
}

/// What a content security policy calls a script.
pub(super) fn script_hash(script: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(script)))
}
