"""Trains the optimiser of tangram-sc on a prepared problem and records time, memory and result.

    reference.py PROBLEM.npz OUT --epochs N [--mode cells --lr 0.1 --lambda-d 1 --seed 42 --threads 2 --device cpu --no-mapping]

PROBLEM.npz holds S (cells, genes), G (voxels, genes) and d (voxels), with the training genes only; with --mode clusters, whose rows of
S are clusters, also d_source (clusters), their shares of the cells; with --mode constrained target_count, how many cells the filter
keeps. Writes OUT/result.json and, unless --no-mapping is given, OUT/mapping.npy (cells, voxels) and in constrained mode OUT/filter.npy
(cells). Runs in the `reference` environment of python-env.sh.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import resource
import statistics
import time
from pathlib import Path

import numpy as np
import torch


def package_optimizer():
    """The module of the installed package that has its mappers.

    Loaded from its file, because importing the package would need its plotting and analysis dependencies.
    """
    file = next(f for f in importlib.metadata.files("tangram-sc") if f.name == "mapping_optimizer.py")
    spec = importlib.util.spec_from_file_location("mapping_optimizer", file.locate())
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("problem", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--epochs", type=int, required=True)
    arguments.add_argument("--mode", choices=["cells", "clusters", "constrained"], default="cells")
    arguments.add_argument("--lr", type=float, default=0.1)
    arguments.add_argument("--lambda-d", type=float, default=1.0)
    arguments.add_argument("--seed", type=int, default=42)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--no-mapping", action="store_true")
    given = arguments.parse_args()

    torch.set_num_threads(given.threads)
    problem = np.load(given.problem)
    package = package_optimizer()
    # As the package's `map_cells_to_space` does it: the voxel term is off, though `MapperConstrained` by itself has it on, and the count
    # is a number of Python, because an array cannot be subtracted from a tensor that is learned.
    kind, more = {
        "cells": (package.Mapper, []),
        "clusters": (package.Mapper, ["d_source"]),
        "constrained": (package.MapperConstrained, ["target_count"]),
    }[given.mode]
    mapper = kind(
        problem["S"],
        problem["G"],
        d=problem["d"],
        lambda_d=given.lambda_d,
        lambda_g1=1.0,
        lambda_g2=0,
        random_state=given.seed,
        device=given.device,
        **{name: problem[name].tolist() for name in more},
    )

    # Every epoch begins with the loss, so the time from one call to the next is one epoch, including its step. The terms are stored
    # here as numbers, because the package stores them as text of four digits.
    begins, terms = [], []
    loss = mapper._loss_fn

    def timed_loss(verbose=True):
        begins.append(time.perf_counter())
        found = loss(verbose=verbose)
        terms.append([float(term.detach() if torch.is_tensor(term) else term) for term in found])
        return found

    mapper._loss_fn = timed_loss
    started = time.perf_counter()
    mapping, *kept, _ = mapper.train(num_epochs=given.epochs, learning_rate=given.lr, print_each=None)
    seconds = time.perf_counter() - started
    epochs_s = np.diff(begins).tolist()

    given.out.mkdir(parents=True, exist_ok=True)
    result = {
        "cells": int(mapping.shape[0]),
        "voxels": int(mapping.shape[1]),
        "genes": int(problem["S"].shape[1]),
        "epochs": given.epochs,
        "seconds": seconds,
        "seconds_per_epoch": statistics.median(epochs_s[3:] or epochs_s or [seconds]),
        "epochs_s": epochs_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "history": dict(zip(("total", "gene", "voxel", "density", "entropy", "count", "undecided"), zip(*terms))),
        "torch": torch.__version__,
        "package": importlib.metadata.version("tangram-sc"),
        "mode": given.mode,
        "seed": given.seed,
        "lr": given.lr,
        "lambda_d": given.lambda_d,
    }
    if not given.no_mapping:
        np.save(given.out / "mapping.npy", mapping)
        if kept:
            np.save(given.out / "filter.npy", kept[0])
    (given.out / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
