"""Dice: a generated image data set of six classes, for `dataset: {use: dice}`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from math import pi
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from studyrun.plugin import ComponentError, Data, Dataset, Field, Split, field_validator, model_validator

Face = Literal["one", "two", "three", "four", "five", "six"]
FACES: tuple[Face, ...] = ("one", "two", "three", "four", "five", "six")
HALF = 10_000
"""Each class is a pool of 20,000 examples: the first half trains, the second half tests."""

_ANYWHERE = {"x": (-1.0, 1.0), "y": (-1.0, 1.0)}
_WIDE, _THIN, _END = {"weight": (0.1, 2.5)}, {"weight": (0.1, 1.0)}, {"end": (0.0, 3.0)}
RANGES: Mapping[Face, Mapping[str, tuple[float, float]]] = {
    "one": {**_ANYWHERE, "point": (0.1, 1.0)},
    "two": {**_ANYWHERE, "point": (0.1, 1.0)},
    "three": {**_ANYWHERE, **_WIDE, **_END},
    "four": {**_ANYWHERE, **_THIN, **_END},
    "five": {"x": (0.2, 1.0), "y": (0.2, 1.0), "point": (0.1, 0.7), **_THIN, **_END},
    "six": {"x": (-0.9, 0.9), "y": (-0.9, 0.9), "x_shift": (0.1, 0.8), "y_shift": (0.1, 0.8), **_WIDE, **_END},
}
"""Table 3. Each parameter is uniform in its range; `end` is then floored to R's 0 round, 1 butt, 2 square."""

_MEAN, _DEVIATION = 0.0241, 0.1182  # of the ink, over every pixel of the whole default pool
_SCANLINES = 16  # through each pixel
_MOST_DRAWS = 100  # of one image, until it is no training image
_RASTERISER = 1  # raised with every change of what the same parameters look like, so that no older cache is read

Array = np.ndarray[Any, np.dtype[np.floating[Any]]]
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Dice(Dataset):
    """Abstract dice faces, generated: points, lines and boxes of random place, size and weight, in six classes.

    one: a point at (x, y). two: points at (x, y) and (−x, −y). three: a line between those two. four: the box with the
    corners (±x, ±y). five: a box with a point at the origin. six: a line like three's, drawn twice, moved by
    (x_shift, y_shift) and by its negative. The image spans [−1, 1]². Grey levels are 8 bits deep.

    Each class is a pool of 20,000 images fixed by `generation_seed`; the study's seed draws from it. Under one seed a
    smaller training set lies within a larger one. Of the 60,000 test images of the default pool 16, all of them fours,
    are byte for byte training images: small thin boxes of like corners round to the same grey levels (see `distinct`).
    Images once drawn are kept in $STUDYRUN_CACHE or the user's cache folder. Cost: 0.3 s for 1,000 images.

    Source: Lowell and Kastner 2024, arXiv 2406.00127, §7.3 and Table 3. R's conventions stand where they are silent:
    R's default device has 72 pixels an inch, on which cex 1 is a disc of radius 2.7 (0.375 of half a 14.4-pixel line
    of text) and lwd 1 is 1/96 inch, 0.75 pixels. A box is one closed stroke with R's round joins; having no ends,
    it looks the same whatever its end type.
    """

    classes: tuple[Face | Literal[1, 2, 3, 4, 5, 6], ...] = FACES
    """Faces by name or number, at least two; labels 0, 1, ... follow this order."""
    size: Annotated[int, Field(ge=2)] | None = 1000
    """Training examples in all, drawn evenly from the classes; null for all 10,000 of each."""
    test_size: Annotated[int, Field(ge=0)] | None = 1000
    """Test examples in all, the first of each class; null for all 10,000 of each, 0 for no test set."""
    pixels: Annotated[int, Field(ge=4)] = 32
    """Height and width of an image."""
    ink: Literal["black", "white"] = "black"
    """What is drawn with; the ground is the other."""
    normalisation: Literal["standard", "none"] = "standard"
    """`standard`: minus the mean, divided by the deviation, both those of all six classes. `none`: black 0, white 1."""
    point_radius: Annotated[float, Field(gt=0)] = 2.7
    """Radius of a point of size 1, in thirty-seconds of the image."""
    line_width: Annotated[float, Field(gt=0)] = 0.75
    """Width of a line of weight 1, in thirty-seconds of the image."""
    generation_seed: Annotated[int, Field(ge=0)] = 0
    """Names the pool; another number gives other images."""
    distinct: bool = False
    """Draw a test image again, from a further pool, where it is byte for byte one of the training images in use."""

    @field_validator("classes")
    @classmethod
    def _as_names(cls, classes: tuple[Face | int, ...]) -> tuple[Face, ...]:
        names = tuple(FACES[entry - 1] if isinstance(entry, int) else entry for entry in classes)
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"give at least two different classes out of {', '.join(FACES)} (or 1 to 6)")
        return names

    @model_validator(mode="after")
    def _within_pool(self) -> Dice:
        most = len(self.classes) * HALF
        for option, size in (("size", self.size), ("test_size", self.test_size)):
            if size is not None and size > most:
                raise ValueError(f"{option} {size}: {len(self.classes)} classes have {most} such images in all")
        return self

    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the images (n, 1, pixels, pixels) in float32, class after class; `folder` is not used."""
        orders = [torch.randperm(HALF, generator=subset).numpy() for _ in self.classes]
        ordinary = [HALF + np.arange(HALF) for _ in self.classes]
        mean, deviation = (_MEAN if self.ink == "white" else 1 - _MEAN), _DEVIATION
        standard = self.normalisation == "standard"
        train = self._drawn(orders, self.size)
        test = [] if self.test_size == 0 else self._drawn(ordinary, self.test_size)
        if self.distinct and test:
            known = {image.tobytes() for images in train for image in images}
            test = [self._apart(face, images, known) for face, images in zip(self.classes, test, strict=True)]
        return Data(
            train=self._split(train),
            test=self._split(test) if test else None,
            classes=tuple(str(name) for name in self.classes),
            outputs=len(self.classes),
            mean=(mean,) if standard else (),
            deviation=(deviation,) if standard else (),
        )

    def _drawn(self, orders: list[np.ndarray[Any, Any]], size: int | None) -> list[Bytes]:
        """The ink of `size` examples, evenly from the classes, each class's in the order given."""
        each, rest = divmod(len(orders) * HALF if size is None else size, len(orders))
        counts = [each + (place < rest) for place in range(len(orders))]
        return [self._images(*entry) for entry in zip(self.classes, orders, counts, strict=True)]

    def _apart(self, face: Any, images: Bytes, known: set[bytes]) -> Bytes:
        """A class's test images, those that are `known` drawn again until they are not."""
        images = images.copy()
        for further in range(1, _MOST_DRAWS):
            places = np.flatnonzero([image.tobytes() in known for image in images])
            if not len(places):
                return images
            images[places] = self._draw(face, HALF + places, parameters(face, self.generation_seed, further))
        raise ComponentError(
            f"dataset dice: distinct: {len(places)} test images of class {face} are training images however often they "
            "are drawn: too few pixels, or too little ink, to tell them apart; raise `pixels` or leave `distinct` out"
        )

    def _split(self, drawn: list[Bytes]) -> Split:
        """The examples of these inks, class after class, normalised."""
        ink = torch.from_numpy(np.concatenate(drawn)[:, None]).float().div_(255)
        if self.normalisation == "standard":
            ink.sub_(_MEAN).div_(_DEVIATION)
            images = ink if self.ink == "white" else ink.neg_()
        else:
            images = ink if self.ink == "white" else 1 - ink
        counts = torch.tensor([len(one) for one in drawn])
        return Split(images, torch.repeat_interleave(torch.arange(len(counts)), counts))

    def _images(self, face: Any, order: np.ndarray[Any, Any], count: int) -> Bytes:
        """The ink of the first `count` in this order, (count, pixels, pixels), from the cache where it has them."""
        indices = order[:count].astype("<i8")
        look = (_RASTERISER, face, self.generation_seed, self.pixels, self.point_radius, self.line_width)
        path = _cache() / "dice" / sha256(repr(look).encode() + indices.tobytes()).hexdigest()
        images = _read(path, (count, self.pixels, self.pixels))
        if images is None:
            images = self._draw(face, indices)
            _write(path, images)
        return images

    def _draw(self, face: Face, indices: np.ndarray[Any, Any], pool: Mapping[str, Array] | None = None) -> Bytes:
        pool = pool or parameters(face, self.generation_seed)
        images = np.empty((len(indices), self.pixels, self.pixels), dtype=np.uint8)
        for start in range(0, len(indices), 128):  # few enough to stay in the processor's cache
            some = {name: values[indices[start : start + 128]] for name, values in pool.items()}
            covered = coverage(face, some, self.pixels, self.point_radius, self.line_width)
            images[start : start + 128] = np.rint(255 * covered)
        return images


def parameters(face: Face, seed: int, further: int = 0) -> dict[str, Array]:
    """The parameters of a class's whole pool, (20,000,) each: a function of class, seed and index alone.

    `further` counts the pools from which an image is drawn again, 0 being the pool itself.
    """
    generator = np.random.Generator(np.random.PCG64([seed, FACES.index(face), *([further] if further else [])]))
    return {name: generator.uniform(low, high, 2 * HALF) for name, (low, high) in RANGES[face].items()}


def coverage(face: Face, drawn: Mapping[str, Array], pixels: int, point_radius: float, line_width: float) -> Array:
    """The share of each pixel that is inked, (n, pixels, pixels), the top row first. All lengths become pixels here."""
    x, y = drawn["x"] * pixels / 2, drawn["y"] * pixels / 2
    origin = (np.zeros_like(x), np.zeros_like(x))
    radius = drawn.get("point", x) * point_radius * pixels / 32
    half = drawn.get("weight", x) * line_width * pixels / 64
    end = np.floor(drawn.get("end", x))
    match face:
        case "one":
            return _point((x, y), radius, pixels)
        case "two":
            return _over(_point((x, y), radius, pixels), _point((-x, -y), radius, pixels))
        case "three":
            return _line(origin, (x, y), half, end, pixels)
        case "four":
            return _box(np.abs(x), np.abs(y), half, pixels)
        case "five":
            return _over(_box(x, y, half, pixels), _point(origin, radius, pixels))
        case "six":
            shift = drawn["x_shift"] * pixels / 2, drawn["y_shift"] * pixels / 2
            first = _line((-shift[0], -shift[1]), (x, y), half, end, pixels)
            return _over(first, _line(shift, (x, y), half, end, pixels))


def _over(below: Array, above: Array) -> Array:
    """Ink over ink, as a device blends one stroke after another."""
    return 1 - (1 - below) * (1 - above)


def _grid(pixels: int) -> Array:
    """The lines between pixels, (pixels + 1,), counted from the centre of the image."""
    return np.arange(pixels + 1) - pixels / 2


def _point(centre: tuple[Array, Array], radius: Array, pixels: int) -> Array:
    """Discs, exactly."""
    across = np.clip((_grid(pixels) - centre[0][:, None]) / radius[:, None], -1, 1)
    down = np.clip((_grid(pixels) + centre[1][:, None]) / radius[:, None], -1, 1)
    return _disc_cells(across, down) * radius[:, None, None] ** 2


def _disc_cells(across: Array, down: Array) -> Array:
    """The area of the unit disc in each cell of a grid with lines at `across`, `down` (n, m) in ±1, (n, m − 1, m − 1).

    A second difference of the area left of one line and above another: a quarter of the disc plus two half lenses
    plus a rectangle where the lines cross inside the disc, and whole lenses where they cross outside.
    """

    def half_lens(t: Array) -> Array:
        return (t * np.sqrt(1 - t * t) + np.arcsin(t)) / 2

    u, v = across[:, None, :], down[:, :, None]
    a, b = half_lens(u), half_lens(v)
    beside, above = 2 * a + pi / 2, 2 * b + pi / 2
    apart = np.where(u < 0, np.where(v < 0, 0, beside), np.where(v < 0, above, beside + above - pi))
    area = np.where(u * u + v * v < 1, u * v + a + b + pi / 4, apart)
    return np.diff(np.diff(area, axis=1), axis=2)


def _box(a: Array, b: Array, half: Array, pixels: int) -> Array:
    """Outlines of the boxes with corners (±a, ±b), exactly: a rounded rectangle less the rectangle inside."""

    def within(limit: Array) -> Array:
        return np.diff(np.clip(_grid(pixels), -limit[:, None], limit[:, None]), axis=1)

    def rectangle(width: Array, height: Array) -> Array:
        return within(height)[:, :, None] * within(width)[:, None, :]

    def corner(right: int, below: int) -> Array:
        across = right * np.clip((right * _grid(pixels) - a[:, None]) / half[:, None], 0, 1)
        down = below * np.clip((below * _grid(pixels) - b[:, None]) / half[:, None], 0, 1)
        return _disc_cells(across, down) * half[:, None, None] ** 2

    corners = sum(corner(right, below) for right in (-1, 1) for below in (-1, 1))
    rounded = rectangle(a + half, b) + rectangle(a, b + half) - rectangle(a, b) + corners
    outline: Array = rounded - rectangle(np.maximum(a - half, 0), np.maximum(b - half, 0))
    return outline


def _line(centre: tuple[Array, Array], reach: tuple[Array, Array], half: Array, end: Array, pixels: int) -> Array:
    """Lines between `centre` − `reach` and `centre` + `reach`, (x, y) each: exact across, sampled along.

    Scanlines cut a line the long way round: along columns where it is flat, along rows where it is steep. Meeting it at
    45° or more, they weigh even a line far thinner than a pixel rightly; only its ends are rounded to a scanline.
    """
    flat = np.abs(reach[0]) > np.abs(reach[1])
    right, down = centre[0], -centre[1]
    along, across = np.where(flat, reach[0], -reach[1]), np.where(flat, -reach[1], reach[0])
    scans = (np.arange(pixels * _SCANLINES) + 0.5) / _SCANLINES - pixels / 2 - np.where(flat, right, down)[:, None]
    enters, leaves = _chords(scans, along, across, half, end)
    cells = _grid(pixels)[:-1].astype(np.float32) - np.where(flat, down, right).astype(np.float32)[:, None, None]
    covered = np.clip(leaves[..., None] - cells, 0, 1) - np.clip(enters[..., None] - cells, 0, 1)
    image = covered.reshape(-1, pixels, _SCANLINES, pixels).mean(axis=2)
    upright: Array = np.where(flat[:, None, None], image.transpose(0, 2, 1), image)
    return upright


def _chords(scans: Array, along: Array, across: Array, half: Array, end: Array) -> tuple[Any, Any]:
    """Where scanlines at `scans` (n, m) enter and leave lines from −(along, across) to +(along, across), in float32."""
    length = np.maximum(np.hypot(along, across), 1e-12)
    slope = np.where(along == 0, 0, across / np.where(along == 0, 1, along))
    cos = (1 / np.hypot(1, slope))[:, None]
    sin = slope[:, None] * cos
    sin = np.where(np.abs(sin) < 1e-9, 1e-9, sin)  # then an end cuts a scanline off wholly or not at all
    reach, h = (length + np.where(end == 2, half, 0))[:, None], half[:, None]
    ends = (-reach - scans * cos) / sin, (reach - scans * cos) / sin
    enters = np.maximum((scans * sin - h) / cos, np.minimum(*ends))
    leaves = np.minimum((scans * sin + h) / cos, np.maximum(*ends))
    enters, leaves = np.where(enters < leaves, enters, np.inf), np.where(enters < leaves, leaves, -np.inf)
    for side in (-1, 1):  # the discs of round ends
        squared = np.where(end == 0, half**2, -1)[:, None] - (scans - side * reach * cos) ** 2
        lens = np.where(squared > 0, np.sqrt(np.maximum(squared, 0)), -np.inf)
        enters, leaves = np.minimum(enters, side * reach * sin - lens), np.maximum(leaves, side * reach * sin + lens)
    missed = enters > leaves
    return np.where(missed, 0, enters).astype(np.float32), np.where(missed, 0, leaves).astype(np.float32)


def _cache() -> Path:
    """$STUDYRUN_CACHE, or the folder that this platform keeps for caches."""
    if chosen := os.environ.get("STUDYRUN_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", tempfile.gettempdir())) / "studyrun" / "cache"
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/studyrun"))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache.removeprefix("~/")) / "studyrun"  # whoever has no home directory has it where they work


def _read(path: Path, shape: tuple[int, ...]) -> Bytes | None:
    """The images in a cached file, or None where there is none, or not a whole one: its hash leads it."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if content[:32] != sha256(content[32:]).digest() or len(content) - 32 != np.prod(shape):
        return None
    return np.frombuffer(content, np.uint8, offset=32).reshape(shape)


def _write(path: Path, images: Bytes) -> None:
    """Put the images into the cache, at once or not at all. One that cannot be written is done without."""
    content = images.tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        try:
            with open(handle, "wb") as file:
                file.write(sha256(content).digest() + content)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
    except OSError:
        return
