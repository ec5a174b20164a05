//! NumPy `.npy` files.

use crate::StoreError;
use ndarray::Array2;
use ndarray_npy::{ReadNpyError, ReadNpyExt};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Reads a two-dimensional `.npy` file of `float64` or `float32`.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Read`], or [`StoreError::Broken`] for other types and dimensions.
pub fn read_npy(path: &Path) -> Result<Array2<f64>, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let open = || {
        File::open(path)
            .map(BufReader::new)
            .map_err(|e| StoreError::read(path, e))
    };
    let fail = |e: ReadNpyError| {
        StoreError::broken(
            path,
            "array",
            format!("{e}; expected a 2-D float64 or float32 array"),
        )
    };
    match Array2::<f64>::read_npy(open()?) {
        Err(ReadNpyError::WrongDescriptor(_)) => {
            let array = Array2::<f32>::read_npy(open()?).map_err(fail)?;
            Ok(array.mapv(f64::from))
        }
        other => other.map_err(fail),
    }
}
