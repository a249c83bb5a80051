"""How many threads torch computes with. Sums are split among them, so their number is part of what names a result."""

from __future__ import annotations

import os

import torch


def threads_each(workers: int) -> int:
    """Threads for each of `workers` processes: $OMP_NUM_THREADS where it is set, or an even share of torch's own."""
    own = torch.get_num_threads()
    return own if os.environ.get("OMP_NUM_THREADS") else max(1, own // workers)


def use_threads(count: int) -> None:
    """Compute with so many threads from here on."""
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
