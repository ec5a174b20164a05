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


def read(stem: str, data: Path) -> anndata.AnnData:
    """A file of the data, or one replicate or section of it."""
    match stem:
        case "starmap_rep1":
            cells = read("starmap_v1_cells", data)
            return cells[(cells.obs["replicate"] == "rep1").to_numpy()].copy()
        case "spots_rep2":
            # The coordinates of a spot are those of its corner. Replicate 2 lies to the left of replicate 1.
            cells, spots = read("starmap_v1_cells", data), read("starmap_v1_spots", data)
            border = cells.obsm["spatial"][(cells.obs["replicate"] == "rep1").to_numpy(), 0].min()
            half = np.diff(np.unique(spots.obsm["spatial"][:, 0])).min() / 2
            return spots[spots.obsm["spatial"][:, 0] + half < border].copy()
        case "mpoa_section":
            voxels = read("mpoa_merfish_spatial", data)
            return voxels[(voxels.obs["section"] == voxels.obs["section"].iloc[0]).to_numpy()].copy()
    return anndata.read_h5ad(data / f"{stem}.h5ad")


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
        cells, voxels = (subsample(read(stem, data), rng) for stem in (pair.cells, pair.voxels))
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
        hold = ["--hold-out", folder / "held_out.txt"]
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


def size(bench: Bench) -> None:
    cells, voxels, genes = SIZE
    folder = bench.work / "size"
    if not (folder / "voxels.h5ad").exists():
        say("simulating the MERFISH size")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        sizes = ["--cells", cells, "--voxels", voxels, "--spots", 10, "--genes", genes, "--panel", genes]
        bench.run(["simulate", "--out", folder, *sizes, "--quiet"])
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
    parser.add_argument("what", choices=["quality", "cost", "size", "all"])
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


if __name__ == "__main__":
    main()
