"""Maps files with every fault of a new user's files at once, by what the messages say, and compares with clean files.

    warts.py PROGRAM OUT

Each of five simulated tissues is written twice. The clean copy has counts, the same gene names on both sides and no empty voxel. The other
has log-normalised X with the counts in a layer, gene names of the voxels in upper case, antibodies among the genes, cells without a label,
booleans and integers in obs, colours, an image with its scale factor, coordinates in obs alone, and empty voxels.

The program is started without any flag but the inputs. Where it refuses, the first flag that its message names is added, and it is started
again. The table says which flags that were, and how the results agree.
"""

import importlib.util
import re
import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

warnings.simplefilter("ignore", FutureWarning)

# seed, cells, voxels, genes, panel
DATA_SETS = [(11, 600, 250, 300, 120), (12, 900, 400, 400, 150), (13, 500, 300, 250, 200), (14, 1200, 350, 350, 100), (15, 800, 500, 300, 150)]
EPOCHS = "60"
# What a message may ask for, in the words of the program.
FLAG = re.compile(r"--(?:cells-matrix|voxels-matrix|match-genes) [\w:]+|--values(?:-voxels)? log1p|--drop-empty")


def run(program, folder, *arguments):
    done = subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def must(program, folder, *arguments):
    code, told = run(program, folder, *arguments)
    if code != 0:
        raise SystemExit(f"tangram {' '.join(arguments)}\n{told}")
    return told


def log_normalised(data):
    data.layers["counts"] = data.X.copy()
    sc.pp.normalize_total(data, target_sum=1e4)
    sc.pp.log1p(data)


def write_with_warts(folder, rng):
    cells, voxels = (ad.read_h5ad(folder / f"tissue/{name}.h5ad") for name in ("cells", "voxels"))
    empty = np.sort(rng.choice(voxels.n_obs, 5, replace=False))
    clean = voxels[np.setdiff1d(np.arange(voxels.n_obs), empty)].copy()
    cells.write_h5ad(folder / "clean_cells.h5ad")
    clean.write_h5ad(folder / "clean_voxels.h5ad")

    n = cells.n_obs
    unlabelled = rng.choice(n, n // 10, replace=False)
    cells.obs["cell_type"] = cells.obs["cell_type"].astype("category")
    cells.obs.iloc[unlabelled, cells.obs.columns.get_loc("cell_type")] = np.nan
    cells.obs["doublet"] = rng.random(n) < 0.1
    types = list(cells.obs["cell_type"].cat.categories)
    cells.uns["cell_type_colors"] = [matplotlib.colors.to_hex(plt.get_cmap("tab20")(i % 20)) for i in range(len(types))]
    antibodies = ad.AnnData(
        sp.csr_matrix(rng.poisson(300, (n, 4)).astype("float32")),
        obs=pd.DataFrame(index=cells.obs_names),
        var=pd.DataFrame(index=["CD3", "CD4", "CD8", "CD19"]),
    )
    cells.var["feature_types"] = "Gene Expression"
    antibodies.var["feature_types"] = "Antibody Capture"
    both = ad.concat([cells, antibodies], axis=1)
    both.obs, both.uns = cells.obs, cells.uns
    log_normalised(both)
    both.write_h5ad(folder / "cells.h5ad")

    counts = voxels.X.tolil()
    counts[empty] = 0
    voxels.X = sp.csr_matrix(counts)
    voxels.var_names = [name.upper() for name in voxels.var_names]
    places = voxels.obsm.pop("spatial")
    voxels.obs = voxels.obs.drop(columns=["x_um", "y_um"])
    voxels.obs["x_centroid"], voxels.obs["y_centroid"] = places[:, 0], places[:, 1]
    voxels.obs["in_tissue"] = np.ones(voxels.n_obs, dtype=bool)
    voxels.obs["row"] = np.arange(voxels.n_obs)
    stages = ["late", "early"]
    voxels.obs["stage"] = pd.Categorical.from_codes(np.arange(voxels.n_obs) % 2, stages, ordered=True)
    voxels.uns["stage_colors"] = ["#aa0000", "#0000aa"]
    high = places.max(axis=0)
    voxels.uns["spatial"] = {
        "slide": {
            "images": {"hires": (rng.random((80, 80, 3)) * 60 + 180).astype("uint8")},
            "scalefactors": {"tissue_hires_scalef": float(80 / high.max()), "spot_diameter_fullres": float(high.max() / 30)},
        }
    }
    voxels.write_h5ad(folder / "voxels.h5ad")
    return voxels, clean, unlabelled


def map_by_messages(program, folder):
    """Adds what messages ask for until the program maps; gives the flags."""
    flags = []
    while True:
        code, told = run(program, folder, "map", "--cells", "cells.h5ad", "--voxels", "voxels.h5ad", "--epochs", EPOCHS, "--out", "run", *flags)
        if code == 0:
            return flags, told
        found = FLAG.search(told)
        if not found or found.group() in " ".join(flags):
            raise SystemExit(f"no way out of: {told}")
        flags += found.group().split(" ")


def pictures(types, name, out):
    sc.pl.embedding(types, "spatial", color=types.var_names[:3].tolist(), show=False)
    plt.savefig(out / f"{name}_scanpy.png", dpi=80)
    plt.close("all")
    if importlib.util.find_spec("squidpy") is None:
        return "scanpy"
    import squidpy as sq

    sq.pl.spatial_scatter(types, color=[types.var_names[0], "stage"], library_id="slide", img=True)
    plt.savefig(out / f"{name}_squidpy.png", dpi=80)
    plt.close("all")
    return "scanpy, squidpy"


def main():
    program, out = sys.argv[1], Path(sys.argv[2])
    lines = []
    for seed, n_cells, n_voxels, n_genes, n_panel in DATA_SETS:
        folder = out / f"set{seed}"
        folder.mkdir()
        sizes = ["--cells", n_cells, "--voxels", n_voxels, "--spots", 50, "--genes", n_genes, "--panel", n_panel, "--seed", seed]
        must(program, folder, "simulate", "--out", "tissue", *map(str, sizes))
        voxels, clean, unlabelled = write_with_warts(folder, np.random.default_rng(seed))
        inputs = ["--cells", "clean_cells.h5ad", "--voxels", "clean_voxels.h5ad", "--epochs", EPOCHS]
        must(program, folder, "map", *inputs, "--out", "clean_run")
        flags, told = map_by_messages(program, folder)
        assert "Antibody Capture" in told and "x_centroid" in told, told

        told = must(program, folder, "project", "--mapping", "run", "--types", "obs:cell_type", "--unlabelled", "unknown", "--out", "types.h5ad")
        assert f"{len(unlabelled)} cells" in told, told
        must(program, folder, "project", "--mapping", "clean_run", "--genes", "all", "--out", "clean_genes.h5ad")
        must(program, folder, "project", "--mapping", "run", "--genes", "all", "--out", "genes.h5ad")
        types, genes, clean_genes = (ad.read_h5ad(folder / f"{name}.h5ad") for name in ("types", "genes", "clean_genes"))

        # What was known of the voxels is as it was.
        known = voxels[clean.obs_names]
        for column in ("in_tissue", "row", "stage"):
            assert types.obs[column].dtype == known.obs[column].dtype, column
            assert (types.obs[column] == known.obs[column]).all(), column
        assert types[types.obs["in_tissue"]].n_obs == types.n_obs
        assert (types.obsm["spatial"] == clean.obsm["spatial"]).all()
        assert list(types.uns["stage_colors"]) == list(voxels.uns["stage_colors"])
        image = types.uns["spatial"]["slide"]["images"]["hires"]
        assert (image == voxels.uns["spatial"]["slide"]["images"]["hires"]).all()

        mappings = [ad.read_zarr(folder / run / "mapping.zarr").X for run in ("run", "clean_run")]
        apart = abs(mappings[0] - mappings[1]).max()
        best = np.mean([np.asarray(mappings[0].argmax(axis=1)).ravel() == np.asarray(mappings[1].argmax(axis=1)).ravel()])
        assert list(genes.var_names) == list(clean_genes.var_names)
        correlation = np.corrcoef(genes.X.ravel(), clean_genes.X.ravel())[0, 1]
        opened = pictures(types, folder.name, out)
        lines.append([folder.name, n_cells, n_voxels, n_panel, " ".join(flags), f"{apart:.2g}", f"{best:.4f}", f"{correlation:.6f}", opened])
        print(*lines[-1], sep="\t", flush=True)
    header = ["set", "cells", "voxels", "panel", "flags that the messages asked for", "largest difference of a probability"]
    header += ["cells with the same most probable voxel", "correlation of all genes in space", "opened by"]
    table = "\n".join("\t".join(map(str, line)) for line in [header, *lines])
    (out / "table.tsv").write_text(table + "\n")


main()
