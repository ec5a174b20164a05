//! The picture of a deconvolution: segmented cells in their spots, coloured by the types that they were given.

use crate::choices::ObsColumn;
use crate::deconvolve_settings::FOLDER_FILE;
use crate::error::{PipelineError, Result};
use crate::pictures::colors_of_types;
use crate::spots::Spots;
use crate::tissue_image;
use crate::wording::count;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tangram_core::Column;
use tangram_report::{Figure, Places, category_map};
use tangram_store::{Dataset, StoreError, read_text};

/// What of the settings of a deconvolution its picture needs.
#[derive(Debug, Deserialize)]
struct FolderFile {
    deconvolve: Settings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    annotation: String,
    spot_diameter: Option<f64>,
}

/// The segmented cells of a folder that `tangram deconvolve` wrote, each in the colour of its type, and the circles of the spots.
///
/// * `tissue`: whether to draw them over the image of the tissue, if the spots' file keeps one
///
/// # Errors
/// [`PipelineError::NoPicture`] if the folder is no deconvolution or has no segmented cells; or a file cannot be read.
pub fn cells_figure(folder: &Path, tissue: bool) -> Result<Figure> {
    let no = |path: &Path, reason: String| PipelineError::NoPicture {
        path: path.to_owned(),
        reason,
    };
    let settings = settings(folder)?;
    let column = settings.annotation.parse::<ObsColumn>();
    let ObsColumn(column) = column.map_err(|e| no(&folder.join(FOLDER_FILE), e))?;
    let (Some(cells), Some(spots)) = (stored(folder, "cells"), stored(folder, "spots")) else {
        return Err(no(
            folder,
            "has no segmented cells, whose places could be drawn; `tangram deconvolve --segmentation` makes them".to_owned(),
        ));
    };
    let cells = Dataset::open(&cells)?;
    let Column::Categorical {
        codes, categories, ..
    } = cells.obs_column(&column)?
    else {
        let reason = format!("obs column `{column}` holds no types");
        return Err(no(cells.path(), reason));
    };
    let places = cells.coordinates()?.and_then(|(places, _)| {
        let axis = |k: usize| places.column(k).to_vec();
        (places.ncols() >= 2).then(|| Places::new(axis(0), axis(1)))?
    });
    let Some(places) = places else {
        let reason = "has no cell, or one whose place (obsm/spatial) is not known".to_owned();
        return Err(no(cells.path(), reason));
    };
    let file = Dataset::open(&spots)?;
    let spots = Spots::read(&file, settings.spot_diameter)?;
    let image = match tissue {
        true => tissue_image::of(&file)?,
        false => None,
    };
    let places = match image {
        Some((image, _)) => {
            let diameter = 2.0 * places.radius();
            places.over(image, diameter)
        }
        None if file.uns_names()?.iter().any(|name| name == "spatial") => places.downwards(),
        None => places,
    };
    let middles: Vec<(f64, f64)> = spots
        .places
        .rows()
        .into_iter()
        .map(|p| (p[0], p[1]))
        .collect();
    let heading = format!(
        "{} in {}, by {column}",
        count(places.len(), "segmented cell"),
        count(middles.len(), "spot")
    );
    let colors = colors_of_types(&cells, &column, categories.len())?;
    let places = places.in_spots(&middles, spots.diameter());
    Ok(category_map(
        &places,
        &codes,
        &categories,
        &colors,
        &heading,
    )?)
}

fn settings(folder: &Path) -> Result<Settings> {
    let path = folder.join(FOLDER_FILE);
    let wrong = |reason: String| PipelineError::NoPicture {
        path: folder.to_owned(),
        reason,
    };
    if !path.is_file() {
        return Err(wrong(
            "is no folder that `tangram deconvolve` wrote".to_owned(),
        ));
    }
    let text = read_text(&path).map_err(|e| StoreError::Read {
        path: path.clone(),
        reason: e.to_string(),
    })?;
    let file: FolderFile =
        toml::from_str(&text).map_err(|e| wrong(format!("{FOLDER_FILE}: {}", e.message())))?;
    Ok(file.deconvolve)
}

/// The AnnData of a name, in whichever format it was written.
fn stored(folder: &Path, name: &str) -> Option<PathBuf> {
    let paths = ["h5ad", "zarr"].map(|ending| folder.join(format!("{name}.{ending}")));
    paths.into_iter().find(|path| path.exists())
}
