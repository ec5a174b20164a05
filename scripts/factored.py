"""Runs the comparisons of factored.sh and prints the tables; see there. Runs in the `tests` environment of python-env.sh."""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import anndata
import numpy as np
import scipy.optimize
import scipy.sparse as sp

SCRIPTS = Path(__file__).resolve().parent
EVERY = 10
FEWEST_CELLS_OF_A_TYPE = 10
# Largest cells x voxels for which `settings` includes adam; above it, 1,000 epochs take too long.
ADAM_AT_MOST = 30_000_000
# Tolerances of `optimum`: mirror compared with adam.
LOSS_WITHIN = 5e-4
SCORE_WITHIN = 0.003
TYPE_MAPS_AT_LEAST = 0.99
TOP_1_WITHIN = 0.01
# Two settings whose scores differ by at most this are equal.
EVEN = 0.002


@dataclass
class Task:
    name: str
    cells: str
    voxels: str
    genes_held_out: bool = True
    also: tuple[str, ...] = ()


# Small tasks first. Files that are not in the data folder are derived from those that are; see make_input().
TASKS = [
    Task("lymphnode", "lymphnode_10x_sc", "lymphnode_visium_spatial"),
    Task("pdac", "pdac_sc", "pdac_st_spatial"),
    Task("spots", "starmap_v1_cells", "starmap_v1_spots"),
    Task("thinned", "thinned_cells", "thinned_voxels", genes_held_out=False, also=("--prior", "uniform")),
    Task("types", "starmap_rep1", "starmap_rep2", genes_held_out=False),
    Task("deconvolution", "starmap_rep1", "spots_rep2", genes_held_out=False),
    Task("mpoa", "mpoa_10x_sc", "mpoa_section"),
    Task("visp", "mop_10x_sc", "visp_merfish_spatial"),
    Task("starmap", "mop_10x_sc", "starmap_v1_cells"),
    Task("mop", "mop_10x_sc", "mop_slice"),
]
OPTIMUM = ["lymphnode", "pdac", "spots", "thinned", "mpoa", "visp", "starmap"]

# Name on the command line: name in the tables, flags of `tangram map`.
SETTINGS = {
    "adam": ("package (adam)", "--goal package --solver adam --epochs 1000"),
    "off": ("κ off", "--goal package"),
    "2": ("κ 2", "--goal package --temperature 2"),
    "1": ("κ 1", "--goal package --temperature 1"),
    "0.5": ("κ 0.5", "--goal package --temperature 0.5"),
    "auto": ("κ auto", "--goal package --temperature auto"),
    "impute": ("goal impute", "--goal impute"),
    "place": ("goal place", "--goal place"),
    "g1": ("g2 1", "--goal package --lambda-g2 1"),
    "g1k4": ("g2 1, κ 4", "--goal package --lambda-g2 1 --temperature 4"),
    "g1k2": ("g2 1, κ 2", "--goal package --lambda-g2 1 --temperature 2"),
    "log1p-g1k2": ("log1p, g2 1, κ 2", "--goal package --transform log1p --lambda-g2 1 --temperature 2"),
    "sqrt": ("sqrt", "--goal package --transform sqrt"),
    "sqrt-g1": ("sqrt, g2 1", "--goal package --transform sqrt --lambda-g2 1"),
    "sqrt-g1k2": ("sqrt, g2 1, κ 2", "--goal package --transform sqrt --lambda-g2 1 --temperature 2"),
    "sqrt-g5": ("sqrt, g2 5", "--goal package --transform sqrt --lambda-g2 5"),
    "sqrt-g20": ("sqrt, g2 20", "--goal package --transform sqrt --lambda-g2 20"),
}

# Scores in the table of each task, with their headings. The summary compares cosine, partial Pearson, and the first of OTHER_SCORES.
GENE_SCORES = {"cosine": "held-out cosine", "pearson": "Pearson", "partial": "partial Pearson"}
OTHER_SCORES = {
    "thinned": {"top_1": "top-1", "p_true": "mean P(true voxel)"},
    "types": {"accuracy": "accuracy", "balanced": "balanced", "p_true": "mean P(true type)"},
    "deconvolution": {"pearson": "Pearson", "rmse": "RMSE"},
}


def say(text: str) -> None:
    print(f"factored: {text}", file=sys.stderr, flush=True)


def dense(matrix) -> np.ndarray:
    return np.asarray(matrix.todense() if sp.issparse(matrix) else matrix, dtype=np.float64)


def totals(matrix, axis: int) -> np.ndarray:
    return np.asarray(matrix.sum(axis=axis), dtype=np.float64).ravel()


# --- input -----------------------------------------------------------------------------------------------


def make_input(name: str, data: Path) -> anndata.AnnData:
    def read(stem: str) -> anndata.AnnData:
        return anndata.read_h5ad(data / f"{stem}.h5ad")

    match name:
        case "mpoa_section":
            voxels = read("mpoa_merfish_spatial")
            return voxels[(voxels.obs["section"] == voxels.obs["section"].iloc[0]).to_numpy()].copy()
        case "mop_slice":
            voxels = read("mop_merfish_spatial")
            return voxels[(voxels.obs["slice"] == voxels.obs["slice"].iloc[0]).to_numpy()].copy()
        case "starmap_rep1" | "starmap_rep2":
            cells = read("starmap_v1_cells")
            return cells[(cells.obs["replicate"] == name[-4:]).to_numpy()].copy()
        case "mpoa_other":
            # The first section is of animal 1.
            voxels = read("mpoa_merfish_spatial")
            return voxels[(voxels.obs["section"] == "animal7_bregma-0.09").to_numpy()].copy()
        case "spots_rep1" | "spots_rep2":
            # The coordinates of a spot are those of its corner. Replicate 2 lies to the left of replicate 1.
            cells, spots = read("starmap_v1_cells"), read("starmap_v1_spots")
            border = cells.obsm["spatial"][(cells.obs["replicate"] == "rep1").to_numpy(), 0].min()
            left = np.unique(spots.obsm["spatial"][:, 0])
            half = np.diff(left).min() / 2
            of_2 = spots.obsm["spatial"][:, 0] + half < border
            return spots[of_2 == (name == "spots_rep2")].copy()
        case "thinned_cells" | "thinned_voxels":
            halves = make_input("starmap_rep1", data)
            counts = sp.csr_matrix(halves.X)
            counts.sort_indices()
            first = np.random.default_rng(0).binomial(counts.data.astype(np.int64), 0.5)
            kept = first if name == "thinned_cells" else counts.data - first
            halves.X = sp.csr_matrix((kept.astype(np.float32), counts.indices, counts.indptr), counts.shape)
            halves.X.eliminate_zeros()
            return halves
    sys.exit(f"factored: no rule to make the input {name}")


def read_input(name: str, data: Path) -> anndata.AnnData:
    """A file of the data by its stem, or what `make_input` makes of one."""
    path = data / f"{name}.h5ad"
    return anndata.read_h5ad(path) if path.exists() else make_input(name, data)


def input_file(name: str, data: Path, work: Path) -> Path:
    if (data / f"{name}.h5ad").exists():
        return data / f"{name}.h5ad"
    path = work / "input" / f"{name}.h5ad"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        say(f"making {name}")
        partial = path.with_suffix(".partial")
        make_input(name, data).write_h5ad(partial, compression="gzip")
        partial.rename(path)
    return path


@dataclass
class Problem:
    cells: anndata.AnnData
    voxels: anndata.AnnData
    genes: list[str]

    def held_out(self, split: int) -> list[str]:
        return self.genes[split::EVERY]

    def training(self, split: int) -> list[str]:
        left_out = set(self.held_out(split))
        return [gene for gene in self.genes if gene not in left_out]

    def measured(self, genes: list[str]) -> np.ndarray:
        return dense(self.voxels.X[:, self.voxels.var_names.get_indexer(genes)])

    def types(self) -> list[str]:
        counts = self.cells.obs["cell_type"].astype(str).value_counts()
        return sorted(counts[counts >= FEWEST_CELLS_OF_A_TYPE].index)


@cache
def problem_of(cells: Path, voxels: Path) -> Problem:
    sides = anndata.read_h5ad(cells), anndata.read_h5ad(voxels)
    present = [set(side.var_names[totals(side.X, 0) > 0]) for side in sides]
    return Problem(*sides, sorted(present[0] & present[1]))


# --- scores ----------------------------------------------------------------------------------------------


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each pair of columns; 0 if one of them is zero everywhere."""
    norms = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.divide((a * b).sum(axis=0), norms, out=np.zeros_like(norms), where=norms > 1e-12)


def pearsons(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return cosines(a - a.mean(axis=0), b - b.mean(axis=0))


def without(values: np.ndarray, cause: np.ndarray) -> np.ndarray:
    """Residuals of the columns after a linear regression on `cause` and a constant."""
    cause = cause - cause.mean()
    centred = values - values.mean(axis=0)
    return centred - np.outer(cause, cause @ centred / (cause @ cause))


def score_genes(predicted: np.ndarray, problem: Problem, split: int) -> dict[str, float]:
    measured = problem.measured(problem.held_out(split))
    depth = problem.measured(problem.training(split)).sum(axis=1)
    return {
        "cosine": float(cosines(predicted, measured).mean()),
        "pearson": float(pearsons(predicted, measured).mean()),
        "partial": float(cosines(without(predicted, depth), without(measured, depth)).mean()),
    }


def score_types(expected: np.ndarray, labels: list[str], problem: Problem) -> dict[str, float]:
    """`expected`: expected number of cells, (voxels, types)."""
    truth = problem.voxels.obs["cell_type"].astype(str).to_numpy()
    right = np.array(labels)[expected.argmax(axis=1)] == truth
    shares = expected / expected.sum(axis=1, keepdims=True)
    return {
        "accuracy": float(right.mean()),
        "balanced": float(np.mean([right[truth == name].mean() for name in np.unique(truth)])),
        "p_true": float(shares[np.arange(len(truth)), [labels.index(name) for name in truth]].mean()),
    }


def score_shares(expected: np.ndarray, labels: list[str], problem: Problem) -> dict[str, float]:
    columns = [labels.index(str(name)) for name in problem.voxels.uns["true_prop_columns"]]
    found = (expected / np.maximum(expected.sum(axis=1, keepdims=True), 1e-30))[:, columns]
    truth = np.asarray(problem.voxels.obsm["true_prop"])
    return {
        "pearson": float(np.corrcoef(found.ravel(), truth.ravel())[0, 1]),
        "rmse": float(np.sqrt(((found - truth) ** 2).mean())),
    }


def score_placement(run: Path, problem: Problem) -> dict[str, float]:
    stored = anndata.read_zarr(run / "mapping.zarr")
    if list(stored.obs_names) != list(stored.var_names):
        sys.exit(f"factored: {run}: cells and voxels are not in the same order")
    mapping = dense(stored.X)
    return {
        "top_1": float((mapping.argmax(axis=1) == np.arange(len(mapping))).mean()),
        "p_true": float(np.diag(mapping).mean()),
    }


def type_means(problem: Problem, labels: list[str]) -> np.ndarray:
    """Mean expression, (types, shared genes), of cells scaled to the same total."""
    counts = dense(problem.cells.X)
    counts *= np.median(counts.sum(axis=1)) / np.maximum(counts.sum(axis=1, keepdims=True), 1e-30)
    counts = counts[:, problem.cells.var_names.get_indexer(problem.genes)]
    types = problem.cells.obs["cell_type"].astype(str).to_numpy()
    return np.array([counts[types == name].mean(axis=0) for name in labels])


def knows_no_cells(task: Task, problem: Problem, split: int) -> list[tuple[str, dict[str, float]]]:
    """Baselines: rows of the table that need no mapping."""
    if task.genes_held_out:
        depth = problem.measured(problem.training(split)).sum(axis=1)
        scores = score_genes(np.repeat(depth[:, None], len(problem.held_out(split)), axis=1), problem, split)
        return [("voxel totals alone", scores | {"partial": float("nan")})]
    if task.name == "thinned":
        return []
    labels = sorted(problem.cells.obs["cell_type"].astype(str).unique())
    shares = problem.cells.obs["cell_type"].astype(str).value_counts()[labels].to_numpy(dtype=np.float64)
    same = np.repeat(shares[None, :], problem.voxels.n_obs, axis=0)
    if task.name == "types":
        return [("shares of all cells", score_types(same, labels, problem))]
    means = type_means(problem, labels)
    fits = np.array([scipy.optimize.nnls(means.T, voxel)[0] for voxel in problem.measured(problem.genes)])
    return [
        ("shares of all cells", score_shares(same, labels, problem)),
        ("least squares on type means", score_shares(fits, labels, problem)),
    ]


# --- runs ------------------------------------------------------------------------------------------------


class Runs:
    def __init__(self, given: argparse.Namespace):
        self.tangram, self.data, self.work = given.tangram, given.data, given.work
        self.threads, self.fresh = given.threads, given.fresh
        self.version = self.tell([self.tangram, "--version"])
        self.done: set[str] = set()
        self.failed: list[str] = []

    @staticmethod
    def tell(command: list) -> str:
        return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout

    def problem(self, task: Task) -> Problem:
        return problem_of(*self.inputs(task))

    def inputs(self, task: Task) -> tuple[Path, Path]:
        return input_file(task.cells, self.data, self.work), input_file(task.voxels, self.data, self.work)

    def result(self, task: Task, split: int, setting: str) -> dict | None:
        """Scores and cost of one run, stored ones if there are any; None if the run failed."""
        cells, voxels = self.inputs(task)
        command = ["map", "--cells", cells, "--voxels", voxels, "--threads", self.threads, *task.also]
        if task.genes_held_out:
            held_out = self.work / "input" / f"{task.name}-{split}.txt"
            held_out.parent.mkdir(parents=True, exist_ok=True)
            held_out.write_text("".join(f"{gene}\n" for gene in self.problem(task).held_out(split)))
            command += ["--hold-out", held_out]
        command += SETTINGS[setting][1].split()
        command += ["--keep", "all" if "adam" in command or task.name == "thinned" else "none"]

        line = " ".join(str(part) for part in command).replace(str(self.work), "WORK").replace(str(self.data), "DATA")
        key = hashlib.sha256(f"{line}\n{self.version}".encode()).hexdigest()[:16]
        known = self.work / "runs" / f"{key}.json"
        if known.exists() and (not self.fresh or key in self.done):
            return json.loads(known.read_text())
        known.parent.mkdir(parents=True, exist_ok=True)
        folder = self.work / "running" / key
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            found = self.run(task, split, command, folder)
        except subprocess.CalledProcessError as error:
            say(f"{task.name}, split {split}, {SETTINGS[setting][0]}: failed: {' '.join(error.cmd)}")
            self.failed.append(f"{task.name} {setting}")
            return None
        else:
            found = {"command": line, "version": self.version, "key": key} | found
            (folder / "types.npz").rename(known.with_suffix(".npz"))
            partial = folder / "result.json"
            partial.write_text(json.dumps(found, indent=1))
            partial.rename(known)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self.done.add(key)
        spent = f"{found['epochs']} epochs, {found['cost']['seconds']:.0f} s"
        scores = ", ".join(f"{name} {value:.4f}" for name, value in found["scores"].items())
        say(f"{task.name}, split {split}, {SETTINGS[setting][0]}: {spent}, {scores}")
        return found

    def run(self, task: Task, split: int, command: list, folder: Path) -> dict:
        problem = self.problem(task)
        run, out, cost = folder / "run", folder / "projected.h5ad", folder / "cost.json"
        whole = [sys.executable, SCRIPTS / "measure.py", cost, self.tangram, *command, "--quiet", "--out", run]
        subprocess.run([str(part) for part in whole], check=True, stdout=sys.stderr)
        record = tomllib.loads((run / "run.toml").read_text())["record"]
        if task.genes_held_out and sorted(record["genes"]["training"]) != problem.training(split):
            sys.exit(f"factored: {task.name}: the training genes are not the expected ones")

        project = [self.tangram, "project", "--quiet", "--mapping", run, "--out", out, "--types", "obs:cell_type"]
        project += ["--threads", self.threads]
        if task.genes_held_out:
            project += ["--genes", self.work / "input" / f"{task.name}-{split}.txt"]
        subprocess.run([str(part) for part in project], check=True, stdout=sys.stderr)
        projected = anndata.read_h5ad(out)
        if list(projected.obs_names) != list(problem.voxels.obs_names):
            sys.exit(f"factored: {task.name}: projected voxels are not those of the input, or in another order")
        if task.genes_held_out:
            types, labels = np.asarray(projected.obsm["cell_type"]), list(map(str, projected.uns["cell_type_labels"]))
            scores = score_genes(dense(projected[:, problem.held_out(split)].X), problem, split)
        else:
            types, labels = dense(projected.X), list(projected.var_names)
            match task.name:
                case "thinned":
                    scores = score_placement(run, problem)
                case "types":
                    scores = score_types(types, labels, problem)
                case _:
                    scores = score_shares(types, labels, problem)
        np.savez_compressed(folder / "types.npz", types=np.asarray(types, dtype=np.float32), labels=np.array(labels))
        return {
            "shape": [record["n-cells"], record["n-voxels"], record["n-genes"]],
            "loss": record["final-loss"]["total"],
            "train": record["train-score"]["mean-cosine"],
            "epochs": record["epochs-run"],
            "passes": record.get("full-passes", record["epochs-run"]),
            "seconds": record["seconds-training"],
            "cost": json.loads(cost.read_text()),
            "scores": scores,
        }

    def type_maps(self, result: dict, names: list[str]) -> np.ndarray:
        stored = np.load(self.work / "runs" / f"{result['key']}.npz")
        labels = list(stored["labels"])
        return stored["types"].astype(np.float64)[:, [labels.index(name) for name in names]]


# --- tables ----------------------------------------------------------------------------------------------


def markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    line = "| " + " | ".join("-" * width for width in widths) + " |"
    text = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([text[0], line, *text[1:]])


def number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def optimum(runs: Runs, tasks: list[Task], also: list[str]) -> bool:
    """Prints the table of `optimum`; True if every row holds. `also`: settings of mirror in addition to its defaults."""
    heads = ["task", "cells × voxels × genes", "loss", "train cosine", "held-out cosine", "types: mean r", "median"]
    heads += ["top-1", "epochs", "full passes", "seconds", "peak GB", "holds"]
    rows, all_hold = [heads], True
    for task, setting in ((task, setting) for task in tasks for setting in ["off", *also]):
        pair = [runs.result(task, 0, solver) for solver in ("adam", setting)]
        if None in pair:
            all_hold = False
            continue
        adam, mirror = pair
        kept = runs.problem(task).types()
        apart = pearsons(runs.type_maps(adam, kept), runs.type_maps(mirror, kept))

        def both(value, digits: int) -> str:
            return " / ".join(f"{value(side):,.{digits}f}" for side in pair)

        holds = {
            "loss": mirror["loss"] <= adam["loss"] + LOSS_WITHIN,
            "train": mirror["train"] >= adam["train"] - SCORE_WITHIN,
            "types": apart.mean() >= TYPE_MAPS_AT_LEAST,
        }
        held_out = top_1 = "–"
        if task.genes_held_out:
            held_out = both(lambda side: side["scores"]["cosine"], 4)
            holds["held-out"] = mirror["scores"]["cosine"] >= adam["scores"]["cosine"] - SCORE_WITHIN
        else:
            top_1 = both(lambda side: side["scores"]["top_1"], 4)
            holds["top-1"] = abs(mirror["scores"]["top_1"] - adam["scores"]["top_1"]) <= TOP_1_WITHIN
        fails = [name for name, held in holds.items() if not held]
        all_hold = all_hold and not fails
        rows.append(
            [task.name if setting == "off" else f"{task.name} {SETTINGS[setting][0]}"]
            + [" × ".join(f"{side:,}" for side in mirror["shape"]), both(lambda side: side["loss"], 5)]
            + [both(lambda side: side["train"], 4), held_out, number(apart.mean()), number(np.median(apart)), top_1]
            + [both(lambda side: side["epochs"], 0), both(lambda side: side["passes"], 0)]
            + [both(lambda side: side["seconds"], 1), both(lambda side: side["cost"]["peak_bytes"] / 1e9, 2)]
            + ["yes" if not fails else f"NO: {', '.join(fails)}"]
        )
    print("\nThe same optimum: adam / mirror, split 0. Types: correlation of each type's map by adam with its map by mirror")
    print(f"(types of at least {FEWEST_CELLS_OF_A_TYPE} cells)\n")
    print(markdown(rows), flush=True)
    return all_hold


def mean_of(results: list[dict], name: str) -> float:
    return float(np.mean([result["scores"][name] for result in results]))


def settings(runs: Runs, tasks: list[Task], names: list[str], splits: int) -> None:
    found: dict[tuple[str, str], list[dict]] = {}
    for task in tasks:
        problem = runs.problem(task)
        seeds = range(splits if task.genes_held_out else 1)
        shown = GENE_SCORES if task.genes_held_out else OTHER_SCORES[task.name]
        rows = [["setting", *(["splits"] if task.genes_held_out else []), *shown.values(), "full passes", "seconds"]]
        if problem.cells.n_obs * problem.voxels.n_obs > ADAM_AT_MOST and "adam" in names:
            say(f"{task.name}: too large for adam here")
        for setting in names:
            if setting == "adam" and problem.cells.n_obs * problem.voxels.n_obs > ADAM_AT_MOST:
                continue
            results = [runs.result(task, split, setting) for split in (seeds if setting != "adam" else [0])]
            results = [result for result in results if result is not None]
            if not results:
                continue
            found[task.name, setting] = results
            row = [SETTINGS[setting][0], *([str(len(results))] if task.genes_held_out else [])]
            row += [number(mean_of(results, score)) for score in shown]
            for name, digits in (("passes", 0), ("seconds", 1)):
                row.append(number(np.mean([result[name] for result in results]), digits))
            rows.append(row)
        blind = [knows_no_cells(task, problem, split) for split in seeds]
        for i, (name, scores) in enumerate(blind[0]):
            mean = [number(np.mean([rows_of[i][1][score] for rows_of in blind])) for score in shown]
            rows.append([name, *([str(len(blind))] if task.genes_held_out else []), *mean, "–", "–"])
        size = f"{problem.cells.n_obs:,} cells, {problem.voxels.n_obs:,} voxels, {len(problem.genes):,} shared genes"
        print(f"\n{task.name}: {size}\n")
        print(markdown(rows), flush=True)
    summary(found, tasks, names)


def summary(found: dict, tasks: list[Task], names: list[str]) -> None:
    """Prints how every setting compares with the package's loss."""
    if "off" not in names:
        return
    with_genes = [task.name for task in tasks if task.genes_held_out]
    others = [task.name for task in tasks if not task.genes_held_out]
    measures = [
        ("cosine", [(name, "cosine") for name in with_genes]),
        ("partial Pearson", [(name, "partial") for name in with_genes]),
        ("place, types, shares", [(name, next(iter(OTHER_SCORES[name]))) for name in others]),
    ]
    heads = ["setting"]
    for name, pairs in measures:
        heads += [f"{name}: at least as good", "better", "mean gain", "worst"] if pairs else []
    rows = [heads]
    for setting in names:
        if setting == "off":
            continue
        row = [SETTINGS[setting][0]]
        for _, pairs in measures:
            if not pairs:
                continue
            gains = []
            for task, score in pairs:
                mine, base = found.get((task, setting)), found.get((task, "off"))
                if mine and base:
                    gains.append(mean_of(mine, score) - mean_of(base[: len(mine)], score))
            if not gains:
                row += ["–"] * 4
                continue
            at_least = sum(gain >= -EVEN for gain in gains)
            better = sum(gain > EVEN for gain in gains)
            row += [f"{at_least} of {len(gains)}", str(better), f"{np.mean(gains):+.4f}", f"{min(gains):+.4f}"]
        rows.append(row)
    print(f"\nCompared with the package's loss (κ off), over the tasks; equal within {EVEN}\n")
    print(markdown(rows), flush=True)


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("what", choices=["optimum", "settings", "all"])
    arguments.add_argument("--tangram", type=Path, required=True)
    arguments.add_argument("--data", type=Path, required=True)
    arguments.add_argument("--work", type=Path, required=True)
    arguments.add_argument("--only", nargs="+", metavar="TASK", choices=[task.name for task in TASKS])
    arguments.add_argument("--settings", nargs="+", metavar="NAME", choices=list(SETTINGS), default=list(SETTINGS))
    arguments.add_argument("--also", action="append", metavar="FLAGS", default=[], help="an additional setting")
    arguments.add_argument("--splits", type=int, default=3, help="splits of the genes; default 3")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--fresh", action="store_true", help="repeat runs whose scores are stored")
    given = arguments.parse_args()
    if not 1 <= given.splits <= EVERY:
        arguments.error(f"--splits goes from 1 to {EVERY}")
    tasks = [task for task in TASKS if given.only is None or task.name in given.only]
    names = [name for name in SETTINGS if name in given.settings]
    for flags in given.also:
        SETTINGS[flags] = (flags.replace("--", ""), f"--goal package {flags}")
        names.append(flags)

    runs = Runs(given)
    holds = True
    if given.what != "settings":
        holds = optimum(runs, [task for task in tasks if task.name in OPTIMUM], given.also)
    if given.what != "optimum":
        settings(runs, tasks, names, given.splits)
    if runs.failed:
        say(f"failed: {', '.join(runs.failed)}")
    return 0 if holds and not runs.failed else 1


if __name__ == "__main__":
    sys.exit(main())
