//! From files to files: reads cells and voxels, learns a mapping, carries what is known of the cells into space.

pub mod annotations;
pub mod checkpoint;
pub mod device;
pub mod error;
pub mod factors_file;
pub mod fold;
pub mod gene_list;
pub mod gene_transfer;
pub mod grid_plan;
pub mod inputs;
pub mod learned;
pub mod listener;
pub mod lock;
pub mod mapping_file;
pub mod memory_check;
pub mod queue;
pub mod ranks;
pub mod run_directory;
mod run_files;
pub mod runs;
pub mod settings;
pub mod stored_mapping;
pub mod values;
pub mod versions;
pub mod wording;
