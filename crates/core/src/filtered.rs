//! A mapping whose rows are multiplied by a filter: `f_i P_ij`.

use crate::{MappingBlock, MappingRows, PBlock};
use ndarray::Axis;

/// The rows of a mapping, each multiplied by how much of its cell a filter keeps: what transfers and densities are made of.
#[derive(Debug, Clone, Copy)]
pub struct Filtered<'a, M> {
    mapping: &'a M,
    /// f, (cells); `None`: all are kept, and rows are as they are.
    kept: Option<&'a [f64]>,
}

impl<'a, M: MappingRows> Filtered<'a, M> {
    /// * `kept`: f, (cells), from 0 to 1; `None` where there is no filter
    ///
    /// # Panics
    /// If f is of other cells than the mapping.
    pub fn new(mapping: &'a M, kept: Option<&'a [f64]>) -> Self {
        let n_cells = mapping.n_cells();
        assert!(
            kept.is_none_or(|f| f.len() == n_cells),
            "f has one entry per cell of the mapping"
        );
        Self { mapping, kept }
    }
}

impl<M: MappingRows> MappingRows for Filtered<'_, M> {
    type Error = M::Error;

    fn n_cells(&self) -> usize {
        self.mapping.n_cells()
    }

    fn n_voxels(&self) -> usize {
        self.mapping.n_voxels()
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), M::Error>,
    ) -> Result<(), M::Error> {
        let Some(kept) = self.kept else {
            return self.mapping.for_each_block(visit);
        };
        self.mapping.for_each_block(&mut |block| {
            let first_cell = block.first_cell;
            let kept = &kept[first_cell..first_cell + block.rows.n_cells()];
            match block.rows {
                PBlock::Sparse(rows) => {
                    let mut rows = rows.clone();
                    crate::scale_rows(&mut rows, kept);
                    visit(MappingBlock {
                        first_cell,
                        rows: PBlock::Sparse(&rows),
                    })
                }
                PBlock::Dense(rows) => {
                    let mut rows = rows.to_owned();
                    for (mut row, &f) in rows.axis_iter_mut(Axis(0)).zip(kept) {
                        row.mapv_inplace(|p| (f64::from(p) * f) as f32);
                    }
                    visit(MappingBlock {
                        first_cell,
                        rows: PBlock::Dense(rows.view()),
                    })
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SparseRows, density, transfer};
    use ndarray::array;

    #[test]
    fn what_is_left_out_is_not_transferred() {
        let p = array![[0.5f32, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]];
        let sparse = SparseRows::from_dense(p.view());
        let known = array![[2.0f32], [4.0], [8.0]];
        let kept = [0.5, 1.0, 0.0];
        let expected = array![[0.5f32], [1.5], [3.0]];
        let kept = Some(&kept[..]);
        assert_eq!(
            transfer(&Filtered::new(&p, kept), &known),
            Ok(expected.clone())
        );
        assert_eq!(
            transfer(&Filtered::new(&sparse, kept), &known),
            Ok(expected)
        );
        // A transfer conserves Σ f.
        let Ok(cells) = density(&Filtered::new(&p, kept));
        assert_eq!(cells.iter().sum::<f64>(), 1.5);
        let all = Filtered::new(&p, None);
        assert_eq!(transfer(&all, &known), transfer(&p, &known));
    }

    #[test]
    #[should_panic(expected = "one entry per cell")]
    fn a_filter_of_other_cells_is_refused() {
        let _ = Filtered::new(&array![[1.0f32]], Some(&[1.0, 0.5]));
    }
}
