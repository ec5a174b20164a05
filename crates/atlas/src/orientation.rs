//! In which direction the axes of a file grow.

use crate::{AtlasError, Grid, Volume};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Axes of a volume file, the fastest first, each by the letter of the side towards which it grows: `P`osterior or
/// `A`nterior, `I`nferior (ventral) or `S`uperior (dorsal), `R`ight or `L`eft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orientation([(usize, bool); 3], [char; 3]);

/// The Allen mouse brain (CCFv3): lengths of AP, DV and ML in units of 25 µm.
const CCF: [usize; 3] = [528, 320, 456];

impl FromStr for Orientation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no orientation; write three letters, the file's fastest axis first, one of P A, one of I S, \
                 one of R L, such as PIR"
            )
        };
        let letters: [char; 3] = text
            .to_ascii_uppercase()
            .chars()
            .collect::<Vec<_>>()
            .try_into()
            .map_err(|_| wrong())?;
        let mut axes = [(0, false); 3];
        for (axis, letter) in axes.iter_mut().zip(letters) {
            *axis = match letter {
                'P' => (0, false),
                'A' => (0, true),
                'I' => (1, false),
                'S' => (1, true),
                'R' => (2, false),
                'L' => (2, true),
                _ => return Err(wrong()),
            };
        }
        let mut kinds = axes.map(|(axis, _)| axis);
        kinds.sort_unstable();
        match kinds {
            [0, 1, 2] => Ok(Self(axes, letters)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Orientation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.iter().try_for_each(|letter| write!(f, "{letter}"))
    }
}

impl Orientation {
    /// The orientation of a volume that has the proportions of the Allen mouse brain, which tell its axes apart.
    #[must_use]
    pub fn of_ccf(sizes: &[usize]) -> Option<Self> {
        let fits = |order: [usize; 3]| {
            let scale = CCF[order[0]] as f64 / sizes[0] as f64;
            sizes.len() == 3
                && (0..3)
                    .all(|i| (sizes[i] as f64 * scale / CCF[order[i]] as f64 - 1.0).abs() < 0.02)
        };
        let known = [([0, 1, 2], "PIR"), ([2, 1, 0], "RIP")];
        let (_, letters) = known.into_iter().find(|(order, _)| fits(*order))?;
        letters.parse().ok()
    }

    /// Puts the values of a file on the axes of an atlas.
    ///
    /// * `sizes`, `steps_um`: as the file has them, the fastest axis first
    ///
    /// # Errors
    /// [`AtlasError::File`] if the voxels are no cubes or there are not three axes.
    pub fn arrange<T: Copy>(
        self,
        path: &Path,
        sizes: &[usize],
        steps_um: [f64; 3],
        values: &[T],
    ) -> Result<Volume<T>, AtlasError> {
        if sizes.len() != 3 {
            let reason = format!("{} axes; a volume has three", sizes.len());
            return Err(AtlasError::file(path, reason));
        }
        let voxel_um = steps_um[0];
        if steps_um.iter().any(|s| (s / voxel_um - 1.0).abs() > 1e-3) {
            let reason = format!("voxels of {steps_um:?} µm; resample the volume to cubic voxels");
            return Err(AtlasError::file(path, reason));
        }
        let mut shape = [0; 3];
        // Step in the file, and where to begin, for each axis of the atlas.
        let (mut stride, mut begin) = ([0_isize; 3], 0_isize);
        let mut step = 1;
        for ((axis, reversed), &size) in self.0.into_iter().zip(sizes) {
            shape[axis] = size;
            stride[axis] = if reversed { -step } else { step };
            begin += if reversed {
                step * (size as isize - 1)
            } else {
                0
            };
            step *= size as isize;
        }
        let grid = Grid { shape, voxel_um };
        let mut arranged = Vec::with_capacity(grid.n_voxels());
        for ap in 0..shape[0] as isize {
            for dv in 0..shape[1] as isize {
                let row = begin + ap * stride[0] + dv * stride[1];
                arranged.extend(
                    (0..shape[2] as isize).map(|ml| values[(row + ml * stride[2]) as usize]),
                );
            }
        }
        Ok(Volume::new(grid, arranged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_orientation_gives_the_same_volume() {
        // Two voxels along AP, three along DV, four along ML; the value tells the place.
        let place = |ap: usize, dv: usize, ml: usize| ap * 100 + dv * 10 + ml;
        let expected: Vec<usize> = (0..2)
            .flat_map(|ap| (0..3).flat_map(move |dv| (0..4).map(move |ml| place(ap, dv, ml))))
            .collect();
        let check = |letters: &str, sizes: [usize; 3], at: fn([usize; 3]) -> [usize; 3]| {
            let mut values = Vec::new();
            for k in 0..sizes[2] {
                for j in 0..sizes[1] {
                    for i in 0..sizes[0] {
                        let [ap, dv, ml] = at([i, j, k]);
                        values.push(place(ap, dv, ml));
                    }
                }
            }
            let orientation: Orientation = letters.parse().unwrap();
            let path = Path::new("x.nrrd");
            let found = orientation
                .arrange(path, &sizes, [25.0; 3], &values)
                .unwrap();
            assert_eq!(found.grid.shape, [2, 3, 4]);
            assert_eq!(found.values, expected, "{letters}");
        };
        check("PIR", [2, 3, 4], |[i, j, k]| [i, j, k]);
        check("RIP", [4, 3, 2], |[i, j, k]| [k, j, i]);
        check("LAS", [4, 2, 3], |[i, j, k]| [1 - j, 2 - k, 3 - i]);
    }

    #[test]
    fn only_the_mouse_brain_tells_its_own_orientation() {
        let letters = |sizes: &[usize]| Orientation::of_ccf(sizes).map(|o| o.to_string());
        assert_eq!(letters(&[456, 320, 528]).as_deref(), Some("RIP"));
        assert_eq!(letters(&[132, 80, 114]).as_deref(), Some("PIR"));
        assert_eq!(letters(&[512, 512, 512]), None);
        for wrong in ["", "PI", "PPR", "XYZ", "PIRS"] {
            assert!(wrong.parse::<Orientation>().is_err(), "{wrong}");
        }
        let skewed: Orientation = "PIR".parse().unwrap();
        let result = skewed.arrange(Path::new("x"), &[1, 1, 1], [25.0, 25.0, 50.0], &[0]);
        assert!(result.unwrap_err().to_string().contains("cubic"));
    }
}
