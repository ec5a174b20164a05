"""Opens files that the store wrote (crates/store/tests/files/judged.rs) and compares them: judge.py OUT.h5ad OUT.zarr.

Any warning while a file is opened is a failure.
"""

import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp

N, M = 60, 700


def judge(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a = ad.read_h5ad(path) if path.suffix == ".h5ad" else ad.read_zarr(path)
    v = (7 * np.arange(N)[:, None] + 3 * np.arange(M)[None, :]) % 11
    x = np.where(v < 3, v / 4, 0).astype("float32")
    assert a.shape == (N, M)
    assert sp.issparse(a.X) and a.X.format == "csr" and a.X.dtype == np.float32
    assert a.X.has_canonical_format
    np.testing.assert_array_equal(a.X.toarray(), x)
    np.testing.assert_array_equal(a.raw.X.toarray(), x)
    assert list(a.raw.var_names) == list(a.var_names)
    assert a.layers["dense"].dtype == np.float32
    np.testing.assert_array_equal(a.layers["dense"], x)
    i = np.arange(N)
    assert list(a.obs_names) == [f"cell{k}" for k in i]
    assert list(a.var_names) == [f"voxel{k}" for k in range(M)]
    assert list(a.obs.columns) == ["type", "size", "note", "own", "whole", "some", "flag", "maybe", "stage"]
    assert a.obs["whole"].dtype == "int64" and (a.obs["whole"] == i - 3).all()
    assert a.obs["some"].isna().sum() == N // 3 and (a.obs["some"].dropna() == i[i % 3 > 0]).all()
    # A mask selects the rows that it names.
    assert a.obs["flag"].dtype == bool and list(a[a.obs["flag"]].obs["whole"]) == [k - 3 for k in i if k % 3 == 0]
    assert a.obs["maybe"].isna().sum() == 1 and a.obs["maybe"].sum() == (i % 2 == 0).sum() - 1
    assert a.obs["stage"].cat.ordered and list(a.obs["stage"].cat.categories) == ["late", "early"]
    np.testing.assert_array_equal(a.uns["image"], np.arange(24).reshape(2, 4, 3))
    assert a.uns["image"].dtype == "uint8"
    types = ["x", "y", "z µ"]
    expected = pd.Categorical([None if k % 4 == 3 else types[k % 4] for k in i], categories=types)
    assert expected.equals(a.obs["type"].array)
    np.testing.assert_array_equal(a.obs["size"], np.where(i == 5, np.nan, i / 2))
    assert list(a.obs["note"]) == [f"n{k % 7}" for k in i]
    assert list(a.obs["own"]) == [f"own{k:04}" for k in i]
    np.testing.assert_array_equal(a.obsm["spatial"], i[:, None] + np.arange(2)[None, :] / 2)
    np.testing.assert_array_equal(a.varm["spatial"], x.T[:, :2])
    np.testing.assert_array_equal(a.uns["history"]["loss"], [1.5, 0.5])
    settings = a.uns["settings"]
    assert settings["mode"] == "cells" and settings["epochs"] == 1000 and settings["rate"] == 0.1
    assert not settings["exact"]
    assert list(settings["genes"]) == ["Gad1", "Sst"] and list(settings["lambdas"]) == [1.0, 0.0]

    # Scanpy works on it, and anndata writes it again.
    b = sc.read(path) if path.suffix == ".h5ad" else a.copy()
    sc.pp.normalize_total(b)
    sc.pp.log1p(b)
    sc.pp.pca(b, n_comps=3)
    assert b.obsm["X_pca"].shape == (N, 3)
    a.write_h5ad(path.with_suffix(".again.h5ad"))
    backed = ad.read_h5ad(path, backed="r") if path.suffix == ".h5ad" else None
    if backed is not None:
        np.testing.assert_array_equal(backed[3:5].X.toarray(), x[3:5])


for name in sys.argv[1:]:
    judge(Path(name))
