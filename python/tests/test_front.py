"""The Python front on a small tissue: python test_front.py FOLDER (a plain script: it needs no test runner)."""

import importlib.metadata
import sys
from pathlib import Path

import anndata
import numpy as np

import tangram


def raises(kind, words, call):
    try:
        call()
    except kind as error:
        assert words in str(error), error
        return error
    raise AssertionError(f"no {kind.__name__}")


def main() -> None:
    folder = Path(sys.argv[1])
    cells, voxels = (anndata.read_h5ad(folder / f"{name}.h5ad") for name in ("cells", "voxels"))
    shared = sorted(set(cells.var_names) & set(voxels.var_names))

    # In memory and on disk give the same.
    quick = {"epochs": 10, "seed": 3, "progress": False}
    mapping = tangram.map(cells, voxels, hold_out=shared[:2], **quick)
    assert mapping.shape == (cells.n_obs, voxels.n_obs)
    assert list(mapping.obs_names) == list(cells.obs_names)
    on_disk = tangram.map(folder / "cells.h5ad", folder / "voxels.h5ad", out=folder / "front", hold_out=shared[:2], **quick)
    dense = lambda a: a.X.toarray() if hasattr(a.X, "toarray") else np.asarray(a.X)
    assert np.array_equal(dense(mapping), dense(on_disk))
    assert (folder / "front" / "report.html").is_file()

    types = tangram.project(mapping, types="cell_type")
    assert types.n_obs == voxels.n_obs and set(types.var_names) == set(cells.obs["cell_type"].cat.categories)
    genes = tangram.project(folder / "front", genes=shared[:3])
    assert list(genes.var_names) == shared[:3]
    scores = tangram.score(mapping)
    assert list(scores.index) == shared and set(scores.training[:2]) == {"held_out"}
    page = tangram.report(mapping, folder / "front.html", n_genes=5)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")

    # Errors are exceptions with the words of the program.
    error = raises(tangram.InputError, "nowhere.h5ad", lambda: tangram.map("nowhere.h5ad", voxels, progress=False))
    assert error.code == 3
    raises(tangram.OutputError, "exists", lambda: tangram.map(folder / "cells.h5ad", folder / "voxels.h5ad", out=folder / "front", progress=False))
    raises(tangram.UsageError, "--goal", lambda: tangram.map(folder / "cells.h5ad", folder / "voxels.h5ad", goal="nothing", progress=False))
    raises(ValueError, "tangram_run", lambda: tangram.score(cells))
    print("the front works with anndata", importlib.metadata.version("anndata"))


main()
