"""What is done when memory runs out: measurements go on in smaller chunks, training says what would help."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import torch

from studyrun.curvature.coupling import examples_are_coupled
from studyrun.curvature.memory import memory_asked, ran_out_of_memory
from studyrun.engine.explain import naming
from studyrun.engine.problem import Problem
from studyrun.engine.snapshot import LiveSnapshot
from studyrun.errors import ProbeError, StudyrunError
from studyrun.stopping import heed

M_MMAP_THRESHOLD, LARGE = -3, 2**20  # blocks of more bytes go back to the system once freed, not into a heap's holes
T = TypeVar("T")
REMEDY = "`studyrun resume` goes on from the last checkpoint where there is more memory"


class Shortage:
    """Makes room for one measurement, each time it runs out of memory, until there is nothing left to try.

    Chunks are halved, of what did not fit alone (`MeasuringChunks`): another size would change the bits of training and
    of other measurements. They stay so for the rest of the arm, also where it is forked or resumed. Where examples see
    one another (batch normalisation in training mode) a chunk is the batch, so that smaller ones would measure
    something else: what is kept in memory is freed there, and the measurement tried again.
    """

    def __init__(self, snapshot: LiveSnapshot, warn: Callable[[str], None]) -> None:
        self._snapshot, self._warn, self._chunks = snapshot, warn, snapshot.chunks
        self._who, self._freed = self._chunks.who, False
        self._chunks.short = None

    def patiently(self, compute: Callable[[], T]) -> T:
        """What `compute` returns, at the first attempt for which memory suffices."""
        while True:
            try:
                return compute()
            except Exception as error:
                heed()
                if not ran_out_of_memory(error):
                    raise
                lacked = str(error)
            self.relieve(lacked)  # not while the error is being handled: it keeps alive what has been made

    def relieve(self, text: str) -> None:
        """Make room after an error of this text. Raises `ProbeError` where there is none to be made.

        What is shared is computed here, by itself: whoever asked for it finds it at the next attempt.
        """
        free(self._snapshot)
        if self._chunks.short is None:
            self._shrink(self._who, text)
        while (short := self._chunks.short) is not None:
            if lacked := self._attempt(*short):
                free(self._snapshot)
                self._shrink(short[0], lacked)

    def _attempt(self, account: str, compute: Callable[[], object]) -> str:
        """What the error says if memory runs out again; nothing if it suffices."""
        try:
            self._chunks.share(account, compute)
        except Exception as error:
            heed()
            if not ran_out_of_memory(error):
                raise
            return str(error) or type(error).__name__
        return ""

    def _shrink(self, what: str, text: str) -> None:
        """Let this be measured in chunks of half the size."""
        problem, size = self._snapshot.problem, min(self._chunks.of(what), self._snapshot.problem.largest_split)
        where = f"{self._who} ran out of memory at step {self._snapshot.step} with chunks of {_count(size)}"
        where = f"{where}, {memory_asked(text)}"
        if _coupled(problem):
            self._chunks.shrink(what, self._chunks.of(what))
            self._once_more(where)
        elif size == 1:
            raise ProbeError(
                f"{where}. {REMEDY}; a new run that asks the probe for less (fewer eigenvalues, directions or random "
                "vectors) would do too"
            )
        else:
            self._chunks.shrink(what, size // 2)
            self._warn(f"{where}; it goes on with chunks of {size // 2:,}{self._extent(what)} its own")

    def _extent(self, what: str) -> str:
        return "; everything else keeps" if what == self._who else f" in the {what}, for all who ask; training keeps"

    def _once_more(self, where: str) -> None:
        if self._freed:
            raise ProbeError(
                f"{where}. Its examples see one another, so that smaller chunks would measure something else. "
                f"A new run with a smaller `chunk_size` would do; {REMEDY}"
            )
        self._freed = True
        self._warn(f"{where}; it is tried once more")


def free(snapshot: LiveSnapshot) -> None:
    """Give back the memory of what can be made again, to the device or to the system."""
    snapshot.free()
    gc.collect()
    if snapshot.problem.device.type == "cuda":
        torch.cuda.empty_cache()
    with suppress(AttributeError, OSError, TypeError):  # only glibc has these
        library = ctypes.CDLL(None)
        library.mallopt(M_MMAP_THRESHOLD, LARGE)
        library.malloc_trim(0)


@contextmanager
def training_explained(problem: Problem, step: int) -> Iterator[None]:
    """Raise `StudyrunError` that says what to do where the training step itself fails, in whatever library.

    What runs out of memory is not tried again: chunks of another size would train to other bits.
    """
    try:
        with naming(f"the training step at step {step}", problem, StudyrunError):
            yield
    except Exception as error:
        heed()
        if not ran_out_of_memory(error):
            raise
        size = min(problem.study.chunk_size, problem.optimizer.examples_per_step or len(problem.data.train))
        asked = f", {memory_asked(str(error))}"
        raise StudyrunError(
            f"the training step ran out of memory at step {step} with chunks of {_count(size)}{asked}. {REMEDY}; a new "
            f"run with a `chunk_size` below {size:,} would do, and trains to the same up to rounding"
        ) from error


def _coupled(problem: Problem) -> bool:
    """Whether examples see one another; where memory does not suffice for four, it does for nothing."""
    train, parameters = problem.data.train, tuple(problem.named_tensors.values())
    try:
        return examples_are_coupled(problem.per_example, parameters, train.inputs, train.targets)
    except Exception as error:
        heed()
        if not ran_out_of_memory(error):
            raise
        return True


def _count(size: int) -> str:
    return f"{size:,} example{'s' * (size != 1)}"
