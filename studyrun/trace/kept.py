"""What a probe goes on recording in a trace that was begun when it recorded other channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from studyrun.errors import RunFolderError
from studyrun.trace.channel import Channel


def left_out(path: Path, label: str, held: Mapping[str, Channel], declared: Sequence[Channel]) -> frozenset[str]:
    """The declared channels that the trace began without.

    Raises `RunFolderError` where one that it holds is not declared any more, or with another type or other dimensions.
    """
    now = {channel.name: channel for channel in declared}
    lost = [name for name, one in held.items() if name not in now or not _alike(one, now[name])]
    if lost:
        raise RunFolderError(
            f"{path}: the probe {label!r} of this version does not record {', '.join(lost)} as this trace holds it; "
            f"`studyrun run {path.parent / 'study.yaml'}` carries out the study again, in a new folder"
        )
    return frozenset(now.keys() - held.keys())


def _alike(one: Channel, other: Channel) -> bool:
    return (one.dtype, one.dims) == (other.dtype, other.dims)
