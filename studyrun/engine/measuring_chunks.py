"""How many examples each measurement passes through the model at a time: as many as training, until memory ran out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from studyrun.curvature.graphs import GRAPH_BYTES
from studyrun.curvature.memory import ran_out_of_memory
from studyrun.stopping import heed

T = TypeVar("T")
TRIGGER = "a trigger"  # who measures where no probe does


class MeasuringChunks:
    """The sizes of chunks by what is measured: all have that of training, `largest`, unless memory ran out.

    The size decides the last bits of what is measured, so a shortage makes the chunks smaller of that alone which did
    not fit: a probe's own work, or something that probes share (losses, a gradient, eigenpairs), by the name of its
    account in the ledger. What is shared is first tried once more with nothing else in memory, since it is the same for
    all: what a probe keeps beside it has no say.
    """

    def __init__(self, largest: int, smaller: Mapping[str, int] | None = None) -> None:
        self.largest, self.smaller = largest, dict(smaller or {})
        self.who = TRIGGER
        self.short: tuple[str, Callable[[], object]] | None = None
        """The account in which memory ran out, and what computes it; None where a probe's own work did not fit."""

    @property
    def size(self) -> int:
        """How many examples may pass through the model at a time in what is measured now."""
        return self.of(self.who)

    def of(self, what: str) -> int:
        """How many may in this."""
        return min(self.largest, self.smaller.get(what, self.largest))

    def shrink(self, what: str, size: int) -> None:
        """Measure this in chunks of `size` from here on."""
        self.smaller = {**self.smaller, what: size}

    @property
    def graph_bytes(self) -> int:
        """How much memory the graphs of several chunks may take together, to be used more than once.

        Nothing after a shortage: small chunks' graphs weigh together what a large one's does. No bit hangs on it.
        """
        return 0 if self.smaller else GRAPH_BYTES

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        """In the block it is this that is measured."""
        outer, self.who = self.who, what
        try:
            yield
        finally:
            self.who = outer

    def share(self, account: str, compute: Callable[[], T]) -> T:
        """Compute what is shared under this account, in its own chunks."""
        self.short = None
        try:
            with self.measuring(account):
                return compute()
        except Exception as error:
            heed()
            if ran_out_of_memory(error):
                self.short = account, compute
            raise
