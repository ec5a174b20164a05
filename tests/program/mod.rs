//! The program as a person runs it, and small inputs for it.

pub mod require;
mod shared_folder;

pub use shared_folder::shared_folder;

use ndarray::Array2;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tangram_core::{Column, SparseRows, Table};
use tangram_store::{AnnDataWriter, Existing, MatrixName};

/// The program, to be given arguments.
pub fn tangram() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tangram"))
}

/// Runs the program in a folder; the arguments are split at blanks.
pub fn run(folder: &Path, arguments: &str) -> Output {
    tangram()
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

/// Runs the program and expects success; gives its standard output.
pub fn succeed(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tangram {arguments}\n{errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs the program and expects one of its exit codes; gives its standard error.
pub fn fail(folder: &Path, arguments: &str, code: i32) -> String {
    let output = run(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(code),
        "tangram {arguments}\n{errors}"
    );
    errors
}

/// The program on several ranks of this machine.
#[cfg(feature = "mpi")]
pub fn mpirun(folder: &Path, n_ranks: usize, arguments: &str) -> Command {
    let mut command = Command::new("mpirun");
    command
        .current_dir(folder)
        .args(["--oversubscribe", "--bind-to", "none", "-n"])
        .arg(n_ranks.to_string())
        .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
        .env("OMPI_MCA_rmaps_base_oversubscribe", "1")
        // A rank that waits gives its core to one that works: there are more ranks than cores.
        .env("OMPI_MCA_mpi_yield_when_idle", "1")
        .arg(env!("CARGO_BIN_EXE_tangram"))
        .args(arguments.split_whitespace());
    command
}

/// The JSON summary of a command that succeeds.
pub fn summary(folder: &Path, arguments: &str) -> serde_json::Value {
    serde_json::from_str(&succeed(folder, &format!("{arguments} --json"))).unwrap()
}

/// The history of a run without its seconds.
pub fn history(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("history.tsv")).unwrap();
    let cut = |line: &str| line.rsplit_once('\t').unwrap().0.to_owned();
    text.lines().map(cut).collect()
}

/// Everything in a folder, hidden files too, sorted.
pub fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    found.sort();
    found
}

/// Names `PREFIX0`, `PREFIX1`, …
pub fn names(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

/// An expression file in the making: 6 rows and 4 genes with a count in every row and gene.
pub struct Expression {
    pub obs: Table,
    pub genes: Vec<String>,
    pub values: SparseRows,
}

impl Expression {
    /// Rows named `PREFIX0` and so on.
    pub fn new(prefix: &str) -> Self {
        let mut values = SparseRows::empty(4);
        for i in 0..6u32 {
            values.push_row(
                (0..4u32)
                    .filter(|g| i % 4 == *g || *g == 0)
                    .map(|g| (g, (i + g + 1) as f32)),
            );
        }
        Self {
            obs: Table::of_names(names(prefix, 6)),
            genes: names("gene", 4),
            values,
        }
    }

    /// With the stored value at a place of the CSR values replaced.
    pub fn value(mut self, at: usize, value: f32) -> Self {
        self.values.values_mut()[at] = value;
        self
    }

    /// With a column of numbers in obs.
    pub fn numbers(mut self, name: &str, values: [Option<f64>; 6]) -> Self {
        self.obs.set(name, Column::Numeric(values.to_vec()));
        self
    }

    /// Writes it.
    pub fn write(&self, path: &Path) {
        let var = Table::of_names(self.genes.clone());
        let mut file = AnnDataWriter::create(path, Existing::Refuse, &self.obs, &var).unwrap();
        let mut matrix = file.sparse(&MatrixName::X).unwrap();
        matrix.append(&self.values).unwrap();
        matrix.finish().unwrap();
        file.finish().unwrap();
    }
}

/// Checks that no number of two matrices differs by more than `tolerance` times the largest one, or 1.
pub fn close(a: &Array2<f32>, b: &Array2<f32>, tolerance: f32) {
    assert_eq!(a.dim(), b.dim());
    let largest = b.iter().fold(1.0f32, |m, x| m.max(x.abs()));
    let apart = a
        .iter()
        .zip(b)
        .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(apart <= tolerance * largest, "{apart} apart, of {largest}");
}
