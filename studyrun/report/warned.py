"""What was warned of while a figure was drawn, in words for its reader."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from warnings import WarningMessage

GLYPH = re.compile(r"Glyph (\d+) .*missing from font")
MOST_SIGNS = 12
OF_CODE = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that are for those who write code, and of no use to those who read a figure."""


def boxes(warned: Sequence[WarningMessage]) -> Iterator[str]:
    """Say which signs the font lacks, which stand as boxes in the picture."""
    signs = dict.fromkeys(chr(int(found[1])) for one in warned if (found := GLYPH.match(str(one.message))))
    if signs:
        some = " ".join(list(signs)[:MOST_SIGNS])
        more = f" and {len(signs) - MOST_SIGNS} more" if len(signs) > MOST_SIGNS else ""
        yield f"The font has no sign for {some}{more}: boxes stand for them, and the CSV has the names."


def further(warned: Sequence[WarningMessage]) -> tuple[str, ...]:
    """Everything else that was warned of, once each."""
    kept = [one for one in warned if not issubclass(one.category, OF_CODE) and not GLYPH.match(str(one.message))]
    return tuple(dict.fromkeys(f"{one.category.__name__}: {one.message}" for one in kept))
