"""Maps single cells into space: the program `tangram` on AnnData objects and files.

    import tangram

    mapping = tangram.map(cells, voxels)                    # cells x voxels, probabilities in X
    types = tangram.project(mapping, types="cell_type")     # voxels x types
    genes = tangram.project(mapping, genes=["Slc17a7"])     # voxels x genes
    scores = tangram.score(mapping)                         # a table of genes

Everything is done by the program, which is found on the PATH or named by TANGRAM_PROGRAM. Its errors are exceptions with the same words.
"""

from ._calls import Run, map, project, report, score
from ._program import (
    InputError,
    NotEnoughMemory,
    OutputError,
    TangramError,
    UsageError,
    program,
)

__all__ = [
    "InputError",
    "NotEnoughMemory",
    "OutputError",
    "Run",
    "TangramError",
    "UsageError",
    "map",
    "program",
    "project",
    "report",
    "score",
]
