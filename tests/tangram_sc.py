"""Runs tangram-sc's own functions on a mapping of this program. Run by tests/first_user.rs in the folder with the run.

`project_genes`, `compare_spatial_geneexp` and `plot_training_scores` take the mapping as it is written. `project_cell_annotations` multiplies
by a pandas table, which scipy's sparse matrices do not give back: it needs a dense X.
"""

import logging
import sys
import types
import warnings

import anndata as ad
import matplotlib
import numpy as np
import scipy.sparse as sp

matplotlib.use("Agg")
logging.disable(logging.INFO)
warnings.simplefilter("ignore")


class Stub(types.ModuleType):
    """The package imports torch for its optimiser, which none of these functions uses."""

    softmax = cosine_similarity = None

    class Tensor:
        """No array is one: scipy asks for every array where there is a torch."""


stubs = ["torch", "torch.nn", "torch.nn.functional"]
sys.modules.update({name: Stub(name) for name in stubs if "torch" not in sys.modules})
import tangram as tg  # noqa: E402

for name in stubs:
    sys.modules.pop(name)

mapping = ad.read_zarr("clean/mapping.zarr")
cells, voxels = (ad.read_h5ad(f"tissue/{name}.h5ad") for name in ("cells", "voxels"))
assert sp.issparse(mapping.X)
tg.pp_adatas(cells, voxels)

table = mapping.uns["train_genes_df"]
assert list(table.columns) == ["train_score", "sparsity_sc", "sparsity_sp", "sparsity_diff"]
assert table["train_score"].is_monotonic_decreasing
assert set(table.index) <= set(voxels.uns["training_genes"]) and len(table) > 50
assert set(mapping.uns["overlap_genes"]) <= set(voxels.uns["overlap_genes"])
history = mapping.uns["training_history"]
for key in ("total_loss", "main_loss", "vg_reg", "kl_reg", "entropy_reg"):
    assert len(history[key]) == len(history["total"]), key
# The package's own sparsities.
tg.annotate_gene_sparsity(cells)
tg.annotate_gene_sparsity(voxels)
assert np.allclose(table["sparsity_sc"], cells.var.sparsity[table.index])
assert np.allclose(table["sparsity_sp"], voxels.var.sparsity[table.index])

in_space = tg.project_genes(adata_map=mapping, adata_sc=cells)
assert in_space.shape == (voxels.n_obs, cells.n_vars)
assert in_space.var["is_training"].sum() == len(table)
scores = tg.compare_spatial_geneexp(in_space, voxels, cells)
shared = scores.index.intersection(table.index)
assert len(shared) == len(table)
tg.plot_training_scores(mapping, bins=20, alpha=0.5)

mapping.X = mapping.X.toarray()
tg.project_cell_annotations(mapping, voxels, annotation="cell_type")
of_package = voxels.obsm["tangram_ct_pred"]
types_file = ad.read_h5ad("clean_types.h5ad")
# The file keeps the largest probabilities of every cell, and what it leaves out is missing here: so much and no more.
missing = np.asarray(types_file.X, dtype=float) - of_package[list(types_file.var_names)].to_numpy()
left_out = len(mapping) - mapping.X.sum(dtype=float)
assert missing.min() > -1e-4 and abs(missing.sum() - left_out) < 0.01, (missing.min(), missing.sum(), left_out)
print("tangram-sc reads the mapping")
