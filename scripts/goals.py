"""Runs the comparisons of goals.sh and prints the tables; see there. Runs in the `tests` environment of python-env.sh."""

import argparse
import csv
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import scipy.sparse as sp
from factored import Problem, dense, make_input, number, score_genes, totals
from modes import Bench, subsample
from validate import STARMAP_TYPE

# Nearest cells of the baseline, and the penalty of the ridge as a share of the number of cells.
NEAREST, PENALTY = 50, 0.1

# Name in the tables: flags of `tangram map`. They are written out, so that the tables stay what they are when a goal changes;
# tests/factored.rs says which of them the goals stand for. "Before" is before there were composition terms.
PACKAGE = "--goal package"
IMPUTE = {
    "package's loss": PACKAGE,
    "impute before": f"{PACKAGE} --lambda-g2 1 --temperature 4",
    "composition-scaled 3, κ 2": f"{PACKAGE} --lambda-h-scaled 3 --temperature 2",
    "composition-scaled 3, κ 1": f"{PACKAGE} --lambda-h-scaled 3 --temperature 1",
}
BASELINES = ["voxel totals", f"{NEAREST} nearest cells", "ridge"]
PLACE = {
    "package's loss": PACKAGE,
    "place before": f"{PACKAGE} --transform sqrt --lambda-g2 20",
    "composition 20, gene-root": f"{PACKAGE} --lambda-g1 0 --lambda-s 1 --lambda-h 20",
}
COMPOSE = PLACE | {"impute before": IMPUTE["impute before"]}


@dataclass
class Pair:
    name: str
    cells: str
    voxels: str


HELD_OUT = [
    Pair("lymphnode", "lymphnode_10x_sc", "lymphnode_visium_spatial"),
    Pair("pdac", "pdac_sc", "pdac_st_spatial"),
    Pair("spots2", "starmap_rep1", "spots_rep2"),
    Pair("spots1", "starmap_rep2", "spots_rep1"),
    Pair("replicates", "starmap_rep1", "starmap_rep2"),
    Pair("mop-spots", "mop_10x_sc", "starmap_v1_spots"),
    Pair("mop-starmap", "mop_10x_sc", "starmap_v1_cells"),
    Pair("mop-visp", "mop_10x_sc", "visp_merfish_spatial"),
    Pair("mop-merfish", "mop_10x_sc", "mop_slice"),
    Pair("patchseq", "mop_patchseq_sc", "mop_slice"),
    Pair("mpoa", "mpoa_10x_sc", "mpoa_section"),
    Pair("animals", "mpoa_section", "mpoa_other"),
]
# Counts that are split into two halves, of which one is placed onto the other.
THINNED = [
    "lymphnode_visium_spatial",
    "pdac_st_spatial",
    "starmap_rep1",
    "starmap_rep2",
    "starmap_v1_spots",
    "visp_merfish_spatial",
    "mpoa_section",
]
COMPOSED = [
    Pair("spots2", "starmap_rep1", "spots_rep2"),
    Pair("spots1", "starmap_rep2", "spots_rep1"),
    Pair("mop-spots", "mop_10x_sc", "starmap_v1_spots"),
]


def say(text: str) -> None:
    print(f"goals: {text}", file=sys.stderr, flush=True)


def read(name: str, data: Path) -> anndata.AnnData:
    """A file of the data, or a part of one."""
    path = data / f"{name}.h5ad"
    return anndata.read_h5ad(path) if path.exists() else make_input(name, data)


def row(cells: list[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def heads(cells: list[str]) -> None:
    row(cells)
    print("|" + "---|" * len(cells), flush=True)


class Goals:
    def __init__(self, bench: Bench, data: Path, folds: list[int], seeds: list[int]):
        self.bench, self.data, self.folds, self.seeds = bench, data, folds, seeds

    def folder(self, name: str) -> Path:
        folder = self.bench.work / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def prepare(self, folder: Path, pair: Pair, some=subsample) -> Problem:
        rng = np.random.default_rng(self.bench.seed)
        sides = [some(read(name, self.data), rng) for name in (pair.cells, pair.voxels)]
        for side, name in zip(sides, ("cells", "voxels")):
            side.write_h5ad(folder / f"{name}.h5ad")
        present = [set(side.var_names[totals(side.X, 0) > 0]) for side in sides]
        return Problem(*sides, sorted(present[0] & present[1]))

    def projected(self, folder: Path, flags: list) -> anndata.AnnData:
        out = folder / "projected.h5ad"
        common = ["--quiet", "--force", "--threads", self.bench.threads]
        self.bench.run(["project", "--mapping", folder / "run", "--out", out, *common, *flags])
        return anndata.read_h5ad(out)

    # --- genes that were held out ---

    def held_out(self, pairs: list[Pair], settings: dict[str, str]) -> None:
        names = [*settings, *BASELINES]
        kinds = ["cosine", "pearson", "partial"]
        print("Held-out genes: cosine / Pearson / Pearson with the voxel totals partialled out\n")
        heads(["pair", "cells × voxels × genes", *names])
        all_scores = {name: [] for name in names}
        for pair in pairs:
            say(f"{pair.name}: held-out genes")
            folder = self.folder(f"held-out-{pair.name}")
            problem = self.prepare(folder, pair)
            found = {name: [] for name in names}
            for fold in self.folds:
                wanted = problem.held_out(fold)
                (folder / "held_out.txt").write_text("".join(f"{gene}\n" for gene in wanted))
                for name, flags in settings.items():
                    hold = ["--hold-out", folder / "held_out.txt", "--keep", "none"]
                    self.bench.map(folder, "run", [*hold, *flags.split()])
                    made = self.projected(folder, ["--genes", folder / "held_out.txt"])
                    found[name].append(score_genes(dense(made[:, wanted].X), problem, fold))
                for name, predicted in baselines(problem, fold).items():
                    found[name].append(score_genes(predicted, problem, fold))
            means = {name: {kind: float(np.mean([one[kind] for one in found[name]])) for kind in kinds} for name in names}
            means["voxel totals"]["partial"] = float("nan")
            for name in names:
                all_scores[name].append(means[name])
            size = f"{problem.cells.n_obs:,} × {problem.voxels.n_obs:,} × {len(problem.genes):,}"
            row([pair.name, size, *(" / ".join(number(means[name][kind], 3) for kind in kinds) for name in names)])

        def ratios(name: str, base: str, kind: str) -> list[float]:
            return [mine[kind] / theirs[kind] for mine, theirs in zip(all_scores[name], all_scores[base])]

        def of(name: str, told) -> str:
            return " / ".join(told(name, kind) for kind in kinds)

        def mean_ratio(name: str, kind: str) -> str:
            return number(float(np.mean(ratios(name, "impute before", kind))), 3)

        def at_least(base: str):
            return lambda name, kind: f"{sum(ratio >= 1 for ratio in ratios(name, base, kind))}"

        row(["mean ratio to impute before", "", *(of(name, mean_ratio) for name in names)])
        row([f"at or above impute before, of {len(pairs)}", "", *(of(name, at_least("impute before")) for name in names)])
        row([f"at or above package's loss, of {len(pairs)}", "", *(of(name, at_least("package's loss")) for name in names)])
        print()

    # --- cells whose place is known ---

    def placed(self, files: list[str], settings: dict[str, str]) -> None:
        print("Placement of thinned counts: top-1 / P(true voxel)\n")
        heads(["voxels", "voxels × genes", *settings])
        for file in files:
            say(f"{file}: placement")
            folder = self.folder(f"placed-{file}")
            found = {name: [] for name in settings}
            for seed in self.seeds:
                size = thin(read(file, self.data), folder, seed)
                for name, flags in settings.items():
                    self.bench.map(folder, "run", ["--prior", "uniform", "--keep", "all", *flags.split()])
                    found[name].append(score_placement(folder / "run"))
            means = [" / ".join(f"{score:.3f}" for score in np.mean(found[name], axis=0)) for name in settings]
            row([file, " × ".join(f"{n:,}" for n in size), *means])
        print()

    # --- types in spots ---

    def composed(self, pairs: list[Pair], settings: dict[str, str]) -> None:
        print("Composition of spots: Pearson / RMSE / Jensen-Shannon divergence in bits\n")
        heads(["cells → spots", "prior", *settings, "least squares"])
        for pair in pairs:
            say(f"{pair.name}: composition")
            folder = self.folder(f"composed-{pair.name}")
            problem = self.prepare(folder, pair, lambda side, rng: named_alike(subsample(side, rng)))
            inputs = ["--cells", folder / "cells.h5ad", "--voxels", folder / "voxels.h5ad", "--annotation", "obs:cell_type"]
            for prior in ("rna", "obs:n_cells"):
                shown = []
                for flags in settings.values():
                    self.bench.map(folder, "run", ["--prior", prior, "--keep", "none", *flags.split()])
                    made = self.projected(folder, ["--types", "obs:cell_type"])
                    shown.append(score_shares(dense(made.X), list(made.var_names), problem.voxels))
                counts = ["--counts", "obs:n_cells"] if prior != "rna" else []
                common = ["--method", "nnls", "--truth", "obsm:true_prop", "--threads", self.bench.threads, "--quiet", "--force"]
                self.bench.run(["deconvolve", *inputs, *counts, *common, "--drop-empty", "--out", folder / "nnls"])
                with open(folder / "nnls" / "scores.tsv") as file:
                    pooled = next(line for line in csv.DictReader(file, delimiter="\t") if line["type"] == "(all)")
                shown.append([float(pooled[key]) for key in ("pearson", "rmse", "jensen_shannon_bits")])
                row([pair.name, prior, *(" / ".join(f"{s:.3f}" for s in scores) for scores in shown)])
        print()


def baselines(problem: Problem, fold: int) -> dict[str, np.ndarray]:
    """Predictions of the held-out genes, (voxels, genes), that need no mapping."""
    wanted, training = problem.held_out(fold), problem.training(fold)
    depth = problem.measured(training).sum(axis=1, keepdims=True)
    all_cells = dense(problem.cells.X[:, problem.cells.var_names.get_indexer(training + wanted)])
    n = len(training)
    usual = np.median(depth)

    def scaled(counts: np.ndarray, by: np.ndarray) -> np.ndarray:
        return np.log1p(counts * np.divide(usual, by, out=np.zeros_like(by), where=by > 0))

    def standard(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        mean, spread = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-9)
        return (values - mean) / spread, mean, spread

    of_cell = all_cells[:, :n].sum(axis=1, keepdims=True)
    cells, voxels = scaled(all_cells[:, :n], of_cell), scaled(problem.measured(training), depth)
    targets = scaled(all_cells[:, n:], of_cell)
    # Both methods see genes in units of their own spread on each side, which takes out what differs between ways of measuring.
    cells, voxels = standard(cells)[0], standard(voxels)[0]
    to_unit = [side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9) for side in (cells, voxels)]
    near = np.argsort(-(to_unit[1] @ to_unit[0].T), axis=1, kind="stable")[:, :NEAREST]
    z, mean, spread = standard(targets)
    gram = cells.T @ cells + PENALTY * len(cells) * np.eye(n)
    ridge = voxels @ np.linalg.solve(gram, cells.T @ z) * spread + mean
    return {
        "voxel totals": np.repeat(depth, len(wanted), axis=1),
        f"{NEAREST} nearest cells": np.expm1(targets)[near].mean(axis=1) * depth,
        "ridge": np.expm1(np.clip(ridge, 0, 20)) * depth,
    }


def thin(counts: anndata.AnnData, folder: Path, seed: int) -> tuple[int, int]:
    """Writes two halves of the counts as cells and voxels in the same order; rows that either half lacks are left out."""
    rng = np.random.default_rng(seed)
    counts = subsample(counts, rng)
    whole = sp.csr_matrix(counts.X)
    whole.sort_indices()
    if not np.array_equal(whole.data, np.round(whole.data)):
        sys.exit("goals: only whole counts can be thinned")
    first = rng.binomial(whole.data.astype(np.int64), 0.5)
    parts = (first.astype(np.float32), (whole.data - first).astype(np.float32))
    halves = [sp.csr_matrix((part, whole.indices, whole.indptr), whole.shape) for part in parts]
    filled = np.flatnonzero(np.minimum(*(totals(half, 1) for half in halves)) > 0)
    for name, half in zip(("cells", "voxels"), halves):
        half = half[filled]
        half.eliminate_zeros()
        anndata.AnnData(half, obs=counts.obs.iloc[filled][[]], var=counts.var[[]]).write_h5ad(folder / f"{name}.h5ad")
    return len(filled), counts.n_vars


def score_placement(run: Path) -> tuple[float, float]:
    stored = anndata.read_zarr(run / "mapping.zarr")
    if list(stored.obs_names) != list(stored.var_names):
        sys.exit(f"goals: {run}: cells and voxels are not in the same order")
    mapping = dense(stored.X)
    return float((mapping.argmax(axis=1) == np.arange(len(mapping))).mean()), float(np.diag(mapping).mean())


def named_alike(side: anndata.AnnData) -> anndata.AnnData:
    """Cells of the motor cortex get the names that STARmap has for their types; a type without one keeps its own."""
    if "subclass" in side.obs:
        own = side.obs["subclass"].astype(str)
        side.obs["cell_type"] = own.map(STARMAP_TYPE).fillna(own).to_numpy()
    return side


def score_shares(expected: np.ndarray, labels: list[str], voxels: anndata.AnnData) -> tuple[float, float, float]:
    """As `tangram deconvolve` scores: a type of one side only is 0 on the other."""
    columns = list(map(str, voxels.uns["true_prop_columns"]))
    every = sorted({*labels, *columns})

    def spread(shares: np.ndarray, names: list[str]) -> np.ndarray:
        all_types = np.zeros((len(shares), len(every)))
        all_types[:, [every.index(name) for name in names]] = shares
        return all_types / all_types.sum(axis=1, keepdims=True)

    found, truth = spread(expected, labels), spread(np.asarray(voxels.obsm["true_prop"]), columns)

    def entropy(p: np.ndarray) -> np.ndarray:
        return -(p * np.log2(np.where(p > 0, p, 1))).sum(axis=1)

    js = entropy((found + truth) / 2) - (entropy(found) + entropy(truth)) / 2
    return float(np.corrcoef(found.ravel(), truth.ravel())[0, 1]), float(np.sqrt(((found - truth) ** 2).mean())), float(js.mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["impute", "place", "compose", "all"])
    parser.add_argument("--tangram", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--also", action="append", metavar="FLAGS", default=[], help="a further setting")
    parser.add_argument("--folds", nargs="+", type=int, default=[5, 7, 9])
    parser.add_argument("--thinnings", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    bench = Bench(args.tangram, args.work, args.threads, args.seed)
    goals = Goals(bench, args.data, args.folds, args.thinnings)
    also = {flags.strip(): f"{PACKAGE} {flags.strip()}" for flags in args.also}

    def chosen(names: list, key=str) -> list:
        return [name for name in names if not args.only or key(name) in args.only]

    if args.what in ("impute", "all"):
        goals.held_out(chosen(HELD_OUT, lambda pair: pair.name), IMPUTE | also)
    if args.what in ("place", "all"):
        goals.placed(chosen(THINNED), PLACE | also)
    if args.what in ("compose", "all"):
        goals.composed(chosen(COMPOSED, lambda pair: pair.name), COMPOSE | also)


if __name__ == "__main__":
    main()
