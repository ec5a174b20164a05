"""Opens the files that the program wrote with anndata and scanpy, without a warning, and checks what they say.

Run by tests/end_to_end.rs in the folder with the files.
"""

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
import scipy.sparse as sp


def read(path):
    """Reads a file; what anndata or scanpy would warn of is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Not about our files: warnings of the libraries about themselves.
        for quiet in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
            warnings.simplefilter("ignore", quiet)
        data = ad.read_zarr(path) if path.suffix == ".zarr" else sc.read_h5ad(path)
    print(f"{path}: {data.shape[0]} x {data.shape[1]}")
    return data


patterns = ["tissue/*.h5ad", "run/mapping.zarr", "python_*.h5ad", "python_*.zarr", "python_run/mapping.h5ad"]
files = {str(path): read(path) for pattern in patterns for path in sorted(Path().glob(pattern))}
assert len(files) == 9, "every kind of file the program writes"
cells, voxels, spots = (files[f"tissue/{name}.h5ad"] for name in ("cells", "voxels", "spots"))
mapping = files["run/mapping.zarr"]

assert sp.issparse(cells.X) and (cells.X.data == np.round(cells.X.data)).all(), "counts"
assert cells.obs["cell_type"].dtype == "category"
assert np.allclose(spots.obsm["true_prop"].sum(axis=1), 1)
assert list(mapping.obs_names) == list(cells.obs_names)
assert list(mapping.var_names) == list(voxels.obs_names)
assert (mapping.varm["spatial"] == voxels.obsm["spatial"]).all()
assert np.allclose(np.asarray(mapping.X.sum(axis=1)).ravel() + mapping.obs["dropped_mass"], 1, atol=1e-5)
assert len(mapping.uns["training_history"]["total"]) == 100
genes_by_part = {part: list(mapping.uns[f"{part}_genes"]) for part in ("training", "held_out", "dropped")}
assert sorted(sum(genes_by_part.values(), [])) == sorted(voxels.var_names)
assert len(genes_by_part["held_out"]) == 10 and len(genes_by_part["dropped"]) < 5
scores = mapping.uns["training_scores"]
assert list(scores.index) == list(mapping.uns["training_genes"])

# Transfers agree with the plain product.
types = files["python_types.h5ad"]
one_hot = np.stack([(cells.obs["cell_type"] == name).to_numpy(float) for name in types.var_names], axis=1)
assert np.allclose(types.X, mapping.X.T @ one_hot, atol=1e-4)
assert np.allclose(types.obs["expected_reference_cells"], np.asarray(mapping.X.sum(axis=0)).ravel(), atol=1e-4)
assert (types.obsm["spatial"] == voxels.obsm["spatial"]).all()

normalised = cells.copy()
sc.pp.normalize_total(normalised)
genes = files["python_genes.zarr"]
assert list(genes.var_names) == list(cells.var_names)
assert np.allclose(genes.X, (mapping.X.T @ normalised.X).toarray(), rtol=1e-3, atol=1e-3)
assert np.allclose(genes.obsm["cell_type"], types.X, atol=1e-5)
assert list(genes.uns["cell_type_labels"]) == list(types.var_names)
assert set(genes.var["training"]) == {"trained", "held_out", "other"}

# The scores are those of the plain formula, on what was mapped.
trained = list(scores.index)
predicted, measured = genes[:, trained].X, voxels[:, trained].X.toarray()
cosine = (predicted * measured).sum(axis=0) / np.linalg.norm(predicted, axis=0) / np.linalg.norm(measured, axis=0)
assert np.abs(cosine - scores["cosine"].to_numpy()).max() < 1e-3

placed = files["python_cells.zarr"]
best = np.asarray(mapping.X.argmax(axis=1)).ravel()
assert list(placed.obs["most_probable_voxel"]) == list(voxels.obs_names[best])
assert (placed.obsm["spatial"] == voxels.obsm["spatial"][best]).all()

# scanpy works on them.
sc.pp.normalize_total(genes)
sc.pp.pca(genes, n_comps=5)
assert files["python_run/mapping.h5ad"].X.getnnz(axis=1).max() <= 20
print("all files as they should be")
