"""matplotlib is imported whatever `$MPLBACKEND` says, and draws what is asked of it without any window.

A notebook sets it for every command that it starts; where that backend is not installed, matplotlib refuses to be
imported at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NAME = "MPLBACKEND"


@contextmanager
def any_backend() -> Iterator[None]:
    """Let matplotlib be imported inside the block; afterwards it has the backend asked for, if it knows that one."""
    wanted = None if "matplotlib" in sys.modules else os.environ.pop(NAME, None)
    try:
        yield
    finally:
        if wanted is not None:
            os.environ[NAME] = wanted
            if "matplotlib" in sys.modules:
                with suppress(ValueError):
                    sys.modules["matplotlib"].rcParams["backend"] = wanted
