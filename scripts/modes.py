"""Runs the comparisons of modes.sh and prints the tables; see there. Runs in the `tests` environment of python-env.sh."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
from factored import read_input

# Largest number of cells and of voxels of a pair.
MOST = 1_500
# Every tenth shared gene, sorted by name, is held out.
EVERY = 10
# The filter keeps one cell in so many.
KEPT = 2
SUBSETS = 3
# Passes of a run that is timed, and runs of each kind, in turn.
TIMED_PASSES, ROUNDS = 41, 3
SIZE, SIZE_PASSES, SIZE_ROUNDS = (58_022, 4_951, 253), 21, 1
# The paper's deconvolution: cells, spots, genes, segmented cells, and the epochs that it took.
VISIUM, VISIUM_KEPT, VISIUM_EPOCHS = (58_022, 162, 1_408), 939, 6_000
# Genes of the panel on simulated tissue that lacks half of the types, goals, and draws of the types.
PANELS, FILTER_GOALS, DRAWS = [150, 500, 1_500], {"impute": [], "place": [], "package": ["--lambda-g2", "1"]}, 3
ABSENT_SIZE = ["--cells", 1_500, "--voxels", 1_200]
# What both solvers can minimise, by the name in the table. The presets of the paper's cases in cells mode have the second.
SOLVED = {
    "`--goal package`": ["--goal", "package"],
    "presets: package, λ_g2 = 1": ["--goal", "package", "--lambda-g2", "1"],
    "`--objective paper`": ["--objective", "paper"],
    "`--goal impute`": ["--goal", "impute", "--temperature", "off"],
    "`--goal place`": ["--goal", "place"],
    "clusters, `--goal package`": ["--mode", "clusters", "--goal", "package"],
}
# The column of the clusters, of the pairs whose cells have one.
CLUSTERS = {"spots": "cell_type", "visp": "subclass"}
ADAM_EPOCHS = 1_000
# Passes are counted from here: the first warm up, and the filter begins to learn after the tenth.
FIRST_TIMED = 11


@dataclass
class Pair:
    name: str
    cells: str
    voxels: str


PAIRS = [
    Pair("lymphnode", "lymphnode_10x_sc", "lymphnode_visium_spatial"),
    Pair("pdac", "pdac_sc", "pdac_st_spatial"),
    Pair("spots", "starmap_rep1", "spots_rep2"),
    Pair("visp", "mop_10x_sc", "visp_merfish_spatial"),
    Pair("mpoa", "mpoa_10x_sc", "mpoa_section"),
]


def say(text: str) -> None:
    print(f"modes: {text}", file=sys.stderr, flush=True)


def sums(matrix, axis: int) -> np.ndarray:
    return np.asarray(matrix.sum(axis=axis), dtype=np.float64).ravel()


def subsample(file: anndata.AnnData, rng: np.random.Generator) -> anndata.AnnData:
    some = np.flatnonzero(sums(file.X, 1) > 0)
    if len(some) > MOST:
        some = np.sort(rng.choice(some, MOST, replace=False))
    return file[some].copy()


class Bench:
    def __init__(self, tangram: Path, work: Path, threads: int, seed: int):
        self.tangram, self.work, self.threads, self.seed = tangram, work, threads, seed

    def run(self, arguments: list, **keywords) -> str:
        command = [str(part) for part in [self.tangram, *arguments]]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **keywords).stdout

    def prepare(self, pair: Pair, data: Path) -> Path:
        """Writes the pair's inputs, subsets of the cells, starts of the filter and the list of held-out genes."""
        folder = self.work / pair.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        rng = np.random.default_rng(self.seed)
        cells, voxels = (subsample(read_input(stem, data), rng) for stem in (pair.cells, pair.voxels))
        both = set(cells.var_names[sums(cells.X, 0) > 0]) & set(voxels.var_names[sums(voxels.X, 0) > 0])
        (folder / "held_out.txt").write_text("\n".join(sorted(both)[::EVERY]) + "\n")
        cells.write_h5ad(folder / "cells.h5ad")
        voxels.write_h5ad(folder / "voxels.h5ad")
        n_kept = cells.n_obs // KEPT
        for subset in range(SUBSETS):
            chosen = np.sort(rng.choice(cells.n_obs, n_kept, replace=False))
            cells[chosen].copy().write_h5ad(folder / f"subset{subset}.h5ad")
        for start in range(2):
            np.save(folder / f"start{start}.npy", rng.standard_normal(cells.n_obs))
        (folder / "sizes.json").write_text(json.dumps([cells.n_obs, voxels.n_obs, len(both), n_kept]))
        return folder

    def map(self, folder: Path, out: str, flags: list, cells: str = "cells") -> dict:
        inputs = ["--cells", folder / f"{cells}.h5ad", "--voxels", folder / "voxels.h5ad", "--drop-empty"]
        common = ["--threads", self.threads, "--quiet", "--no-report", "--force"]
        self.run(["map", *inputs, *common, *flags, "--out", folder / out])
        return tomllib.loads((folder / out / "run.toml").read_text())["record"]

    def scores(self, folder: Path, out: str) -> tuple[float, float]:
        found = json.loads(self.run(["score", "--mapping", folder / out, "--quiet", "--json"]))
        return found["train"]["mean_cosine"], found["test"]["mean_cosine"]

    def kept(self, folder: Path, out: str) -> np.ndarray:
        obs = anndata.read_zarr(folder / out / "mapping.zarr").obs
        return obs["tangram_filter"].to_numpy()


def quality(bench: Bench, pairs: list[Pair], data: Path) -> None:
    print("| pair | cells × voxels × genes | T | | train | held out |")
    print("|---|---|---|---|---|---|")
    agreements = []
    for pair in pairs:
        say(f"{pair.name}: quality")
        folder = bench.prepare(pair, data)
        n_cells, n_voxels, n_genes, n_kept = json.loads((folder / "sizes.json").read_text())
        # The default goal of constrained mode, for all rows.
        hold = ["--hold-out", folder / "held_out.txt", "--goal", "place"]
        constrained = [*hold, "--mode", "constrained", "--target-count", n_kept, "--keep", "top:1"]

        def row(first: str, name: str, scores: tuple[float, float]) -> None:
            print(f"| {first} | {name} | {scores[0]:.3f} | {scores[1]:.3f} |", flush=True)

        bench.map(folder, "cells", hold)
        row(f"{pair.name} | {n_cells} × {n_voxels} × {n_genes} | {n_kept}", "all cells", bench.scores(folder, "cells"))
        bench.map(folder, "constrained", constrained)
        row(" | | ", "filter", bench.scores(folder, "constrained"))
        subsets = []
        for subset in range(SUBSETS):
            bench.map(folder, f"random{subset}", hold, f"subset{subset}")
            subsets.append(bench.scores(folder, f"random{subset}"))
        train, test = zip(*subsets)
        print(
            f"|  | | | random, {SUBSETS} | {min(train):.3f} to {max(train):.3f} | {min(test):.3f} to {max(test):.3f} |",
            flush=True,
        )
        starts = []
        for start in range(2):
            bench.map(folder, f"start{start}", [*constrained, "--init-filter", folder / f"start{start}.npy"])
            starts.append(bench.kept(folder, f"start{start}"))
        a, b = starts
        own = bench.kept(folder, "constrained")
        both = np.count_nonzero((a > 0.5) & (b > 0.5)) / max(1, np.count_nonzero((a > 0.5) | (b > 0.5)))
        decided = np.mean((own < 0.05) | (own > 0.95))
        agreements.append((pair.name, np.corrcoef(a, b)[0, 1], both, decided))
    print("\n| pair | correlation of f of two starts | kept by both, of those kept by one | decided: f below 0.05 or above 0.95 |")
    print("|---|---|---|---|")
    for name, correlation, both, decided in agreements:
        print(f"| {name} | {correlation:.3f} | {both:.2f} | {decided:.2f} |")
    print()


def seconds_of_pass(run: Path) -> float:
    """Mean seconds of a pass, from when the filter learns; five passes in a row hold one that weighs the cells."""
    lines = (run / "history.tsv").read_text().splitlines()
    elapsed = [float(line.split("\t")[-1]) for line in lines[1:]]
    return (elapsed[-1] - elapsed[FIRST_TIMED - 1]) / (len(elapsed) - FIRST_TIMED)


def ratios(bench: Bench, folder: Path, n_kept: int, passes: int, rounds: int) -> tuple[float, dict, dict]:
    """Seconds of a pass of cells mode, and ratios to it: medians of rounds, each with the modes in turn."""
    free = ["--tolerance", 0, "--epochs", passes, "--keep", "none"]
    modes = {
        "cells": [],
        "constrained": ["--mode", "constrained", "--target-count", n_kept],
        "neighbourhood": ["--neighbours", "nearest:6", "--lambda-neighbourhood", "1"],
    }
    seconds = {name: [] for name in modes}
    peaks = {}
    for _ in range(rounds):
        for name, flags in modes.items():
            record = bench.map(folder, f"timed-{name}", [*free, *flags])
            seconds[name].append(seconds_of_pass(folder / f"timed-{name}"))
            peaks[name] = record["peak-memory-bytes"]
    pairs = {name: [t / c for t, c in zip(times, seconds["cells"])] for name, times in seconds.items()}
    return statistics.median(seconds["cells"]), {name: statistics.median(r) for name, r in pairs.items()}, peaks


def cost(bench: Bench, pairs: list[Pair], data: Path) -> None:
    print("| pair | ms a pass, cells mode | constrained | neighbourhood term |")
    print("|---|---|---|---|")
    for pair in pairs:
        say(f"{pair.name}: cost")
        folder = bench.work / pair.name
        if not (folder / "sizes.json").exists():
            bench.prepare(pair, data)
        n_kept = json.loads((folder / "sizes.json").read_text())[3]
        seconds, of, _ = ratios(bench, folder, n_kept, TIMED_PASSES, ROUNDS)
        print(
            f"| {pair.name} | {1000 * seconds:.1f} | × {of['constrained']:.2f} | × {of['neighbourhood']:.2f} |", flush=True
        )
    print()


def last_loss(run: Path) -> tuple[float, float]:
    """The loss at the end, and the seconds of the training."""
    lines = [line.split("\t") for line in (run / "history.tsv").read_text().splitlines()]
    columns = lines[0]
    return float(lines[-1][columns.index("total")]), float(lines[-1][columns.index("elapsed_s")])


def solvers(bench: Bench, pairs: list[Pair], data: Path) -> None:
    print("| pair | loss | mirror: loss, passes, seconds | adam: loss, epochs, seconds | mirror − adam |")
    print("|---|---|---|---|---|")
    for pair in pairs:
        folder = bench.work / pair.name
        if not (folder / "sizes.json").exists():
            bench.prepare(pair, data)
        for name, flags in SOLVED.items():
            if "clusters" in flags:
                if pair.name not in CLUSTERS:
                    continue
                flags = [*flags, "--cluster", f"obs:{CLUSTERS[pair.name]}"]
            say(f"{pair.name}: {name}")
            found = []
            for solver, own in (("mirror", ["--keep", "none"]), ("adam", ["--keep", "top:1", "--epochs", ADAM_EPOCHS])):
                record = bench.map(folder, f"solved-{solver}", ["--solver", solver, *own, *flags])
                loss, seconds = last_loss(folder / f"solved-{solver}")
                if solver == "mirror":
                    # The mapping is that of the best pass, which need not be the last.
                    loss = record["final-loss"]["total"]
                found.append((loss, record["epochs-run"], seconds))
            cells = [f"{loss:.5f}, {n}, {seconds:.1f}" for loss, n, seconds in found]
            print(f"| {pair.name} | {name} | {cells[0]} | {cells[1]} | {found[0][0] - found[1][0]:+.5f} |", flush=True)
    print()


def simulated(bench: Bench, name: str, sizes: tuple[int, int, int]) -> Path:
    """A folder with a tissue of so many cells, voxels and genes."""
    cells, voxels, genes = sizes
    folder = bench.work / name
    if not (folder / "voxels.h5ad").exists():
        say(f"simulating {cells:,} × {voxels:,} × {genes:,}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        numbers = ["--cells", cells, "--voxels", voxels, "--spots", 10, "--genes", genes, "--panel", genes]
        bench.run(["simulate", "--out", folder, *numbers, "--quiet"])
    return folder


def absent(bench: Bench) -> None:
    """How many of the cells that belong a filter keeps, where half of the types of the cells are not in the tissue."""
    print("| genes, median counts of a cell | " + " | ".join(f"`{goal}`" for goal in FILTER_GOALS) + " |")
    print("|---" * (1 + len(FILTER_GOALS)) + "|")
    for panel in PANELS:
        say(f"absent types, {panel} genes")
        folder = bench.work / f"absent{panel}"
        shutil.rmtree(folder, ignore_errors=True)
        bench.run(["simulate", "--out", folder, *ABSENT_SIZE, "--genes", max(panel, 500), "--panel", panel, "--quiet"])
        cells, all_voxels = anndata.read_h5ad(folder / "cells.h5ad"), anndata.read_h5ad(folder / "voxels.h5ad")
        types = sorted(cells.obs["cell_type"].unique())
        found: dict[str, list[float]] = {goal: [] for goal in FILTER_GOALS}
        for draw in range(DRAWS):
            lacking = set(np.random.default_rng(draw).choice(types, len(types) // 2, replace=False))
            there = ~all_voxels.obs["cell_type"].isin(lacking).to_numpy()
            all_voxels[there].copy().write_h5ad(folder / "voxels.h5ad")
            belong = ~cells.obs["cell_type"].isin(lacking).to_numpy()
            for goal, more in FILTER_GOALS.items():
                target = ["--mode", "constrained", "--target-count", int(belong.sum())]
                bench.map(folder, "run", [*target, "--goal", goal, *more, "--keep", "top:1"])
                kept = bench.kept(folder, "run") > 0.5
                found[goal].append(np.count_nonzero(kept & belong) / belong.sum())
        shared = cells[:, cells.var_names.isin(all_voxels.var_names)]
        counts = np.median(sums(shared.X, 1))
        shown = " | ".join(f"{min(values):.2f} to {max(values):.2f}" for values in found.values())
        print(f"| {panel:,}, {counts:.0f} | {shown} |", flush=True)
    print()


def visium(bench: Bench) -> None:
    """The paper's deconvolution: constrained mode with the loss of its preset."""
    cells, voxels, genes = VISIUM
    folder = simulated(bench, "visium", VISIUM)
    say("the paper's Visium size")
    flags = ["--mode", "constrained", "--target-count", VISIUM_KEPT, "--goal", "package", "--lambda-g2", "1"]
    record = bench.map(folder, "constrained", [*flags, "--epochs", VISIUM_EPOCHS, "--keep", "top:1"])
    _, seconds = last_loss(folder / "constrained")
    kept = int(np.count_nonzero(bench.kept(folder, "constrained") > 0.5))
    print(f"{cells:,} × {voxels:,} × {genes:,}, simulated, T = {VISIUM_KEPT}, at most {VISIUM_EPOCHS:,} epochs:\n")
    print("| passes until converged | seconds | cells with f above 0.5 | Σ f | peak memory |")
    print("|---|---|---|---|---|")
    total = bench.kept(folder, "constrained").sum()
    print(f"| {record['epochs-run']} | {seconds:.1f} | {kept} | {total:.3f} | {record['peak-memory-bytes'] / 1e9:.2f} GB |\n")


def size(bench: Bench) -> None:
    cells, voxels, genes = SIZE
    folder = simulated(bench, "size", SIZE)
    say("the MERFISH size")
    seconds, of, peaks = ratios(bench, folder, voxels, SIZE_PASSES, SIZE_ROUNDS)
    print(f"{cells:,} × {voxels:,} × {genes}, simulated:\n")
    print("| mode | seconds a pass | against cells mode | peak memory |")
    print("|---|---|---|---|")
    for name, ratio in of.items():
        print(f"| {name} | {seconds * ratio:.2f} | × {ratio:.2f} | {peaks[name] / 1e9:.2f} GB |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["quality", "cost", "size", "absent", "solvers", "visium", "all"])
    parser.add_argument("--tangram", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=[pair.name for pair in PAIRS])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    bench = Bench(args.tangram, args.work, args.threads, args.seed)
    pairs = [pair for pair in PAIRS if not args.only or pair.name in args.only]
    if args.what in ("quality", "all"):
        quality(bench, pairs, args.data)
    if args.what in ("cost", "all"):
        cost(bench, pairs, args.data)
    if args.what in ("size", "all"):
        size(bench)
    if args.what in ("absent", "all"):
        absent(bench)
    if args.what in ("solvers", "all"):
        solvers(bench, pairs, args.data)
    if args.what in ("visium", "all"):
        visium(bench)


if __name__ == "__main__":
    main()
