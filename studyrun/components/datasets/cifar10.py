"""CIFAR-10 through torchvision, for `dataset: {use: cifar10}`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch

from studyrun.plugin import Data, Dataset, DataUnavailableError, Field, Split, field_validator, model_validator

if TYPE_CHECKING:
    from torch import Tensor
    from torchvision.datasets import CIFAR10

Name = Literal["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMES: tuple[Name, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
TRAIN, TEST = 5000, 1000  # examples of each class
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)  # by colour


class Cifar10(Dataset):
    """CIFAR-10: 32 × 32 colour photographs of ten kinds of things, 5,000 + 1,000 of each.

    Read from `cifar10/cifar-10-batches-py` in the data folder, where torchvision's own loader looks too.

    Source: Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images.
    """

    classes: Literal["all"] | tuple[Name | Annotated[int, Field(ge=0, le=9)], ...] = "all"
    """Classes by name or number, at least two, or `all`; labels 0, 1, ... follow this order."""
    size: Annotated[int, Field(ge=2)] | None = None
    """Training examples in all, drawn evenly from the classes; null for all 5,000 of each."""
    test_size: Annotated[int, Field(ge=0)] | None = None
    """Test examples in all, the first of each class; null for all 1,000 of each, 0 for no test set."""
    normalisation: Literal["standard", "none"] = "standard"
    """`standard`: each colour minus its mean, divided by its deviation. `none`: between 0 and 1."""

    @field_validator("classes")
    @classmethod
    def _as_names(cls, classes: Literal["all"] | tuple[Name | int, ...]) -> tuple[Name, ...] | Literal["all"]:
        if classes == "all":
            return classes
        names = tuple(NAMES[entry] if isinstance(entry, int) else entry for entry in classes)
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"give at least two different classes out of {', '.join(NAMES)} (or 0 to 9), or `all`")
        return names

    @model_validator(mode="after")
    def _within_data(self) -> Cifar10:
        classes = len(self._names)
        for option, size, each in (("size", self.size, TRAIN), ("test_size", self.test_size, TEST)):
            if size is not None and size > classes * each:
                raise ValueError(f"{option} {size}: {classes} classes have {classes * each} such images in all")
        return self

    @property
    def _names(self) -> tuple[Name, ...]:
        return NAMES if self.classes == "all" else self.classes  # type: ignore[return-value]  # numbers became names

    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the images (n, 3, 32, 32) in float32, class after class.

        A smaller `size` under the same seed is a subset of a larger one. Raises `DataUnavailableError` where a file is
        missing or is not the official one.
        """
        orders = [torch.randperm(TRAIN, generator=subset) for _ in self._names]
        standard = self.normalisation == "standard"
        return Data(
            train=self._split(_read(folder, train=True), self.size, orders),
            test=None if self.test_size == 0 else self._split(_read(folder, train=False), self.test_size, None),
            classes=self._names,
            outputs=len(self._names),
            mean=MEAN if standard else (),
            deviation=DEVIATION if standard else (),
        )

    def fetch(self, folder: Path) -> str:
        """Download the official archive (170 MB) and unpack it, unless it is there already."""
        root = folder / "cifar10"
        try:
            _torchvision()(str(root), download=True)
        except (OSError, RuntimeError) as error:
            raise DataUnavailableError(f"dataset cifar10: the download into {root} failed: {error}") from error
        return f"CIFAR-10 is in {root}"

    def _split(self, source: CIFAR10, size: int | None, orders: list[Tensor] | None) -> Split:
        """`size` examples, evenly from the classes; each class's in the order given, or else from its first on."""
        labels = torch.tensor(source.targets)
        picked = []
        for place, name in enumerate(self._names):
            members = torch.nonzero(labels == NAMES.index(name)).flatten()
            count = len(members)
            if size is not None:
                each, rest = divmod(size, len(self._names))
                count = each + (place < rest)
                members = members if orders is None else members[orders[place]]
            picked.append(members[:count])
        pixels = torch.from_numpy(source.data[torch.cat(picked).numpy()]).permute(0, 3, 1, 2).float().div_(255)
        if self.normalisation == "standard":
            pixels.sub_(torch.tensor(MEAN).view(3, 1, 1)).div_(torch.tensor(DEVIATION).view(3, 1, 1))
        targets = torch.repeat_interleave(torch.arange(len(picked)), torch.tensor([len(some) for some in picked]))
        return Split(pixels.contiguous(), targets)


def _torchvision() -> type[CIFAR10]:
    from torchvision.datasets import CIFAR10  # imported late: it costs a second, and only this data set needs it

    return CIFAR10  # type: ignore[no-any-return]


def _read(folder: Path, *, train: bool) -> CIFAR10:
    root, cifar10 = folder / "cifar10", _torchvision()
    try:
        return cifar10(str(root), train=train, download=False)
    except RuntimeError as error:  # it has compared the MD5 of every file, and names none
        raise DataUnavailableError(f"dataset cifar10: {_fault(root, cifar10)}") from error


def _fault(root: Path, cifar10: type[CIFAR10]) -> str:
    """Which file is missing or not the official one, and what to do."""
    for name, md5 in [*cifar10.train_list, *cifar10.test_list, (cifar10.meta["filename"], cifar10.meta["md5"])]:
        path = root / cifar10.base_folder / name
        if not path.is_file():
            return (
                f"{path} is missing; `studyrun data fetch cifar10` downloads it, "
                "or set STUDYRUN_DATA to the folder that holds cifar10/"
            )
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
            return f"{path} is damaged (its MD5 is not {md5}); delete it, then run `studyrun data fetch cifar10`"
    return f"the files in {root / cifar10.base_folder} cannot be read"
