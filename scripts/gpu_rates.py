"""Measures what a device can do: gpu_rates.py DEVICE ROWSxVOXELSxGENES [...], prints JSON.

Bandwidth of a copy of an array far larger than the caches (bytes/s, read and written); and for every shape of a block of cells the rates
of the products that the program makes (FLOP/s): factors of f32, TF32, bf16 or fp16, random numbers, both products with sums of single
precision, the second added to A in place. Where this torch has no product of 16-bit numbers with sums of single precision (it has none on
cores), the rate is null. Besides, seconds of the row softmax of a block in single precision, with P converted to fp16. Best of several tries.
"""

import json
import sys
import time

import torch

COPIED_FLOATS = {"cuda": 1 << 29, "cpu": 1 << 24}
TRIES = {"cuda": 9, "cpu": 3}
DTYPES = {"f32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def best_seconds(device: str, work) -> float:
    def done() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    work()
    spent = []
    for _ in range(TRIES[device]):
        done()
        started = time.perf_counter()
        work()
        done()
        spent.append(time.perf_counter() - started)
    return min(spent)


def product_rate(device: str, rows: int, voxels: int, genes: int, dtype: torch.dtype) -> float | None:
    def random(*size: int) -> torch.Tensor:
        return torch.rand(*size, device=device).to(dtype)

    expression, factors, p = random(rows, genes), random(genes, voxels), random(rows, voxels)
    logits = torch.empty(rows, voxels, device=device)
    predicted = torch.zeros(genes, voxels, device=device)

    def of_one_kind() -> None:
        torch.mm(expression, factors, out=logits)
        torch.addmm(predicted, expression.T, p, out=predicted)

    def of_two_kinds() -> None:
        torch.ops.aten.mm.dtype_out(expression, factors, torch.float32, out=logits)
        torch.ops.aten.addmm.dtype_out(predicted, expression.T, p, torch.float32, out=predicted)

    work = of_one_kind if dtype == torch.float32 else of_two_kinds
    try:
        return 4 * rows * voxels * genes / best_seconds(device, work)
    except (NotImplementedError, RuntimeError) as reason:
        print(f"gpu_rates: {dtype} at {rows}x{voxels}x{genes}: {str(reason).splitlines()[0][:60]} …", file=sys.stderr)
        return None


def softmax_seconds(device: str, rows: int, voxels: int) -> float:
    logits = torch.randn(rows, voxels, device=device)
    p, factor = torch.empty_like(logits), torch.empty(rows, voxels, device=device, dtype=torch.float16)
    scale = torch.tensor(2.0**15)

    def work() -> None:
        torch.softmax(logits, -1, out=p)
        torch.mul(p, scale, out=factor)

    return best_seconds(device, work)


def main() -> None:
    device = sys.argv[1]
    source = torch.rand(COPIED_FLOATS[device], device=device)
    target = torch.empty_like(source)
    copied = 2 * 4 * source.numel() / best_seconds(device, lambda: target.copy_(source))
    del source, target
    products, softmax = {}, {}
    for shape in sys.argv[2:]:
        # As on the device: rows and columns in eights, with the gene of ones.
        rows, voxels, genes = (int(n) for n in shape.split("x"))
        voxels, genes = -8 * (-voxels // 8), -8 * (-(genes + 1) // 8)
        products[shape] = {}
        for name, dtype in DTYPES.items():
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            products[shape][name] = product_rate(device, rows, voxels, genes, dtype)
        softmax[shape] = softmax_seconds(device, rows, voxels)
    name = torch.cuda.get_device_name() if device == "cuda" else "cores"
    print(json.dumps({"device": name, "copied": copied, "products": products, "softmax": softmax}))


main()
