//! What the sections of one brain have in common: a line of depth over their numbers, and their angles.

use crate::error::{PipelineError, Result};
use crate::figures::write_bytes;
use crate::registrations_collect::SECTIONS_STORE;
use crate::run_directory::write;
use crate::versions::Versions;
use crate::wording::count;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tangram_atlas::series::{
    DepthLine, Member, MemberPlace, SeriesFit, SharedAngle, Verdict, fit_series, number_in,
};
use tangram_atlas::{AtlasError, RegisteredSection, SectionRecord, read_sections};
use tangram_report::Figure;
use tangram_report::series::{SeriesDepths, series};
use tangram_store::{Existing, StoreError, read_text, write_aside};

/// The file that shows that a folder holds a series.
pub const SERIES_FILE: &str = "series.toml";
/// The table of the sections.
pub const SERIES_TABLE: &str = "series.tsv";
/// The figure.
pub const SERIES_FIGURE: &str = "series.svg";
/// The first line of the table.
const COLUMNS: &str = "section\tnumber\tverdict\tdepth_um\tline_um\toff_um\tpitch_deg\tyaw_deg";

/// Where the numbers of sections come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// The last digits of their names.
    Names,
    /// A table of names and numbers.
    Table(PathBuf),
    /// The order is not known.
    Unknown,
}

/// A series, as `series.toml` holds it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SeriesRecord {
    /// Sections.
    pub n_sections: usize,
    /// How many of them are said to be what.
    pub verdicts: BTreeMap<&'static str, usize>,
    /// Numbers that are missing, each gap by its first and last.
    pub gaps: Vec<[f64; 2]>,
    /// Depth over the number, if the order is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<DepthLine>,
    /// Pitch of all sections.
    pub pitch: SharedAngle,
    /// Yaw of all sections.
    pub yaw: SharedAngle,
    /// Versions of the program and its libraries.
    pub versions: Versions,
}

/// A series and its sections.
#[derive(Debug, Clone)]
pub struct SeriesFound {
    /// For the record.
    pub record: SeriesRecord,
    /// The sections with what is said of them, in the order of their numbers, or of their depths where the order is not known.
    pub sections: Vec<(Member, Verdict)>,
}

/// Reads sections, fits their series and writes a folder with the record, the table and the figure.
///
/// * `inputs`: stores of sections, folders of sweeps that were collected, or folders that `tangram atlas register` wrote
///
/// # Errors
/// If an input cannot be read, two sections have the same name, numbers are missing or order nothing, or `out` cannot be written.
pub fn atlas_series(
    inputs: &[PathBuf],
    numbers: &Numbers,
    out: &Path,
    existing: Existing,
) -> Result<SeriesFound> {
    let mut members = Vec::new();
    for input in inputs {
        members.extend(members_of(input)?);
    }
    number(&mut members, numbers)?;
    let mut names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let text = format!(
            "two sections are named {}; a series has each once",
            twice[0]
        );
        return Err(PipelineError::Usage(text));
    }
    let fit = fit_series(&members)?;
    let mut verdicts = BTreeMap::new();
    for verdict in &fit.verdicts {
        *verdicts.entry(verdict.name()).or_default() += 1;
    }
    let SeriesFit {
        line,
        pitch,
        yaw,
        gaps,
        ..
    } = fit;
    let record = SeriesRecord {
        n_sections: members.len(),
        verdicts,
        gaps,
        line,
        pitch,
        yaw,
        versions: Versions::current(),
    };
    let mut sections: Vec<(Member, Verdict)> = members.into_iter().zip(fit.verdicts).collect();
    let key = |member: &Member| match line {
        Some(_) => member.number,
        None => member.place.map(|place| place.depth_um),
    };
    sections.sort_by(|(a, _), (b, _)| {
        let [a, b] = [a, b].map(|m| key(m).unwrap_or(f64::INFINITY));
        a.total_cmp(&b)
    });
    let found = SeriesFound { record, sections };
    write_aside(out, existing, |folder| -> Result<()> {
        std::fs::create_dir(folder).map_err(|e| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        })?;
        write(&folder.join(SERIES_FILE), &toml::to_string(&found.record)?)?;
        write(&folder.join(SERIES_TABLE), &found.table())?;
        write_bytes(
            &folder.join(SERIES_FIGURE),
            found.figure()?.svg().as_bytes(),
        )
    })?;
    Ok(found)
}

fn members_of(input: &Path) -> Result<Vec<Member>> {
    let stores = [input.to_owned(), input.join(SECTIONS_STORE)];
    for store in &stores {
        if store.join("zarr.json").is_file() {
            let records = read_sections(store)?;
            return Ok(records.iter().map(member).collect());
        }
    }
    if input.join(tangram_sweep::MANIFEST).is_file() {
        let reason = "its sections are not collected; `tangram sweep collect` does it".to_owned();
        let path = input.to_owned();
        return Err(AtlasError::File { path, reason }.into());
    }
    let section = RegisteredSection::open(input)?;
    let plane = section.transform.parameters().plane;
    Ok(vec![Member {
        name: section.name(),
        number: None,
        place: Some(MemberPlace {
            depth_um: plane.depth_um,
            pitch_deg: plane.pitch_deg,
            yaw_deg: plane.yaw_deg,
        }),
        accepted: true,
    }])
}

fn member(record: &SectionRecord) -> Member {
    let place = record.fit().map(|fit| fit.transform.plane);
    Member {
        name: record.name.clone(),
        number: None,
        place: place.map(|plane| MemberPlace {
            depth_um: plane.depth_um,
            pitch_deg: plane.pitch_deg,
            yaw_deg: plane.yaw_deg,
        }),
        accepted: record.is_registered(),
    }
}

/// Gives the sections their numbers.
fn number(members: &mut [Member], numbers: &Numbers) -> Result<()> {
    match numbers {
        Numbers::Unknown => {}
        Numbers::Names => members
            .iter_mut()
            .for_each(|member| member.number = number_in(&member.name)),
        Numbers::Table(path) => {
            let table = read_table(path)?;
            for member in members {
                member.number = table.get(&member.name).copied();
            }
        }
    }
    Ok(())
}

/// A table of two columns, name and number, apart by tabs or commas, with or without a heading.
fn read_table(path: &Path) -> Result<BTreeMap<String, f64>> {
    let wrong = |reason: String| AtlasError::File {
        path: path.to_owned(),
        reason,
    };
    let text = read_text(path).map_err(|e| StoreError::Read {
        path: path.to_owned(),
        reason: e.to_string(),
    })?;
    let mut table = BTreeMap::new();
    for (i, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.trim().is_empty())
    {
        let fields: Vec<&str> = line.split(['\t', ',']).map(str::trim).collect();
        match fields.get(1).and_then(|field| finite(field)) {
            Some(number) => {
                if table.insert(fields[0].to_owned(), number).is_some() {
                    let reason = format!("section {} stands there twice", fields[0]);
                    return Err(wrong(reason).into());
                }
            }
            None if i == 0 => {}
            None => {
                let reason = format!("line {}: not the name of a section and its number", i + 1);
                return Err(wrong(reason).into());
            }
        }
    }
    Ok(table)
}

/// A number; `None` if the text is none, or an infinite one.
fn finite(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().ok();
    number.filter(|number| number.is_finite())
}

impl SeriesFound {
    /// The line's depth of a section.
    fn due(&self, member: &Member) -> Option<f64> {
        Some(self.record.line?.at(member.number?))
    }

    /// A line for each section, tab-separated.
    fn table(&self) -> String {
        let mut text = format!("{COLUMNS}\n");
        let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
        for (member, verdict) in &self.sections {
            let (place, due) = (member.place, self.due(member));
            let depth = place.map(|p| p.depth_um);
            let numbers = [
                depth,
                due,
                depth.zip(due).map(|(depth, due)| depth - due),
                place.map(|p| p.pitch_deg),
                place.map(|p| p.yaw_deg),
            ];
            let numbers: Vec<String> = numbers.into_iter().map(number).collect();
            writeln!(
                text,
                "{}\t{}\t{}\t{}",
                member.name,
                number(member.number),
                verdict.name(),
                numbers.join("\t")
            )
            .expect("a text grows");
        }
        text
    }

    /// Depth over the number.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn figure(&self) -> Result<Figure> {
        let sections = self.sections.iter().map(|(member, verdict)| Drawn {
            number: member.number,
            depth_um: member.place.map(|place| place.depth_um),
            verdict: *verdict,
        });
        draw(self.record.line, &sections.collect::<Vec<_>>())
    }
}

/// What the figure shows of a section.
#[derive(Debug, Clone, Copy)]
struct Drawn {
    number: Option<f64>,
    depth_um: Option<f64>,
    verdict: Verdict,
}

/// Depth over the number of sections that stand in the order of [`SeriesFound::sections`].
fn draw(line: Option<DepthLine>, sections: &[Drawn]) -> Result<Figure> {
    let points = |is: &dyn Fn(Verdict) -> bool| -> Vec<(f64, f64)> {
        let numbered = sections.iter().enumerate();
        numbered
            .filter(|(_, section)| is(section.verdict))
            .filter_map(|(rank, section)| {
                let x = section.number.unwrap_or((rank + 1) as f64);
                Some((x, section.depth_um?))
            })
            .collect()
    };
    let ends = line.and_then(|line| {
        let numbers = sections.iter().filter_map(|section| section.number);
        let (first, last) = numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), n| {
            (l.min(n), h.max(n))
        });
        first
            .is_finite()
            .then(|| [first, last].map(|n| (n, line.at(n))))
    });
    let n = count(sections.len(), "section");
    let heading = match line {
        Some(line) => format!(
            "{n}, {:.1} µm a number, spread {:.0} µm",
            line.um_per_number, line.spread_um
        ),
        None => format!("{n} by depth, order not known"),
    };
    let (fitting, outliers, refused) = (
        points(&|v| v == Verdict::Fits),
        points(&|v| v == Verdict::Outlier),
        points(&|v| matches!(v, Verdict::RefusedFits | Verdict::RefusedOutlier)),
    );
    Ok(series(&SeriesDepths {
        heading: &heading,
        numbers: match line {
            Some(_) => "number of the section",
            None => "place in the order of depth",
        },
        fitting: &fitting,
        outliers: &outliers,
        refused: &refused,
        line: ends,
    })?)
}

/// What of `series.toml` the figure needs.
#[derive(Debug, Deserialize)]
struct Line {
    line: Option<DepthLine>,
}

/// The figure of a folder that [`atlas_series`] wrote.
///
/// # Errors
/// [`PipelineError::NoPicture`] if it is none, or its files do not say what they should.
pub fn series_figure(folder: &Path) -> Result<Figure> {
    let no = |path: &Path, reason: String| PipelineError::NoPicture {
        path: path.to_owned(),
        reason,
    };
    let (record, table) = (folder.join(SERIES_FILE), folder.join(SERIES_TABLE));
    if !record.is_file() {
        let reason = "is no folder that `tangram atlas series` wrote".to_owned();
        return Err(no(folder, reason));
    }
    let text = |path: &Path| {
        read_text(path).map_err(|e| StoreError::Read {
            path: path.to_owned(),
            reason: e.to_string(),
        })
    };
    let Line { line } =
        toml::from_str(&text(&record)?).map_err(|e| no(&record, e.message().to_owned()))?;
    let text = text(&table)?;
    let mut lines = text.lines();
    if lines.next() != Some(COLUMNS) {
        let reason = format!(
            "does not begin with the columns {}",
            COLUMNS.replace('\t', ", ")
        );
        return Err(no(&table, reason));
    }
    let section = |(i, line): (usize, &str)| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [_, number, verdict, depth, ..] = fields[..] else {
            return Err(no(&table, format!("line {} is cut", i + 2)));
        };
        let value = |text: &str| match text {
            "" => Ok(None),
            text => finite(text)
                .map(Some)
                .ok_or_else(|| no(&table, format!("line {}: {text} is no number", i + 2))),
        };
        Ok(Drawn {
            number: value(number)?,
            depth_um: value(depth)?,
            verdict: Verdict::of_name(verdict)
                .ok_or_else(|| no(&table, format!("line {}: {verdict} is no verdict", i + 2)))?,
        })
    };
    let sections = lines.enumerate().map(section).collect::<Result<Vec<_>>>()?;
    draw(line, &sections)
}
