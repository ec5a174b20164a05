//! Names and descriptions of what the user may choose from a short list.

use crate::choices::{
    ClusterValues, DeviceChoice, FilterChoice, Goal, MappingFormat, Mode, PrecisionChoice, Solver,
    Stream,
};
use crate::project::Assign;
use tangram_core::Convention;

/// A value, its name as it is typed, and its description.
pub type Choice<T> = (T, &'static str, &'static str);

/// Solvers.
pub const SOLVERS: &[Choice<Solver>] = &[
    (
        Solver::Mirror,
        "mirror",
        "Mirror descent on weights of voxels and genes: no cells × voxels state, the same optimum in fewer passes",
    ),
    (
        Solver::Adam,
        "adam",
        "Gradient steps on a logit per cell and voxel, as the original package does",
    ),
];

/// Modes.
pub const MODES: &[Choice<Mode>] = &[
    (Mode::Cells, "cells", "Every cell takes part, as one"),
    (
        Mode::Clusters,
        "clusters",
        "The cells of a cluster take part together: the rows of the mapping are the clusters of --cluster",
    ),
    (
        Mode::Constrained,
        "constrained",
        "A filter keeps --target-count cells and leaves the others out",
    ),
];

/// Values of clusters.
pub const CLUSTER_VALUES: &[Choice<ClusterValues>] = &[
    (
        ClusterValues::Sums,
        "sums",
        "The sum over its cells: what a cluster adds to a voxel grows with its number of cells",
    ),
    (
        ClusterValues::Means,
        "means",
        "The mean of its cells: every cluster counts as one, only the density knows how many cells it has",
    ),
];

/// Filters.
pub const FILTERS: &[Choice<FilterChoice>] = &[
    (
        FilterChoice::Learned,
        "learned",
        "Keeps exactly that many cells, those that lower the loss most (--solver mirror)",
    ),
    (
        FilterChoice::Package,
        "package",
        "As the original package, weighed by --lambda-count and --lambda-f-reg: it keeps mostly what its random start prefers (--solver adam)",
    ),
];

/// Goals.
pub const GOALS: &[Choice<Goal>] = &[
    (
        Goal::Impute,
        "impute",
        "Genes that the voxels lack: smoother, each voxel's shares of genes count",
    ),
    (
        Goal::Place,
        "place",
        "Where each cell sits: sharper, each voxel's shares of genes count most",
    ),
    (
        Goal::Compose,
        "compose",
        "Which types of cells a spot holds: the same settings as place",
    ),
    (Goal::Package, "package", "The loss of the original package"),
];

/// Conventions of the loss.
pub const CONVENTIONS: &[Choice<Convention>] = &[
    (
        Convention::Package,
        "package",
        "Means of cosines over genes and voxels, KL(d ‖ q): as the published package computes",
    ),
    (
        Convention::Paper,
        "paper",
        "Sums of cosines over genes and voxels, KL(q ‖ d): equations 1 and 2 of the paper",
    ),
];

/// Devices.
pub const DEVICES: &[Choice<DeviceChoice>] = &[
    (
        DeviceChoice::Cpu,
        "cpu",
        "The program's own kernels on the cores",
    ),
    (
        DeviceChoice::Cuda,
        "cuda",
        "libtorch on a GPU for every rank",
    ),
    (
        DeviceChoice::Auto,
        "auto",
        "A GPU if every rank has one, otherwise the cores",
    ),
    (DeviceChoice::TorchCpu, "torch-cpu", "libtorch on the cores"),
];

/// Whether cells are read at every pass.
pub const STREAMS: &[Choice<Stream>] = &[
    (Stream::Auto, "auto", "If memory is short"),
    (Stream::On, "on", "Always"),
    (Stream::Off, "off", "Never"),
];

/// Precisions.
pub const PRECISIONS: &[Choice<PrecisionChoice>] = &[
    (
        PrecisionChoice::Auto,
        "auto",
        "f32 on CPU cores, tf32 on a GPU",
    ),
    (PrecisionChoice::F32, "f32", "Single precision"),
    (
        PrecisionChoice::Tf32,
        "tf32",
        "On a GPU, products of numbers rounded to 10 bits; on CPU cores single precision",
    ),
    (
        PrecisionChoice::Bf16,
        "bf16",
        "Products of bf16 numbers (7 bits), summed in single precision",
    ),
    (
        PrecisionChoice::Fp16,
        "fp16",
        "On a GPU only: products of scaled fp16 numbers (10 bits), summed in single precision",
    ),
    (PrecisionChoice::F64, "f64", "Double precision"),
];

/// File formats of AnnData.
pub const FORMATS: &[Choice<MappingFormat>] = &[
    (MappingFormat::Zarr, "zarr", "A folder of compressed chunks"),
    (MappingFormat::H5ad, "h5ad", "One HDF5 file"),
];

/// Deterministic assignments.
pub const ASSIGNMENTS: &[Choice<Assign>] = &[
    (
        Assign::Cells,
        "cells",
        "Every cell its most probable voxel, as the original package does",
    ),
    (
        Assign::Voxels,
        "voxels",
        "Every voxel its most probable cell, as the paper does",
    ),
];
