"""States on disk: plain tensors and containers, under a checksum, read without running code."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import torch

from studyrun.errors import RunFolderError
from studyrun.stopping import heed
from studyrun.trace.atomic import sync_folder
from studyrun.trace.sealed import seal, unseal

KIND = "checkpoint"
FORMAT = 4
BARE = 2  # the last format without a checksum around it


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` (dicts, lists, numbers, texts, tensors) to `path`, atomically. Raises `RunFolderError`."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    make_folder(path.parent)
    seal(path, KIND, FORMAT, buffer.getvalue())


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote. Raises `RunFolderError` if it is damaged, or of a format unknown here."""
    sealed = unseal(path, KIND, FORMAT)
    number, source = sealed if sealed is not None else (BARE, path.read_bytes())
    try:
        content = torch.load(io.BytesIO(source), map_location="cpu", weights_only=True)
        found = content["format"]
    except Exception as error:
        heed()
        raise RunFolderError(f"{path} cannot be read as a checkpoint: {error}") from error
    if found != number:
        raise RunFolderError(f"{path} has checkpoint format {found!r}; this version reads {BARE} to {FORMAT}")
    return dict(content)


def load_either(path: Path, other: Path) -> tuple[dict[str, Any], str]:
    """Read `path`, or `other` where it cannot be read, and then say so in the text returned beside.

    Raises `RunFolderError` with the first fault if neither can be read.
    """
    try:
        return load(path), ""
    except RunFolderError as first:
        try:
            return load(other), f"{first}; going on from {other.name} instead"
        except RunFolderError:
            raise first from None


def set_aside(path: Path, kept: Path) -> None:
    """Let `kept` be what `path` is now, so that `path` can be replaced; at every instant both names are whole files."""
    link = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
    try:
        link.unlink(missing_ok=True)
        try:
            os.link(path, link)
        except OSError:  # a file system without hard links
            link.write_bytes(path.read_bytes())
        link.replace(kept)
        sync_folder(kept.parent)
    except FileNotFoundError:
        return  # there is no checkpoint yet
    except OSError as error:
        with suppress(OSError):
            link.unlink(missing_ok=True)
        raise RunFolderError(f"cannot write {kept}: {error.strerror or error}") from error


def put_aside(path: Path) -> None:
    """Give a damaged file another name, and keep it. Raises `RunFolderError`."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in count())
    try:
        path.rename(next(name for name in names if not name.exists()))
        sync_folder(path.parent)
    except OSError as error:
        raise RunFolderError(f"cannot rename {path}: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Make a folder where there is none. Raises `RunFolderError`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(f"cannot make {folder}: {error.strerror or error}") from error
