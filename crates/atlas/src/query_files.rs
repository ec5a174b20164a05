//! What a query writes: a table of structures, and voxels with expression as an AnnData.

use crate::AtlasError;
use crate::query::{QueriedVoxels, RegionShare};
use crate::registered::RegisteredSection;
use crate::store::Atlas;
use ndarray::Array2;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use tangram_core::{Column, Table};
use tangram_store::{AnnDataWriter, Existing, MatrixName, Uns, fingerprint};

/// A structure and how much of a region of interest it has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Region {
    /// Acronym of the structure, or `outside`.
    pub acronym: String,
    /// Pixels in it.
    pub n_pixels: usize,
    /// Its share of the region of interest.
    pub share: f64,
    /// Its area.
    pub mm2: f64,
}

impl Region {
    /// The same with the structure's acronym.
    #[must_use]
    pub fn of(share: &RegionShare, atlas: &Atlas) -> Self {
        let structure = share.structure.map(|row| &atlas.tree().structures()[row]);
        Self {
            acronym: structure.map_or("outside".to_owned(), |s| s.acronym.clone()),
            n_pixels: share.n_pixels,
            share: share.share,
            mm2: share.mm2,
        }
    }
}

/// A table of the structures (TSV): structure, id, name, pixels, share, mm2.
#[must_use]
pub fn region_table(shares: &[RegionShare], atlas: &Atlas) -> String {
    let mut text = "structure\tid\tname\tpixels\tshare\tmm2\n".to_owned();
    for share in shares {
        let (id, name) = match share.structure {
            Some(row) => {
                let structure = &atlas.tree().structures()[row];
                (structure.id, structure.name.as_str())
            }
            None => (0, "outside the brain"),
        };
        let Region {
            acronym,
            n_pixels,
            share,
            mm2,
        } = Region::of(share, atlas);
        text.push_str(&format!(
            "{acronym}\t{id}\t{name}\t{n_pixels}\t{share}\t{mm2}\n"
        ));
    }
    text
}

impl QueriedVoxels {
    /// Writes the voxels as an AnnData of voxels × genes: expression in X, their middles (AP, DV, ML in µm) in obsm/spatial.
    ///
    /// * `provenance`: what they were made from, for uns/tangram
    ///
    /// # Errors
    /// [`AtlasError::Store`] if the file cannot be written.
    pub fn write(
        &self,
        path: &Path,
        existing: Existing,
        atlas: &Atlas,
        provenance: &Uns,
    ) -> Result<(), AtlasError> {
        let voxels = &self.voxels;
        let name = |[ap, dv, ml]: [usize; 3]| format!("{ap}_{dv}_{ml}");
        let mut obs = Table::of_names(voxels.iter().map(|v| name(v.voxel)).collect());
        let structures: Vec<&str> = voxels
            .iter()
            .map(|v| atlas.tree().structures()[v.structure].acronym.as_str())
            .collect();
        obs.set("structure", Column::categories(&structures));
        let n_pixels = voxels.iter().map(|v| v.n_pixels as f64);
        obs.set("n_pixels", Column::numbers(n_pixels));
        obs.set("share", Column::numbers(voxels.iter().map(|v| v.share)));
        if voxels.iter().any(|v| v.n_cells.is_some()) {
            let cells = voxels.iter().map(|v| v.n_cells);
            obs.set("cells", Column::Numeric(cells.collect()));
        }
        let mut var = Table::of_names(self.genes.clone());
        var.set("coverage", Column::numbers(self.coverage.iter().copied()));
        let mut file = AnnDataWriter::create(path, existing, &obs, &var)?;
        let places = Array2::from_shape_fn((voxels.len(), 3), |(i, axis)| {
            (voxels[i].voxel[axis] as f64 + 0.5) * self.grid.voxel_um
        });
        file.obsm("spatial", places.view())?;
        file.uns("tangram", provenance)?;
        let shape = (voxels.len(), self.genes.len());
        let values = Array2::from_shape_vec(shape, self.expression.clone())
            .expect("a value for each voxel and gene");
        let mut matrix = file.dense(&MatrixName::X)?;
        matrix.write_columns(0, values.view())?;
        matrix.finish()?;
        Ok(file.finish()?)
    }
}

/// What voxels were made from: the settings and the hashes of atlas and transform.
///
/// # Errors
/// [`AtlasError::Store`] if a file cannot be read.
pub fn provenance(
    settings: toml::Table,
    atlas: &Path,
    section: &RegisteredSection,
) -> Result<Uns, AtlasError> {
    let text = |(key, value): (String, toml::Value)| match value {
        toml::Value::String(text) => (key, Uns::Text(text)),
        other => (key, Uns::Text(other.to_string())),
    };
    let settings = Uns::Map(settings.into_iter().map(text).collect());
    let [atlas, transform] = [
        Uns::Text(fingerprint(atlas)?),
        Uns::Text(fingerprint(&section.path)?),
    ];
    let entries = [
        ("settings", settings),
        ("atlas_sha256", atlas),
        ("transform_sha256", transform),
    ];
    let entries = entries.map(|(name, value)| (name.to_owned(), value));
    Ok(Uns::Map(BTreeMap::from(entries)))
}
