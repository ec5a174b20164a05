"""Writes one small data set in every format and encoding the store reads: make_files.py FOLDER.

The values follow formulas, which the Rust test computes again (crates/store/tests/files/read.rs). Files come from anndata
itself; those of older versions and of 10x programs are written with h5py and the standard library in the layout their
writers document.
"""

import gzip
import json
import sys
import warnings
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp
import zarr

N, M, RAW = 50, 12, 14
# anndata turns repeated texts into categories unless told otherwise.
PLAIN = {"convert_strings_to_categoricals": False}
warnings.simplefilter("ignore")
ad.settings.allow_write_nullable_strings = True


def values(n=N, m=M):
    v = (7 * np.arange(n)[:, None] + 3 * np.arange(m)[None, :]) % 11
    return np.where(v < 5, v, 0)


def names(prefix, count, width):
    return [f"{prefix}_{i:0{width}}" for i in range(count)]


def observations():
    i = np.arange(N)
    kinds = ["alpha", "beta", "gamma"]
    return pd.DataFrame(
        {
            "kind": pd.Categorical([None if k % 4 == 3 else kinds[k % 4] for k in i], categories=kinds),
            "ward": pd.Categorical(i % 3 + 10),
            "score": np.where(i == 5, np.nan, i / 4),
            "count": (i * 2).astype("int32"),
            "flag": i % 3 == 0,
            "note": [f"note {k}µ" for k in i],
            "n_int": pd.array([None if k % 5 == 0 else int(k) for k in i], dtype="Int64"),
            "n_bool": pd.array([None if k % 7 == 0 else bool(k % 2 == 0) for k in i], dtype="boolean"),
            "n_str": pd.array([None if k % 6 == 0 else f"s{k}" for k in i], dtype="string"),
        },
        index=names("cell", N, 3),
    )


def data(x):
    """The data set with `x` as its main matrix."""
    i = np.arange(N)
    full = ad.AnnData(sp.csr_matrix(values(N, RAW).astype("float32")), obs=observations())
    full.var_names = names("gene", RAW, 2)
    full.raw = full.copy()
    a = full[:, :M].copy()
    a.X = x
    a.var["length"] = np.arange(M) * 100
    a.obsm["spatial"] = np.stack([i, 2 * i + 0.5], 1)
    a.obsm["pca"] = (i[:, None] + np.arange(3)[None, :] / 8).astype("float32")
    a.obsm["hot"] = sp.csr_matrix(np.eye(4)[i % 4])
    a.obsm["adt"] = pd.DataFrame({"CD3": i, "CD19": i / 2}, index=a.obs_names)
    a.varm["loadings"] = np.ones((M, 2))
    a.layers["counts"] = sp.csc_matrix(values().astype("int32"))
    a.layers["dense"] = values().astype("float64")
    a.layers["present"] = values() > 0
    a.uns = {
        "title": "a title",
        "number": 3.5,
        "whole": 7,
        "yes": True,
        "numbers": np.array([1.5, 2.5]),
        "names": np.array(["x", "y"], dtype=object),
        "table": pd.DataFrame({"loss": [1.0, 0.5]}, index=["0", "1"]),
        "nested": {"deep": {"a": 1}},
        "ranks": np.array([("g", 1.0)], dtype=[("name", "O"), ("score", "f4")]),
    }
    return a


def write_anndata(out):
    x = values()
    kinds = {
        "dense_f64": x.astype("float64"),
        "dense_u8": x.astype("uint8"),
        "dense_f16": x.astype("float16"),
        "csr_f32": sp.csr_matrix(x.astype("float32")),
        "csr_i32": sp.csr_matrix(x.astype("int32")),
        "csr_u16": sp.csr_matrix(x.astype("uint16")),
        "csc_f32": sp.csc_matrix(x.astype("float32")),
        "csc_i64": sp.csc_matrix(x.astype("int64")),
    }
    for name, matrix in kinds.items():
        a = data(matrix)
        a.write_h5ad(out / f"{name}.h5ad", **PLAIN)
        if name == "dense_f16":
            continue
        del a.uns["ranks"]
        for version in (2, 3):
            ad.settings.zarr_write_format = version
            store = out / f"{name}_v{version}.zarr"
            a.write_zarr(store, **PLAIN)
            if version == 2:
                # How anndata 0.10 stores a single text.
                old = zarr.open_group(store, mode="r+", use_consolidated=False).create_array("uns/old", shape=(), dtype="<U9")
                old[...] = "a µ title"
                old.attrs.update({"encoding-type": "string", "encoding-version": "0.2.0"})
    for name, options in {
        "gzip": {"compression": "gzip", "compression_opts": 4},
        "lzf": {"compression": "lzf"},
    }.items():
        data(kinds["csr_f32"]).write_h5ad(out / f"{name}_csr.h5ad", **options, **PLAIN)
        data(kinds["dense_f64"]).write_h5ad(out / f"{name}_dense.h5ad", **options, **PLAIN)
    unnamed = data(kinds["csr_f32"])
    unnamed.X = None
    unnamed.write_h5ad(out / "no_x.h5ad", **PLAIN)


def write_sharded(out):
    """An AnnData store with sharded arrays, as hand-tuned stores have them."""
    ad.settings.zarr_write_format = 3
    store = out / "sharded_v3.zarr"
    data(sp.csr_matrix(values().astype("float32"))).write_zarr(store, **PLAIN)
    group = zarr.open_group(store, mode="r+")
    for key in ("X/data", "X/indices", "layers/dense"):
        old = group[key]
        content, attrs = old[...], dict(old.attrs)
        chunks = (5,) * content.ndim
        del group[key]
        new = group.create_array(key, shape=content.shape, dtype=content.dtype, chunks=chunks, shards=(20,) * content.ndim)
        new[...] = content
        new.attrs.update(attrs)


def sparse_group(file, key, matrix, legacy):
    g = file.create_group(key)
    kind = "csr" if sp.isspmatrix_csr(matrix) else "csc"
    if legacy:
        g.attrs["h5sparse_format"] = kind
        g.attrs["h5sparse_shape"] = matrix.shape
    else:
        g.attrs["encoding-type"] = f"{kind}_matrix"
        g.attrs["encoding-version"] = "0.1.0"
        g.attrs["shape"] = matrix.shape
    for part in ("data", "indices", "indptr"):
        g[part] = getattr(matrix, part)


def write_07(out):
    """The layout of anndata 0.7: dataframe 0.1.0 with `__categories`, arrays without encodings."""
    with h5py.File(out / "legacy_07.h5ad", "w") as f:
        sparse_group(f, "X", sp.csr_matrix(values().astype("float32")), legacy=False)
        text = h5py.string_dtype()
        for key, index, prefix, count, width in (("obs", "index", "cell", N, 3), ("var", "_index", "gene", M, 2)):
            g = f.create_group(key)
            g.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": index})
            g[index] = np.array(names(prefix, count, width), dtype=text)
            g.attrs["column-order"] = np.array(["kind", "count"] if key == "obs" else [], dtype=text)
        obs = observations()
        g = f["obs"]
        g["kind"] = obs["kind"].cat.codes.to_numpy()
        g["__categories/kind"] = np.array(["alpha", "beta", "gamma"], dtype=text)
        g["__categories/kind"].attrs["ordered"] = False
        g["kind"].attrs["categories"] = g["__categories/kind"].ref
        g["count"] = obs["count"].to_numpy()
        f["obsm/spatial"] = np.stack([np.arange(N), 2 * np.arange(N) + 0.5], 1)
        sparse_group(f, "layers/counts", sp.csc_matrix(values().astype("int32")), legacy=False)
        f.create_group("uns")


def write_06(out):
    """The layout of anndata 0.6: tables as compound datasets, h5sparse matrices, categories in `uns`."""
    with h5py.File(out / "legacy_06.h5ad", "w") as f:
        sparse_group(f, "X", sp.csr_matrix(values().astype("float32")), legacy=True)
        obs = np.zeros(N, dtype=[("index", "S8"), ("kind", "i1"), ("count", "i4")])
        obs["index"] = names("cell", N, 3)
        obs["kind"] = observations()["kind"].cat.codes
        obs["count"] = observations()["count"]
        f["obs"] = obs
        var = np.zeros(M, dtype=[("index", "S7")])
        var["index"] = names("gene", M, 2)
        f["var"] = var
        f["uns/kind_categories"] = np.array(["alpha", "beta", "gamma"], dtype=h5py.string_dtype())
        obsm = np.zeros(N, dtype=[("spatial", "f8", (2,))])
        obsm["spatial"] = np.stack([np.arange(N), 2 * np.arange(N) + 0.5], 1)
        f["obsm"] = obsm


def gene_names():
    """Names with one twice, as 10x references have."""
    return [*names("gene", M - 1, 2), "gene_00"]


def write_10x_h5(path, version):
    m = sp.csc_matrix(values().T.astype("int32"))
    with h5py.File(path, "w") as f:
        g = f.create_group("matrix" if version == 3 else "GRCh38")
        g["barcodes"] = np.array(names("cell", N, 3), dtype="S18")
        for part in ("data", "indices", "indptr"):
            g[part] = getattr(m, part)
        g["shape"] = np.array(m.shape, dtype="int32")
        ids = np.array([f"ENSG{i:05}" for i in range(M)], dtype="S15")
        if version == 3:
            g["features/id"] = ids
            g["features/name"] = np.array(gene_names(), dtype="S17")
            g["features/feature_type"] = np.array(["Gene Expression"] * M, dtype="S15")
            g["features/genome"] = np.array(["GRCh38"] * M, dtype="S6")
            g["features/_all_tag_keys"] = np.array(["genome"], dtype="S6")
        else:
            g["genes"] = ids
            g["gene_names"] = np.array(gene_names(), dtype="S17")


def write_10x_mtx(folder, version):
    folder.mkdir(parents=True)
    m = sp.coo_matrix(values().T.astype("int32"))
    new = version == 3
    opener = (lambda p: gzip.open(f"{p}.gz", "wb")) if new else (lambda p: open(p, "wb"))
    with opener(folder / "matrix.mtx") as f:
        scipy.io.mmwrite(f, m, comment="metadata_json: {}", field="integer")
    with opener(folder / "barcodes.tsv") as f:
        f.write("".join(f"{b}\n" for b in names("cell", N, 3)).encode())
    with opener(folder / ("features.tsv" if new else "genes.tsv")) as f:
        for i, name in enumerate(gene_names()):
            f.write((f"ENSG{i:05}\t{name}" + ("\tGene Expression" if new else "") + "\n").encode())


def write_spaceranger(folder, new):
    """Positions come in another order than barcodes, and for more spots, as in real folders."""
    (folder / "spatial").mkdir(parents=True)
    if new:
        write_10x_h5(folder / "filtered_feature_bc_matrix.h5", 3)
    else:
        write_10x_mtx(folder / "filtered_feature_bc_matrix", 3)
    lines = [f"{b},{int(i < N)},{i},{i + 1},{2 * i + 0.5},{i}" for i, b in enumerate([*names("cell", N, 3), "empty"])]
    if new:
        header = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres"
        (folder / "spatial/tissue_positions.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    else:
        (folder / "spatial/tissue_positions_list.csv").write_text("\n".join(reversed(lines)) + "\n")
    (folder / "spatial/scalefactors_json.json").write_text(json.dumps({"spot_diameter_fullres": 89.0}))


def write_bad(out):
    """Files that must be refused, each for one reason."""
    whole = (out / "csr_f32.h5ad").read_bytes()
    (out / "truncated.h5ad").write_bytes(whole[: len(whole) // 2])
    (out / "text.h5ad").write_text("cell,gene\n")
    (out / "empty_folder").mkdir()
    with h5py.File(out / "other.h5", "w") as f:
        f["table"] = [1, 2]
    for name, value in {"nan": np.nan, "inf": np.inf, "negative": -1.0}.items():
        for layout, make in {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "dense": np.asarray}.items():
            x = values().astype("float32")
            x[33, 4] = value
            data(make(x)).write_h5ad(out / f"{name}_{layout}.h5ad", **PLAIN)
    twice = data(sp.csr_matrix(values().astype("float32")))
    twice.var_names = gene_names()
    twice.write_h5ad(out / "duplicates.h5ad", **PLAIN)
    data(sp.csr_matrix(values().astype("float32"))).write_h5ad(out / "unknown_encoding.h5ad", **PLAIN)
    with h5py.File(out / "unknown_encoding.h5ad", "r+") as f:
        f["X"].attrs["encoding-type"] = "quantum_matrix"
    # Parts that lie in another file: by a link, by a link to a link, and numbers beside the file.
    whole = data(np.asarray(values().astype("float32")))
    for name in ("linked", "linked_twice", "beside"):
        whole.write_h5ad(out / f"{name}.h5ad", **PLAIN)
    with h5py.File(out / "linked.h5ad", "r+") as f:
        del f["X"]
        f["X"] = h5py.ExternalLink("csr_f32.h5ad", "/X")
    with h5py.File(out / "linked_twice.h5ad", "r+") as f:
        del f["var"]
        f["elsewhere"] = h5py.ExternalLink("csr_f32.h5ad", "/")
        f["var"] = h5py.SoftLink("/elsewhere/var")
    with h5py.File(out / "beside.h5ad", "r+") as f:
        x, attributes = f["X"][:], dict(f["X"].attrs)
        del f["X"]
        f.create_dataset("X", shape=x.shape, dtype="f4", external=[(str(out / "beside.raw"), 0, x.nbytes)])
        f["X"][:] = x
        f["X"].attrs.update(attributes)


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    write_anndata(out)
    write_sharded(out)
    write_07(out)
    write_06(out)
    for version in (2, 3):
        write_10x_h5(out / f"tenx_v{version}.h5", version)
        write_10x_mtx(out / f"tenx_mtx_v{version}", version)
    write_spaceranger(out / "spaceranger_new", new=True)
    write_spaceranger(out / "spaceranger_old", new=False)
    write_bad(out)

    import scanpy as sc

    for version in (2, 3):
        for a in (sc.read_10x_h5(out / f"tenx_v{version}.h5"), sc.read_10x_mtx(out / f"tenx_mtx_v{version}")):
            np.testing.assert_array_equal(a.X.toarray(), values())


main()
