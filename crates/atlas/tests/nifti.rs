//! Labels as NIfTI.
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use flate2::read::GzDecoder;
use std::io::Read;
use tangram_atlas::encode_nifti;

#[test]
fn sizes_and_labels_stand_where_the_standard_says() {
    let ids = [0, 997, 614_454_277, 1, 2, 3];
    let bytes = encode_nifti([3, 2], 25.0, &ids).unwrap().unwrap();
    let mut plain = Vec::new();
    GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
    assert_eq!(plain.len(), 352 + 4 * ids.len());
    let i16_at = |at: usize| i16::from_le_bytes(plain[at..at + 2].try_into().unwrap());
    let f32_at = |at: usize| f32::from_le_bytes(plain[at..at + 4].try_into().unwrap());
    assert_eq!(plain[..4], 348_i32.to_le_bytes());
    let dim: Vec<i16> = (0..8).map(|i| i16_at(40 + 2 * i)).collect();
    assert_eq!(dim, [3, 3, 2, 1, 1, 1, 1, 1]);
    assert_eq!([i16_at(70), i16_at(72)], [768, 32]);
    assert_eq!([f32_at(80), f32_at(84), f32_at(108)], [0.025, 0.025, 352.0]);
    assert_eq!(&plain[344..348], b"n+1\0");
    let values = plain[352..].chunks_exact(4);
    let values: Vec<u32> = values
        .map(|v| u32::from_le_bytes(v.try_into().unwrap()))
        .collect();
    assert_eq!(values, ids);
    assert!(encode_nifti([40_000, 1], 25.0, &ids).unwrap().is_none());
}
