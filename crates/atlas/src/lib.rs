//! Registration of brain sections to an atlas.
//!
//! [`import`] makes an atlas store of an annotation and a structure tree, and [`Atlas`] reads it. A [`Transform`] carries points and images
//! between a section and the atlas.

mod carry;
mod classes;
mod damage;
mod density;
mod error;
mod expected;
mod expression;
mod fit;
mod flat_map;
mod found;
mod grid;
mod import;
pub mod ladder;
mod lattice;
mod nifti;
mod nrrd;
mod objective;
mod orientation;
mod outcome;
pub mod outputs;
mod photograph;
mod plane;
mod plane_caller;
mod points;
mod probability;
mod quality;
mod query;
mod query_files;
mod quicknii;
mod refusal;
mod register;
mod registered;
mod roi;
mod rungs;
mod section;
mod section_store;
pub mod series;
mod series_files;
mod signs;
mod start;
mod store;
mod structures;
pub mod synthetic;
pub mod synthetic_files;
mod transform;
mod warp;

pub use carry::{CarriedPoints, atlas_points, section_points, to_atlas, to_section};
pub use classes::{BACKGROUND, Class, ClassRule, MOST_CLASSES, NO_CLASS};
pub use density::{Density, TableUse, read_densities};
pub use error::AtlasError;
pub use expected::{ErrorPredictor, ExpectedError, Sign};
pub use expression::read_expression;
pub use flat_map::FlatMap;
pub use found::{Found, register_within};
pub use grid::{Grid, Volume};
pub use import::{ImportReport, ImportSources, import};
pub use nifti::encode_nifti;
pub use nrrd::{Nrrd, NrrdValues, encode_nrrd, read_nrrd};
pub use orientation::Orientation;
pub use outcome::{SectionFit, SectionOutcome, SectionState};
pub use photograph::{Photograph, write_classes};
pub use plane::Plane;
pub use plane_caller::{CalledPlane, PlaneCaller};
pub use points::PointTable;
pub use probability::{Probability, ProbabilityPyramid};
pub use quality::{Limits, OtherStart, Quality, Signs};
pub use query::{QueriedVoxel, QueriedVoxels, RegionShare, query_voxels, region_shares};
pub use query_files::{Region, provenance, region_table};
pub use quicknii::{Series, Slice};
pub use refusal::Refusal;
pub use register::{PlaneChoice, RegisterSettings, Registration, WarpChoice, register};
pub use registered::RegisteredSection;
pub use roi::Roi;
pub use section::{MOST_PIXELS, SectionMask};
pub use section_store::{
    MISSING, SectionRecord, read_sections, table_of as table_of_sections, write_sections,
};
pub use series_files::SeriesSections;
pub use start::Side;
pub use store::Atlas;
pub use structures::{Structure, StructureTree};
pub use transform::{Affine, InverseConsistency, Parameters, Transform};
pub use warp::{Displacement, VelocityField};
