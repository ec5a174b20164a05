#!/usr/bin/env python3
"""Activations of torchvision's DenseNet169 and ResNet50, for the test crates/networks/tests/torchvision.rs.

    pip install torch torchvision
    python scripts/torchvision_activations.py > crates/networks/tests/activations.json

Weights and images are made by a formula in whole numbers, which the test computes as well: no file of weights is needed.
"""

import json
import math

import numpy as np
import torch
import torchvision

WORD = 1 << 32


def salt(name):
    """A number for a name."""
    value = 17
    for byte in name.encode():
        value = (value * 31 + byte) % WORD
    return value


def formula(name, shape):
    """Numbers from -0.5 to 0.5 that look random."""
    n = int(np.prod(shape))
    i = np.arange(n, dtype=np.uint64) + np.uint64(salt(name))
    x = (i * np.uint64(2654435761)) % np.uint64(WORD)
    x = ((x ^ (x >> np.uint64(15))) * np.uint64(2246822519)) % np.uint64(WORD)
    x = x ^ (x >> np.uint64(13))
    return torch.from_numpy((x.astype(np.float64) / WORD - 0.5).reshape(shape))


def fill(network):
    """Gives every tensor its formula, scaled so that activations neither vanish nor grow."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("num_batches_tracked"):
                continue
            u = formula(name, tuple(tensor.shape))
            if name.endswith("running_var"):
                u = 1 + 0.5 * u
            elif name.endswith(("running_mean", "bias")):
                u = 0.2 * u
            elif tensor.dim() == 1:
                u = 1 + 0.4 * u
            else:
                inputs = math.prod(tensor.shape[1:])
                u = u * math.sqrt(12 * 2 / inputs)
            tensor.copy_(u.to(torch.float32))


def told(x):
    """A few numbers that stand for a tensor: shape, mean, root mean square, eight entries spread over it."""
    flat = x.detach().double().flatten()
    at = [(k * (flat.numel() - 1)) // 7 for k in range(8)]
    return {
        "shape": list(x.shape),
        "mean": flat.mean().item(),
        "rms": flat.square().mean().sqrt().item(),
        "entries": [flat[i].item() for i in at],
    }


def densenet(network, x):
    f = network.features
    x = f.pool0(f.relu0(f.norm0(f.conv0(x))))
    stages = [x]
    for i in range(1, 5):
        x = getattr(f, f"denseblock{i}")(x)
        stages.append(x)
        if i < 4:
            x = getattr(f, f"transition{i}")(x)
    return [*stages, torch.relu(f.norm5(x))]


def resnet(network, x):
    half = network.relu(network.bn1(network.conv1(x)))
    stages = [half]
    x = network.maxpool(half)
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        x = layer(x)
        stages.append(x)
    return stages


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    image = (formula("image", (2, 3, 64, 64)) + 0.5).to(torch.float32)
    result = {"torchvision": torchvision.__version__.split("+")[0]}
    for name, make, run, first in [
        ("densenet169", torchvision.models.densenet169, densenet, "features.norm0"),
        ("resnet50", torchvision.models.resnet50, resnet, "bn1"),
    ]:
        network = make(weights=None)
        fill(network)
        network.eval()
        # In training mode a batch so small makes gradients through so many layers depend on the rounding.
        stages = run(network, image)
        evaluation = [told(x) for x in stages]
        stages[-1].square().mean().backward()
        network.train()
        with torch.no_grad():
            output = run(network, image)[-1]
        named = dict(network.named_parameters())
        conv = "features.conv0.weight" if name == "densenet169" else "conv1.weight"
        result[name] = {
            "evaluation": evaluation,
            "training": told(output),
            "gradient": {conv: told(named[conv].grad)},
            "statistics": {
                f"{first}.running_mean": told(network.state_dict()[f"{first}.running_mean"]),
                f"{first}.running_var": told(network.state_dict()[f"{first}.running_var"]),
            },
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
