//! Files written here, opened and compared by anndata and scanpy.

use crate::python::run;
use ndarray::{Array2, s};
use tangram_core::{Column, SparseRows, Table};
use tangram_store::{AnnDataWriter, ArrayValues, Existing, MatrixName, Uns};

const N: usize = 60;
const M: usize = 700;

/// `judge.py` computes the same.
fn value(i: usize, j: usize) -> f32 {
    let v = (7 * i + 3 * j) % 11;
    if v < 3 { v as f32 / 4.0 } else { 0.0 }
}

#[test]
fn anndata_and_scanpy_open_what_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ["h5ad", "zarr"] {
        let mut obs = Table::of_names((0..N).map(|i| format!("cell{i}")).collect());
        let codes = (0..N)
            .map(|i| (i % 4 != 3).then_some((i % 4) as u32))
            .collect();
        let categories = ["x", "y", "z µ"].map(String::from).to_vec();
        obs.set(
            "type",
            Column::Categorical {
                codes,
                categories,
                ordered: false,
            },
        );
        obs.set(
            "size",
            Column::Numeric((0..N).map(|i| (i != 5).then_some(i as f64 / 2.0)).collect()),
        );
        obs.set(
            "note",
            Column::Text((0..N).map(|i| format!("n{}", i % 7)).collect()),
        );
        let many: Vec<String> = (0..N).map(|i| format!("own{i:04}")).collect();
        obs.set("own", Column::categories(&many));
        obs.set(
            "whole",
            Column::Integer((0..N).map(|i| Some(i as i64 - 3)).collect()),
        );
        obs.set(
            "some",
            Column::Integer((0..N).map(|i| (i % 3 > 0).then_some(i as i64)).collect()),
        );
        obs.set(
            "flag",
            Column::Flag((0..N).map(|i| Some(i % 3 == 0)).collect()),
        );
        obs.set(
            "maybe",
            Column::Flag((0..N).map(|i| (i != 2).then_some(i % 2 == 0)).collect()),
        );
        obs.set(
            "stage",
            Column::Categorical {
                codes: (0..N).map(|i| Some((i % 2) as u32)).collect(),
                categories: ["late", "early"].map(String::from).to_vec(),
                ordered: true,
            },
        );
        let var = Table::of_names((0..M).map(|j| format!("voxel{j}")).collect());
        let path = folder.path().join(format!("out.{ending}"));
        let mut writer = AnnDataWriter::create(&path, Existing::Refuse, &obs, &var).unwrap();
        let values = Array2::from_shape_fn((N, M), |(i, j)| value(i, j));
        for name in [MatrixName::X, MatrixName::Raw] {
            let mut sink = writer.sparse(&name).unwrap();
            sink.append(&SparseRows::from_dense(values.slice(s![..40, ..])))
                .unwrap();
            sink.append(&SparseRows::from_dense(values.slice(s![40.., ..])))
                .unwrap();
            sink.finish().unwrap();
        }
        let mut sink = writer
            .dense(&MatrixName::Layer("dense".to_owned()))
            .unwrap();
        for start in (0..M).step_by(300) {
            sink.write_columns(start, values.slice(s![.., start..(start + 300).min(M)]))
                .unwrap();
        }
        sink.finish().unwrap();
        let spatial = Array2::from_shape_fn((N, 2), |(i, j)| i as f64 + j as f64 / 2.0);
        writer.obsm("spatial", spatial.view()).unwrap();
        writer
            .varm("spatial", values.t().slice(s![.., ..2]))
            .unwrap();
        let mut history = Table::of_names(vec!["0".to_owned(), "1".to_owned()]);
        history.set("loss", Column::numbers([1.5, 0.5]));
        let settings = Uns::Map(
            [
                ("mode", Uns::from("cells")),
                ("epochs", Uns::from(1000_i64)),
                ("rate", Uns::from(0.1)),
                ("exact", Uns::from(false)),
                (
                    "genes",
                    Uns::Texts(vec!["Gad1".to_owned(), "Sst".to_owned()]),
                ),
                ("lambdas", Uns::Numbers(vec![1.0, 0.0])),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        );
        writer.uns("history", &Uns::Table(history)).unwrap();
        writer.uns("settings", &settings).unwrap();
        let image = Uns::Array {
            shape: vec![2, 4, 3],
            values: ArrayValues::U8((0..24).collect()),
        };
        writer.uns("image", &image).unwrap();
        writer.finish().unwrap();
    }
    run(
        "judge.py",
        &[
            &folder.path().join("out.h5ad"),
            &folder.path().join("out.zarr"),
        ],
    );
}
