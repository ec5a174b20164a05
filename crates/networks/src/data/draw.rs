//! Random numbers.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A number from −`most` to `most`.
pub(super) fn within(rng: &mut ChaCha8Rng, most: f64) -> f64 {
    match most > 0.0 {
        true => rng.random_range(-most..most),
        false => 0.0,
    }
}
