//! `tangram atlas series`: what the sections of one brain have in common.

use crate::choices::replace;
use crate::report::Report;
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::series::Verdict;
use tangram_pipeline::atlas_series::{
    Numbers, SERIES_FIGURE, SERIES_FILE, SERIES_TABLE, SeriesRecord, atlas_series,
};
use tangram_pipeline::run_directory::existing;
use tangram_pipeline::wording::count;

const LONG_HELP: &str = "\
Sections of one brain share their angles, and their depth follows a line over their numbers, towards either end of the brain. Both are estimated
from the sections whose registration was accepted, robustly: a wrong section does not move them. Each section is then said to fit the
series, to be an outlier, or to have been refused, and whether a refused fit lies on the line nevertheless. Nothing is registered again and no section
is changed. Sections that all have the same error, such as the wrong half of a tilt, agree with each other.

The number of a section is the last number in its name, unless a table gives it. Numbers may have gaps and any step.

DIR holds series.tsv (a line for each section with its depth and that of the line), series.toml (line, angles, gaps) and series.svg.

Examples:
  tangram atlas series brain1 --out series1                    of a sweep that was collected
  tangram atlas series section1 section2 section3 section4 --order unknown --out series2";

/// Flags of `tangram atlas series`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct SeriesArgs {
    /// A sweep of registrations that was collected, its sections.zarr, or folders that `tangram atlas register` wrote
    #[arg(value_name = "SECTIONS", required = true)]
    sections: Vec<PathBuf>,
    /// Numbers of the sections: a table of two columns, name and number, apart by tabs or commas [default: by their names]
    #[arg(long, value_name = "TABLE", help_heading = "Input")]
    numbers: Option<PathBuf>,
    /// Whether the numbers tell the order of cutting, or the order is not known: then there is no line, and sections stand by depth
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Order::Numbers, conflicts_with = "numbers", help_heading = "Input")]
    order: Order,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Replace DIR if an earlier `tangram atlas series` wrote it
    #[arg(long, help_heading = "Output")]
    force: bool,
}

/// What is known of the order of cutting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Numbers follow it
    Numbers,
    /// Nothing
    Unknown,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct SeriesSummary<'a> {
    out: &'a Path,
    #[serde(flatten)]
    record: &'a SeriesRecord,
    outliers: Vec<&'a str>,
}

/// Fits the series and tells what it finds.
///
/// # Errors
/// If sections cannot be read or ordered, or the output cannot be written.
pub fn run(args: &SeriesArgs, report: Report) -> Result<()> {
    let numbers = match (&args.numbers, args.order) {
        (Some(table), _) => Numbers::Table(table.clone()),
        (None, Order::Numbers) => Numbers::Names,
        (None, Order::Unknown) => Numbers::Unknown,
    };
    let may_replace = existing(&args.out, replace(args.force), SERIES_FILE)?;
    let found = atlas_series(&args.sections, &numbers, &args.out, may_replace)?;
    let record = &found.record;
    let out = args.out.display();
    report.say(format_args!(
        "wrote {out}: {SERIES_TABLE}, {SERIES_FILE} and {SERIES_FIGURE}"
    ))?;
    match &record.line {
        Some(line) => report.say(format_args!(
            "{:.1} µm a number towards {}, spread {:.0} µm about the line, by {}",
            line.um_per_number.abs(),
            match line.um_per_number >= 0.0 {
                true => "posterior",
                false => "anterior",
            },
            line.spread_um,
            count(line.n_sections, "section"),
        ))?,
        None => report.say("the order is not known: there is no line of depth")?,
    }
    let angle = |angle: &tangram_atlas::series::SharedAngle| {
        format!("{:.1}° ± {:.1}°", angle.mean_deg, angle.error_deg)
    };
    report.say(format_args!(
        "shared pitch {}, yaw {} (standard errors; an error that all sections have in common is not in them)",
        angle(&record.pitch),
        angle(&record.yaw)
    ))?;
    let counts: Vec<String> = record
        .verdicts
        .iter()
        .map(|(v, n)| format!("{n} {v}"))
        .collect();
    report.say(format_args!(
        "{}: {}",
        count(record.n_sections, "section"),
        counts.join("; ")
    ))?;
    for [first, last] in &record.gaps {
        report.say(match first == last {
            true => format!("number {first} is missing"),
            false => format!("numbers {first} to {last} are missing"),
        })?;
    }
    let mut outliers = Vec::new();
    for (member, verdict) in &found.sections {
        if *verdict != Verdict::Outlier {
            continue;
        }
        outliers.push(member.name.as_str());
        let due = record.line.zip(member.number).map(|(line, n)| line.at(n));
        if let (Some(due), Some(place)) = (due, member.place) {
            report.warn(format_args!(
                "section {} was accepted and is {:+.0} µm off the line: its registration or its number is wrong",
                member.name,
                place.depth_um - due
            ));
        }
    }
    report.summary(&SeriesSummary {
        out: &args.out,
        record,
        outliers,
    })
}
