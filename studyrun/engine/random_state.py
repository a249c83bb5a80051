"""One named generator per purpose, and the global random state held still around measurements."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch

from studyrun.component import Generators
from studyrun.study.schema import Seeds


def seeded(seed: int, *purpose: object) -> torch.Generator:
    """Return a CPU generator that depends on `seed` and `purpose` alone, and on both of them wholly."""
    digest = hashlib.sha256(f"{seed}/{'/'.join(map(str, purpose))}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def generators(seed: int) -> Generators:
    """Return the family of generators of one seed, by purpose."""
    return lambda purpose: seeded(seed, purpose)


def seed_everything_global(seeds: Seeds) -> None:
    """Seed the global generators, which only randomness inside a model (dropout) draws from."""
    number = seeded(seeds.order, "global").initial_seed()
    torch.manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


def capture(device: torch.device) -> dict[str, Any]:
    """Return every global generator's state as tensors, numbers and lists."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [torch.from_numpy(np.asarray(keys, dtype=np.int64)), int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: dict[str, Any], device: torch.device) -> None:
    """Set every global generator to a state that `capture` returned."""
    torch.set_rng_state(state["torch"])
    keys, *rest = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
