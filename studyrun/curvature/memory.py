"""Whether an error says that memory ran out, and how much had been asked for."""

from __future__ import annotations

import re

import torch

SAID = re.compile(
    r"can(no|')t allocate memory|not enough memory|out of memory|bad_alloc|alloc_failed"
    r"|could not create a (primitive|memory)",  # all that oneDNN says of it
    re.IGNORECASE,
)
ASKED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]i?B)", re.IGNORECASE)


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the processor or on a device: torch says so by three types, of which one says much."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and SAID.search(str(error)) is not None


def memory_asked(text: str) -> str:
    """What the error says was asked for, as in `asking for 2.00 GiB`; where it does not, its own first words."""
    found = ASKED.search(text)
    if found is None:
        return f"with the words {text.splitlines()[0][:80]!r}" if text else "asking for an amount that nobody said"
    number, unit = found.groups()
    return f"asking for {int(number) / 2**30:.3g} GiB" if unit.lower() == "bytes" else f"asking for {number} {unit}"
