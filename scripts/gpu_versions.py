"""What this Python's torch and the driver say of themselves, as JSON."""

import json
import os
import platform
import subprocess

import torch

found = {"python": platform.python_version(), "torch": torch.__version__, "cuda of torch": torch.version.cuda or "none"}
found["cores"] = os.cpu_count()
if torch.cuda.is_available():
    card = torch.cuda.get_device_properties(0)
    found["card"] = card.name
    found["GB"] = round(card.total_memory / 1e9, 1)
    found["capability"] = f"{card.major}.{card.minor}"
    query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout
        found["driver, clock, power"] = told.strip().splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        found["driver, clock, power"] = "not told"
else:
    found["card"] = "none"
print(json.dumps(found))
