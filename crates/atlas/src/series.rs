//! A series: sections of one brain, cut one after the other. They share their angles, and their depth follows a line over their numbers.

use crate::AtlasError;
use serde::{Deserialize, Serialize};

/// Fewest sections with a place and a number that a line is fitted to.
const FEWEST: usize = 4;
/// Smallest rank correlation (Kendall's τ) of depth and number that counts as an order.
const LEAST_ORDER: f64 = 0.5;
/// Residuals of more standard deviations are outliers,
const DEVIATIONS: f64 = 3.5;
/// but never smaller ones than this.
const LEAST_OUTLIER_UM: f64 = 100.0;
/// Smallest standard deviation that is believed: that of depth in micrometres, that of angles in degrees.
const LEAST_SPREAD: [f64; 2] = [10.0, 0.2];
/// Residuals of as many standard deviations lose all weight (Tukey's biweight).
const CUT: f64 = 4.685;
/// Sections above which slopes are taken of some pairs only.
const MOST_PAIRED: usize = 1500;

/// Where a section was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemberPlace {
    /// On the mid-axis, from the anterior end.
    pub depth_um: f64,
    /// See [`Plane`](crate::Plane).
    pub pitch_deg: f64,
    /// See [`Plane`](crate::Plane).
    pub yaw_deg: f64,
}

/// A section of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its number in the order of cutting; `None` if the order is not known.
    pub number: Option<f64>,
    /// Where it was found, if it was.
    pub place: Option<MemberPlace>,
    /// Whether its registration was accepted. Only such sections decide about the line and the angles.
    pub accepted: bool,
}

/// What the series says of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It lies where the others say.
    Fits,
    /// It lies elsewhere: its registration, or its number, is wrong.
    Outlier,
    /// It was refused, and lies where the others say nevertheless.
    RefusedFits,
    /// It was refused, and lies elsewhere.
    RefusedOutlier,
    /// It has no place.
    NoPlace,
}

impl Verdict {
    /// Its word in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Outlier => "outlier",
            Self::RefusedFits => "refused, fits",
            Self::RefusedOutlier => "refused, outlier",
            Self::NoPlace => "no place",
        }
    }

    /// The verdict of a word; `None` if it is none.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        let all = [
            Self::Fits,
            Self::Outlier,
            Self::RefusedFits,
            Self::RefusedOutlier,
            Self::NoPlace,
        ];
        all.into_iter().find(|verdict| verdict.name() == name)
    }
}

/// Depth over the numbers of the sections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DepthLine {
    /// Depth at number 0.
    pub depth_at_zero_um: f64,
    /// Towards posterior if positive: the thickness of a section times the step of the numbers.
    pub um_per_number: f64,
    /// Standard deviation of the depths about the line, without outliers' weight.
    pub spread_um: f64,
    /// Sections that it was fitted to.
    pub n_sections: usize,
}

impl DepthLine {
    /// The depth of a number.
    #[must_use]
    pub fn at(&self, number: f64) -> f64 {
        self.depth_at_zero_um + self.um_per_number * number
    }
}

/// An angle that all sections share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SharedAngle {
    /// Robust mean, degrees.
    pub mean_deg: f64,
    /// Standard deviation over the sections.
    pub spread_deg: f64,
    /// Standard error of the mean; what all sections have wrong in common it does not know.
    pub error_deg: f64,
}

/// What the sections of a series have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesFit {
    /// The line; `None` where the order is not known.
    pub line: Option<DepthLine>,
    /// Pitch.
    pub pitch: SharedAngle,
    /// Yaw.
    pub yaw: SharedAngle,
    /// What is said of each section.
    pub verdicts: Vec<Verdict>,
    /// Numbers that are missing from the series, each gap by its first and last.
    pub gaps: Vec<[f64; 2]>,
}

/// Fits what a series has in common.
///
/// The line begins as the median of the slopes of all pairs of sections and of what is left (Theil and Sen), and ends as the weighted least squares of
/// Tukey's biweight. Where no member has a number there is no line.
///
/// # Errors
/// [`AtlasError::Series`] if some members have numbers and others none, too few have a place, or numbers do not order the depths.
pub fn fit_series(members: &[Member]) -> Result<SeriesFit, AtlasError> {
    let numbered = members.iter().filter(|m| m.number.is_some()).count();
    if numbered > 0
        && let Some(without) = members.iter().find(|m| m.number.is_none())
    {
        return refuse(format!(
            "section {} has no number; give all in a table (--numbers), or say --order unknown",
            without.name
        ));
    }
    let accepted: Vec<(&Member, MemberPlace)> = members
        .iter()
        .filter(|m| m.accepted)
        .filter_map(|m| Some((m, m.place?)))
        .collect();
    if accepted.len() < FEWEST {
        return refuse(format!(
            "{} of {} sections have a place; a series needs {FEWEST} or more",
            accepted.len(),
            members.len()
        ));
    }
    let line = match numbered {
        0 => None,
        _ => {
            let points = accepted.iter().map(|(m, place)| (m.number, place.depth_um));
            let points: Vec<(f64, f64)> = points.filter_map(|(x, y)| Some((x?, y))).collect();
            Some(fit_line(&points)?)
        }
    };
    let limit = line.map(|line| (DEVIATIONS * line.spread_um).max(LEAST_OUTLIER_UM));
    let fits = |member: &Member, place: MemberPlace| match (line, limit, member.number) {
        (Some(line), Some(limit), Some(number)) => {
            (place.depth_um - line.at(number)).abs() <= limit
        }
        _ => true,
    };
    let verdict = |member: &Member| match (member.place, member.accepted) {
        (None, _) => Verdict::NoPlace,
        (Some(place), true) if fits(member, place) => Verdict::Fits,
        (Some(_), true) => Verdict::Outlier,
        (Some(place), false) if fits(member, place) => Verdict::RefusedFits,
        (Some(_), false) => Verdict::RefusedOutlier,
    };
    let verdicts: Vec<Verdict> = members.iter().map(verdict).collect();
    let agreeing: Vec<MemberPlace> = accepted
        .iter()
        .filter(|(member, place)| fits(member, *place))
        .map(|(_, place)| *place)
        .collect();
    let shared = |angle: fn(&MemberPlace) -> f64| {
        shared_angle(&agreeing.iter().map(angle).collect::<Vec<_>>())
    };
    Ok(SeriesFit {
        line,
        pitch: shared(|place| place.pitch_deg),
        yaw: shared(|place| place.yaw_deg),
        verdicts,
        gaps: gaps(members),
    })
}

fn refuse<T>(reason: String) -> Result<T, AtlasError> {
    Err(AtlasError::Series { reason })
}

fn fit_line(points: &[(f64, f64)]) -> Result<DepthLine, AtlasError> {
    let order = rank_correlation(points);
    if order.abs() < LEAST_ORDER {
        return refuse(format!(
            "the numbers do not order the sections: depth and number have a rank correlation of {order:.2}, at least {LEAST_ORDER} is needed; \
             correct the numbers (--numbers), or say --order unknown"
        ));
    }
    let slopes = pairs(points).filter(|(a, b)| a.0 != b.0);
    let mut slope = median(slopes.map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect());
    let mut begin = median(points.iter().map(|(x, y)| y - slope * x).collect());
    let left = |slope: f64, begin: f64| points.iter().map(move |(x, y)| y - begin - slope * x);
    let mut spread = deviation(left(slope, begin)).max(LEAST_SPREAD[0]);
    for _ in 0..30 {
        let weights: Vec<f64> = left(slope, begin).map(|r| biweight(r / spread)).collect();
        let weighted = weights.iter().zip(points);
        let (mut sw, mut sx, mut sy) = (0.0, 0.0, 0.0);
        for (w, (x, y)) in weighted.clone() {
            sw += w;
            sx += w * x;
            sy += w * y;
        }
        let (mx, my) = (sx / sw, sy / sw);
        let (mut xx, mut xy) = (0.0, 0.0);
        for (w, (x, y)) in weighted {
            xx += w * (x - mx) * (x - mx);
            xy += w * (x - mx) * (y - my);
        }
        // All weight on one number: the beginning stays.
        if sw <= 0.0 || xx <= 0.0 {
            break;
        }
        (slope, begin) = (xy / xx, my - xy / xx * mx);
        spread = deviation(left(slope, begin)).max(LEAST_SPREAD[0]);
    }
    Ok(DepthLine {
        depth_at_zero_um: begin,
        um_per_number: slope,
        spread_um: spread,
        n_sections: points.len(),
    })
}

/// Pairs of points; of many points only those that are some steps apart.
fn pairs(points: &[(f64, f64)]) -> impl Iterator<Item = ((f64, f64), (f64, f64))> {
    let step = points.len().div_ceil(MOST_PAIRED).max(1);
    let each = move |i: usize| {
        (i + 1..points.len())
            .step_by(step)
            .map(move |j| (points[i], points[j]))
    };
    (0..points.len()).flat_map(each)
}

/// Kendall's τ: the share of pairs in order less that of pairs in reverse.
fn rank_correlation(points: &[(f64, f64)]) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for (a, b) in pairs(points).filter(|(a, b)| a.0 != b.0) {
        sum += ((b.0 - a.0) * (b.1 - a.1)).signum();
        n += 1.0;
    }
    if n > 0.0 { sum / n } else { 0.0 }
}

fn biweight(deviations: f64) -> f64 {
    let part = (deviations / CUT).abs().min(1.0);
    (1.0 - part * part).powi(2)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n => (values[(n - 1) / 2] + values[n / 2]) / 2.0,
    }
}

/// The standard deviation of normal numbers with the same median of sizes.
fn deviation(values: impl Iterator<Item = f64>) -> f64 {
    1.4826 * median(values.map(f64::abs).collect())
}

fn shared_angle(values: &[f64]) -> SharedAngle {
    let mut mean = median(values.to_vec());
    let left = |mean: f64| values.iter().map(move |v| v - mean);
    let mut spread = deviation(left(mean)).max(LEAST_SPREAD[1]);
    for _ in 0..30 {
        let (mut sum, mut weights) = (0.0, 0.0);
        for value in values {
            let weight = biweight((value - mean) / spread);
            sum += weight * value;
            weights += weight;
        }
        mean = sum / weights;
        spread = deviation(left(mean)).max(LEAST_SPREAD[1]);
    }
    SharedAngle {
        mean_deg: mean,
        spread_deg: spread,
        error_deg: spread / (values.len() as f64).sqrt(),
    }
}

/// Where more than one usual step lies between two numbers that follow each other.
fn gaps(members: &[Member]) -> Vec<[f64; 2]> {
    let mut numbers: Vec<f64> = members.iter().filter_map(|m| m.number).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let steps: Vec<f64> = numbers.windows(2).map(|w| w[1] - w[0]).collect();
    let usual = median(steps);
    let pairs = numbers.windows(2).map(|w| [w[0], w[1]]);
    pairs
        .filter(|[a, b]| b - a > 1.5 * usual)
        .map(|[a, b]| [a + usual, b - usual])
        .collect()
}

/// The number in a name: its last run of digits.
#[must_use]
pub fn number_in(name: &str) -> Option<f64> {
    let digits = name
        .trim_end_matches(|c: char| !c.is_ascii_digit())
        .rsplit(|c: char| !c.is_ascii_digit())
        .next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Sections 25 µm a number apart from 9 mm towards anterior, with gaps, two wrong places, a refused one on the line and one off it.
    fn members(um_per_number: f64, seed: u64) -> Vec<Member> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut noise =
            move |size: f64| size * (0..6).map(|_| rng.random_range(-0.7..0.7)).sum::<f64>();
        let numbers = (0..60).filter(|n| !(20..26).contains(n) && *n != 40);
        numbers
            .map(|n| {
                let wrong = match n {
                    7 | 33 => 900.0,
                    _ => 0.0,
                };
                let number = f64::from(n);
                Member {
                    name: format!("s{n:03}"),
                    number: Some(number),
                    accepted: !matches!(n, 11 | 12),
                    place: (n != 50).then(|| MemberPlace {
                        depth_um: 9000.0 + um_per_number * number + noise(30.0) + wrong
                            - if n == 12 { 2000.0 } else { 0.0 },
                        pitch_deg: 3.0 + noise(0.8),
                        yaw_deg: -1.5 + noise(0.8),
                    }),
                }
            })
            .collect()
    }

    #[test]
    fn line_and_angles_are_found_in_either_direction() {
        for (um, seed) in [(-75.0, 1), (75.0, 2), (-25.0, 3)] {
            let all = members(um, seed);
            let fit = fit_series(&all).unwrap();
            let line = fit.line.unwrap();
            assert!((line.um_per_number - um).abs() < 0.8, "{line:?}");
            assert!(
                (line.at(30.0) - 9000.0 - um * 30.0).abs() < 15.0,
                "{line:?}"
            );
            assert!((fit.pitch.mean_deg - 3.0).abs() < 4.0 * fit.pitch.error_deg);
            assert!((fit.yaw.mean_deg + 1.5).abs() < 4.0 * fit.yaw.error_deg);
            assert!(fit.pitch.error_deg < 0.25, "{:?}", fit.pitch);
            assert_eq!(fit.gaps, [[20.0, 25.0], [40.0, 40.0]]);
            for (member, verdict) in all.iter().zip(&fit.verdicts) {
                let due = match member.name.as_str() {
                    "s007" | "s033" => Verdict::Outlier,
                    "s011" => Verdict::RefusedFits,
                    "s012" => Verdict::RefusedOutlier,
                    "s050" => Verdict::NoPlace,
                    _ => Verdict::Fits,
                };
                assert_eq!(*verdict, due, "{}", member.name);
            }
        }
    }

    #[test]
    fn numbers_that_order_nothing_are_refused_and_an_unknown_order_has_no_line() {
        let mut all = members(-25.0, 4);
        let n = all.len();
        for (i, member) in all.iter_mut().enumerate() {
            member.number = Some(((i * 29) % n) as f64);
        }
        let error = fit_series(&all).unwrap_err().to_string();
        assert!(error.contains("--order unknown"), "{error}");
        all[3].number = None;
        let error = fit_series(&all).unwrap_err().to_string();
        assert!(error.contains("s003 has no number"), "{error}");
        all.iter_mut().for_each(|m| m.number = None);
        let fit = fit_series(&all).unwrap();
        assert!(fit.line.is_none() && fit.gaps.is_empty());
        assert!((fit.pitch.mean_deg - 3.0).abs() < 1.0);
        let error = fit_series(&all[..3]).unwrap_err().to_string();
        assert!(error.contains("3 of 3 sections have a place"), "{error}");
    }

    #[test]
    fn the_number_of_a_name_is_its_last() {
        assert_eq!(number_in("mouse2_s012"), Some(12.0));
        assert_eq!(number_in("s012_left"), Some(12.0));
        assert_eq!(number_in("7"), Some(7.0));
        assert_eq!(number_in("left"), None);
    }
}
