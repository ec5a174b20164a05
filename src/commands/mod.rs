//! The commands, one file each: its flags, and what it does with them.

pub mod atlas;
pub mod deconvolve;
pub mod doctor;
pub mod inspect;
pub mod map;
pub mod place;
pub mod plan;
pub mod plot;
pub mod project;
pub mod report;
pub mod score;
pub mod simulate;
pub mod submit;
pub mod sweep;
