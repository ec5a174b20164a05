"""The parts of validate.sh that read files and score mappings. Runs in the `tests` environment of python-env.sh.

    validate.py prepare DATA WORK          writes WORK/TASK/problem.npz and WORK/TASK/hold-out.txt for every task, and as .h5ad the
                                           cells and voxels that are a part of a file of DATA
    validate.py tasks                      prints the names of the tasks
    validate.py plan DATA WORK TASK        prints the mode and the number of epochs of a task, then its flags of `tangram map`,
                                           one a line
    validate.py start WORK TASK            writes WORK/TASK/start.npy, the initial logits of the package with seed 42, and in
                                           constrained mode WORK/TASK/start-filter.npy, those of its filter
    validate.py epochs FOLDER              prints the number of epochs of a stored result of reference.py, 0 if there is none
    validate.py table DATA WORK [--reference FOLDER] [--only TASK]
                                           scores WORK/TASK/run and FOLDER/TASK with the same code, prints the table

Cells are scaled to the median library size over all of their genes; voxels are not scaled. Genes are the shared genes in sorted
order, without those that are zero everywhere on either side. Every tenth gene is held out. A cluster is the sum of its cells and
counts in the density with its share of them, as in the package by default.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp
from factored import read_input

SCORES_AGREE_WITHIN = 0.005
COMPARED = ["train", "test", "composition"]
SEED = 42


@dataclass
class Task:
    """`cells` and `voxels` are what factored.read_input knows: the stem of a file of DATA, or a part of one."""

    name: str
    cells: str
    voxels: str
    epochs: int
    mode: str = "cells"
    # Column of the cells' obs with their clusters, in clusters mode.
    cluster: str = ""
    # Column of the voxels' obs with their numbers of cells: the density prior in place of the RNA counts, and their sum is how many
    # cells the filter keeps.
    counts: str = ""

    def file(self, side: str, data: Path, work: Path) -> Path:
        whole = data / f"{getattr(self, side)}.h5ad"
        return whole if whole.exists() else work / self.name / f"{side}.h5ad"

    def flags(self) -> list[str]:
        """Those of `tangram map` that differ between tasks."""
        found = ["--mode", self.mode, "--prior", f"obs:{self.counts}" if self.counts else "rna"]
        if self.mode == "clusters":
            found += ["--cluster", f"obs:{self.cluster}", "--cluster-values", "sums"]
        if self.mode == "constrained":
            found += ["--filter", "package", "--target-count", f"obs:{self.counts}", "--lambda-count", "1", "--lambda-f-reg", "1"]
        return found


# The first task is by far the largest. Its fewer epochs keep the comparison below half an hour on two cores.
TASKS = [
    Task("mop-merfish", "mop_10x_sc", "mop_merfish_spatial", 300),
    Task("visp-merfish", "mop_10x_sc", "visp_merfish_spatial", 500),
    Task("starmap", "mop_10x_sc", "starmap_v1_cells", 500),
    Task("pdac", "pdac_sc", "pdac_st_spatial", 500),
    Task("clusters", "mop_10x_sc", "mop_merfish_spatial", 500, mode="clusters", cluster="subclass"),
    Task("spots-constrained", "starmap_rep1", "spots_rep2", 500, mode="constrained", counts="n_cells"),
    Task("spots-cells", "starmap_rep1", "spots_rep2", 500, counts="n_cells"),
]

# Layer: subclasses of cells that live in this layer only, and the names of the layer in the voxels' file.
OWN_LAYER = {
    "L2/3": (["L2/3 IT"], ["L2/3"]),
    "L5": (["L5 IT", "L5 ET", "L5 NP"], ["L5"]),
    "L6": (["L6 CT", "L6 IT", "L6 IT Car3", "L6 NP"], ["L6a", "L6b"]),
}

# The name of each type in the cells' file: its name in the voxels' file. Types of one side only (Lamp5, OPC; eL4, Smc) are left out.
STARMAP_TYPE = {
    "L2/3 IT": "eL2/3",
    "L5 IT": "eL5",
    "L5 ET": "eL5",
    "L5 NP": "eL5",
    "L6 CT": "eL6",
    "L6 IT": "eL6",
    "L6 IT Car3": "eL6",
    "L6 NP": "eL6",
    "Pvalb": "PVALB",
    "Sst": "SST",
    "Vip": "VIP",
    "Astro": "Astro",
    "Oligo": "Oligo",
    "Endo": "Endo",
    "Macrophage": "Micro",
}


@dataclass
class Problem:
    cells: anndata.AnnData
    voxels: anndata.AnnData
    # Names of the mapping's rows: cells or clusters.
    rows: list[str]
    # Share of the cells that each row has.
    shares: np.ndarray
    training: list[str]
    held_out: list[str]
    S: np.ndarray
    G: np.ndarray
    S_held_out: np.ndarray
    G_held_out: np.ndarray
    prior: np.ndarray


def dense(matrix) -> np.ndarray:
    return np.asarray(matrix.todense() if sp.issparse(matrix) else matrix, dtype=np.float32)


def totals(matrix, axis: int) -> np.ndarray:
    return np.asarray(matrix.sum(axis=axis), dtype=np.float64).ravel()


def one_hot(codes, n_columns: int) -> sp.csr_matrix:
    codes = np.asarray(codes)
    return sp.csr_matrix((np.ones(len(codes)), (np.arange(len(codes)), codes)), shape=(len(codes), n_columns))


def load(task: Task, data: Path) -> Problem:
    cells, voxels = read_input(task.cells, data), read_input(task.voxels, data)
    library = totals(cells.X, 1)
    factors = np.where(library > 0, np.median(library[library > 0]) / np.maximum(library, 1e-30), 0.0)
    normalised = sp.csr_matrix(sp.diags(factors) @ cells.X)
    in_cells = set(cells.var_names[totals(cells.X, 0) > 0])
    in_voxels = set(voxels.var_names[totals(voxels.X, 0) > 0])
    genes = sorted(in_cells & in_voxels)
    held_out = genes[::10]
    training = [gene for gene in genes if gene not in set(held_out)]
    prior = voxels.obs[task.counts].to_numpy(dtype=np.float64) if task.counts else totals(voxels.X, 1)
    rows, members = list(cells.obs_names), sp.identity(cells.n_obs, format="csr")
    if task.mode == "clusters":
        labels = cells.obs[task.cluster].cat.remove_unused_categories().cat
        rows, members = list(labels.categories), one_hot(labels.codes, len(labels.categories)).T

    def columns(names):
        return (
            dense(members @ normalised[:, cells.var_names.get_indexer(names)]),
            dense(voxels.X[:, voxels.var_names.get_indexer(names)]),
        )

    S, G = columns(training)
    S_held_out, G_held_out = columns(held_out)
    shares = totals(members, 1) / cells.n_obs
    return Problem(cells, voxels, rows, shares, training, held_out, S, G, S_held_out, G_held_out, prior / prior.sum())


def prepare(data: Path, work: Path) -> None:
    for task in TASKS:
        folder = work / task.name
        if (folder / "problem.npz").exists():
            continue
        problem = load(task, data)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hold-out.txt").write_text("".join(f"{gene}\n" for gene in problem.held_out))
        for side, values in (("cells", problem.cells), ("voxels", problem.voxels)):
            file = task.file(side, data, work)
            if file.parent == folder:
                values.write_h5ad(file)
        arrays = {"S": problem.S, "G": problem.G, "d": problem.prior}
        if task.mode == "clusters":
            arrays["d_source"] = problem.shares
        if task.mode == "constrained":
            arrays["target_count"] = problem.voxels.obs[task.counts].sum()
        partial = folder / "partial.npz"
        np.savez(partial, **arrays)
        partial.rename(folder / "problem.npz")


def start(task: Task, work: Path) -> None:
    """Draws the initial logits as the package does: from numpy's global generator, seeded immediately before."""
    folder = work / task.name
    problem = np.load(folder / "problem.npz")
    n_rows, n_voxels = problem["S"].shape[0], problem["G"].shape[0]
    np.random.seed(SEED)
    logits = np.random.normal(0, 1, (n_rows, n_voxels))
    if task.mode == "constrained":
        # MapperConstrained draws the logits of the mapping twice and uses the second, then draws those of the filter.
        logits = np.random.normal(0, 1, (n_rows, n_voxels))
        np.save(folder / "start-filter.npy", np.random.normal(0, 1, n_rows).astype(np.float32))
    np.save(folder / "start.npy", logits.astype(np.float32))


def mean_cosine(mapping, expression: np.ndarray, measured: np.ndarray) -> float:
    predicted = np.asarray(mapping.T @ expression, dtype=np.float64)
    measured = measured.astype(np.float64)
    products = (predicted * measured).sum(axis=0)
    norms = np.maximum(np.linalg.norm(predicted, axis=0), 1e-8) * np.maximum(np.linalg.norm(measured, axis=0), 1e-8)
    return float((products / norms).mean())


def own_layer_shares(problem: Problem, mapping) -> dict[str, float]:
    subclass = problem.cells.obs["subclass"].astype(str).to_numpy()
    layer = problem.voxels.obs["layer"].astype(str).to_numpy()
    shares = {}
    for name, (subclasses, layers) in OWN_LAYER.items():
        rows = np.flatnonzero(np.isin(subclass, subclasses))
        mass = np.asarray(mapping[rows].sum(axis=0), dtype=np.float64).ravel()
        shares[f"own layer {name}"] = float(mass[np.isin(layer, layers)].sum() / mass.sum())
    return shares


def type_accuracy(problem: Problem, mapping) -> float:
    """Share of voxels whose most probable type is the true one, among the types that both sides have."""
    types = sorted(set(STARMAP_TYPE.values()))
    matched = problem.cells.obs["subclass"].astype(str).map(STARMAP_TYPE).to_numpy()
    is_type = (matched[:, None] == np.array(types)[None, :]).astype(np.float32)
    predicted = np.array(types)[np.asarray(mapping.T @ is_type).argmax(axis=1)]
    truth = problem.voxels.obs["cell_type"].astype(str).to_numpy()
    known = np.isin(truth, types)
    return float((predicted[known] == truth[known]).mean())


def composition(problem: Problem, mapping) -> float:
    """Pearson's correlation of the shares of cell types with the true ones, over all pairs of spot and type."""
    types = list(problem.voxels.uns["true_prop_columns"])
    called = problem.cells.obs["cell_type"].cat.set_categories(types).cat.codes
    carried = np.asarray(mapping.T @ one_hot(called, len(types)).toarray(), dtype=np.float64)
    found = carried / carried.sum(axis=1, keepdims=True)
    return float(np.corrcoef(found.ravel(), problem.voxels.obsm["true_prop"].ravel())[0, 1])


def judge(task: Task, problem: Problem, mapping) -> dict[str, float]:
    found = {
        "train": mean_cosine(mapping, problem.S, problem.G),
        "test": mean_cosine(mapping, problem.S_held_out, problem.G_held_out),
    }
    if task.name == "visp-merfish":
        found |= own_layer_shares(problem, mapping)
    if task.name == "starmap":
        found["type accuracy"] = type_accuracy(problem, mapping)
    if "true_prop" in problem.voxels.obsm:
        found["composition"] = composition(problem, mapping)
    return found


def our_mapping(run: Path, problem: Problem):
    """Row by row what is carried into the voxels: with a filter, the probabilities times what of the cell it keeps."""
    stored = anndata.read_zarr(run / "mapping.zarr")
    if list(stored.obs_names) != problem.rows or list(stored.var_names) != list(problem.voxels.obs_names):
        sys.exit(f"{run}: rows or voxels of the mapping are not those of the input, or in another order")
    trained = sorted(map(str, stored.uns["training_genes"]))
    if trained != problem.training:
        sys.exit(f"{run}: trained on {len(trained)} genes, expected {len(problem.training)}")
    mapping = sp.csr_matrix(stored.X)
    return sp.diags(stored.obs["tangram_filter"].to_numpy()) @ mapping if "tangram_filter" in stored.obs else mapping


def their_mapping(folder: Path):
    """The same of a result of reference.py."""
    mapping, kept = np.load(folder / "mapping.npy", mmap_mode="r"), folder / "filter.npy"
    return np.load(kept)[:, None] * mapping if kept.exists() else mapping


def cost(folder: Path, program: str) -> dict[str, float]:
    """Epochs, seconds of training and peak memory in bytes, from the record of either program."""
    if program == "tangram":
        elapsed = np.atleast_1d(np.genfromtxt(folder / "history.tsv", names=True, delimiter="\t")["elapsed_s"])
        measured = json.loads((folder.parent / "measured.json").read_text())
        return {"epochs": len(elapsed), "seconds": float(elapsed.max()), "peak": measured["peak_bytes"]}
    result = json.loads((folder / "result.json").read_text())
    return {"epochs": result["epochs"], "seconds": result["seconds"], "peak": result["peak_bytes"]}


def table(data: Path, work: Path, reference: Path | None, only: str | None) -> None:
    heads = ["task", "program", "cells x voxels x genes", "epochs", "seconds", "peak GB", "train", "test", "also"]
    rows, agreements = [], []
    for task in TASKS:
        if only not in (None, task.name):
            continue
        problem = load(task, data)
        sides = [("tangram", work / task.name / "run")]
        if reference is not None:
            sides.append(("tangram-sc 1.0.4", reference / task.name))
        judged = []
        for program, folder in sides:
            mapping = our_mapping(folder, problem) if program == "tangram" else their_mapping(folder)
            found = judge(task, problem, mapping)
            spent = cost(folder, program)
            judged.append((found, spent["epochs"]))
            also = ", ".join(f"{name} {value:.3f}" for name, value in found.items() if name not in ("train", "test"))
            shape = f"{mapping.shape[0]:,} x {mapping.shape[1]:,} x {len(problem.training):,}"
            rows.append(
                [task.name, program, shape, str(spent["epochs"]), f"{spent['seconds']:.0f}", f"{spent['peak'] / 1e9:.2f}"]
                + [f"{found['train']:.4f}", f"{found['test']:.4f}", also]
            )
        if len(judged) == 2:
            (ours, our_epochs), (theirs, their_epochs) = judged
            for score in (name for name in COMPARED if name in ours):
                apart = abs(ours[score] - theirs[score])
                verdict = "yes" if apart <= SCORES_AGREE_WITHIN and our_epochs == their_epochs else "NO"
                agreements.append((task.name, score, apart, verdict))
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    if agreements:
        print(f"\nScores agree within {SCORES_AGREE_WITHIN}:")
        for name, score, apart, verdict in agreements:
            print(f"  {name:17} {score:11} apart by {apart:.4f}  {verdict}")
        if any(verdict != "yes" for *_, verdict in agreements):
            sys.exit(1)


def named(name: str) -> Task:
    task = next((task for task in TASKS if task.name == name), None)
    return task or sys.exit(f"validate: no task {name}; there are: {', '.join(task.name for task in TASKS)}")


def main() -> None:
    match sys.argv[1:]:
        case ["tasks"]:
            print("\n".join(task.name for task in TASKS))
        case ["plan", data, work, name]:
            task = named(name)
            cells, voxels = (task.file(side, Path(data), Path(work)) for side in ("cells", "voxels"))
            print(task.mode, task.epochs)
            print("\n".join(map(str, ["--cells", cells, "--voxels", voxels, *task.flags()])))
        case ["prepare", data, work]:
            prepare(Path(data), Path(work))
        case ["start", work, name]:
            start(named(name), Path(work))
        case ["epochs", folder]:
            result, mapping = Path(folder) / "result.json", Path(folder) / "mapping.npy"
            print(json.loads(result.read_text())["epochs"] if result.exists() and mapping.exists() else 0)
        case ["table", *rest]:
            arguments = argparse.ArgumentParser(prog="validate.py table")
            arguments.add_argument("data", type=Path)
            arguments.add_argument("work", type=Path)
            arguments.add_argument("--reference", type=Path)
            arguments.add_argument("--only")
            table(**vars(arguments.parse_args(rest)))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
