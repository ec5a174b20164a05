//! What tangram-sc writes beside a mapping, so that its functions work on ours: `project_genes`, `project_cell_annotations`,
//! `compare_spatial_geneexp` and `plot_training_scores` read `uns` of the mapping by these names.

use crate::error::Result;
use crate::mapping_file::Contents;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tangram_core::{CellChunks, Column, Table, Term};
use tangram_mapper::Epoch;
use tangram_store::{AnnDataWriter, CellExpression, Uns};

/// Share of the cells in which each gene is 0.
///
/// # Errors
/// If the cells cannot be read.
pub(crate) fn sparsity(cells: &CellExpression) -> Result<Vec<f64>> {
    let mut seen = vec![0usize; cells.n_genes()];
    cells.for_each_chunk(0..cells.n_cells(), &mut |_, chunk| {
        let (_, genes, values) = chunk.parts();
        for (&gene, _) in genes.iter().zip(values).filter(|(_, v)| **v != 0.0) {
            seen[gene as usize] += 1;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let n = cells.n_cells().max(1) as f64;
    Ok(seen.into_iter().map(|seen| 1.0 - seen as f64 / n).collect())
}

/// Writes `train_genes_df` and `overlap_genes`. The package writes all genes in lower case, and the best gene first.
///
/// # Errors
/// If they cannot be written.
pub(crate) fn write(file: &mut AnnDataWriter, contents: &Contents<'_>) -> Result<()> {
    let lower = |names: &[String]| names.iter().map(|n| n.to_lowercase()).collect::<Vec<_>>();
    let names = lower(&contents.genes.training);
    let scores = contents.scores;
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|&a, &b| scores[b].cosine.total_cmp(&scores[a].cosine));
    let column = |of: &dyn Fn(usize) -> f64| Column::numbers(order.iter().map(|&k| of(k)));
    let of_cells = |k: usize| contents.sparsity[k];
    let mut table = Table::of_names(order.iter().map(|&k| names[k].clone()).collect());
    table.set("train_score", column(&|k| scores[k].cosine));
    table.set("sparsity_sc", column(&of_cells));
    table.set("sparsity_sp", column(&|k| scores[k].sparsity_measured));
    table.set(
        "sparsity_diff",
        column(&|k| scores[k].sparsity_measured - of_cells(k)),
    );
    file.uns("train_genes_df", &Uns::Table(table))?;
    let mut overlap = names;
    overlap.extend(lower(&contents.genes.held_out));
    overlap.sort_unstable();
    overlap.dedup();
    Ok(file.uns("overlap_genes", &Uns::Texts(overlap))?)
}

/// The package's names of what a history has; it reports every term without its weight, and the loss as it is minimised.
pub(crate) fn history(history: &[Epoch]) -> BTreeMap<String, Uns> {
    let series = |value: &dyn Fn(&Epoch) -> Option<f64>| {
        Uns::Numbers(
            history
                .iter()
                .map(|e| value(e).unwrap_or(f64::NAN))
                .collect(),
        )
    };
    let term = |term: Term| series(&|e| e.terms[term]);
    BTreeMap::from([
        ("total_loss".to_owned(), series(&|e| Some(e.total))),
        ("main_loss".to_owned(), term(Term::Gene)),
        ("vg_reg".to_owned(), term(Term::Voxel)),
        ("kl_reg".to_owned(), term(Term::Density)),
        ("entropy_reg".to_owned(), term(Term::Entropy)),
    ])
}
