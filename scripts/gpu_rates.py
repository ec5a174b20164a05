"""Measures what a device can do: gpu_rates.py DEVICE ROWSxVOXELSxGENES [...], prints JSON.

Rates of torch's matrix products at the shapes of a pass over a block of cells (FLOP/s, in f32, TF32 and bf16), and the
bandwidth of a copy of an array far larger than the caches (bytes/s, read and written). Best of several tries.
"""

import json
import sys
import time

import torch

COPIED_FLOATS = {"cuda": 1 << 29, "cpu": 1 << 26}


def best_seconds(device: str, work, tries: int = 9) -> float:
    def done() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    work()
    spent = []
    for _ in range(tries):
        done()
        started = time.perf_counter()
        work()
        done()
        spent.append(time.perf_counter() - started)
    return min(spent)


def product_rate(device: str, rows: int, voxels: int, genes: int, dtype: torch.dtype) -> float:
    options = {"device": device, "dtype": dtype}
    expression = torch.ones(rows, genes, **options)
    factors = torch.ones(genes, voxels, **options)
    block = torch.empty(rows, voxels, **options)
    predicted = torch.empty(genes, voxels, **options)

    def both_products():
        torch.mm(expression, factors, out=block)
        torch.mm(expression.T, block, out=predicted)

    return 4 * rows * voxels * genes / best_seconds(device, both_products)


def main() -> None:
    device = sys.argv[1]
    source = torch.zeros(COPIED_FLOATS[device], device=device)
    target = torch.empty_like(source)
    copied = 2 * 4 * source.numel() / best_seconds(device, lambda: target.copy_(source))
    del source, target
    rates = {}
    for shape in sys.argv[2:]:
        # As on the device: rows and columns in eights, with the gene of ones.
        rows, voxels, genes = (int(n) for n in shape.split("x"))
        voxels, genes = -8 * (-voxels // 8), -8 * (-(genes + 1) // 8)
        rates[shape] = {}
        for name, dtype in (("f32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            rates[shape][name] = product_rate(device, rows, voxels, genes, dtype)
    name = torch.cuda.get_device_name() if device == "cuda" else "cores"
    print(json.dumps({"device": name, "torch": torch.__version__, "copied": copied, "products": rates}))


main()
