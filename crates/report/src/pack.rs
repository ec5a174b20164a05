//! Values inside the report: three bytes for each, compressed, as text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::Write;

/// Bits of a value that are dropped: of the 24 significant ones of an `f32`, 16 stay, a relative error below 2⁻¹⁶.
const DROPPED: u32 = 8;

/// Values as text: the high three bytes of each, first all first bytes, then all second, then all third; compressed by zlib, then base64.
///
/// `viewer.js` reads it back.
pub(crate) fn pack(values: &[f32]) -> String {
    let bits: Vec<u32> = values.iter().map(|&v| rounded(v)).collect();
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    for shift in [24, 16, 8] {
        let plane: Vec<u8> = bits.iter().map(|b| (b >> shift) as u8).collect();
        encoder
            .write_all(&plane)
            .expect("a vector takes what is written");
    }
    let bytes = encoder.finish().expect("a vector takes what is written");
    STANDARD.encode(bytes)
}

/// The bits of a value with the dropped ones zero, rounded to nearest. A value that is not finite is NaN.
fn rounded(value: f32) -> u32 {
    if !value.is_finite() {
        return f32::NAN.to_bits();
    }
    let bits = value.to_bits();
    let half = 1 << (DROPPED - 1);
    let mask = u32::MAX << DROPPED;
    // Rounding up may carry into the exponent, which gives the next power of two; at the very top, the value is cut.
    match f32::from_bits((bits + half) & mask).is_finite() {
        true => (bits + half) & mask,
        false => bits & mask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::ZlibDecoder;
    use std::io::Read;

    fn unpack(text: &str) -> Vec<f32> {
        let packed = STANDARD.decode(text).unwrap();
        let mut bytes = Vec::new();
        ZlibDecoder::new(&packed[..])
            .read_to_end(&mut bytes)
            .unwrap();
        let n = bytes.len() / 3;
        let byte = |k: usize| u32::from(bytes[k]);
        (0..n)
            .map(|i| f32::from_bits(byte(i) << 24 | byte(n + i) << 16 | byte(2 * n + i) << 8))
            .collect()
    }

    #[test]
    fn values_come_back_within_the_stated_error() {
        let values = [
            0.0,
            1.0,
            65_535.0,
            -3.75,
            0.123_456_79,
            1.0e-30,
            f32::MAX,
            f32::MIN_POSITIVE,
            0.999_999_9,
        ];
        for (value, found) in values.iter().zip(unpack(&pack(&values))) {
            let error = ((found - value) / value).abs();
            assert!(
                *value == found || error < 2f32.powi(-16),
                "{value}: {found}"
            );
        }
        assert!(
            unpack(&pack(&[f32::NAN, f32::INFINITY]))
                .iter()
                .all(|v| v.is_nan())
        );
    }

    #[test]
    fn counts_up_to_65536_are_exact() {
        let counts: Vec<f32> = (0..=65_536u32).map(|c| c as f32).collect();
        assert_eq!(unpack(&pack(&counts)), counts);
    }
}
