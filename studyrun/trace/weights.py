"""Trained weights beside the trace: what their files are named, and what each says of itself. No torch is needed.

They are safetensors: eight bytes of length, a header in JSON, then the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from studyrun.errors import RunFolderError

ENDING = ".safetensors"
INSIDE = (("", "final-*.safetensors"), ("", "best-*.safetensors"), ("checkpoints", "*-step-*.safetensors"))
"""Where a run folder holds weights, as a folder and a pattern."""
LONGEST_HEADER = 100_000_000  # which the library sets, too


def final_of(folder: Path, arm: str) -> Path:
    """The weights that an arm ended with."""
    return folder / f"final-{arm}.safetensors"


def best_of(folder: Path, arm: str) -> Path:
    """The weights of the best step that an arm came by, where the study asks for them."""
    return folder / f"best-{arm}.safetensors"


def snapshot_of(folder: Path, arm: str, step: int) -> Path:
    """The weights of a step that was kept without the rest of its state."""
    return folder / "checkpoints" / f"{arm}-step-{step}.safetensors"


def snapshots_of(folder: Path, arm: str) -> list[Path]:
    """The weights of an arm's steps that were kept without the rest of their state."""
    return sorted((folder / "checkpoints").glob(f"{arm}-step-*{ENDING}"))


def weights_files(folder: Path) -> Iterator[Path]:
    """Every file of weights in a run folder."""
    for inside, pattern in INSIDE:
        yield from sorted((folder / inside).glob(pattern))


def read_metadata(path: Path) -> Mapping[str, str]:
    """What a file of weights says of itself: arm, step, time, state, the study's mark.

    Raises `RunFolderError` where it is missing, cut off, or no such file.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, LONGEST_HEADER)))
            there = file.seek(0, 2) - 8 - length
        facts = dict(header.pop("__metadata__", {}))
        end = max((one["data_offsets"][1] for one in header.values()), default=0)
    except FileNotFoundError as error:
        raise RunFolderError(f"{path} does not exist") from error
    except OSError as error:
        raise RunFolderError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError) as error:
        raise RunFolderError(f"{path} cannot be read as weights: {error!r}") from error
    if there != end:
        raise RunFolderError(f"{path} is damaged: it holds {there:,} bytes of numbers in place of {end:,}")
    return {str(key): str(value) for key, value in facts.items()}
