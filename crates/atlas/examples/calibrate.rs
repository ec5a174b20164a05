//! Fits what predicts the error of a registration, on synthetic sections of an atlas whose truth is known.
//!
//! ```sh
//! cargo run --release -p tangram-atlas --example calibrate -- measure ccf.zarr --seed 2000000 --n 480 --out tuning.jsonl
//! cargo run --release -p tangram-atlas --example calibrate -- fit tuning.jsonl --out crates/atlas/src/error_predictor.toml
//! cargo run --release -p tangram-atlas --example calibrate -- measure ccf.zarr --seed 3000000 --n 240 --out fresh.jsonl
//! cargo run --release -p tangram-atlas --example calibrate -- check fresh.jsonl
//! ```
//!
//! `measure` registers a section a seed. The seed also chooses its rung, of the ladder or of the hard ones, and the method, which is the full one
//! five times of six. It goes on where it was stopped: seeds that the file has are left out. `fit` is a ridge regression of the logarithm of the
//! target registration error on the standardised signs; the strength of the ridge is the one that predicts best in ten-fold cross-validation over the
//! seeds. `check` tells how well the predictor that the library was built with does.

mod flags;

use flags::flags;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::Write;
use tangram_atlas::ladder::{FAILURE_UM, METHODS, measure, quantile};
use tangram_atlas::synthetic::Rung;
use tangram_atlas::{Atlas, ErrorPredictor, Limits, ProbabilityPyramid, Sign, Signs};

/// A registration.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    seed: u64,
    rung: String,
    method: String,
    /// Target registration error; `None` where no start was found.
    tre_um: Option<f64>,
    /// Why limits other than that of the expected error refuse it.
    refused: Option<String>,
    signs: Signs,
}

/// Strengths of the ridge that are tried.
const STRENGTHS: [f64; 7] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
/// Parts of the cross-validation.
const PARTS: usize = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().ok_or("say measure, fit or check")?;
    let input = arguments.next().ok_or("name the atlas or the file")?;
    let flags = flags(arguments)?;
    match what.as_str() {
        "measure" => measure_all(&input, &flags),
        "fit" => {
            let text = fit(&read(&input)?)?;
            match flags.get("--out") {
                Some(out) => fs::write(out, text)?,
                None => println!("{text}"),
            }
            Ok(())
        }
        "check" => {
            check(&read(&input)?);
            Ok(())
        }
        other => Err(format!("{other}: say measure, fit or check").into()),
    }
}

fn read(path: &str) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows: Vec<Row> = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        rows.push(serde_json::from_str(line)?);
    }
    rows.sort_by_key(|row| row.seed);
    Ok(rows)
}

fn measure_all(atlas: &str, flags: &HashMap<String, String>) -> Result<(), Box<dyn Error>> {
    let flag = |name: &str| flags.get(name).ok_or_else(|| format!("{name} is missing"));
    let (first, n): (u64, u64) = (flag("--seed")?.parse()?, flag("--n")?.parse()?);
    let out = flag("--out")?;
    let known: BTreeSet<u64> = match fs::exists(out)? {
        true => read(out)?.iter().map(|row| row.seed).collect(),
        false => BTreeSet::new(),
    };
    let mut file = OpenOptions::new().create(true).append(true).open(out)?;
    let atlas = Atlas::open(atlas.as_ref())?;
    let pyramid = ProbabilityPyramid::of_atlas(&atlas, 50.0)?;
    let others = Limits {
        max_expected_error_um: f64::INFINITY,
        ..Limits::default()
    };
    let rungs: Vec<_> = Rung::LADDER.iter().chain(&Rung::HARD).collect();
    for seed in (first..first + n).filter(|seed| !known.contains(seed)) {
        let (name, rung) = rungs[seed as usize % rungs.len()];
        let round = seed as usize / rungs.len();
        let method = METHODS[match round % 6 {
            5 => 1 + round / 6 % 2,
            _ => 0,
        }];
        let errors = measure(&pyramid, &pyramid.classes, rung, seed, method);
        let row = Row {
            seed,
            rung: (*name).to_owned(),
            method: method.0.to_owned(),
            tre_um: Some(errors.tre_um).filter(|tre| tre.is_finite()),
            refused: match &errors.quality {
                None => errors.refused,
                Some(quality) => others.check(quality).err().map(|r| r.to_string()),
            },
            signs: errors.quality.map(|q| q.signs).unwrap_or_default(),
        };
        writeln!(file, "{}", serde_json::to_string(&row)?)?;
    }
    Ok(())
}

/// Signs that were standardised, with the logarithm of the error.
struct Example {
    signs: Vec<f64>,
    log_error: f64,
}

fn fit(rows: &[Row]) -> Result<String, Box<dyn Error>> {
    let used: Vec<&Row> = rows.iter().filter(|r| !r.signs.is_empty()).collect();
    let first = used.first().ok_or("no registration in the file")?;
    let mut signs: Vec<Sign> = first
        .signs
        .keys()
        .map(|name| {
            let mut values: Vec<f64> = used.iter().map(|r| r.signs[name]).collect();
            values.sort_by(f64::total_cmp);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let square = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            Sign {
                name: name.clone(),
                mean,
                deviation: (square / values.len() as f64).sqrt().max(1e-9),
                range: [quantile(&values, 0.005), quantile(&values, 0.995)],
                weight: 0.0,
            }
        })
        .collect();
    let examples: Vec<Example> = used
        .iter()
        .filter_map(|row| {
            Some(Example {
                signs: signs.iter().flat_map(|s| s.terms(&row.signs)).collect(),
                log_error: row.tre_um?.ln(),
            })
        })
        .collect();
    let errors_out = |strength: f64| -> Vec<f64> {
        let of_part = |part: usize| {
            let (out, inside): (Vec<_>, Vec<_>) =
                (0..examples.len()).partition(|i| i % PARTS == part);
            let inside: Vec<&Example> = inside.iter().map(|&i| &examples[i]).collect();
            let weights = ridge(&inside, strength);
            out.into_iter()
                .map(|i| examples[i].log_error - predicted(&weights, &examples[i]))
                .collect::<Vec<_>>()
        };
        (0..PARTS).flat_map(of_part).collect()
    };
    let mean_square =
        |errors: &[f64]| errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64;
    let mut best = (f64::INFINITY, STRENGTHS[0]);
    for strength in STRENGTHS {
        let found = mean_square(&errors_out(strength));
        eprintln!("ridge {strength}: mean square of log error {found:.4}");
        if found < best.0 {
            best = (found, strength);
        }
    }
    let all: Vec<&Example> = examples.iter().collect();
    let weights = ridge(&all, best.1);
    for (sign, weight) in signs.iter_mut().zip(&weights[1..]) {
        sign.weight = *weight;
    }
    let mut left = errors_out(best.1);
    left.sort_by(f64::total_cmp);
    let predictor = ErrorPredictor {
        made_from: format!(
            "{} synthetic sections of the Allen mouse brain, seeds {} to {}; ridge {}",
            examples.len(),
            rows[0].seed,
            rows[rows.len() - 1].seed,
            best.1
        ),
        intercept: weights[0],
        log_p90: quantile(&left, 0.9),
        signs,
    };
    Ok(format!(
        "# Written by examples/calibrate.rs: predicts the logarithm of the target registration error, in µm, from standardised signs.\n{}",
        toml::to_string(&predictor)?
    ))
}

fn predicted(weights: &[f64], example: &Example) -> f64 {
    let terms = weights[1..].iter().zip(&example.signs);
    weights[0] + terms.map(|(w, x)| w * x).sum::<f64>()
}

/// The weights, the intercept first, that minimise Σ (error)² + strength · Σ weight², the intercept free.
fn ridge(examples: &[&Example], strength: f64) -> Vec<f64> {
    let n = examples.first().map_or(0, |e| e.signs.len()) + 1;
    let mut matrix = vec![vec![0.0; n + 1]; n];
    for example in examples {
        let row: Vec<f64> = std::iter::once(1.0)
            .chain(example.signs.iter().copied())
            .collect();
        for i in 0..n {
            for j in 0..n {
                matrix[i][j] += row[i] * row[j];
            }
            matrix[i][n] += row[i] * example.log_error;
        }
    }
    for (i, row) in matrix.iter_mut().enumerate().skip(1) {
        row[i] += strength;
    }
    // Gauss and Jordan, with pivots.
    for column in 0..n {
        let pivot = (column..n)
            .max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))
            .unwrap_or(column);
        matrix.swap(column, pivot);
        let by = matrix[column][column];
        matrix[column].iter_mut().for_each(|x| *x /= by);
        let row = matrix[column].clone();
        for (i, other) in matrix.iter_mut().enumerate() {
            let factor = other[column];
            if i != column {
                other
                    .iter_mut()
                    .zip(&row)
                    .for_each(|(x, r)| *x -= factor * r);
            }
        }
    }
    matrix.iter().map(|row| row[n]).collect()
}

/// What a predictor says of a registration, and the truth.
struct Checked {
    /// Infinite where no start was found.
    expected_um: f64,
    p90_um: f64,
    tre_um: f64,
    /// By limits other than that of the expected error.
    refused: bool,
}

fn check(rows: &[Row]) {
    let predictor = ErrorPredictor::built_in();
    println!("predictor: {}", predictor.made_from);
    let limit = Limits::default().max_expected_error_um;
    let of = |row: &Row| {
        let expected = predictor.expect(&row.signs);
        Checked {
            expected_um: expected.map_or(f64::INFINITY, |e| e.median_um),
            p90_um: expected.map_or(f64::INFINITY, |e| e.p90_um),
            tre_um: row.tre_um.unwrap_or(f64::INFINITY),
            refused: row.refused.is_some(),
        }
    };
    let mut names: Vec<&str> = rows.iter().map(|r| r.rung.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names.iter().copied().chain(["all"]) {
        let chosen = rows.iter().filter(|r| name == "all" || r.rung == name);
        let all: Vec<Checked> = chosen.map(of).collect();
        let count = |is: &dyn Fn(&Checked) -> bool| all.iter().filter(|c| is(c)).count();
        let mut tre: Vec<f64> = all.iter().map(|c| c.tre_um).collect();
        tre.sort_by(f64::total_cmp);
        println!(
            "{name:18} n {:4}  TRE {:5.0} ({:5.0})  failed {:3}  AUROC {:.3}  within the 90 % bound {:.2}  refused by expected error > {limit} {:3}, by other limits {:3}  unnoticed {}",
            all.len(),
            quantile(&tre, 0.5),
            quantile(&tre, 0.9),
            count(&|c| c.tre_um > FAILURE_UM),
            auroc(&all),
            count(&|c| c.tre_um <= c.p90_um) as f64 / all.len() as f64,
            count(&|c| c.expected_um > limit),
            count(&|c| c.refused),
            count(&|c| c.tre_um > FAILURE_UM && c.expected_um <= limit && !c.refused),
        );
    }
    let mut all: Vec<Checked> = rows.iter().map(of).collect();
    all.sort_by(|a, b| a.expected_um.total_cmp(&b.expected_um));
    println!("accepted (share)  limit µm  failures among them  TRE median (90th percentile) µm");
    for tenth in 1..=10 {
        let n = all.len() * tenth / 10;
        if n == 0 {
            continue;
        }
        let mut tre: Vec<f64> = all[..n].iter().map(|c| c.tre_um).collect();
        tre.sort_by(f64::total_cmp);
        let failed = tre.iter().filter(|t| **t > FAILURE_UM).count();
        println!(
            "{n:5} ({:3} %)  {:7.0}  {failed:4} ({:.1} %)  {:.0} ({:.0})",
            10 * tenth,
            all[n - 1].expected_um,
            100.0 * failed as f64 / n as f64,
            quantile(&tre, 0.5),
            quantile(&tre, 0.9)
        );
    }
}

/// How often a failure is expected to be further off than a success; ties count half.
fn auroc(all: &[Checked]) -> f64 {
    let (bad, good): (Vec<&Checked>, Vec<&Checked>) =
        all.iter().partition(|c| c.tre_um > FAILURE_UM);
    let mut sum = 0.0;
    for b in &bad {
        for g in &good {
            sum += match b.expected_um.total_cmp(&g.expected_um) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    sum / (bad.len() * good.len()) as f64
}
