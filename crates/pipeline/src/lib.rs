//! From files to files: reads cells and voxels, learns a mapping, carries what is known of the cells into space.
//!
//! A program, a test or a Python extension calls this crate as the command line does, without its flags, its terminal and its exit codes.
//! Errors are [`PipelineError`]; messages and progress go to a [`Listener`]; nothing here prints or ends the process.
//!
//! | to | call | with |
//! |---|---|---|
//! | learn a mapping | [`map`](map::map) | [`MapSettings`], [`Output`] |
//! | carry types, genes and arrays of the cells into space | [`project`](project::project) | [`ProjectSettings`] |
//! | compare predicted with measured genes | [`score`](score::score) | [`score::ScoreSettings`] |
//! | estimate how many cells of each type a spot holds | [`deconvolve`](deconvolve::deconvolve) | [`deconvolve::DeconvolveSettings`] |
//! | place cells that were not in the training | [`place`](place::place) | [`place::PlaceSettings`] |
//! | find the fastest grid of ranks that fits | [`Task::candidates`](grid_plan::Task::candidates) | [`grid_plan::Task`] |
//!
//! # Example
//!
//! Cells and voxels of a simulated tissue, mapped by one process; the types of the cells, carried into space.
//!
//! ```
//! use tangram_core::{Tissue, TissueSettings};
//! use tangram_pipeline::choices::{MappingFormat, ObsColumn};
//! use tangram_pipeline::run_directory::Replace;
//! use tangram_pipeline::{MapSettings, Output, ProjectSettings, Silent, map, project, ranks, simulate};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let tissue = Tissue::new(TissueSettings {
//!     n_cells: 120,
//!     n_voxels: 60,
//!     n_spots: 20,
//!     n_genes: 80,
//!     n_panel_genes: 40,
//!     ..TissueSettings::default()
//! })?;
//! simulate::write(&tissue, folder, MappingFormat::H5ad)?;
//!
//! let settings = MapSettings {
//!     epochs: 20,
//!     ..MapSettings::new(folder.join("cells.h5ad"), folder.join("voxels.h5ad"))
//! };
//! let run = folder.join("run");
//! let mut ranks = ranks::one(settings.reduce);
//! let file = map(&settings, &Output::new(&run), &mut ranks, &Silent)?;
//! let record = file.expect("the only rank is the first").record;
//! assert_eq!((record.n_cells, record.n_voxels), (120, 60));
//!
//! let types = ProjectSettings {
//!     types: vec![ObsColumn("cell_type".to_owned())],
//!     ..ProjectSettings::new(&run)
//! };
//! let out = folder.join("types.h5ad");
//! project(&types, &out, Replace::Never, &Silent)?;
//! assert!(out.is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod annotations;
mod assigned;
pub mod atlas_demo;
pub mod atlas_segment;
pub mod atlas_series;
pub mod atlas_train;
mod carried_uns;
mod cause;
mod cell_types;
mod centroids;
pub mod checkpoint;
pub mod choices;
pub mod clusters;
mod convergence;
pub mod deconvolve;
pub mod deconvolve_choices;
mod deconvolve_files;
mod deconvolve_settings;
pub mod deconvolved_cells;
pub mod device;
pub mod doctor;
mod doubts;
pub mod error;
pub mod exit_record;
mod expression_files;
pub mod factors_file;
pub mod figures;
mod filter;
pub mod fold;
pub mod fold_state;
pub mod folds;
mod gathered;
pub mod gene_list;
pub mod gene_transfer;
mod given_types;
pub mod grid_plan;
mod held_out;
mod input_files;
pub mod inputs;
pub mod island_types;
mod learned;
pub mod listener;
pub mod lock;
mod loss_history;
pub mod map;
mod mapped_types;
pub mod mapping_file;
pub mod match_genes;
pub mod memory_check;
mod mode_check;
pub mod named;
pub mod names_differ;
pub mod neighbours;
mod package;
pub mod pictures;
pub mod place;
pub mod plane_network;
pub mod planned;
mod prediction_intervals;
mod prior;
pub mod project;
mod provenance;
pub mod ranks;
pub mod rates;
mod registration_run;
pub mod registrations;
pub mod registrations_collect;
pub mod replicates;
pub mod report;
mod report_warnings;
pub mod run_directory;
mod run_files;
mod run_writer;
pub mod runs;
mod same_files;
pub mod score;
pub mod section_report;
mod segmentation;
pub mod settings;
pub mod simulate;
mod spot_counts;
mod spots;
pub mod stored_mapping;
pub mod submission;
pub mod sweep_collect;
pub mod sweep_figures;
pub mod sweep_jobs;
pub mod sweep_new;
pub mod sweep_plan;
mod sweep_report;
pub mod sweep_run;
pub mod sweep_status;
pub mod sweep_work;
mod target_count;
mod temperature;
mod tissue_image;
mod trained_network;
pub mod truth;
mod type_column;
mod type_fits;
pub mod versions;
pub mod weights;
pub mod wording;
pub mod yardstick;

pub use error::PipelineError;
pub use listener::{Listener, Silent, Steps};
pub use map::{Earlier, Output, map};
pub use project::{ProjectSettings, project};
pub use settings::MapSettings;
