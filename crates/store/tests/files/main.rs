//! Files read and written, against anndata and scanpy themselves.
//!
//! Tests that need Python take the interpreter from the variable `TANGRAM_PYTHON`; it must have anndata, scanpy and zarr.

#![allow(clippy::unwrap_used)] // In tests a panic is the report; clippy excuses only the test functions themselves.

mod bad;
mod cycle;
mod judged;
mod python;
mod read;
