//! Registers synthetic sections of an atlas and prints how far the results are from the truth.
//!
//! ```sh
//! cargo run --release -p tangram-atlas --example ladder -- ccf.zarr --n 200 --out ladder.jsonl
//! ```
//!
//! `--seed` is the first seed, 0 by default. Limits and weights were tuned by hand on other sections, and what predicts the error was fitted on
//! seeds from 2,000,000 on (`examples/calibrate.rs`): take none of those to measure. `--rung` and `--method` choose some of them by name;
//! `--rung` also takes the hard ones, which are left out otherwise. Every registration is a line of JSON in the file `--out`.

mod flags;

use flags::flags;
use std::error::Error;
use std::io::Write;
use tangram_atlas::ladder::{Errors, METHODS, measure, quantile};
use tangram_atlas::synthetic::Rung;
use tangram_atlas::{Atlas, ProbabilityPyramid};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let atlas = arguments
        .next()
        .ok_or("the first argument is the atlas store")?;
    let flags = flags(arguments)?;
    let number = |flag: &str, otherwise: u64| match flags.get(flag) {
        Some(text) => text.parse::<u64>().map_err(|e| format!("{flag}: {e}")),
        None => Ok(otherwise),
    };
    let (n, first) = (number("--n", 20)?, number("--seed", 0)?);
    let chosen = |flag: &str, name: &str| flags.get(flag).is_none_or(|f| f == name);
    let mut lines = match flags.get("--out") {
        Some(path) => Some(std::fs::File::create(path)?),
        None => None,
    };
    let atlas = Atlas::open(atlas.as_ref())?;
    let pyramid = ProbabilityPyramid::of_atlas(&atlas, 50.0)?;
    println!(
        "{n} sections a row, seeds from {first}; µm, degrees, seconds: median (90th percentile)"
    );
    let hard = Rung::HARD.iter().filter(|_| flags.contains_key("--rung"));
    for (rung_name, rung) in Rung::LADDER.iter().chain(hard) {
        if !chosen("--rung", rung_name) {
            continue;
        }
        for method in METHODS {
            if !chosen("--method", method.0) {
                continue;
            }
            let mut all = Vec::new();
            for seed in first..first + n {
                let errors = measure(&pyramid, &pyramid.classes, rung, seed, method);
                if let Some(lines) = &mut lines {
                    let line = serde_json::json!({ "rung": rung_name, "method": method.0, "errors": errors });
                    writeln!(lines, "{line}")?;
                }
                all.push(errors);
            }
            println!("{rung_name:12} {:12} {}", method.0, row(&all));
        }
    }
    Ok(())
}

fn row(all: &[Errors]) -> String {
    let sorted = |value: &dyn Fn(&Errors) -> Option<f64>| {
        let mut values: Vec<f64> = all
            .iter()
            .filter_map(value)
            .filter(|v| !v.is_nan())
            .collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let both = |value: &dyn Fn(&Errors) -> Option<f64>, digits: usize| {
        let values = sorted(value);
        format!(
            "{:.digits$} ({:.digits$})",
            quantile(&values, 0.5),
            quantile(&values, 0.9)
        )
    };
    let worst = |value: &dyn Fn(&Errors) -> Option<f64>, part: f64| quantile(&sorted(value), part);
    let count = |is: &dyn Fn(&Errors) -> bool| all.iter().filter(|e| is(e)).count();
    format!(
        "depth {}  angle {}  TRE {}  Dice {:.3}  Jacobian ≥ {:.2}  inverse ≤ {:.1}  refused {}  failed {}  unnoticed {}  s {}",
        both(&|e| Some(e.depth_um), 0),
        both(&|e| Some(e.angle_deg), 1),
        both(&|e| Some(e.tre_um), 0),
        worst(&|e| Some(e.quality.as_ref()?.mean_dice), 0.5),
        worst(&|e| Some(e.quality.as_ref()?.smallest_jacobian), 0.0),
        worst(
            &|e| Some(e.quality.as_ref()?.inverse_consistency.max_um),
            1.0
        ),
        count(&|e| e.refused.is_some()),
        count(&|e| e.tre_um.is_nan() || e.tre_um > tangram_atlas::ladder::FAILURE_UM),
        count(&Errors::is_undetected_failure),
        both(&|e| Some(e.seconds), 1),
    )
}
