"""The parts of demo.sh that read AnnData files. Runs in the `tests` environment of python-env.sh.

    demo.py hold-out VOXELS OUT     writes every tenth gene of VOXELS, in sorted order, to OUT
    demo.py truth DEMO              compares the results with the simulated truth and prints the comparison
    demo.py column                  reads the output of `tangram inspect --json CELLS`, prints the obs column that holds the types
"""

import json
import sys
from pathlib import Path

import anndata
import numpy as np

TYPE_COLUMNS = ["cell_type", "celltype", "cell_types", "subclass", "cluster", "clusters", "leiden", "louvain"]


def hold_out(voxels: Path, out: Path) -> None:
    genes = sorted(anndata.read_h5ad(voxels, backed="r").var_names)
    out.write_text("".join(f"{gene}\n" for gene in genes[::10]))


def column() -> None:
    columns = [c["name"] for c in json.load(sys.stdin)["obs"] if c["n_categories"] or c["dtype"] == "text"]
    categorical = [name for name in TYPE_COLUMNS if name in columns] or columns
    print(categorical[0] if categorical else "")


def dense(matrix) -> np.ndarray:
    return np.asarray(matrix.todense() if hasattr(matrix, "todense") else matrix, dtype=np.float64)


def carried(path: Path, prefix: str) -> tuple[anndata.AnnData, list[str], np.ndarray]:
    """The file; the labels of its columns named PREFIX:label; their values, (voxels, labels)."""
    found = anndata.read_h5ad(path)
    columns = [i for i, name in enumerate(found.var_names) if name.startswith(f"{prefix}:")]
    labels = [found.var_names[i].removeprefix(f"{prefix}:") for i in columns]
    return found, labels, dense(found.X)[:, columns]


def most_probable(path: Path, column: str) -> tuple[float, float]:
    """Accuracy of the most probable label of every voxel, and of always guessing the most frequent label."""
    found, labels, values = carried(path, column)
    truth = found.obs[column].astype(str).to_numpy()
    guess = np.array(labels)[values.argmax(axis=1)]
    frequent = np.unique(truth, return_counts=True)[1].max() / len(truth)
    return float((guess == truth).mean()), float(frequent)


def spot_compositions(types: Path, spots: Path) -> tuple[float, float]:
    """Pearson correlation with the true shares, over all spots and types: of the mapped shares, and of the mean composition."""
    _, labels, values = carried(types, "cell_type")
    simulated = anndata.read_h5ad(spots)
    truth = np.asarray(simulated.obsm["true_prop"], dtype=np.float64)
    truth = truth[:, [list(simulated.uns["true_prop_labels"]).index(label) for label in labels]]
    shares = values / values.sum(axis=1, keepdims=True)
    mean = np.broadcast_to(shares.mean(axis=0), truth.shape)

    def pearson(a):
        return float(np.corrcoef(a.ravel(), truth.ravel())[0, 1])

    return pearson(shares), pearson(mean)


def truth(demo: Path) -> None:
    score = json.loads((demo / "scores.json").read_text())
    layers, layer_guess = most_probable(demo / "types.h5ad", "layer")
    types, type_guess = most_probable(demo / "types.h5ad", "cell_type")
    spots, spot_guess = spot_compositions(demo / "spot_types.h5ad", demo / "tissue/spots.h5ad")
    print("Compared with the truth:")
    print(f"  voxels whose layer was recovered        {layers:6.1%}   (always the most frequent layer: {layer_guess:.1%})")
    print(f"  voxels whose cell type was recovered    {types:6.1%}   (always the most frequent type: {type_guess:.1%})")
    print(f"  types in spots, correlation with truth  {spots:6.3f}   (the mean composition everywhere: {spot_guess:.3f})")
    for part, genes in (("train", "training"), ("test", "held-out")):
        found = score[part]
        print(f"  {genes + ' genes, mean cosine':39} {found['mean_cosine']:6.3f}   ({found['n_genes']} genes)")


def main() -> None:
    match sys.argv[1:]:
        case ["hold-out", voxels, out]:
            hold_out(Path(voxels), Path(out))
        case ["truth", demo]:
            truth(Path(demo))
        case ["column"]:
            column()
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
