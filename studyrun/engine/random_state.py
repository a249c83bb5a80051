"""One named generator per purpose, and the global random state held still around measurements."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    _seed_global(number, torch.device("cpu"))


def _seed_global(number: int, device: torch.device) -> None:
    torch.default_generator.manual_seed(number)  # `torch.manual_seed` costs a hundred times as much, for all devices
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(number)
    np.random.seed(number % 2**32)
    random.seed(number)


@contextmanager
def forked(seed: int, *purpose: object, device: torch.device) -> Iterator[Callable[[], None]]:
    """Let the block draw from global generators that depend on `seed` and `purpose` alone.

    People's own code draws from them without saying so, as every layer of torch does when it is made. Afterwards the
    generators are as they were, and so are torch's default type and whether it records gradients. The block is given
    what sets the generators back to their beginning, for a second attempt.
    """
    number = seeded(seed, "global", *purpose).initial_seed()
    state, dtype, gradients = capture(device), torch.get_default_dtype(), torch.is_grad_enabled()
    _seed_global(number, device)
    try:
        yield lambda: _seed_global(number, device)
    finally:
        restore(state, device)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)


GlobalState = dict[str, Any]
"""The state of every global generator, as each library gives it."""


def capture(device: torch.device) -> GlobalState:
    """Return every global generator's state."""
    state: GlobalState = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore(state: GlobalState, device: torch.device) -> None:
    """Set every global generator to a state that `capture` returned."""
    torch.set_rng_state(state["torch"])
    np.random.set_state(state["numpy"])
    random.setstate(state["python"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def same_state(one: GlobalState, other: GlobalState) -> bool:
    """Whether no number was drawn between two captures."""
    alike = all(torch.equal(one[name], other[name]) for name in one if name in ("torch", "cuda"))
    (_, keys, *rest), (_, others, *places) = one["numpy"], other["numpy"]
    return alike and np.array_equal(keys, others) and rest == places and bool(one["python"] == other["python"])


def to_plain(state: GlobalState) -> dict[str, Any]:
    """Return a captured state as tensors, numbers and lists, which a checkpoint can hold."""
    _, keys, *rest = state["numpy"]
    version, internal, gauss = state["python"]
    plain = {"numpy": [torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest]}
    return {**state, **plain, "python": [version, list(internal), gauss]}


def from_plain(plain: dict[str, Any]) -> GlobalState:
    """The inverse of `to_plain`."""
    keys, *rest = plain["numpy"]
    version, internal, gauss = plain["python"]
    state = {"numpy": ("MT19937", keys.numpy().astype(np.uint32), *rest), "python": (version, tuple(internal), gauss)}
    return {**plain, **state}
