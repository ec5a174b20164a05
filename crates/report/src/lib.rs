//! Figures and the HTML report of a mapping, from tables and arrays alone: nothing here reads a data file.
//!
//! | to | call |
//! |---|---|
//! | draw values or categories of voxels in space | [`value_maps`], [`category_map`] |
//! | draw scores, loss and density | the functions of [`charts`] |
//! | draw runs side by side, or a sweep | the functions of [`several`] |
//! | draw a section in its atlas | [`registered_section`] |
//! | have a drawing as SVG, PNG or PDF | [`Figure::svg`], [`Figure::png`], [`Figure::pdf`] |
//! | write the report | [`Page::html`] |
//!
//! The same input gives the same bytes on every machine: text is measured and drawn with the DejaVu font that the program carries.
//!
//! ```
//! use tangram_report::{Panel, Places, Scale, value_maps};
//!
//! let places = Places::new(vec![0.0, 1.0, 2.0], vec![0.0, 0.5, 0.0]).expect("finite coordinates");
//! let panel = Panel { title: "Slc17a7", note: "", values: &[0.5, 2.0, 0.0] };
//! let figure = value_maps(&places, &[panel], "A gene", Scale::Own)?;
//! assert!(figure.svg().starts_with("<svg"));
//! assert!(figure.png(2.0)?.starts_with(b"\x89PNG"));
//! # Ok::<(), tangram_report::PictureError>(())
//! ```

mod axes;
mod canvas;
pub mod charts;
mod error;
mod figure;
pub mod intervals;
mod layout;
mod maps;
mod pack;
mod page;
mod palette;
mod places;
mod raster;
mod section;
pub mod series;
pub mod several;
mod tissue;

pub use error::PictureError;
pub use figure::{Figure, Format};
pub use maps::{Panel, Scale, category_map, value_maps};
pub use page::{GeneRow, GeneValues, Page, RunPage, TypeRow, Warning};
pub use palette::{Color, type_colors};
pub use places::Places;
pub use section::{Profile, Section, registered_section};
pub use tissue::Tissue;
