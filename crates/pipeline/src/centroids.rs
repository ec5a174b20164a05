//! Tables of cells' centres: one line a cell, columns x and y, and perhaps a name.

use crate::error::{PipelineError, Result};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use tangram_store::open_file;

/// Names of columns that hold x and y, without their case, the surest first.
const COLUMNS: [(&str, &str); 10] = [
    ("x", "y"),
    ("x_centroid", "y_centroid"),
    ("centroid_x", "centroid_y"),
    ("center_x", "center_y"),
    ("x_center", "y_center"),
    ("x_um", "y_um"),
    ("x_coord", "y_coord"),
    ("x_location", "y_location"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    // scikit-image: row, then column.
    ("centroid-1", "centroid-0"),
];
/// Names of columns that hold the cell's name.
const NAMES: [&str; 6] = ["id", "cell_id", "cell", "label", "name", "barcode"];
/// Bytes of a line; a longer one is no line of such a table.
const LONGEST: usize = 1 << 20;

/// The name and the place of every cell. Cells without a name are numbered from 1.
///
/// # Errors
/// [`PipelineError::Segmentation`] if the file has no such columns, a place is no number, a name stands twice, or there is no cell.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, [f64; 2])>> {
    let wrong = |reason: String| PipelineError::Segmentation {
        path: path.to_owned(),
        reason,
    };
    let file = open_file(path)?;
    let mut lines = Lines {
        file: BufReader::new(file),
        path,
    };
    let header = lines.next()?.unwrap_or_default();
    let header = header.trim_start_matches('\u{feff}').to_owned();
    let apart = match header.contains('\t') {
        true => '\t',
        false => ',',
    };
    let names: Vec<String> = fields(&header, apart).collect();
    let place = |wanted: &str| names.iter().position(|n| n.eq_ignore_ascii_case(wanted));
    let found = COLUMNS
        .iter()
        .find_map(|(x, y)| Some([place(x)?, place(y)?]));
    let Some(columns) = found else {
        return Err(wrong(format!(
            "is no label image, and as a table of centroids its first line `{}` names no columns x and y; \
             give a PNG, TIFF or .npy of labels, or a table with the columns x, y and perhaps id, apart by commas or tabs",
            header.chars().take(80).collect::<String>()
        )));
    };
    let id = NAMES.iter().find_map(|name| place(name));
    let mut cells = Vec::new();
    let mut seen = HashSet::new();
    let mut at = 1;
    while let Some(line) = lines.next()? {
        at += 1;
        if line.trim().is_empty() {
            continue;
        }
        let values: Vec<String> = fields(&line, apart).collect();
        let mut centre = [0.0; 2];
        for (axis, &column) in columns.iter().enumerate() {
            let value = values.get(column).map_or("", String::as_str);
            centre[axis] = value
                .parse()
                .ok()
                .filter(|v: &f64| v.is_finite())
                .ok_or_else(|| {
                    wrong(format!(
                        "line {at} has `{value}` in column `{}`; give a number",
                        names[column]
                    ))
                })?;
        }
        let name = match id {
            Some(column) => values.get(column).cloned().unwrap_or_default(),
            None => (cells.len() + 1).to_string(),
        };
        if !seen.insert(name.clone()) {
            return Err(wrong(format!(
                "line {at}: the cell `{name}` stands twice; give every cell a name of its own"
            )));
        }
        cells.push((name, centre));
    }
    match cells.is_empty() {
        true => Err(wrong("holds no cell".to_owned())),
        false => Ok(cells),
    }
}

/// Lines of a file, none of them longer than is reasonable.
struct Lines<'a> {
    file: BufReader<File>,
    path: &'a Path,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<String>> {
        let wrong = |reason: String| PipelineError::Segmentation {
            path: self.path.to_owned(),
            reason,
        };
        let mut line = Vec::new();
        let mut limited = std::io::Read::take(&mut self.file, LONGEST as u64);
        let n = limited
            .read_until(b'\n', &mut line)
            .map_err(|e| wrong(format!("cannot be read: {e}")))?;
        if n == LONGEST {
            return Err(wrong(
                "is no label image, and no table either: a line has no end".to_owned(),
            ));
        }
        let line = String::from_utf8(line).map_err(|_| {
            wrong("is no label image (PNG, TIFF, .npy), and no table of text either".to_owned())
        })?;
        Ok((n > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    }
}

/// The fields of a line without quotes and blanks around them. A field with the separator in quotes is one field.
fn fields(line: &str, apart: char) -> impl Iterator<Item = String> {
    let mut quoted = false;
    line.split(move |c| {
        quoted ^= c == '"';
        c == apart && !quoted
    })
    .map(|field| field.trim().trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_several_programs_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cells.csv");
        let table = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let cell = |name: &str, x, y| (name.to_owned(), [x, y]);
        let wanted = [cell("a", 1.5, 2.0), cell("b", 3.0, -4.0)];
        assert_eq!(table("x,y,id\n1.5,2,a\n3,-4,b\n").unwrap(), wanted);
        assert_eq!(
            table("\u{feff}cell_id\tX_centroid\tY_centroid\r\na\t1.5\t2\r\nb\t3\t-4").unwrap(),
            wanted
        );
        assert_eq!(
            table("label,centroid-0,centroid-1\na,2,1.5\n\nb,-4,3\n").unwrap(),
            wanted
        );
        assert_eq!(
            table("\"name\",\"x\",\"area, µm\",\"y\"\n\"a\",\"1.5\",\"7,5\",2\nb,3,1,-4\n")
                .unwrap(),
            wanted
        );
        assert_eq!(
            table("y,x\n2,1.5\n-4,3\n").unwrap()[1],
            cell("2", 3.0, -4.0)
        );
        for (text, words) in [
            ("", "names no columns x and y"),
            ("a,b\n1,2\n", "`a,b`"),
            ("x,y\n", "holds no cell"),
            ("x,y\n1,2\n3,\n", "line 3 has ``"),
            ("x,y\n1,nan\n", "`nan`"),
            ("x,y,id\n1,2,a\n1,3,a\n", "stands twice"),
        ] {
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        std::fs::write(&path, [0xff, 0xfe, b'\n']).unwrap();
        assert!(
            read(&path)
                .unwrap_err()
                .to_string()
                .contains("no table of text")
        );
    }
}
