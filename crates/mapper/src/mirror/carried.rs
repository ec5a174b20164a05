//! Transfer of streamed cells into space by a factored mapping.

use crate::cpu::products::{Layout, Products};
use crate::cpu::row_product::scale_rows;
use crate::cpu::sharded_sums::Predicted;
use crate::mirror::factored_rows::FactoredRows;
use crate::ranks::Ranks;
use crate::workers::one_rank;
use crate::{Factors, Precision};
use ndarray::{Array2, s};
use std::ops::ControlFlow;
use tangram_comm::Shares;
use tangram_core::normalize::transform;
use tangram_core::{CellChunks, SparseRows, Transform};

impl Factors {
    /// `Pᵀ · (r ∘ values)`, (voxels, genes), in one pass over the cells: products of counts that are not zero, summed in single precision
    /// within a part.
    ///
    /// * `values`: the training genes of any cells, (cells, genes)
    /// * `how`: what makes S of the mapping of them
    /// * `weights`: r of these cells; `None` where all count 1
    ///
    /// # Errors
    /// That of reading the cells.
    ///
    /// # Panics
    /// If the number of genes differs.
    pub fn carried<C: CellChunks>(
        &self,
        values: &C,
        how: Transform,
        weights: Option<&[f64]>,
    ) -> Result<Array2<f32>, C::Error> {
        let (n_voxels, n_genes) = (self.n_voxels(), self.n_genes());
        assert_eq!(values.n_genes(), n_genes, "the genes of the training");
        let layout = Layout::new::<f32>(values.n_cells(), n_voxels, n_genes, 0.0, Precision::F32);
        let (grid, shares) = (
            one_rank(),
            Shares::whole(values.n_cells(), n_voxels, n_genes),
        );
        let ranks = Ranks {
            grid: &grid,
            shares: &shares,
        };
        let mut pass = FactoredRows::<f32>::new(layout, n_genes + 1);
        pass.begin(self.by_gene(), ranks);
        let mut carried = Predicted::<f32>::new(layout, n_genes + 1);
        let mut part_sums = Array2::zeros((n_genes + 1, n_voxels));
        let mut sums = Array2::<f64>::zeros((n_genes + 1, n_voxels));
        values.for_each_chunk(0..values.n_cells(), &mut |first, values: &SparseRows| {
            let mut mapped = (how != Transform::None).then(|| {
                let mut mapped = values.clone();
                transform(&mut mapped, how);
                Products::for_logits::<f32>(&mapped, layout, &[0])
            });
            let mut values =
                Products::by_gene_blocks::<f32>(values, 0..values.n_rows(), layout, &[0]);
            carried.clear();
            for block in values.blocks() {
                let logits = mapped.as_mut().unwrap_or(&mut values);
                let rows = pass.probabilities(logits, block.clone());
                if let Some(weights) = weights {
                    let own = &weights[first + block.start..first + block.end];
                    scale_rows(rows, layout.stride::<f32>(), n_voxels, own);
                }
                carried.add(&mut values, block, rows, std::iter::empty());
            }
            carried.end_block();
            carried.finish(&mut part_sums, ranks);
            sums += &part_sums;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(sums.slice(s![..n_genes, ..]).t().mapv(|sum| sum as f32))
    }
}
