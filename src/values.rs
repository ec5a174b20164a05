//! Values of flags, parsed and checked.

pub use tangram_pipeline::choices::positive;

/// A whole number, 1 or more.
///
/// # Errors
/// If it is not.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("give a whole number, 1 or more".to_owned()),
    }
}

/// Most threads that can be asked for; no machine has as many cores.
const MOST_THREADS: usize = 4096;

/// A number of threads.
///
/// # Errors
/// If it is not.
pub fn n_threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=MOST_THREADS).contains(&number) => Ok(number),
        _ => Err(format!("give a whole number from 1 to {MOST_THREADS}")),
    }
}

/// A seed: a whole number from 0 to 2⁶³ − 1, the largest that TOML holds.
///
/// # Errors
/// If it is not.
pub fn seed(text: &str) -> Result<u64, String> {
    match text.parse::<i64>().map(u64::try_from) {
        Ok(Ok(seed)) => Ok(seed),
        _ => Err("give a whole number from 0 to 9223372036854775807".to_owned()),
    }
}

/// A number, 0 or more.
///
/// # Errors
/// If it is not.
pub fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number >= 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("give a number, 0 or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused() {
        assert!(
            at_least_one("0").is_err()
                && at_least_one("-1").is_err()
                && at_least_one("1.5").is_err()
        );
        assert!(
            not_negative("NaN").is_err()
                && not_negative("-0.1").is_err()
                && not_negative("inf").is_err()
        );
        assert!(n_threads("0").is_err() && n_threads("99999999").is_err());
        assert_eq!(n_threads("1000"), Ok(1000));
        assert!(positive("0").is_err());
        assert_eq!(
            (at_least_one("3"), not_negative("0"), positive("0.1")),
            (Ok(3), Ok(0.0), Ok(0.1))
        );
    }
}
