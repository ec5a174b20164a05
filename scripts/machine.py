"""Measures the rates of this machine and prints them as JSON: machine.py THREADS VOXELSxGENES [VOXELSxGENES ...]

Measures torch's matrix products with the shapes of the two products of a block of cells (FLOP/s, f32 and bf16), and the bandwidth of
the triad a = b + s c over arrays much larger than the caches (bytes/s). Each is the best of several tries.
"""

import json
import sys
import time

import torch

BLOCK_CELLS = 2048
TRIAD_FLOATS = 100_000_000


def best_seconds(work, tries: int) -> float:
    work()
    spent = []
    for _ in range(tries):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def product_rate(voxels: int, genes: int, dtype: torch.dtype) -> float:
    probabilities = torch.rand(BLOCK_CELLS, voxels).to(dtype)
    expression = torch.rand(BLOCK_CELLS, genes).to(dtype)
    weights = torch.rand(voxels, genes).to(dtype)
    predicted = torch.empty(voxels, genes, dtype=dtype)
    gradient = torch.empty(BLOCK_CELLS, voxels, dtype=dtype)

    def both_passes():
        torch.mm(probabilities.T, expression, out=predicted)
        torch.mm(expression, weights.T, out=gradient)

    return 4 * BLOCK_CELLS * voxels * genes / best_seconds(both_passes, 9)


def triad_bandwidth() -> float:
    b, c = torch.rand(TRIAD_FLOATS), torch.rand(TRIAD_FLOATS)
    a = torch.zeros(TRIAD_FLOATS)
    return 3 * 4 * TRIAD_FLOATS / best_seconds(lambda: torch.add(b, c, alpha=1.5, out=a), 7)


torch.set_num_threads(int(sys.argv[1]))
rates = {}
for shape in sys.argv[2:]:
    voxels, genes = map(int, shape.split("x"))
    rates[shape] = {
        "f32": product_rate(voxels, genes, torch.float32),
        "bf16": product_rate(voxels, genes, torch.bfloat16),
    }
print(json.dumps({"triad": triad_bandwidth(), "products": rates}))
