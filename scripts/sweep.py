"""The parts of sweep.sh that read files. Runs in the `tests` environment of python-env.sh.

    sweep.py prepare DATA WORK      writes the voxels to WORK/slice.h5ad, and the package's input to WORK/problem.npz
    sweep.py genes SWEEP N          prints N genes of a sweep, evenly spaced in its list
    sweep.py table WORK             prints the measurements
"""

import json
import sys
import tomllib
from pathlib import Path

import anndata
import numpy as np

# The package has no stopping rule; this is the number of epochs in its tutorials.
PACKAGE_EPOCHS = 1000
# Number of folds of leave-one-out in the paper.
PAPER_FOLDS = 253


def prepare(data: Path, work: Path) -> None:
    voxels = anndata.read_h5ad(data / "mop_merfish_spatial.h5ad")
    slices = voxels.obs["slice"].astype(str)
    voxels = voxels[slices == sorted(slices.unique())[0]].copy()
    voxels = voxels[np.asarray(voxels.X.sum(axis=1)).ravel() > 0].copy()
    voxels.write_h5ad(work / "slice.h5ad")
    cells = anndata.read_h5ad(data / "mop_10x_sc.h5ad")
    shared = sorted(set(cells.var_names) & set(voxels.var_names))
    totals = np.asarray(cells.X.sum(axis=1)).ravel()
    factors = np.median(totals[totals > 0]) / np.maximum(totals, 1)
    dense = lambda x: np.asarray(x.todense() if hasattr(x, "todense") else x, dtype=np.float32)
    S = dense(cells[:, shared].X) * factors[:, None].astype(np.float32)
    G = dense(voxels[:, shared].X)
    keep = (S.sum(axis=0) > 0) & (G.sum(axis=0) > 0)
    counts = np.asarray(voxels.X.sum(axis=1)).ravel()
    np.savez(work / "problem.npz", S=S[:, keep], G=G[:, keep], d=(counts / counts.sum()).astype(np.float32))


def genes(sweep: Path, n: int) -> None:
    names = tomllib.loads((sweep / "sweep.toml").read_text())["settings"]["genes"]
    print("\n".join(names[i * len(names) // n] for i in range(n)))


def folds(sweep: Path) -> list[dict]:
    records = [json.loads(path.read_text()) for path in sorted((sweep / "attempts").glob("*.json"))]
    return [item["result"] for record in records for item in record["items"]]


def table(work: Path) -> None:
    cold, warm = (anndata.read_h5ad(work / start / "predictions.h5ad") for start in ("cold", "warm"))
    n = cold.n_vars
    agree = [np.corrcoef(cold.X[:, k], warm.X[:, k])[0, 1] for k in range(n)]
    problem = np.load(work / "problem.npz")
    print(f"{problem['S'].shape[0]:,} cells x {problem['G'].shape[0]:,} voxels x {problem['S'].shape[1]} genes, {n} folds\n")
    print(f"| method | s per fold | passes per fold | {PAPER_FOLDS} folds | cores used by other processes |\n|---|---|---|---|---|")
    rows = [("sweep, cold", "cold"), ("sweep, warm", "warm"), ("separate map and project commands", "maps")]
    for name, key in rows:
        cost = json.loads((work / f"{key}.json").read_text())
        passes = np.mean([f["passes"] for f in folds(work / key)]) if (work / key / "attempts").is_dir() else np.nan
        each = cost["seconds"] / n
        print(f"| {name} | {each:.2f} | {passes:.0f} | {each * PAPER_FOLDS / 60:.0f} min | {cost['others']:.0%} |")
    result = work / "reference" / "result.json"
    if result.is_file():
        epoch = json.loads(result.read_text())["seconds_per_epoch"]
        each = epoch * PACKAGE_EPOCHS
        print(f"| tangram-sc, {PACKAGE_EPOCHS} epochs of {epoch:.3f} s | {each:.0f} | {PACKAGE_EPOCHS} | {each * PAPER_FOLDS / 60:.0f} min | |")
    print(f"\nCorrelation of the held-out genes, warm with cold: mean {np.mean(agree):.5f}, minimum {np.min(agree):.5f};")
    print(f"mean cosine {cold.var['cosine'].mean():.4f} cold, {warm.var['cosine'].mean():.4f} warm.")


if __name__ == "__main__":
    what, *given = sys.argv[1:]
    if what == "prepare":
        prepare(Path(given[0]), Path(given[1]))
    elif what == "genes":
        genes(Path(given[0]), int(given[1]))
    else:
        table(Path(given[0]))
