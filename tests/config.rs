//! Settings from a file.

use crate::program::{Expression, fail, listing, succeed, summary};
use serde_json::json;
use std::fs;
use tempfile::{TempDir, tempdir};

/// A folder with small inputs and a settings file.
fn folder(settings: &str) -> TempDir {
    let folder = tempdir().unwrap();
    Expression::new("cell").write(&folder.path().join("cells.h5ad"));
    Expression::new("voxel").write(&folder.path().join("voxels.h5ad"));
    fs::write(
        folder.path().join("genes.txt"),
        "gene0\ngene1 # a comment\n\n",
    )
    .unwrap();
    fs::write(folder.path().join("my.toml"), settings).unwrap();
    folder
}

#[test]
fn settings_come_from_the_file_and_flags_win() {
    let folder = folder(
        "[map]\ncells = 'cells.h5ad'\nvoxels = 'voxels.h5ad'\nsolver = 'adam'\nepochs = 3\nlr = 0.5\nnormalize = 'none'\n\
         genes = 'genes.txt'\n[score]\nchunk = 7\n",
    );
    let run = summary(folder.path(), "map --config my.toml --out run --epochs 2");
    assert_eq!(run["map"]["epochs"], json!(2));
    assert_eq!(run["map"]["lr"], json!(0.5));
    assert_eq!(run["map"]["normalize"], json!("none"));
    assert_eq!(run["map"]["lambda-d"], json!(1.0));
    assert_eq!(
        run["record"]["genes"]["training"],
        json!(["gene0", "gene1"])
    );
}

#[test]
fn a_flag_wins_over_a_setting_that_it_excludes() {
    let folder = folder(
        "[map]\ncells = 'cells.h5ad'\nvoxels = 'voxels.h5ad'\nepochs = 2\ngenes = 'genes.txt'\n",
    );
    let run = summary(
        folder.path(),
        "map --config my.toml --out run --hold-out genes.txt",
    );
    assert_eq!(
        run["record"]["genes"]["training"],
        json!(["gene2", "gene3"])
    );
    assert_eq!(
        run["record"]["genes"]["held-out"],
        json!(["gene0", "gene1"])
    );
}

#[test]
fn the_record_of_a_run_repeats_it() {
    let folder = folder("");
    succeed(
        folder.path(),
        // 0 is not the weight of this goal.
        "map --cells cells.h5ad --voxels voxels.h5ad --out run --epochs 4 --seed 7 --keep all --lambda-h-scaled 0",
    );
    let again = summary(folder.path(), "map --config run/run.toml --out again");
    assert_eq!(
        (&again["map"]["seed"], &again["map"]["keep"]),
        (&json!(7), &json!("all"))
    );
    let history = |run: &str| -> Vec<String> {
        let text = fs::read_to_string(folder.path().join(run).join("history.tsv")).unwrap();
        text.lines()
            .map(|line| line.rsplit_once('\t').unwrap().0.to_owned())
            .collect()
    };
    assert_eq!(history("run").len(), 5);
    assert_eq!(history("run"), history("again"));

    // As an earlier build recorded it: without weights of 0, among them those that this build's goal has.
    let record = fs::read_to_string(folder.path().join("run/run.toml")).unwrap();
    let is_0 = |line: &&str| line.starts_with("lambda-") && line.ends_with("= 0.0");
    assert!(record.lines().filter(is_0).count() > 2);
    let earlier: Vec<&str> = record.lines().filter(|line| !is_0(line)).collect();
    fs::write(folder.path().join("earlier.toml"), earlier.join("\n")).unwrap();
    succeed(folder.path(), "map --config earlier.toml --out earlier");
    assert_eq!(history("run"), history("earlier"));
}

#[test]
fn the_default_settings_file_holds_the_defaults() {
    let folder = folder("");
    let defaults = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/map.toml");
    let inputs = "map --cells cells.h5ad --voxels voxels.h5ad --epochs 2";
    let mut with = summary(
        folder.path(),
        &format!("{inputs} --out with --config {defaults}"),
    );
    let mut without = summary(folder.path(), &format!("{inputs} --out without"));
    assert_eq!(with["map"].take(), without["map"].take());
    // Every setting is there, if only as a comment.
    let text = fs::read_to_string(defaults).unwrap();
    let record = fs::read_to_string(folder.path().join("with/run.toml")).unwrap();
    for line in record
        .lines()
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.is_empty())
    {
        let key = line.split(' ').next().unwrap();
        assert!(
            text.contains(&format!("\n{key} = ")) || text.contains(&format!("\n# {key} = ")),
            "{key}"
        );
    }
}

#[test]
fn unknown_settings_are_refused_with_the_nearest_known_one() {
    let cases = [
        (
            "[map]\nepoch = 3\n",
            "`epoch` is no setting of [map]; did you mean `epochs`?",
        ),
        (
            "[map]\nlambda_g1 = 3\n",
            "`lambda_g1` is no setting of [map]; did you mean `lambda-g1`?",
        ),
        (
            "[score]\nchunks = 3\n",
            "`chunks` is no setting of [score]; did you mean `chunk`?",
        ),
        (
            "[mapp]\nepochs = 3\n",
            "[mapp] is no command of tangram; did you mean [map]?",
        ),
        ("epochs = 3\n", "`epochs` stands outside the tables"),
        (
            "[map]\nepochs = true\n",
            "`epochs` of [map] is boolean true; expected a text or a number",
        ),
        (
            "[map]\nforce = 'yes'\n",
            "`force` of [map] is string \"yes\"; expected true or false",
        ),
        (
            "[map]\nepochs = 0\n",
            "--epochs <N>': give a whole number, 1 or more",
        ),
        ("[map\n", "TOML parse error"),
    ];
    for (settings, message) in cases {
        let folder = folder(settings);
        let before = listing(folder.path());
        let error = fail(
            folder.path(),
            "map --cells cells.h5ad --voxels voxels.h5ad --out run --config my.toml",
            2,
        );
        assert!(error.contains(message), "{settings}{error}");
        assert!(
            message.contains("--epochs") || error.contains("my.toml"),
            "{error}"
        );
        assert_eq!(listing(folder.path()), before);
    }
    let folder = folder("");
    let error = fail(
        folder.path(),
        "map --cells cells.h5ad --voxels voxels.h5ad --out run --config none.toml",
        2,
    );
    assert!(error.contains("none.toml"), "{error}");
}
