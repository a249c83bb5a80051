"""What is done when memory runs out: measurements go on in smaller chunks, training says what would help."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from studyrun.curvature.coupling import examples_are_coupled
from studyrun.curvature.memory import memory_asked, ran_out_of_memory
from studyrun.engine.problem import Problem
from studyrun.engine.snapshot import LiveSnapshot
from studyrun.errors import ProbeError, StudyrunError
from studyrun.stopping import heed

M_MMAP_THRESHOLD, LARGE = -3, 2**20  # blocks of more bytes go back to the system once freed, not into a heap's holes
REMEDY = "`studyrun resume` goes on from the last checkpoint where there is more memory"


class Shortage:
    """Makes room for one measurement, each time it runs out of memory, until there is nothing left to try.

    Chunks are halved, for measurements alone and for the rest of the process: another chunk size would change the bits
    of training. Where examples see one another (batch normalisation in training mode) a chunk is the batch, so that
    smaller ones would measure something else: what is kept in memory is freed there, and the measurement tried again.
    """

    def __init__(self, label: str, snapshot: LiveSnapshot, warn: Callable[[str], None]) -> None:
        self._probe, self._snapshot, self._warn = f"probe {label!r}", snapshot, warn
        self._freed = False

    def relieve(self, text: str) -> None:
        """Make room after an error of this text. Raises `ProbeError` where there is none to be made."""
        problem, size = self._snapshot.problem, self._snapshot.problem.measured_together
        free(self._snapshot)
        problem.measuring.graph_bytes = 0  # graphs of small chunks weigh together what that of a large one does
        where = f"{self._probe} ran out of memory at step {self._snapshot.step} with chunks of {_count(size)}"
        where = f"{where}, {memory_asked(text)}"
        if _coupled(problem):
            self._once_more(where)
        elif size == 1:
            raise ProbeError(
                f"{where}. {REMEDY}; a new run that asks the probe for less (fewer eigenvalues, directions or random "
                "vectors) would do too"
            )
        else:
            problem.measuring.most = size // 2
            self._warn(
                f"{where}; it goes on with chunks of {size // 2:,}, as measurements do from here on; "
                "training keeps its own"
            )

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
    """Raise `StudyrunError` that says what to do where the training step itself runs out of memory.

    It is not tried again: chunks of another size would train to other bits.
    """
    try:
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
