//! Unstructured annotation: `uns` of an AnnData file.

use std::collections::BTreeMap;
use tangram_core::Table;

/// A value of `uns`.
#[derive(Debug, Clone, PartialEq)]
pub enum Uns {
    /// A text.
    Text(String),
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Flag(bool),
    /// A list of numbers.
    Numbers(Vec<f64>),
    /// A list of texts.
    Texts(Vec<String>),
    /// Numbers of two or more dimensions, such as an image, the last dimension fastest.
    Array {
        /// Sizes of the dimensions.
        shape: Vec<usize>,
        /// The numbers.
        values: ArrayValues,
    },
    /// A table with named rows.
    Table(Table),
    /// Named values.
    Map(BTreeMap<String, Uns>),
}

/// Numbers of an array of `uns`, of the types that images have; others become double precision.
#[derive(Debug, Clone, PartialEq)]
pub enum ArrayValues {
    /// 0 to 255.
    U8(Vec<u8>),
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
}

impl From<&str> for Uns {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Uns {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Uns {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i64> for Uns {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Uns {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}
