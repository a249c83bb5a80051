from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from studyrun.plugin import Dataset, Field


class Toy(Dataset):
    """A toy of so many examples."""

    size: Annotated[int, Field(ge=2)] = 10
    classes: tuple[str, ...] = ("yes", "no")
    note: str = ""

    def load(self, folder: Path, subset: Any) -> Any:
        raise NotImplementedError
