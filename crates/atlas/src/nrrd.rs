//! NRRD files: volumes of whole numbers with a text header (<http://teem.sourceforge.net/nrrd/format.html>).

use crate::AtlasError;
use crate::error::read;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;

/// A file of more values than this is refused before anything is allocated: the mouse brain at 10 µm has 1.2 thousand million.
const MOST_VALUES: u64 = 1 << 31;

/// Numbers of a file, in the file's order: the first axis is the fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Nrrd {
    /// Number of values along each axis, fastest first.
    pub sizes: Vec<usize>,
    /// Step along each axis in micrometres, if the header tells it.
    pub steps_um: Option<Vec<f64>>,
    /// The values.
    pub values: NrrdValues,
}

/// Values of a file by their stored type.
#[derive(Debug, Clone, PartialEq)]
pub enum NrrdValues {
    /// Whole numbers, stored in 8 to 32 bits.
    Whole(Vec<u32>),
    /// Single precision.
    Float(Vec<f32>),
}

/// Type of the stored values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    U8,
    U16,
    U32,
    I8,
    I16,
    I32,
    F32,
}

impl Stored {
    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "uchar" | "unsigned char" | "uint8" | "uint8_t" => Self::U8,
            "ushort" | "unsigned short" | "unsigned short int" | "uint16" | "uint16_t" => Self::U16,
            "uint" | "unsigned int" | "uint32" | "uint32_t" => Self::U32,
            "signed char" | "int8" | "int8_t" => Self::I8,
            "short" | "short int" | "signed short" | "signed short int" | "int16" | "int16_t" => {
                Self::I16
            }
            "int" | "signed int" | "int32" | "int32_t" => Self::I32,
            "float" => Self::F32,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
        }
    }
}

/// Reads a volume whose data stand in the same file, raw or gzip.
///
/// # Errors
/// [`AtlasError::File`] for other encodings and types, a detached header, sizes that do not fit the data.
pub fn read_nrrd(path: &Path) -> Result<Nrrd, AtlasError> {
    let bytes = read(path)?;
    parse(&bytes).map_err(|reason| AtlasError::file(path, reason))
}

fn parse(bytes: &[u8]) -> Result<Nrrd, String> {
    if !bytes.starts_with(b"NRRD000") {
        return Err("not a NRRD file (it does not begin with NRRD000)".to_owned());
    }
    let (end, body) = header_end(bytes).ok_or("the header has no end; is the file truncated?")?;
    let header = std::str::from_utf8(&bytes[..end]).map_err(|_| "the header is not text")?;
    let fields: HashMap<&str, &str> = header
        .lines()
        .skip(1)
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(": "))
        .map(|(key, value)| (key, value.trim()))
        .collect();
    let field = |name: &str| {
        fields
            .get(name)
            .copied()
            .ok_or_else(|| format!("the header has no field `{name}`"))
    };
    if fields.contains_key("data file") || fields.contains_key("datafile") {
        return Err("the data are in another file; only attached data are read".to_owned());
    }
    let kind = field("type")?;
    let stored = Stored::of_name(kind).ok_or_else(|| {
        format!("values of type `{kind}`; whole numbers of 8 to 32 bits and float are read")
    })?;
    let sizes = field("sizes")?
        .split_whitespace()
        .map(|n| n.parse::<usize>().ok().filter(|&n| n > 0))
        .collect::<Option<Vec<_>>>()
        .ok_or("`sizes` are not positive whole numbers")?;
    if field("dimension")?.parse() != Ok(sizes.len()) {
        return Err("`dimension` is not the number of `sizes`".to_owned());
    }
    let n_values = sizes
        .iter()
        .try_fold(1_u64, |product, &n| product.checked_mul(n as u64))
        .filter(|&n| n <= MOST_VALUES)
        .ok_or_else(|| format!("`sizes` {sizes:?} are more than {MOST_VALUES} values"))?;
    let n_bytes = n_values as usize * stored.bytes();
    let raw = decode(&bytes[body..], field("encoding")?, n_bytes)?;
    if raw.len() != n_bytes {
        return Err(format!(
            "{} bytes of data where the header tells {n_bytes}; is the file truncated?",
            raw.len()
        ));
    }
    let big_endian = stored.bytes() > 1 && field("endian")? == "big";
    Ok(Nrrd {
        steps_um: steps(&fields, sizes.len())?,
        sizes,
        values: values(&raw, stored, big_endian)?,
    })
}

/// Where the header ends and where the data begin.
fn header_end(bytes: &[u8]) -> Option<(usize, usize)> {
    let find = |mark: &[u8]| bytes.windows(mark.len()).position(|w| w == mark);
    match (find(b"\n\n"), find(b"\r\n\r\n")) {
        (Some(unix), Some(dos)) if dos < unix => Some((dos, dos + 4)),
        (Some(unix), _) => Some((unix, unix + 2)),
        (None, dos) => dos.map(|dos| (dos, dos + 4)),
    }
}

fn decode(body: &[u8], encoding: &str, n_bytes: usize) -> Result<Vec<u8>, String> {
    match encoding {
        "raw" => Ok(body.to_vec()),
        "gzip" | "gz" => {
            // One byte more than is due tells a file that holds too much, whatever it would unpack to.
            let mut raw = Vec::new();
            MultiGzDecoder::new(body)
                .take(n_bytes as u64 + 1)
                .read_to_end(&mut raw)
                .map_err(|e| {
                    format!("the data cannot be unpacked ({e}); is the file truncated?")
                })?;
            Ok(raw)
        }
        other => Err(format!("encoding `{other}`; raw and gzip are read")),
    }
}

fn values(raw: &[u8], stored: Stored, big_endian: bool) -> Result<NrrdValues, String> {
    fn each<const N: usize, T>(raw: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.chunks_exact(N)
            .map(|b| convert(b.try_into().expect("chunks of N bytes")))
            .collect()
    }
    macro_rules! number {
        ($type:ty) => {
            each(raw, |b| match big_endian {
                true => <$type>::from_be_bytes(b),
                false => <$type>::from_le_bytes(b),
            })
        };
    }
    fn positive<T: TryInto<u32>>(values: Vec<T>) -> Result<NrrdValues, String> {
        values
            .into_iter()
            .map(|v| v.try_into().ok())
            .collect::<Option<Vec<u32>>>()
            .map(NrrdValues::Whole)
            .ok_or_else(|| "a negative value; structure identifiers are not negative".to_owned())
    }
    match stored {
        Stored::U8 => positive(number!(u8)),
        Stored::U16 => positive(number!(u16)),
        Stored::U32 => positive(number!(u32)),
        Stored::I8 => positive(number!(i8)),
        Stored::I16 => positive(number!(i16)),
        Stored::I32 => positive(number!(i32)),
        Stored::F32 => Ok(NrrdValues::Float(number!(f32))),
    }
}

/// Steps from `space directions` (axis-aligned only) or `spacings`, in micrometres.
fn steps(fields: &HashMap<&str, &str>, n_axes: usize) -> Result<Option<Vec<f64>>, String> {
    let unit = match fields.get("space units") {
        Some(units) if units.contains("\"mm\"") || units.contains("\"millimeter") => 1000.0,
        _ => 1.0,
    };
    let steps = if let Some(directions) = fields.get("space directions") {
        directions
            .split(')')
            .map(|d| d.trim().trim_start_matches('('))
            .filter(|d| !d.is_empty())
            .map(length_along_an_axis)
            .collect::<Option<Vec<f64>>>()
            .ok_or("`space directions` are not along the axes; resample the volume first")?
    } else if let Some(spacings) = fields.get("spacings") {
        spacings
            .split_whitespace()
            .map(|s| s.parse().ok())
            .collect::<Option<Vec<f64>>>()
            .ok_or("`spacings` are not numbers")?
    } else {
        return Ok(None);
    };
    if steps.len() != n_axes || steps.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return Err("the header does not tell one step per axis".to_owned());
    }
    Ok(Some(steps.into_iter().map(|s| s * unit).collect()))
}

fn length_along_an_axis(direction: &str) -> Option<f64> {
    let parts = direction
        .split(',')
        .map(|p| p.trim().parse().ok())
        .collect::<Option<Vec<f64>>>()?;
    let mut along = parts.into_iter().filter(|p| *p != 0.0);
    match (along.next(), along.next()) {
        (Some(length), None) => Some(length.abs()),
        _ => None,
    }
}

/// The bytes of a gzip NRRD file of identifiers.
///
/// * `sizes`: fastest axis first
/// * `steps_um`: one per axis, or none for an image whose pixels have no known size
///
/// # Errors
/// [`std::io::Error`] if they cannot be compressed.
pub fn encode_nrrd(
    sizes: &[usize],
    steps_um: Option<&[f64]>,
    ids: &[u32],
) -> std::io::Result<Vec<u8>> {
    let list = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(" ");
    let mut header = format!(
        "NRRD0004\ntype: uint32\ndimension: {}\nsizes: {}\n",
        sizes.len(),
        list(&mut sizes.iter().map(ToString::to_string))
    );
    if let Some(steps) = steps_um {
        let steps = list(&mut steps.iter().map(ToString::to_string));
        header.push_str(&format!("spacings: {steps}\n"));
    }
    header.push_str("endian: little\nencoding: gzip\n\n");
    let mut gzip = GzEncoder::new(header.into_bytes(), Compression::default());
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    gzip.write_all(&bytes)?;
    gzip.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!("NRRD0004\n{header}\n\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn every_type_in_either_order_of_bytes_is_read() {
        let cases: [(&str, &str, &[u8], &[u32]); 5] = [
            ("uchar", "little", &[1, 255], &[1, 255]),
            ("uint16", "little", &[1, 2, 0, 1], &[513, 256]),
            ("unsigned short", "big", &[1, 2, 0, 1], &[258, 1]),
            ("uint32", "big", &[0, 0, 1, 0, 0, 0, 0, 9], &[256, 9]),
            ("int", "little", &[7, 0, 0, 0, 9, 0, 0, 0], &[7, 9]),
        ];
        for (kind, endian, body, expected) in cases {
            let header = format!(
                "# a comment\ntype: {kind}\ndimension: 1\nsizes: 2\nendian: {endian}\nencoding: raw"
            );
            let nrrd = parse(&file(&header, body)).unwrap();
            assert_eq!(nrrd.values, NrrdValues::Whole(expected.to_vec()), "{kind}");
            assert_eq!(nrrd.steps_um, None);
        }
        let header = "type: float\ndimension: 1\nsizes: 1\nendian: little\nencoding: raw";
        let nrrd = parse(&file(header, &1.5_f32.to_le_bytes())).unwrap();
        assert_eq!(nrrd.values, NrrdValues::Float(vec![1.5]));
    }

    #[test]
    fn what_is_written_is_read() {
        let ids = [0, 997, 614_454_277, 1, 2, 3];
        let bytes = encode_nrrd(&[3, 2], Some(&[25.0, 25.0]), &ids).unwrap();
        let nrrd = parse(&bytes).unwrap();
        assert_eq!(nrrd.sizes, [3, 2]);
        assert_eq!(nrrd.steps_um, Some(vec![25.0, 25.0]));
        assert_eq!(nrrd.values, NrrdValues::Whole(ids.to_vec()));
    }

    #[test]
    fn steps_come_in_micrometres_from_either_field() {
        let check = |field: &str, expected: Result<Option<Vec<f64>>, ()>| {
            let header = format!("type: uchar\ndimension: 2\nsizes: 1 1\nencoding: raw\n{field}");
            let found = parse(&file(&header, &[0]))
                .map(|n| n.steps_um)
                .map_err(|_| ());
            assert_eq!(found, expected, "{field}");
        };
        check(
            "space directions: (0,25) (-50,0)",
            Ok(Some(vec![25.0, 50.0])),
        );
        check(
            "space directions: (0.025,0) (0,0.025)\nspace units: \"mm\" \"mm\"",
            Ok(Some(vec![25.0, 25.0])),
        );
        check("spacings: 10 20", Ok(Some(vec![10.0, 20.0])));
        check("space directions: (1,1) (0,1)", Err(()));
        check("spacings: 10 nan", Err(()));
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let whole = encode_nrrd(&[3, 2], None, &[1, 2, 3, 4, 5, 6]).unwrap();
        let refused = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert!(refused(b"PNG").contains("NRRD000"));
        assert!(refused(&whole[..40]).contains("truncated"));
        assert!(refused(&whole[..whole.len() - 9]).contains("truncated"));
        let text = |header: &str| refused(&file(header, &[0; 8]));
        let basic = "type: uchar\ndimension: 1\nencoding: raw\nsizes:";
        assert!(text(&format!("{basic} 9")).contains("9"));
        assert!(text(&format!("{basic} 3")).contains("8 bytes of data"));
        assert!(text(&format!("{basic} 0")).contains("positive"));
        assert!(text(&format!("{basic} 99999999999")).contains("more than"));
        assert!(text("type: double\ndimension: 1\nsizes: 1\nencoding: raw").contains("double"));
        assert!(text("type: uchar\ndimension: 1\nsizes: 8\nencoding: bzip2").contains("bzip2"));
        assert!(text("type: uchar\ndimension: 2\nsizes: 8\nencoding: raw").contains("dimension"));
        let negative = "type: int8\ndimension: 1\nsizes: 1\nencoding: raw";
        assert!(refused(&file(negative, &[200])).contains("negative"));
        let bomb = "type: uchar\ndimension: 1\nsizes: 4\nencoding: gzip";
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&vec![0; 1 << 20]).unwrap();
        assert!(refused(&file(bomb, &gzip.finish().unwrap())).contains("5 bytes"));
    }
}
