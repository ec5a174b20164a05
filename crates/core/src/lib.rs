//! The nouns of tangram (cells, voxels, genes, mapping, prior, annotations) and its pure mathematics.
//!
//! Nothing here opens a file, starts a process or holds a tensor. Axis order is always (cells, voxels),
//! (cells, genes), (voxels, genes).
//!
//! Where to begin:
//!
//! * matrices and tables: [`SparseRows`] in [`matrix`], [`Table`] and [`Column`] in [`table`], cells as a stream of
//!   chunks in [`chunks`]
//! * before a mapping is learned: [`values`] (counts or logarithms), [`matching`] (which names are the same gene), [`genes`]
//!   (which genes train), [`normalize`], [`prior`] (expected density)
//! * what a mapping should minimise: [`objective`]
//! * cells grouped by their labels: [`clusters`]
//! * after it: [`mapping`] (P as a stream of row blocks), [`keep`] (which entries are stored), [`mod@transfer`] and
//!   [`assignment`] (annotations in space), [`score`], [`familiar`] (cells unlike the training cells)
//! * spots of several cells: [`composition`] (shares of types, scores of them), [`type_fit`] (shares from the types' profiles alone)
//! * data with known truth: [`tissue`]

pub mod annotations;
pub mod assignment;
pub mod chunks;
pub mod clusters;
pub mod composition;
pub mod familiar;
pub mod filtered;
pub mod genes;
pub mod keep;
pub mod mapping;
pub mod matching;
pub mod matrix;
pub mod names;
pub mod neighbours;
pub mod normalize;
pub mod objective;
pub mod prior;
pub mod score;
pub mod table;
pub mod tissue;
pub mod transfer;
pub mod type_fit;
pub mod values;

pub use annotations::{AnnotationError, Annotations, one_hot};
pub use assignment::{MostProbableCell, MostProbableVoxel};
pub use chunks::{CellChunks, InChunks, VisitChunk};
pub use clusters::{ClusterSums, Clusters, ClustersError};
pub use composition::{Agreement, SpotRandom, agreement, shares_of, whole_numbers};
pub use familiar::Familiar;
pub use filtered::Filtered;
pub use genes::{GeneChoice, GeneError, GeneSet, SharedGenes, Side, align, drop_zero_genes};
pub use keep::{Keep, KeepError, KeepScratch, keep_block, keep_row};
pub use mapping::{MappingBlock, MappingRows, PBlock};
pub use matrix::{SparseError, SparseRows};
pub use neighbours::{Neighbours, NeighboursError, PlacesError};
pub use normalize::{
    Normalize, Transform, factors_to, library_factors, median_positive, scale_rows,
};
pub use objective::{
    Comparison, Convention, DefaultWeight, Exchange, GivenWeights, Known, Loss, LossFunction,
    Needs, Objective, OfCells, Shard, Shown, Sums, Term, TermValues, VoxelShards, Whole,
};
pub use prior::{DensityPrior, PriorError};
pub use score::{
    AucCurve, GeneScore, Summary, WELL_PREDICTED, auc, auc_curve, partial_correlation, score_gene,
};
pub use table::{Column, Table};
pub use tissue::{Tissue, TissueError, TissueSettings};
pub use transfer::{density, transfer};
pub use type_fit::{nnls, poisson};
pub use values::{Guess, ValueProfile, Values};
