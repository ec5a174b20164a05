//! Tables of points.

use crate::AtlasError;
use crate::error::read;
use std::path::Path;

/// Points with names.
#[derive(Debug, Clone, PartialEq)]
pub struct PointTable {
    /// One name per point: the column `name`, or numbers from 1.
    pub names: Vec<String>,
    /// Coordinates, in the order of the columns asked for.
    pub points: Vec<Vec<f64>>,
}

impl PointTable {
    /// Reads columns of a table: CSV, or TSV if its name ends in `.tsv` or `.txt`.
    ///
    /// # Errors
    /// [`AtlasError::File`] if a column is missing or holds something else than numbers.
    pub fn read(path: &Path, columns: &[&str]) -> Result<Self, AtlasError> {
        let ending = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        let delimiter = match ending {
            "tsv" | "txt" => b'\t',
            _ => b',',
        };
        parse(&read(path)?, delimiter, columns).map_err(|reason| AtlasError::file(path, reason))
    }
}

fn parse(bytes: &[u8], delimiter: u8, columns: &[&str]) -> Result<PointTable, String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(bytes);
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let find = |name: &str| headers.iter().position(|h| h.trim() == name);
    let places = columns
        .iter()
        .map(|name| {
            find(name).ok_or_else(|| {
                let found: Vec<&str> = headers.iter().collect();
                format!(
                    "the table has no column `{name}`; it has: {}",
                    found.join(", ")
                )
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let named = find("name");
    let mut table = PointTable {
        names: Vec::new(),
        points: Vec::new(),
    };
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|e| e.to_string())?;
        let number = |(&at, name): (&usize, &&str)| {
            let text = record.get(at).unwrap_or_default().trim();
            let number = text.parse().ok().filter(|x: &f64| x.is_finite());
            number
                .ok_or_else(|| format!("row {}: `{name}` is `{text}`, which is no number", row + 1))
        };
        let point = places.iter().zip(columns).map(number);
        table.points.push(point.collect::<Result<_, String>>()?);
        let name = named.and_then(|at| record.get(at)).map(str::to_owned);
        table
            .names
            .push(name.unwrap_or_else(|| (row + 1).to_string()));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name() {
        let table = parse(b"name,y,x\na,2,1.5\nb,4,-3\n", b',', &["x", "y"]).unwrap();
        assert_eq!(table.names, ["a", "b"]);
        assert_eq!(table.points, [[1.5, 2.0], [-3.0, 4.0]]);
        let table = parse(b"x\ty\n1\t2\n", b'\t', &["x", "y"]).unwrap();
        assert_eq!(table.names, ["1"]);
        let missing = parse(b"x,z\n1,2\n", b',', &["x", "y"]).unwrap_err();
        assert!(missing.contains("no column `y`; it has: x, z"));
        let text = parse(b"x,y\n1,far\n", b',', &["x", "y"]).unwrap_err();
        assert!(text.contains("row 1: `y` is `far`"));
    }
}
