//! The report: one HTML file that needs no network and no other file.
//!
//! Names that come from data files are text in it, never markup: what is written here is escaped, what the script shows is set as text, and
//! the page forbids every script but its own two by their hashes.

mod markup;

use crate::figure::Figure;
use crate::pack::pack;
use crate::palette::Color;
use crate::places::Places;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use markup::{data_block, definitions, escaped, script_hash};
use plotly::Plot;
use serde::Serialize;
use std::fmt::Write;

/// Bytes of a report: genes are left out beyond it.
const LIMIT: usize = 14_500_000;
/// Bytes of the image of the tissue, as PNG.
const TISSUE: usize = 900_000;
/// Voxels above which their maps show no image of the tissue: they are drawn by WebGL, which lies below images, and hide it anyway.
const MOST_OVER_TISSUE: usize = 12_000;
const STYLE: &str = include_str!("page/style.css");
const VIEWER: &str = include_str!("page/viewer.js");

/// A report about one run or several.
#[derive(Debug, Clone)]
pub struct Page {
    /// The heading.
    pub title: String,
    /// The command that made the report.
    pub command: String,
    /// Version of the program.
    pub version: String,
    /// The runs, in the order asked for.
    pub runs: Vec<RunPage>,
}

/// What the report says about a run.
#[derive(Debug, Clone, Default)]
pub struct RunPage {
    /// Where it is.
    pub name: String,
    /// What a reader should know before looking at the results.
    pub warnings: Vec<Warning>,
    /// What it was made from and what came out: names and values.
    pub facts: Vec<(String, String)>,
    /// The command that repeats it.
    pub command: String,
    /// Its settings, as TOML.
    pub settings: String,
    /// Where the voxels lie; without it there are no maps.
    pub places: Option<Places>,
    /// Names of the voxels.
    pub voxels: Vec<String>,
    /// What the types are: the column that holds them.
    pub types_of: String,
    /// The types in space.
    pub types: Vec<TypeRow>,
    /// The type of each voxel's most probable cell, an index of `types`.
    pub assigned: Vec<Option<u32>>,
    /// Other values of the voxels, by their names.
    pub others: Vec<(String, Vec<f32>)>,
    /// All genes that both files have.
    pub genes: Vec<GeneRow>,
    /// Values of genes; the first are the last to be left out.
    pub values: Vec<GeneValues>,
    /// What the report does not hold, and how to have it.
    pub left_out: Vec<String>,
    /// Drawings, each with its caption.
    pub figures: Vec<(String, Figure)>,
}

/// Something that a reader should know before looking at the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// What, in a sentence.
    pub text: String,
    /// What to do about it; empty if nothing.
    pub remedy: String,
}

/// A type in space.
#[derive(Debug, Clone)]
pub struct TypeRow {
    /// Its name.
    pub name: String,
    /// Its colour.
    pub color: Color,
    /// Expected number of cells of this type in each voxel.
    pub values: Vec<f32>,
}

/// A gene in the table of genes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GeneRow {
    /// Its name.
    pub gene: String,
    /// Its part in training.
    pub training: &'static str,
    /// Cosine similarity of predicted and measured values.
    pub cosine: f64,
    /// Cosine similarity of the baseline and the measured values.
    pub baseline: f64,
    /// Pearson correlation, if there is one.
    pub pearson: Option<f64>,
    /// Share of voxels without a count.
    pub sparsity: f64,
}

/// A gene in space.
#[derive(Debug, Clone)]
pub struct GeneValues {
    /// Its name.
    pub gene: String,
    /// One for each voxel, if it was measured there.
    pub measured: Option<Vec<f32>>,
    /// One for each voxel.
    pub predicted: Vec<f32>,
}

/// What the script gets of a run.
#[derive(Debug, Serialize)]
struct RunData<'a> {
    name: &'a str,
    n_voxels: usize,
    places: Option<PlaceData>,
    voxels: String,
    types_of: &'a str,
    types: Vec<TypeData<'a>>,
    assigned: String,
    others: Vec<ValueData<'a>>,
    genes: &'a [GeneRow],
    values: Vec<ValueData<'a>>,
}

#[derive(Debug, Serialize)]
struct PlaceData {
    /// Distances from `left` and `bottom`.
    x: String,
    y: String,
    left: f64,
    bottom: f64,
    radius: f64,
    hexagons: bool,
    down: bool,
    tissue: Option<TissueData>,
}

/// The image of the tissue, whose upper left corner is where both coordinates are 0; width and height in their units.
#[derive(Debug, Serialize)]
struct TissueData {
    png: String,
    width: f64,
    height: f64,
}

#[derive(Debug, Serialize)]
struct TypeData<'a> {
    name: &'a str,
    color: String,
    total: f64,
    voxels: usize,
    /// `None` if there is no room for its map.
    values: Option<String>,
}

#[derive(Debug, Serialize)]
struct ValueData<'a> {
    name: &'a str,
    measured: Option<String>,
    values: String,
}

impl Page {
    /// The report as HTML.
    ///
    /// Genes whose values would make it larger than 15 MB are left out, the last first, and it says so.
    #[must_use]
    pub fn html(&self) -> String {
        let plotly = plotly_script();
        let share = LIMIT.saturating_sub(plotly.len() + VIEWER.len() + STYLE.len());
        let share = share / self.runs.len().max(1);
        let parts: Vec<(String, String)> = self
            .runs
            .iter()
            .enumerate()
            .map(|(i, run)| run.parts(i, self.runs.len(), share))
            .collect();
        let mut html = String::new();
        let policy = format!(
            "default-src 'none'; script-src '{}' '{}' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; worker-src blob:; base-uri 'none'; form-action 'none'",
            script_hash(plotly),
            script_hash(VIEWER)
        );
        let title = escaped(&self.title);
        put(
            &mut html,
            format_args!(
                "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header><h1>{title}</h1></header>\n<noscript><p class=\"warnings\">The maps and tables need JavaScript, which is switched off here; figures and settings are below.</p></noscript>\n<main>\n"
            ),
        );
        if self.runs.len() > 1 {
            html.push_str("<div class=\"runs-table\"></div>\n");
        }
        for (markup, _) in &parts {
            html.push_str(markup);
        }
        put(
            &mut html,
            format_args!(
                "</main>\n<footer><p>Made by tangram {} with</p><pre>{}</pre><p>Maps by plotly.js. This file needs no network.</p></footer>\n",
                escaped(&self.version),
                escaped(&self.command)
            ),
        );
        for (_, data) in &parts {
            html.push_str(data);
        }
        put(
            &mut html,
            format_args!(
                "<script>{plotly}</script>\n<script>{VIEWER}</script>\n</body>\n</html>\n"
            ),
        );
        html
    }
}

impl RunPage {
    /// The section of a run, and the block of its data.
    ///
    /// * `limit`: bytes of both
    fn parts(&self, i: usize, n_runs: usize, limit: usize) -> (String, String) {
        let before = self.markup(i, n_runs, &[]).len();
        let mut data = RunData {
            name: &self.name,
            n_voxels: self.voxels.len(),
            places: self.places.as_ref().map(place_data),
            voxels: markup::pack_texts(&self.voxels),
            types_of: &self.types_of,
            types: self.type_data(),
            assigned: self.assigned_data(),
            others: self
                .others
                .iter()
                .map(|(name, values)| ValueData {
                    name,
                    measured: None,
                    values: pack(values),
                })
                .collect(),
            genes: &self.genes,
            values: Vec::new(),
        };
        let mut left_out = self.left_out.clone();
        let mut used = before + data_block(i, &data).len();
        // The most frequent types first, in most of the room; some is kept for genes.
        let n_types = self.pack_types(&mut data.types, limit.saturating_sub(used) / 5 * 4);
        used += data
            .types
            .iter()
            .filter_map(|t| t.values.as_ref().map(String::len))
            .sum::<usize>();
        if n_types < self.types.len() {
            left_out.push(format!(
                "the maps of {} of {} types, the rarest, for which there is no room in 15 MB; choose fewer types by another column, --types",
                self.types.len() - n_types,
                self.types.len()
            ));
        }
        let mut kept = 0;
        for gene in &self.values {
            let measured = gene.measured.as_deref().map(pack);
            let values = pack(&gene.predicted);
            let bytes = gene.gene.len() + measured.as_ref().map_or(0, String::len) + values.len();
            if used + bytes + 80 > limit {
                break;
            }
            used += bytes + 80;
            kept += 1;
            data.values.push(ValueData {
                name: &gene.gene,
                measured,
                values,
            });
        }
        if kept < self.values.len() {
            left_out.push(format!(
                "the maps of {} of {} genes, for which there is no room in 15 MB; choose fewer by --genes",
                self.values.len() - kept,
                self.values.len()
            ));
        }
        // In the order of their names, for whoever searches.
        data.values.sort_by(|a, b| a.name.cmp(b.name));
        (self.markup(i, n_runs, &left_out), data_block(i, &data))
    }

    fn type_data(&self) -> Vec<TypeData<'_>> {
        let mut counts = vec![0; self.types.len()];
        for &code in self.assigned.iter().flatten() {
            counts[code as usize] += 1;
        }
        self.types
            .iter()
            .zip(counts)
            .map(|(row, voxels)| TypeData {
                name: &row.name,
                color: row.color.hex(),
                total: row.values.iter().map(|&v| f64::from(v)).sum(),
                voxels,
                values: None,
            })
            .collect()
    }

    /// Adds the values of types while they fit; gives the number of those that did.
    fn pack_types(&self, types: &mut [TypeData<'_>], room: usize) -> usize {
        let mut order: Vec<usize> = (0..types.len()).collect();
        order.sort_by(|&a, &b| types[b].total.total_cmp(&types[a].total));
        let (mut used, mut kept) = (0, 0);
        for k in order {
            let packed = pack(&self.types[k].values);
            if used + packed.len() > room {
                break;
            }
            used += packed.len();
            kept += 1;
            types[k].values = Some(packed);
        }
        kept
    }

    /// The codes as numbers, −1 where there is none: the script's array has no other way to say it.
    fn assigned_data(&self) -> String {
        let code = |code: &Option<u32>| code.map_or(-1.0, |c| c as f32);
        pack(&self.assigned.iter().map(code).collect::<Vec<f32>>())
    }

    fn markup(&self, i: usize, n_runs: usize, left_out: &[String]) -> String {
        let mut html = String::new();
        let name = escaped(&self.name);
        let open = if i == 0 { " open" } else { "" };
        match n_runs {
            1 => put(
                &mut html,
                format_args!("<section class=\"run\" data-run=\"{i}\">\n"),
            ),
            _ => put(
                &mut html,
                format_args!(
                    "<details class=\"run\" data-run=\"{i}\"{open}><summary><h2>{name}</h2></summary>\n"
                ),
            ),
        }
        if !self.warnings.is_empty() {
            html.push_str("<div class=\"warnings\"><h3>Read first</h3><ul>\n");
            for Warning { text, remedy } in &self.warnings {
                put(
                    &mut html,
                    format_args!(
                        "<li>{} <span class=\"remedy\">{}</span></li>\n",
                        escaped(text),
                        escaped(remedy)
                    ),
                );
            }
            html.push_str("</ul></div>\n");
        }
        definitions(&mut html, &self.facts);
        html.push_str("<div class=\"viewer\"></div>\n");
        if !left_out.is_empty() {
            html.push_str("<p class=\"left-out\">Not in this report: ");
            html.push_str(&escaped(&left_out.join("; ")));
            html.push_str(".</p>\n");
        }
        html.push_str("<div class=\"figures\">\n");
        for (caption, figure) in &self.figures {
            let (width, height) = figure.size();
            put(
                &mut html,
                format_args!(
                    "<figure><img width=\"{width}\" height=\"{height}\" alt=\"{0}\" src=\"data:image/svg+xml;base64,{1}\"><figcaption>{0}</figcaption></figure>\n",
                    escaped(caption),
                    STANDARD.encode(figure.svg())
                ),
            );
        }
        html.push_str("</div>\n<div class=\"tables\"></div>\n");
        put(
            &mut html,
            format_args!(
                "<details class=\"settings\"><summary>Settings, and the command that repeats the run</summary>\n<pre>{}</pre>\n<pre>{}</pre>\n</details>\n",
                escaped(&self.command),
                escaped(&self.settings)
            ),
        );
        html.push_str(if n_runs == 1 {
            "</section>\n"
        } else {
            "</details>\n"
        });
        html
    }
}

fn place_data(places: &Places) -> PlaceData {
    let offset = |values: &[f64]| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let from_low: Vec<f32> = values.iter().map(|v| (v - low) as f32).collect();
        (low, pack(&from_low))
    };
    let ((left, x), (bottom, y)) = (offset(places.x()), offset(places.y()));
    PlaceData {
        x,
        y,
        left,
        bottom,
        radius: places.radius(),
        hexagons: places.are_hexagons(),
        down: places.is_downwards(),
        tissue: tissue_data(places),
    }
}

fn tissue_data(places: &Places) -> Option<TissueData> {
    let tissue = places.tissue()?;
    if places.len() > MOST_OVER_TISSUE {
        return None;
    }
    let (png, [width, height]) = tissue.png(TISSUE)?;
    Some(TissueData {
        png: STANDARD.encode(png),
        width,
        height,
    })
}

/// The script of plotly that its crate carries, without the one that sets formulas.
fn plotly_script() -> &'static str {
    use std::sync::LazyLock;
    static SCRIPT: LazyLock<String> = LazyLock::new(|| {
        let sources = Plot::offline_js_sources();
        let begin = sources.find('>').map_or(0, |at| at + 1);
        let end = sources[begin..]
            .find("</script>")
            .map_or(sources.len(), |at| begin + at);
        sources[begin..end].to_owned()
    });
    &SCRIPT
}

fn put(html: &mut String, text: std::fmt::Arguments<'_>) {
    html.write_fmt(text).expect("a text takes what is written");
}

#[cfg(test)]
mod tests;
