"""Draws the results of demo.sh beside the truth: picture.py DEMO OUT.png [GENE]

Top: the type of every voxel, true and recovered (most probable). Bottom: a held-out gene, measured and predicted. Without GENE it is
the held-out gene with the median score.
"""

import csv
import sys
from pathlib import Path

import anndata
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

POINT = 9


def dense(matrix) -> np.ndarray:
    return np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix, dtype=np.float64)


def typical_held_out_gene(scores: Path) -> tuple[str, float]:
    with scores.open() as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["training"] == "held_out"]
    rows = sorted((row for row in rows if float(row["sparsity_measured"]) < 1), key=lambda row: float(row["cosine"]))
    middle = rows[len(rows) // 2]
    return middle["gene"], float(middle["cosine"])


def draw_types(axes, places, names, labels, colours, title) -> None:
    axes.scatter(*places.T, c=[colours[labels.index(name)] for name in names], s=POINT, linewidths=0)
    axes.set_title(title, loc="left", fontsize=10)


def draw_gene(axes, places, values, title) -> None:
    top = np.quantile(values, 0.99) or 1.0
    order = np.argsort(values)
    axes.scatter(*places[order].T, c=np.minimum(values[order], top), s=POINT, linewidths=0, cmap="magma_r", vmin=-0.1 * top)
    axes.set_title(title, loc="left", fontsize=10)


def main(demo: Path, out: Path, gene: str | None) -> None:
    measured = anndata.read_h5ad(demo / "tissue/voxels.h5ad")
    types = anndata.read_h5ad(demo / "types.h5ad")
    genes = anndata.read_h5ad(demo / "genes.h5ad")
    cosine = None
    if gene is None:
        gene, cosine = typical_held_out_gene(demo / "scores.tsv")

    columns = [i for i, name in enumerate(types.var_names) if name.startswith("cell_type:")]
    labels = [types.var_names[i].removeprefix("cell_type:") for i in columns]
    recovered = np.array(labels)[dense(types.X[:, columns]).argmax(axis=1)]
    truth = measured.obs["cell_type"].astype(str).to_numpy()
    places = np.asarray(measured.obsm["spatial"])
    colours = [*plt.get_cmap("tab20").colors, *plt.get_cmap("tab20b").colors]

    figure, panels = plt.subplots(2, 2, figsize=(9.5, 5), layout="constrained", dpi=100)
    draw_types(panels[0, 0], places, truth, labels, colours, "cell types, true")
    draw_types(panels[0, 1], places, recovered, labels, colours, "cell types, recovered")
    score = "" if cosine is None else f" (cosine {cosine:.2f})"
    draw_gene(panels[1, 0], places, dense(measured[:, gene].X).ravel(), f"{gene}, measured")
    draw_gene(panels[1, 1], places, dense(genes[:, gene].X).ravel(), f"{gene}, predicted without having seen it{score}")
    for axes in panels.ravel():
        axes.set_aspect("equal")
        axes.invert_yaxis()  # y of the voxels points down, as in an image
        axes.set_axis_off()
    present = [label for label in labels if label in set(truth) | set(recovered)]
    handles = [
        plt.Line2D([], [], marker="o", linestyle="", markersize=5, color=colours[labels.index(label)], label=label)
        for label in present
    ]
    figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False, handletextpad=0.2)
    figure.canvas.draw()
    image = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    image.quantize(160).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
