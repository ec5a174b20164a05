//! Files that anndata, h5py and 10x's layouts made, read: the values are `make_files.py`'s formulas.

use crate::python::files;
use ndarray::{Array2, Axis};
use std::path::Path;
use tangram_core::{Column, Table};
use tangram_store::{Dataset, Kind, MatrixName, Names, Uns};

const N: usize = 50;
const M: usize = 12;

fn value(row: usize, column: usize) -> f32 {
    let v = (7 * row + 3 * column) % 11;
    if v < 5 { v as f32 } else { 0.0 }
}

fn names(prefix: &str, count: usize, width: usize) -> Vec<String> {
    (0..count)
        .map(|i| format!("{prefix}_{i:0width$}"))
        .collect()
}

fn numeric(f: impl Fn(usize) -> Option<f64>) -> Column {
    Column::Numeric((0..N).map(f).collect())
}

fn whole(f: &dyn Fn(usize) -> Option<i64>) -> Column {
    Column::Integer((0..N).map(f).collect())
}

fn yes(f: &dyn Fn(usize) -> Option<bool>) -> Column {
    Column::Flag((0..N).map(f).collect())
}

fn kind() -> Column {
    Column::Categorical {
        codes: (0..N)
            .map(|i| (i % 4 < 3).then_some((i % 4) as u32))
            .collect(),
        categories: ["alpha", "beta", "gamma"].map(String::from).to_vec(),
        ordered: false,
    }
}

/// The matrix, read whole, in parts, and by columns out of order.
fn check_matrix(
    dataset: &Dataset,
    name: &MatrixName,
    n_columns: usize,
    value: impl Fn(usize, usize) -> f32,
) {
    let matrix = dataset.matrix(name).unwrap();
    assert_eq!(matrix.shape(), (N, n_columns), "{name}");
    let expected = Array2::from_shape_fn((N, n_columns), |(i, j)| value(i, j));
    assert_eq!(
        matrix.read_rows(0..N).unwrap().to_dense(),
        expected,
        "{name}"
    );
    let mut parts = matrix.read_rows(0..7).unwrap();
    for range in [7..8, 8..8, 8..31, 31..N] {
        parts.append(&matrix.read_rows(range).unwrap());
    }
    assert_eq!(parts.to_dense(), expected, "{name} in parts");
    assert!(
        parts.parts().2.iter().all(|&v| v != 0.0),
        "{name}: zeros are not stored"
    );
    let columns = [9, 2, 3, 0];
    let picked = matrix.read_columns(&columns).unwrap();
    assert_eq!(
        picked.to_dense(),
        expected.select(Axis(1), &columns),
        "{name} by columns"
    );
    assert!(matrix.read_rows(40..N + 1).is_err());
    assert!(matrix.read_columns(&[n_columns]).is_err());
}

fn check_anndata(path: &Path) {
    let dataset = Dataset::open(path).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((dataset.n_obs(), dataset.n_vars()), (N, M));
    assert_eq!(
        dataset.unique_names(Names::Obs).unwrap(),
        names("cell", N, 3)
    );
    assert_eq!(
        dataset.unique_names(Names::Var).unwrap(),
        names("gene", M, 2)
    );
    let layer = |name: &str| MatrixName::Layer(name.to_owned());
    let all = [
        MatrixName::X,
        MatrixName::Raw,
        layer("counts"),
        layer("dense"),
        layer("present"),
    ];
    assert_eq!(dataset.matrix_names().unwrap(), all);
    for name in [MatrixName::X, layer("counts"), layer("dense")] {
        check_matrix(&dataset, &name, M, value);
    }
    check_matrix(&dataset, &layer("present"), M, |i, j| {
        f32::from(value(i, j) > 0.0)
    });
    check_matrix(&dataset, &MatrixName::Raw, 14, value);
    assert_eq!(
        dataset
            .matrix(&MatrixName::Raw)
            .unwrap()
            .column_names()
            .unwrap(),
        names("gene", 14, 2)
    );

    let categories = ["10", "11", "12"].map(String::from).to_vec();
    let ward = Column::Categorical {
        codes: (0..N).map(|i| Some((i % 3) as u32)).collect(),
        categories,
        ordered: false,
    };
    let text = |f: &dyn Fn(usize) -> String| Column::Text((0..N).map(f).collect());
    let columns = [
        ("kind", kind()),
        ("ward", ward),
        ("score", numeric(|i| (i != 5).then_some(i as f64 / 4.0))),
        ("count", whole(&|i| Some(i as i64 * 2))),
        ("flag", yes(&|i| Some(i % 3 == 0))),
        ("note", text(&|i| format!("note {i}µ"))),
        ("n_int", whole(&|i| (i % 5 != 0).then_some(i as i64))),
        ("n_bool", yes(&|i| (i % 7 != 0).then_some(i % 2 == 0))),
        (
            "n_str",
            text(&|i| {
                if i % 6 == 0 {
                    String::new()
                } else {
                    format!("s{i}")
                }
            }),
        ),
    ];
    let obs = dataset.obs().unwrap();
    for ((name, column), (expected_name, expected)) in obs.columns.iter().zip(&columns) {
        assert_eq!((name.as_str(), column), (*expected_name, expected));
        assert_eq!(&dataset.obs_column(name).unwrap(), expected);
    }
    assert_eq!(obs.columns.len(), columns.len());
    let length = Column::Integer((0..M).map(|j| Some(j as i64 * 100)).collect());
    assert_eq!(
        dataset.var().unwrap().columns,
        [("length".to_owned(), length)]
    );

    assert_eq!(
        dataset.obsm_names().unwrap(),
        ["adt", "hot", "pca", "spatial"]
    );
    let spatial = Array2::from_shape_fn((N, 2), |(i, j)| {
        if j == 0 {
            i as f64
        } else {
            2.0 * i as f64 + 0.5
        }
    });
    assert_eq!(dataset.spatial().unwrap(), Some(spatial));
    let pca = Array2::from_shape_fn((N, 3), |(i, j)| i as f32 + j as f32 / 8.0);
    assert_eq!(dataset.obsm("pca").unwrap(), pca);
    let hot = Array2::from_shape_fn((N, 4), |(i, j)| f32::from(i % 4 == j));
    assert_eq!(dataset.obsm("hot").unwrap(), hot);
    let adt = Array2::from_shape_fn((N, 2), |(i, j)| i as f32 / (j + 1) as f32);
    assert_eq!(dataset.obsm("adt").unwrap(), adt);
    assert_eq!(
        dataset.obsm_labels("adt").unwrap(),
        Some(vec!["CD3".to_owned(), "CD19".to_owned()])
    );
    assert_eq!(dataset.obsm_labels("pca").unwrap(), None);

    let uns = |key: &str| dataset.uns_value(key).unwrap();
    assert_eq!(uns("title"), Some(Uns::Text("a title".to_owned())));
    assert_eq!(uns("number"), Some(Uns::Number(3.5)));
    assert_eq!(uns("whole"), Some(Uns::Integer(7)));
    assert_eq!(uns("yes"), Some(Uns::Flag(true)));
    assert_eq!(uns("numbers"), Some(Uns::Numbers(vec![1.5, 2.5])));
    assert_eq!(
        uns("names"),
        Some(Uns::Texts(vec!["x".to_owned(), "y".to_owned()]))
    );
    assert_eq!(uns("nested/deep/a"), Some(Uns::Integer(1)));
    assert_eq!(uns("nothing"), None);
    if dataset.kind() == Kind::ZarrV2 {
        assert_eq!(uns("old"), Some(Uns::Text("a µ title".to_owned())));
    }
    let mut table = Table::of_names(vec!["0".to_owned(), "1".to_owned()]);
    table.set("loss", Column::numbers([1.0, 0.5]));
    assert_eq!(uns("table"), Some(Uns::Table(table)));

    let summary = dataset.summary().unwrap();
    assert_eq!(summary.obs[0].n_categories, Some(3));
    let shown = summary.to_string();
    assert!(
        shown.contains("categorical, 3 categories") && shown.contains("layer:counts"),
        "{shown}"
    );
}

#[test]
fn every_encoding_of_anndata_reads_the_same() {
    let Some(files) = files() else { return };
    let kinds = [
        "dense_f64",
        "dense_u8",
        "csr_f32",
        "csr_i32",
        "csr_u16",
        "csc_f32",
        "csc_i64",
    ];
    for kind in kinds {
        for name in [
            format!("{kind}.h5ad"),
            format!("{kind}_v2.zarr"),
            format!("{kind}_v3.zarr"),
        ] {
            println!("{name}");
            check_anndata(&files.join(name));
        }
    }
    check_anndata(&files.join("dense_f16.h5ad"));
    check_anndata(&files.join("sharded_v3.zarr"));
    for name in [
        "gzip_csr.h5ad",
        "gzip_dense.h5ad",
        "lzf_csr.h5ad",
        "lzf_dense.h5ad",
    ] {
        println!("{name}");
        check_anndata(&files.join(name));
    }
}

#[test]
fn a_file_without_x_has_its_other_matrices() {
    let Some(files) = files() else { return };
    let dataset = Dataset::open(&files.join("no_x.h5ad")).unwrap();
    assert!(!dataset.matrix_names().unwrap().contains(&MatrixName::X));
    check_matrix(&dataset, &MatrixName::Layer("counts".to_owned()), M, value);
    let error = dataset.matrix(&MatrixName::X).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "the file has no matrix `X`; it has: raw, layer:counts, layer:dense, layer:present"
        ),
        "{error}"
    );
}

#[test]
fn layouts_of_older_anndata_read_the_same() {
    let Some(files) = files() else { return };
    for name in ["legacy_07.h5ad", "legacy_06.h5ad"] {
        println!("{name}");
        let dataset = Dataset::open(&files.join(name)).unwrap();
        assert_eq!(dataset.obs_names().unwrap(), names("cell", N, 3));
        assert_eq!(dataset.var_names().unwrap(), names("gene", M, 2));
        check_matrix(&dataset, &MatrixName::X, M, value);
        assert_eq!(dataset.obs_column("kind").unwrap(), kind());
        assert_eq!(
            dataset.obs_column("count").unwrap(),
            whole(&|i| Some(i as i64 * 2))
        );
        assert_eq!(dataset.obs().unwrap().columns.len(), 2);
        assert_eq!(dataset.spatial().unwrap().unwrap()[[3, 1]], 6.5);
        assert!(dataset.var().unwrap().columns.is_empty());
        let columns = dataset.summary().unwrap().obs;
        assert_eq!(
            columns
                .iter()
                .find(|c| c.name == "kind")
                .unwrap()
                .n_categories,
            Some(3)
        );
    }
}

#[test]
fn tenx_matrices_read_the_same() {
    let Some(files) = files() else { return };
    let mut genes = names("gene", M - 1, 2);
    genes.push("gene_00-1".to_owned());
    let kinds = [
        ("tenx_v2.h5", Kind::TenXH5),
        ("tenx_v3.h5", Kind::TenXH5),
        ("tenx_mtx_v2", Kind::TenXMtx),
        ("tenx_mtx_v3", Kind::TenXMtx),
        ("spaceranger_old", Kind::SpaceRanger),
        ("spaceranger_new", Kind::SpaceRanger),
    ];
    for (name, kind) in kinds {
        println!("{name}");
        let dataset = Dataset::open(&files.join(name)).unwrap();
        assert_eq!(dataset.kind(), kind);
        assert_eq!(dataset.obs_names().unwrap(), names("cell", N, 3));
        assert_eq!(dataset.unique_names(Names::Var).unwrap(), genes);
        check_matrix(&dataset, &MatrixName::X, M, value);
        let var = dataset.var().unwrap();
        let Some(Column::Text(ids)) = var.column("gene_ids") else {
            panic!("gene_ids are texts")
        };
        assert_eq!(ids[11], "ENSG00011");
        let spatial = dataset.spatial().unwrap();
        if kind == Kind::SpaceRanger {
            let expected = Array2::from_shape_fn((N, 2), |(i, j)| {
                if j == 0 {
                    i as f64
                } else {
                    2.0 * i as f64 + 0.5
                }
            });
            assert_eq!(spatial, Some(expected));
            assert_eq!(
                dataset.obs_column("array_col").unwrap(),
                numeric(|i| Some(i as f64 + 1.0))
            );
        } else {
            assert_eq!(spatial, None);
        }
        assert!(dataset.summary().unwrap().to_string().contains("50 × 12"));
    }
}
