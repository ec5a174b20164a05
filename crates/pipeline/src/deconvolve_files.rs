//! The files of a deconvolution.

use crate::carried_uns;
use crate::cell_types::CellTypes;
use crate::choices::{MappingFormat, ObsColumn};
use crate::deconvolve_settings::{Composition, DeconvolveSettings, Deconvolved, FOLDER_FILE};
use crate::error::Result;
use crate::given_types::Given;
use crate::mapped_types::MappedTypes;
use crate::run_directory::write as write_text;
use crate::spot_counts::SpotCounts;
use crate::truth::{self, TypeScore};
use crate::versions::Versions;
use ndarray::Array2;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_core::{Column, Table};
use tangram_store::{AnnDataWriter, Existing, ExpressionFile, MatrixName, Uns, fingerprint};

/// Spots copied at a time.
const SPOTS_PER_BLOCK: usize = 1024;

/// Everything that is written.
pub(crate) struct Written<'a> {
    pub(crate) settings: &'a DeconvolveSettings,
    /// The folder to write into.
    pub(crate) folder: &'a Path,
    pub(crate) types: &'a CellTypes,
    pub(crate) spots: &'a ExpressionFile,
    pub(crate) counts: Option<&'a SpotCounts>,
    pub(crate) mapped: Option<&'a MappedTypes>,
    /// Of every method; the first gives cells their types.
    pub(crate) compositions: &'a [Composition],
    /// The types of the cells of every spot.
    pub(crate) given: Option<&'a [Given]>,
    pub(crate) scores: &'a [TypeScore],
}

/// What [`FOLDER_FILE`] holds.
#[derive(Serialize)]
struct FolderFile<'a> {
    deconvolve: &'a DeconvolveSettings,
    record: Record<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Record<'a> {
    versions: Versions,
    /// SHA-256 of every input.
    inputs: BTreeMap<String, String>,
    result: &'a Deconvolved,
}

/// The name of the file of the spots with their counts.
pub(crate) fn spots_name(format: MappingFormat) -> String {
    format!("spots.{}", format.ending())
}

/// Writes compositions, cells and tables.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn write(written: &Written<'_>, deconvolved: &Deconvolved) -> Result<()> {
    let Written {
        settings, folder, ..
    } = written;
    let inputs = settings.inputs();
    let hashes = inputs
        .iter()
        .map(|path| Ok((path.display().to_string(), fingerprint(path)?)));
    let hashes: BTreeMap<String, String> = hashes.collect::<Result<_>>()?;
    let provenance = provenance(settings, &hashes)?;
    write_proportions(written, &provenance)?;
    write_cells(written, &provenance)?;
    if written.counts.is_some() {
        write_text(&folder.join("counts.tsv"), &counts_table(written)?)?;
    }
    if !written.scores.is_empty() {
        write_text(&folder.join("scores.tsv"), &truth::table(written.scores))?;
    }
    let file = FolderFile {
        deconvolve: settings,
        record: Record {
            versions: Versions::current(),
            inputs: hashes,
            result: deconvolved,
        },
    };
    write_text(&folder.join(FOLDER_FILE), &toml::to_string(&file)?)
}

fn provenance(settings: &DeconvolveSettings, hashes: &BTreeMap<String, String>) -> Result<Uns> {
    let texts = |table: toml::Table| {
        let text = |value: toml::Value| match value {
            toml::Value::String(text) => Uns::Text(text),
            other => Uns::Text(other.to_string()),
        };
        Uns::Map(table.into_iter().map(|(k, v)| (k, text(v))).collect())
    };
    let names = hashes.keys().cloned().collect();
    Ok(Uns::Map(BTreeMap::from([
        (
            "settings".to_owned(),
            texts(toml::Table::try_from(settings)?),
        ),
        (
            "versions".to_owned(),
            texts(toml::Table::try_from(Versions::current())?),
        ),
        ("inputs".to_owned(), Uns::Texts(names)),
        (
            "inputs_sha256".to_owned(),
            Uns::Texts(hashes.values().cloned().collect()),
        ),
    ])))
}

/// The spots with the number of their cells in obs, and the matrix that is mapped as X.
///
/// # Errors
/// If the spots cannot be read or the file cannot be written.
pub(crate) fn write_spots(
    path: &Path,
    spots: &ExpressionFile,
    column: &str,
    counts: &[usize],
) -> Result<()> {
    let file = spots.dataset();
    let mut obs = file.obs()?;
    obs.set(column, Column::numbers(counts.iter().map(|&n| n as f64)));
    let name = spots.matrix_name();
    let matrix = file.matrix(name)?;
    // `raw` has variables of its own.
    let var = match name {
        MatrixName::Raw => Table::of_names(file.variables_of(name)?),
        MatrixName::X | MatrixName::Layer(_) => file.var()?,
    };
    let mut written = AnnDataWriter::create(path, Existing::Refuse, &obs, &var)?;
    if let Some((places, _)) = file.coordinates()? {
        written.obsm("spatial", places.view())?;
    }
    carried_uns::write(&mut written, &carried_uns::of(file)?, &[])?;
    let mut rows = written.sparse(&MatrixName::X)?;
    let n_spots = counts.len();
    for first in (0..n_spots).step_by(SPOTS_PER_BLOCK) {
        rows.append(&matrix.read_rows_any(first..n_spots.min(first + SPOTS_PER_BLOCK))?)?;
    }
    rows.finish()?;
    Ok(written.finish()?)
}

fn place(written: &Written<'_>, name: &str) -> PathBuf {
    let ending = written.settings.format.ending();
    written.folder.join(format!("{name}.{ending}"))
}

/// `proportions`: spots × types.
fn write_proportions(written: &Written<'_>, provenance: &Uns) -> Result<()> {
    let file = written.spots.dataset();
    let mut obs = file.obs()?;
    if let Some(counts) = written.counts {
        let n = counts.of_spots.iter().map(|&n| n as f64);
        obs.set(&counts.column, Column::numbers(n));
    }
    if let Some(mapped) = written.mapped {
        let expected = mapped.expected_cells.iter().copied();
        obs.set("expected_reference_cells", Column::numbers(expected));
        let placed = mapped.placed.iter().map(|cells| cells.len() as f64);
        obs.set("n_placed", Column::numbers(placed));
    }
    let var = Table::of_names(written.types.names.clone());
    let path = place(written, "proportions");
    let mut out = AnnDataWriter::create(&path, Existing::Refuse, &obs, &var)?;
    if let Some((places, _)) = file.coordinates()? {
        out.obsm("spatial", places.view())?;
    }
    out.uns("tangram", provenance)?;
    let mut entries = carried_uns::of(file)?;
    let ObsColumn(column) = &written.settings.annotation;
    entries.remove(&carried_uns::colors_key(column));
    carried_uns::write(&mut out, &entries, &["tangram"])?;
    let mut matrix = |name: MatrixName, values: &Array2<f64>| -> Result<()> {
        let mut sink = out.dense(&name)?;
        sink.write_columns(0, values.mapv(|v| v as f32).view())?;
        Ok(sink.finish()?)
    };
    let layer = |name: &str| MatrixName::Layer(name.to_owned());
    matrix(MatrixName::X, &written.compositions[0].shares)?;
    for composition in written.compositions {
        matrix(layer(composition.method.name()), &composition.shares)?;
    }
    if let Some(mapped) = written.mapped {
        matrix(layer("expected_reference_cells"), &mapped.expected)?;
    }
    if let Some(counts) = written.counts {
        let mut expected = written.compositions[0].shares.clone();
        for (mut row, &n) in expected.rows_mut().into_iter().zip(&counts.of_spots) {
            row *= n as f64;
        }
        matrix(layer("expected_cells"), &expected)?;
    }
    if let Some(given) = written.given {
        let mut cells = Array2::zeros(written.compositions[0].shares.dim());
        for (spot, types) in given.iter().enumerate() {
            types
                .iter()
                .flatten()
                .for_each(|&t| cells[[spot, t]] += 1.0);
        }
        matrix(layer("cells"), &cells)?;
    }
    Ok(out.finish()?)
}

/// `cells`: the segmented cells with their places, spots and types.
fn write_cells(written: &Written<'_>, provenance: &Uns) -> Result<()> {
    let segmentation = written.counts.and_then(|c| c.segmentation.as_ref());
    let (Some(segmentation), Some(given)) = (segmentation, written.given) else {
        return Ok(());
    };
    let cells = &segmentation.cells;
    let several = written.settings.segmentation.len() > 1;
    let names = cells.iter().map(|cell| match several {
        true => format!("{}:{}", cell.source + 1, cell.id),
        false => cell.id.clone(),
    });
    let mut obs = Table::of_names(names.collect());
    let spots = written.spots.names()?;
    let mut next = vec![0; given.len()];
    let types: Vec<Option<usize>> = cells
        .iter()
        .map(|cell| {
            let spot = cell.spot?;
            next[spot] += 1;
            given[spot][next[spot] - 1]
        })
        .collect();
    let codes = |code: &dyn Fn(usize) -> Option<usize>| -> Vec<Option<u32>> {
        (0..cells.len())
            .map(|i| code(i).map(|c| c as u32))
            .collect()
    };
    obs.set(
        "spot",
        Column::Categorical {
            codes: codes(&|i| cells[i].spot),
            categories: spots,
            ordered: false,
        },
    );
    let ObsColumn(column) = &written.settings.annotation;
    obs.set(
        column,
        Column::Categorical {
            codes: codes(&|i| types[i]),
            categories: written.types.names.clone(),
            ordered: false,
        },
    );
    let shares = &written.compositions[0].shares;
    let share = |i: usize| Some(shares[[cells[i].spot?, types[i]?]]);
    obs.set(
        "share_in_spot",
        Column::Numeric((0..cells.len()).map(share).collect()),
    );
    if several {
        let source = cells.iter().map(|cell| Some(cell.source as i64 + 1));
        obs.set("segmentation", Column::Integer(source.collect()));
    }
    let path = place(written, "cells");
    let mut out = AnnDataWriter::create(&path, Existing::Refuse, &obs, &Table::default())?;
    let places = Array2::from_shape_fn((cells.len(), 2), |(i, axis)| cells[i].place[axis]);
    out.obsm("spatial", places.view())?;
    out.uns("tangram", provenance)?;
    let mut entries = carried_uns::of(written.spots.dataset())?;
    let key = carried_uns::colors_key(column);
    match &written.types.colors {
        Some(colors) => entries.insert(key, Uns::Texts(colors.clone())),
        None => entries.remove(&key),
    };
    carried_uns::write(&mut out, &entries, &["tangram"])?;
    Ok(out.finish()?)
}

/// A line for every spot: cells counted, expected, placed and typed, and what does not agree.
fn counts_table(written: &Written<'_>) -> Result<String> {
    let counts = written.counts.map(|c| &c.of_spots[..]).unwrap_or_default();
    let mut text =
        "spot\tn_cells\tn_with_type\texpected_reference_cells\tn_placed\tdisagreement\n".to_owned();
    for (spot, name) in written.spots.names()?.iter().enumerate() {
        let n = counts[spot];
        let typed = written
            .given
            .map_or(0, |given| given[spot].iter().flatten().count());
        let mapped = written.mapped;
        let expected = mapped.map(|m| format!("{:.3}", m.expected_cells[spot]));
        let placed = mapped.map(|m| m.placed[spot].len());
        let mut told = Vec::new();
        match placed {
            Some(0) if n > 0 => told.push("the mapping placed no cell".to_owned()),
            Some(placed) if placed > n => {
                told.push(format!("{} more cells placed than counted", placed - n))
            }
            Some(placed) if placed < n => {
                told.push(format!("{} fewer cells placed than counted", n - placed))
            }
            _ => {}
        }
        if n == 0 {
            told.push("no cell counted".to_owned());
        }
        if typed < n {
            told.push(format!("{} cells without a type", n - typed));
        }
        text.push_str(&format!(
            "{name}\t{n}\t{typed}\t{}\t{}\t{}\n",
            expected.unwrap_or_default(),
            placed.map(|p| p.to_string()).unwrap_or_default(),
            told.join("; "),
        ));
    }
    Ok(text)
}
