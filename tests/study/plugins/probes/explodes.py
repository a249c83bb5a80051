"""A probe whose file cannot be imported, so that only a study that uses it may notice."""

from __future__ import annotations

raise RuntimeError("no fuse")
