//! Numbers and times as messages write them.

/// A count with its noun: `1 gene`, `2 genes`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    let ending = match n {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", thousands(n))
}

/// A whole number with its thousands apart: `58,022`.
#[must_use]
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time as people say it: `8 s`, `12 min`, `3.5 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 12, 999, 1_000, 58_022, 1_000_000].map(thousands);
        assert_eq!(texts, ["0", "12", "999", "1,000", "58,022", "1,000,000"]);
        assert_eq!(count(1, "gene"), "1 gene");
        assert_eq!(
            [8.2, 700.0, 12_600.0].map(duration),
            ["8 s", "12 min", "3.5 h"]
        );
        assert_eq!(count(2, "pass"), "2 passes");
    }
}
