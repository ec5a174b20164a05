"""Runs a simulated mapping on one rank and on every grid of two ranks, with both solvers; see grids.sh."""

import argparse
import json
import subprocess
import tomllib
from pathlib import Path

GRIDS = ["1x1x1", "2x1x1", "1x2x1", "1x1x2"]
SOLVERS = ["mirror", "adam"]


def n_ranks(grid):
    cells, voxels, genes = map(int, grid.split("x"))
    return cells * voxels * genes


def run(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def predicted(tangram, options, solver, density):
    """Memory of a rank in bytes, by grid, as predicted by `tangram plan`."""
    sizes = ["--cells", options.cells, "--voxels", options.voxels, "--genes", options.genes]
    found = {}
    for ranks in {n_ranks(grid) for grid in GRIDS}:
        plan = [tangram, "plan", *sizes, "--density", density, "--ranks", ranks, "--solver", solver, "--json"]
        found |= {grid["grid"]: grid["memory-bytes"] for grid in json.loads(run(plan))}
    return found


def mapped(tangram, options, tissue, out, solver, grid):
    """Runs one mapping; the `record` table of its run.toml."""
    launcher = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", n_ranks(grid)]
    command = [
        *(launcher if n_ranks(grid) > 1 else []),
        *[tangram, "map", "--quiet", "--force", "--out", out, "--cells", tissue / "cells.zarr"],
        *["--voxels", tissue / "voxels.zarr", "--solver", solver, "--grid", grid, "--threads", 1],
        *["--epochs", options.epochs, "--tolerance", 0, "--keep", "top:1"],
    ]
    run(command)
    return tomllib.loads((out / "run.toml").read_text())["record"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tangram", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    for name, value in [("cells", 20_000), ("voxels", 2_000), ("genes", 250), ("epochs", 20), ("rounds", 1)]:
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    tissue = options.work / f"tissue-{options.cells}-{options.voxels}-{options.genes}"
    density = 0.15
    if not (tissue / "simulate.toml").exists():
        sizes = ["--cells", options.cells, "--voxels", options.voxels, "--spots", 1]
        genes = ["--genes", options.genes, "--panel", options.genes, "--density", density]
        run([options.tangram, "simulate", "--quiet", "--format", "zarr", *sizes, *genes, "--out", tissue])
    print("| solver | grid | s per pass | time in collectives | memory per rank | predicted | difference |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for solver in SOLVERS:
        expected = predicted(options.tangram, options, solver, density)
        for grid in GRIDS:
            rounds = [
                mapped(options.tangram, options, tissue, options.work / "run", solver, grid)
                for _ in range(options.rounds)
            ]
            best = min(rounds, key=lambda record: record["seconds-per-epoch"])
            peak = max(best.get("peak-memory-by-rank") or [best["peak-memory-bytes"]])
            share = best.get("seconds-exchanging", 0.0) / best["seconds-training"]
            off = expected[grid] / peak - 1.0
            print(
                f"| {solver} | {grid} | {best['seconds-per-epoch']:.3f} | {100 * share:.1f} % "
                f"| {peak / 1e6:.0f} MB | {expected[grid] / 1e6:.0f} MB | {100 * off:+.0f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
