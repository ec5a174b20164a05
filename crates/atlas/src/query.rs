//! What an atlas says about a region of interest: structures, voxels with expression and expected cells.

use crate::store::Atlas;
use crate::{AtlasError, Grid, Roi, Transform, Volume};
use std::collections::BTreeMap;

/// How much of a region of interest a structure has.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionShare {
    /// Row of the structure; `None` outside the brain.
    pub structure: Option<usize>,
    /// Pixels of the region of interest in it.
    pub n_pixels: usize,
    /// Its share of the region of interest.
    pub share: f64,
    /// Its area.
    pub mm2: f64,
}

/// Voxels of the expression grid that a region of interest goes through.
#[derive(Debug, Clone)]
pub struct QueriedVoxels {
    /// The grid they are of.
    pub grid: Grid,
    /// The voxels, in the grid's order.
    pub voxels: Vec<QueriedVoxel>,
    /// Expression of every voxel and gene, the gene fastest.
    pub expression: Vec<f32>,
    /// The genes.
    pub genes: Vec<String>,
    /// Share of all voxels that each gene was measured in.
    pub coverage: Vec<f64>,
    /// Voxels left out because a gene was not measured there.
    pub n_unmeasured: usize,
}

/// One voxel.
#[derive(Debug, Clone, PartialEq)]
pub struct QueriedVoxel {
    /// Its place in the grid: AP, DV, ML.
    pub voxel: [usize; 3],
    /// Row of the structure that most of its pixels have.
    pub structure: usize,
    /// Pixels of the region of interest in it.
    pub n_pixels: usize,
    /// Share of its cross-section that is in the region of interest and in the brain; a slanting plane may show more than one.
    pub share: f64,
    /// Cells expected in that part of a slab as thick as the voxel; `None` if the density of a structure is not known.
    pub n_cells: Option<f64>,
}

/// The structures of a region of interest, the largest share first.
///
/// # Errors
/// [`AtlasError`] if the atlas cannot be read.
pub fn region_shares(
    atlas: &Atlas,
    transform: &Transform,
    roi: &Roi,
) -> Result<Vec<RegionShare>, AtlasError> {
    let labels = labels_for(atlas, transform)?;
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for pixel in roi.pixels() {
        let label = labels.at(transform.to_atlas(pixel)).unwrap_or(0);
        *counts.entry(label).or_default() += 1;
    }
    let n: usize = counts.values().sum();
    let pixel_mm2 = (transform.parameters().pixel_um / 1000.0).powi(2);
    let mut shares: Vec<RegionShare> = counts
        .into_iter()
        .map(|(label, n_pixels)| RegionShare {
            structure: usize::from(label).checked_sub(1),
            n_pixels,
            share: n_pixels as f64 / n as f64,
            mm2: n_pixels as f64 * pixel_mm2,
        })
        .collect();
    shares.sort_by_key(|s| std::cmp::Reverse(s.n_pixels));
    Ok(shares)
}

/// The voxels of a region of interest in which all genes were measured.
///
/// * `genes`: which of the atlas's genes; all if it is empty
/// * `cells`: the kind of cells whose density gives `n_cells`; `None` for no such numbers
///
/// # Errors
/// [`AtlasError::File`] if the atlas has no expression, or not these genes or cells; [`AtlasError::Store`] if it cannot be read.
pub fn query_voxels(
    atlas: &Atlas,
    transform: &Transform,
    roi: &Roi,
    genes: &[String],
    cells: Option<&str>,
) -> Result<QueriedVoxels, AtlasError> {
    let chosen = chosen_genes(atlas, genes)?;
    let grid = chosen[0].1.grid;
    if chosen.iter().any(|(_, other)| other.grid != grid) {
        let reason = "its expression grids are not of one size; query genes of one size together";
        return Err(AtlasError::file(atlas.path(), reason));
    }
    let density = cells.map(|kind| density_of(atlas, kind)).transpose()?;
    let labels = labels_for(atlas, transform)?;
    // Pixels of each voxel by structure.
    let mut found: BTreeMap<[usize; 3], BTreeMap<usize, usize>> = BTreeMap::new();
    for pixel in roi.pixels() {
        let point = transform.to_atlas(pixel);
        let label = labels.at(point).unwrap_or(0);
        if let (Some(structure), Some(voxel)) =
            (usize::from(label).checked_sub(1), grid.voxel_at(point))
        {
            *found
                .entry(voxel)
                .or_default()
                .entry(structure)
                .or_default() += 1;
        }
    }
    let pixel_um = transform.parameters().pixel_um;
    let cross_section = (grid.voxel_um / pixel_um).powi(2);
    let pixel_mm3 = pixel_um * pixel_um * grid.voxel_um / 1e9;
    let mut queried = QueriedVoxels {
        grid,
        voxels: Vec::new(),
        expression: Vec::new(),
        genes: chosen.iter().map(|(gene, _)| gene.clone()).collect(),
        coverage: vec![0.0; chosen.len()],
        n_unmeasured: 0,
    };
    let n_found = found.len();
    for (voxel, structures) in found {
        let at = grid.index(voxel);
        let values: Vec<f32> = chosen.iter().map(|(_, volume)| volume.values[at]).collect();
        for (coverage, value) in queried.coverage.iter_mut().zip(&values) {
            *coverage += f64::from(u8::from(!value.is_nan())) / n_found as f64;
        }
        if values.iter().any(|v| v.is_nan()) {
            queried.n_unmeasured += 1;
            continue;
        }
        let n_pixels: usize = structures.values().sum();
        let largest = structures
            .iter()
            .max_by_key(|(row, n)| (**n, std::cmp::Reverse(**row)));
        let cells_of = |(&row, &n): (&usize, &usize)| {
            let per_mm3 = density.as_ref()?[row]?;
            Some(per_mm3 * pixel_mm3 * n as f64)
        };
        queried.voxels.push(QueriedVoxel {
            voxel,
            structure: *largest.expect("it has a pixel").0,
            n_pixels,
            share: n_pixels as f64 / cross_section,
            n_cells: structures.iter().map(cells_of).sum(),
        });
        queried.expression.extend(values);
    }
    Ok(queried)
}

fn labels_for(atlas: &Atlas, transform: &Transform) -> Result<Volume<u16>, AtlasError> {
    atlas.labels(atlas.level_of(transform.parameters().pixel_um))
}

fn chosen_genes(atlas: &Atlas, genes: &[String]) -> Result<Vec<(String, Volume<f32>)>, AtlasError> {
    let mut all = atlas.expression()?;
    let names: Vec<String> = all.iter().map(|(gene, _)| gene.clone()).collect();
    let has = || match names.is_empty() {
        true => "no expression; import it with --expression".to_owned(),
        false => format!("expression of {}", names.join(", ")),
    };
    if let Some(missing) = genes.iter().find(|gene| !names.contains(gene)) {
        return Err(AtlasError::file(
            atlas.path(),
            format!(
                "the atlas does not have the gene {missing}; it has {}",
                has()
            ),
        ));
    }
    if names.is_empty() {
        return Err(AtlasError::file(
            atlas.path(),
            format!("the atlas has {}", has()),
        ));
    }
    all.retain(|(gene, _)| genes.is_empty() || genes.contains(gene));
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

fn density_of(atlas: &Atlas, cells: &str) -> Result<Vec<Option<f64>>, AtlasError> {
    let mut all = atlas.densities()?;
    all.remove(cells).ok_or_else(|| {
        let known: Vec<String> = all.into_keys().collect();
        let known = match known.is_empty() {
            true => "none; import a table with --density".to_owned(),
            false => known.join(", "),
        };
        AtlasError::file(
            atlas.path(),
            format!("the atlas has no density of `{cells}`; it has {known}"),
        )
    })
}
