"""Inputs and the table of scripts/deconvolve.sh."""

import csv
import sys
from pathlib import Path

from factored import make_input

NAMES = {
    "constrained": "mapping, constrained",
    "cells": "mapping, all cells",
    "nnls": "least squares",
    "poisson": "Poisson regression",
}
SETTINGS = {
    "compose": "`--goal compose`",
    "impute": "`--goal impute`",
    "package": "`--goal package`",
    "fit": "`--platform fit`",
    "none": "`--platform none`",
}


def prepare(data: Path, work: Path) -> None:
    """Writes cells of one replicate and spots of the other, both ways."""
    for pair, cells, spots in [("1to2", "starmap_rep1", "spots_rep2"), ("2to1", "starmap_rep2", "spots_rep1")]:
        folder = work / pair
        folder.mkdir()
        make_input(cells, data).write_h5ad(folder / "cells.h5ad")
        make_input(spots, data).write_h5ad(folder / "spots.h5ad")


def pooled(folder: Path) -> list[str]:
    if not folder.exists():
        return ["–"]
    with open(folder / "scores.tsv") as file:
        rows = csv.DictReader(file, delimiter="\t")
        row = next(row for row in rows if row["type"] == "(all)")
    return [f"{float(row[key]):.3f}" for key in ("pearson", "rmse", "jensen_shannon_bits")]


def table(work: Path) -> None:
    """Pooled Pearson / RMSE / Jensen-Shannon divergence of both pairs."""
    print("| | | replicate 1 → spots of 2 | replicate 2 → spots of 1 |")
    print("|---|---|---|---|")
    for folder in sorted((work / "1to2").iterdir()):
        if not folder.is_dir():
            continue
        method, setting = folder.name.split("-")
        scores = [" / ".join(pooled(work / pair / folder.name)) for pair in ("1to2", "2to1")]
        print(f"| {NAMES[method]} | {SETTINGS[setting]} | {scores[0]} | {scores[1]} |")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare", data, work]:
            prepare(Path(data), Path(work))
        case ["table", work]:
            table(Path(work))
        case _:
            sys.exit("usage: deconvolve.py prepare DATA WORK | table WORK")
