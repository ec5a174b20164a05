"""One function for each command."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Union

import anndata
import pandas

from ._program import call

PathLike = Union[str, "os.PathLike[str]"]
Data = Union[anndata.AnnData, PathLike]
# A run: its folder, or the AnnData that `map` returned for it.
Run = Union[anndata.AnnData, PathLike]

# The entry of uns that names the folder of the run.
_KEY = "tangram_run"
_scratch: list[Path] = []


def _remove_scratch() -> None:
    for folder in _scratch:
        shutil.rmtree(folder, ignore_errors=True)


atexit.register(_remove_scratch)


def _new_scratch() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tangram-"))
    _scratch.append(folder)
    return folder


def _flags(settings: dict[str, object]) -> list[str]:
    """`hold_out="genes.txt"` as `--hold-out=genes.txt`; True as a flag alone; None and False as nothing."""
    flags = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            flags.append(flag)
        elif value is not None and value is not False:
            flags.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return flags


def _list_file(names: Iterable[str], folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("".join(f"{n}\n" for n in names), encoding="utf-8")
    return path


def _folder(run: Run) -> str:
    if isinstance(run, anndata.AnnData):
        if _KEY not in run.uns:
            raise ValueError(f"uns['{_KEY}'] is missing: give what tangram.map returned, or the folder of the run")
        return str(run.uns[_KEY])
    return os.fspath(run)


def map(  # noqa: A001 - the name of the command
    cells: Data,
    voxels: Data,
    *,
    out: PathLike | None = None,
    hold_out: Iterable[str] | PathLike | None = None,
    progress: bool = True,
    **settings: object,
) -> anndata.AnnData:
    """Learns the probability of every cell in every voxel.

    cells, voxels: AnnData objects, or files that the program reads. Raw counts.
    out: the folder of the run; None: a temporary one, removed when Python ends. AnnData objects are written to `OUT.inputs`, which the
        run refers to.
    hold_out: genes that do not train: names, or a file with one a line
    settings: any other flag of `tangram map`, with _ for -: `epochs=500`, `goal="place"`, `force=True`

    Returns cells x voxels with probabilities in X; `uns["tangram_run"]` is the folder of the run.
    Raises TangramError, or a class of it, with the words of the program.
    """
    run = _new_scratch() / "run" if out is None else Path(out)
    beside = run.with_name(run.name + ".inputs")

    def file_of(data: Data, name: str) -> str:
        if not isinstance(data, anndata.AnnData):
            return os.fspath(data)
        beside.mkdir(parents=True, exist_ok=True)
        path = beside / f"{name}.h5ad"
        if path.exists() and not settings.get("force"):
            raise FileExistsError(f"{path} exists: choose another out, or add force=True")
        data.write_h5ad(path)
        return str(path)

    arguments = ["map", "--cells", file_of(cells, "cells"), "--voxels", file_of(voxels, "voxels"), "--out", str(run)]
    if hold_out is not None:
        if not isinstance(hold_out, (str, os.PathLike)):
            hold_out = _list_file(hold_out, _new_scratch(), "held_out.txt")
        arguments += ["--hold-out", os.fspath(hold_out)]
    call([*arguments, *_flags(settings)], progress=progress)
    stored = next((run / name for name in ("mapping.zarr", "mapping.h5ad") if (run / name).exists()), None)
    if stored is None:
        # Too large to be stored: the factors, from which `project` and `score` compute it.
        stored = next(run / name for name in ("factors.zarr", "factors.h5ad") if (run / name).exists())
    read = anndata.read_zarr if stored.suffix == ".zarr" else anndata.read_h5ad
    mapping = read(stored)
    mapping.uns[_KEY] = str(run)
    return mapping


def project(
    run: Run,
    *,
    types: str | Iterable[str] = (),
    genes: str | Iterable[str] | None = None,
    progress: bool = False,
    **settings: object,
) -> anndata.AnnData:
    """Carries types, genes or other annotations of the cells into space.

    types: obs columns of the cells, by name
    genes: names, or "all"
    settings: any other flag of `tangram project`: `obsm="protein"`, `cells="moved.h5ad"`

    Returns an AnnData of the voxels. With genes, types are in obsm.
    """
    folder = _new_scratch()
    arguments = ["project", "--mapping", _folder(run), "--out", str(folder / "projected.h5ad")]
    for column in [types] if isinstance(types, str) else types:
        arguments += ["--types", column if column.startswith("obs:") else f"obs:{column}"]
    if genes is not None:
        if genes != "all":
            genes = str(_list_file([genes] if isinstance(genes, str) else genes, folder, "genes.txt"))
        arguments += ["--genes", genes]
    call([*arguments, *_flags(settings)], progress=progress)
    return anndata.read_h5ad(folder / "projected.h5ad")


def score(run: Run, *, progress: bool = False, **settings: object) -> pandas.DataFrame:
    """Compares predicted with measured genes: a row for each gene that both files have, by name."""
    table = _new_scratch() / "scores.tsv"
    call(["score", "--mapping", _folder(run), "--out", str(table), *_flags(settings)], progress=progress)
    return pandas.read_csv(table, sep="\t", index_col="gene", keep_default_na=False, na_values={"pearson": [""]})


def report(run: Run, out: PathLike, *, progress: bool = False, **settings: object) -> Path:
    """Writes the report of a run, one HTML file; gives its path."""
    call(["report", _folder(run), "--out", os.fspath(out), *_flags(settings)], progress=progress)
    return Path(out)
