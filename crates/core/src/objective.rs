//! The loss of a mapping and its gradient, as functions of the predicted expression A and density q alone.
//!
//! All solvers share it: whatever makes A and q, this says how good they are and which way to move.
//! Matrices are held by gene, (genes, voxels): each gene's voxels side by side.
//!
//! # To add a term
//! Write a file with the term's `ABOUT` and its [`LossTerm`], and add it to the list of [`Term`] below: flags, settings files,
//! history, plans and checkpoints read that list.

mod cosine;
mod fetch;
mod given;
mod loss_function;
mod sums;
mod term;
#[cfg(test)]
mod tests;
mod weights;

pub use cosine::Coefficients;
pub use fetch::Stencil;
pub use given::GivenWeights;
pub use loss_function::{Known, Loss, LossFunction};
pub use sums::{Exchange, Exchanges, Sums, VoxelShards, Whole};
pub use term::{
    About, Comparison, Data, DefaultWeight, LossTerm, Needs, OfCells, Sense, Shard, Shown, Slopes,
};
pub use weights::{Convention, Objective, TermValues};

/// Declares the terms: their modules, [`Term`], and what is known of each.
macro_rules! terms {
    ($($name:ident = $module:ident,)+) => {
        $(mod $module;)+

        /// A term of the loss.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Term {
            $(#[doc = concat!("The ", stringify!($module), " term.")] $name,)+
        }

        impl Term {
            /// All terms, in the order in which they are computed and shown.
            pub const ALL: [Self; [$(stringify!($name)),+].len()] = [$(Self::$name),+];

            /// Name, setting and kind of the term.
            #[must_use]
            pub const fn about(self) -> &'static About {
                match self {
                    $(Self::$name => &$module::ABOUT,)+
                }
            }
        }
    };
}

terms! {
    Gene = gene,
    Voxel = voxel,
    Density = density,
    Entropy = entropy,
    Count = count,
    Undecided = undecided,
    Neighbourhood = neighbourhood,
    Composition = composition,
    CompositionScaled = composition_scaled,
    GeneRoot = gene_root,
    GetisOrd = getis_ord,
    Moran = moran,
    Geary = geary,
    Islands = islands,
    L1 = l1,
    L2 = l2,
}
