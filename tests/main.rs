//! The program as a person runs it. All of `tests/` is one binary, linked once; a module looks at one side of the program.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

mod program;

mod atlas;
mod bad_input;
mod circles;
#[cfg(feature = "mpi")]
mod cluster;
mod clusters;
mod config;
mod constrained;
mod deconvolve;
#[cfg(feature = "torch")]
mod device;
mod end_to_end;
mod factored;
mod faults;
mod first_user;
mod help;
mod layers;
mod networks;
mod packaging;
mod pages;
mod pictures;
mod plan;
mod presets;
#[cfg(feature = "mpi")]
mod ranks;
mod sweep;
