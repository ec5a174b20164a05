//! Where the observations of a file lie: `obsm/spatial`, or what other programs write in its place.

use crate::{Dataset, StoreError};
use ndarray::Array2;
use std::fmt;

/// Where coordinates were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An array of `obsm`.
    Obsm(String),
    /// Two columns of `obs`: x and y.
    Obs(String, String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obsm(name) => write!(f, "obsm `{name}`"),
            Self::Obs(x, y) => write!(f, "obs columns `{x}` and `{y}`"),
        }
    }
}

/// The array of `obsm` that scanpy and squidpy read.
const SPATIAL: &str = "spatial";

/// Names of arrays of `obsm` that hold coordinates, without their case, the surest first.
const ARRAYS: [&str; 9] = [
    "x_spatial",
    "spatial_coords",
    "spatial_coordinates",
    "spatial_um",
    "coordinates",
    "coords",
    "xy",
    "centroids",
    "locations",
];

/// Names of columns of `obs` that hold x and y, without their case, the surest first.
const COLUMNS: [(&str, &str); 14] = [
    ("x", "y"),
    ("x_um", "y_um"),
    ("x_centroid", "y_centroid"),
    ("center_x", "center_y"),
    ("x_center", "y_center"),
    ("centroid_x", "centroid_y"),
    ("x_coord", "y_coord"),
    ("xcoord", "ycoord"),
    ("pos_x", "pos_y"),
    ("x_location", "y_location"),
    ("spatial_x", "spatial_y"),
    ("imagecol", "imagerow"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    ("array_col", "array_row"),
];

impl Dataset {
    /// Coordinates of the observations, (observations, 2 or 3), and where they are: `obsm/spatial`, else an array or a pair of columns
    /// that other programs write; `None` where there are none.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn coordinates(&self) -> Result<Option<(Array2<f64>, Place)>, StoreError> {
        if let Some(spatial) = self.spatial()? {
            return Ok(Some((spatial, Place::Obsm(SPATIAL.to_owned()))));
        }
        let arrays = self.obsm_names()?;
        for name in known(&arrays, &ARRAYS) {
            // An array of another kind under such a name is not meant.
            if let Ok(places) = self.obsm_numbers(name)
                && (2..=3).contains(&places.ncols())
            {
                return Ok(Some((places, Place::Obsm(name.to_owned()))));
            }
        }
        let columns = self.obs_columns()?;
        for (x, y) in COLUMNS {
            let found = [x, y].map(|name| known(&columns, &[name]).next());
            let [Some(x), Some(y)] = found else {
                continue;
            };
            let numbers = |name: &str| Ok(self.obs_column(name)?.as_numbers().and_then(finite));
            let (Some(xs), Some(ys)) = (numbers(x)?, numbers(y)?) else {
                continue;
            };
            let places = Array2::from_shape_fn((xs.len(), 2), |(i, axis)| [xs[i], ys[i]][axis]);
            return Ok(Some((places, Place::Obs(x.to_owned(), y.to_owned()))));
        }
        Ok(None)
    }

    /// Names of the columns of obs.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn obs_columns(&self) -> Result<Vec<String>, StoreError> {
        match self.tree() {
            Some(tree) => crate::tables::table_columns(tree, "obs"),
            None => Ok(self.obs()?.columns.into_iter().map(|(n, _)| n).collect()),
        }
    }
}

/// Those of the names that are in the list, in the order of the list.
fn known<'a, 'l>(
    names: &'a [String],
    list: &'l [&'l str],
) -> impl Iterator<Item = &'a str> + use<'a, 'l> {
    let named = move |wanted: &&str| names.iter().find(|name| name.eq_ignore_ascii_case(wanted));
    list.iter().filter_map(named).map(String::as_str)
}

fn finite(values: Vec<Option<f64>>) -> Option<Vec<f64>> {
    let is_finite = |v: Option<f64>| v.filter(|v| v.is_finite());
    values.into_iter().map(is_finite).collect()
}
