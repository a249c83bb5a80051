"""Random numbers that code draws where no seed of a study is at hand: as it is imported, and in reports."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

LIBRARIES = ("numpy", "torch")


@contextmanager
def drawing_alike(source: bytes = b"") -> Iterator[None]:
    """Let code draw the same from the global generators in every process, and leave them as they were.

    Of the libraries only those that are imported already, or that the source names, can be drawn from.
    """
    used = [import_module(name) for name in LIBRARIES if name in sys.modules or name.encode() in source]
    before = random.getstate(), [_state(library) for library in used]
    random.seed(0)
    for library in used:
        _generator(library)(0)
    try:
        yield
    finally:
        random.setstate(before[0])
        for library, state in zip(used, before[1], strict=True):
            _put_back(library, state)


def _generator(library: Any) -> Any:
    """What seeds the library's global generator; torch's own `manual_seed` would begin to look for devices."""
    return library.random.seed if library.__name__ == "numpy" else library.default_generator.manual_seed


def _state(library: Any) -> Any:
    return library.random.get_state() if library.__name__ == "numpy" else library.get_rng_state()


def _put_back(library: Any, state: Any) -> None:
    library.random.set_state(state) if library.__name__ == "numpy" else library.set_rng_state(state)
