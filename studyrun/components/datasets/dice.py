"""Dice: a generated six-class image data set, for `dataset: {use: dice}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch

from studyrun.plugin import Data, Dataset, Field, Split, field_validator, model_validator

Face = Literal["one", "two", "three", "four", "five", "six"]
FACES: tuple[Face, ...] = ("one", "two", "three", "four", "five", "six")
POOL = 20_000
"""Examples of each class: indices below POOL / 2 are the training half, the others the test half."""

_COORDINATE = {"x": (-1.0, 1.0), "y": (-1.0, 1.0)}
_BOX = {"x": (0.2, 1.0), "y": (0.2, 1.0)}
_WIDE, _THIN, _END = {"weight": (0.1, 2.5)}, {"weight": (0.1, 1.0)}, {"end": (0.0, 3.0)}
RANGES: Mapping[Face, Mapping[str, tuple[float, float]]] = {
    "one": {**_COORDINATE, "point": (0.1, 1.0)},
    "two": {**_COORDINATE, "point": (0.1, 1.0)},
    "three": {**_COORDINATE, **_WIDE, **_END},
    "four": {**_COORDINATE, **_THIN, **_END},
    "five": {**_BOX, "point": (0.1, 0.7), **_THIN, **_END},
    "six": {"x": (-0.9, 0.9), "y": (-0.9, 0.9), "x_shift": (0.1, 0.8), "y_shift": (0.1, 0.8), **_WIDE, **_END},
}
"""Table 3: each parameter is uniform in its range; `end` is floored to 0 round, 1 butt, 2 square (R's `lend`)."""

_VERSION = 1  # raised whenever the same parameters would give other pixels, so that old cached images are not read
_SCANLINES = 16
_MEAN, _DEVIATION = 0.0241, 0.1182  # of the ink, over all pixels of the default pool's 120,000 images

Array = np.ndarray[Any, np.dtype[np.float64]]


class Dice(Dataset):
    """Abstract dice faces: one or two points, one or two lines, a box, a box with a point; generated, in six classes.

    Source: Lowell and Kastner 2024, arXiv 2406.00127, §7.3 and Table 3.
    """

    classes: tuple[Face | Literal[1, 2, 3, 4, 5, 6], ...] = FACES
    """Faces by name or number, at least two; labels 0, 1, ... follow this order."""
    size: Annotated[int, Field(ge=2)] | None = 1000
    """Training examples in all, evenly from the classes; null for the whole training half, 10,000 a class."""
    test_size: Annotated[int, Field(ge=0)] | None = 1000
    """Test examples in all, the first of each class's test half; null for all of it, 0 for no test set."""
    pixels: Annotated[int, Field(ge=4)] = 32
    """Height and width of the images."""
    ink: Literal["black", "white"] = "black"
    """What is drawn with; the ground is the other."""
    normalisation: Literal["standard", "none"] = "standard"
    """`standard`: minus the mean, divided by the deviation of all pixels. `none`: black 0, white 1."""
    point_radius: Annotated[float, Field(gt=0)] = 2.7
    line_width: Annotated[float, Field(gt=0)] = 0.75
    generation_seed: Annotated[int, Field(ge=0)] = 0
    """Names the pool of 20,000 images a class; the study's own seed only draws from it."""

    @field_validator("classes")
    @classmethod
    def _names(cls, classes: tuple[Face | int, ...]) -> tuple[Face, ...]:
        names = tuple(FACES[face - 1] if isinstance(face, int) else face for face in classes)
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("give at least two different faces out of one, two, three, four, five, six")
        return names

    @model_validator(mode="after")
    def _within_pool(self) -> Dice:
        for option, size in (("size", self.size), ("test_size", self.test_size)):
            most = len(self.classes) * POOL // 2
            if size is not None and size > most:
                raise ValueError(
                    f"{option} {size}: {len(self.classes)} classes have {most} such images; give at most that"
                )
        return self

    def load(self, folder: Path, subset: torch.Generator) -> Data:
        """Return the images (n, 1, pixels, pixels), class after class; nothing is read from `folder`."""
        half = POOL // 2
        drawn = [torch.randperm(half, generator=subset).numpy() for _ in self.classes]
        train = [order[:count] for order, count in zip(drawn, self._counts(self.size), strict=True)]
        test = [half + np.arange(count) for count in self._counts(self.test_size)]
        mean, deviation = self._normalisation()
        return Data(
            train=self._split(train),
            test=self._split(test) if self.test_size != 0 else None,
            classes=tuple(str(face) for face in self.classes),
            outputs=len(self.classes),
            mean=(mean,) if self.normalisation == "standard" else (),
            deviation=(deviation,) if self.normalisation == "standard" else (),
        )

    def _counts(self, size: int | None) -> list[int]:
        classes = len(self.classes)
        each, rest = divmod(classes * POOL // 2 if size is None else size, classes)
        return [each + (place < rest) for place in range(classes)]

    def _normalisation(self) -> tuple[float, float]:
        if self.normalisation == "none":
            return 0.0, 1.0
        return (_MEAN if self.ink == "white" else 1 - _MEAN), _DEVIATION

    def _split(self, indices: Sequence[np.ndarray[Any, Any]]) -> Split:
        covered = np.concatenate([self._images(face, which) for face, which in zip(self.classes, indices, strict=True)])
        values = torch.from_numpy(covered).unsqueeze(1).to(torch.float32) / 255
        mean, deviation = self._normalisation()
        labels = torch.repeat_interleave(torch.arange(len(indices)), torch.tensor([len(which) for which in indices]))
        return Split(((values if self.ink == "white" else 1 - values) - mean) / deviation, labels)

    def _images(self, face: Any, indices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        parameters = {name: values[indices] for name, values in draw_parameters(face, self.generation_seed).items()}
        chunks = [
            render(
                face,
                {name: values[start : start + 256] for name, values in parameters.items()},
                self.pixels,
                self.point_radius,
                self.line_width,
            )
            for start in range(0, len(indices), 256)
        ]
        covered = np.concatenate(chunks) if chunks else np.zeros((0, self.pixels, self.pixels))
        return np.rint(255 * covered).astype(np.uint8)


def draw_parameters(face: Face, seed: int) -> dict[str, Array]:
    """Return the parameters of the whole pool of one face, each (POOL,): fixed by face and seed alone."""
    generator = np.random.Generator(np.random.PCG64([seed, FACES.index(face)]))
    return {name: generator.uniform(low, high, POOL) for name, (low, high) in RANGES[face].items()}


def render(face: Face, parameters: Mapping[str, Array], pixels: int, point_radius: float, line_width: float) -> Array:
    """Return how much of each pixel is covered, (n, pixels, pixels) in [0, 1], the first row at the top (y = 1)."""
    x, y = parameters["x"] * pixels / 2, parameters["y"] * pixels / 2  # pixels from the centre
    unit = pixels / 32
    radius = point_radius * unit * parameters["point"] if "point" in parameters else x
    half = line_width * unit / 2 * parameters["weight"] if "weight" in parameters else x
    if face == "one":
        return _point(x, y, radius, pixels)
    if face == "two":
        return _over(_point(x, y, radius, pixels), _point(-x, -y, radius, pixels))
    if face == "four":
        return _box(x, y, half, pixels)
    if face == "five":
        return _over(_box(x, y, half, pixels), _point(0 * x, 0 * y, radius, pixels))
    end = np.floor(parameters["end"])
    if face == "three":
        return _line((0 * x, 0 * y), (x, y), half, end, pixels)
    x_shift, y_shift = parameters["x_shift"] * pixels / 2, parameters["y_shift"] * pixels / 2
    first = _line((-x_shift, -y_shift), (x, y), half, end, pixels)
    return _over(first, _line((x_shift, y_shift), (x, y), half, end, pixels))


def _over(below: Array, above: Array) -> Array:
    """Ink over ink, as a drawing device blends two strokes."""
    return 1 - (1 - below) * (1 - above)


def _edges(pixels: int) -> Array:
    """The lines between pixels, (pixels + 1,), measured from the centre."""
    return np.arange(pixels + 1) - pixels / 2


def _corner_area(u: Array, v: Array) -> Array:
    """The area of the unit disc's part left of u and below v; u (n, m, 1) and v (n, 1, m) within ±1."""

    def half_lens(t: Array) -> Array:
        return (t * np.sqrt(1 - t * t) + np.arcsin(t)) / 2

    a, b = half_lens(u), half_lens(v)
    inside = u * v + a + b + pi / 4
    low_u, low_v = 2 * a + pi / 2, 2 * b + pi / 2
    outside = np.where((u < 0) & (v < 0), 0, np.where(u < 0, low_u, np.where(v < 0, low_v, low_u + low_v - pi)))
    return np.where(u * u + v * v < 1, inside, outside)


def _point(x: Array, y: Array, radius: Array, pixels: int) -> Array:
    """Exact coverage by discs."""
    u = np.clip((_edges(pixels) - x[:, None]) / radius[:, None], -1, 1)
    v = np.clip((_edges(pixels) + y[:, None]) / radius[:, None], -1, 1)
    area = _corner_area(u[:, None, :], v[:, :, None])
    return np.diff(np.diff(area, axis=1), axis=2) * radius[:, None, None] ** 2


def _overlap(half: Array, pixels: int) -> Array:
    """How much of each pixel lies within ±half of the centre, along one axis, (n, pixels)."""
    return np.diff(np.clip(_edges(pixels), -half[:, None], half[:, None]), axis=1)


def _box(x: Array, y: Array, half: Array, pixels: int) -> Array:
    """Exact coverage by the outlines of boxes with round corners."""
    a, b = np.abs(x), np.abs(y)

    def rectangle(width: Array, height: Array) -> Array:
        return _overlap(height, pixels)[:, :, None] * _overlap(width, pixels)[:, None, :]

    outer = rectangle(a + half, b) + rectangle(a, b + half) - rectangle(a, b)
    for x_sign in (-1, 1):
        for y_sign in (-1, 1):
            u = np.clip((x_sign * _edges(pixels) - a[:, None]) / half[:, None], 0, 1)
            v = np.clip((y_sign * _edges(pixels) - b[:, None]) / half[:, None], 0, 1)
            area = np.diff(np.diff(_corner_area(u[:, None, :], v[:, :, None]), axis=1), axis=2)
            outer += np.abs(area) * half[:, None, None] ** 2
    return outer - rectangle(np.maximum(a - half, 0), np.maximum(b - half, 0))


def _line(centre: tuple[Array, Array], reach: tuple[Array, Array], half: Array, end: Array, pixels: int) -> Array:
    """Coverage by lines from `centre` − `reach` to `centre` + `reach`, (x, y) each: exact across, sampled along.

    A line is cut by scanlines, which run along columns where it is flat and along rows where it is steep. So a scanline
    crosses it at 45° or more, and even a line far thinner than a pixel leaves its full weight. Only what lies within
    half a scanline of an end is rounded.
    """
    flat = np.abs(reach[0]) > np.abs(reach[1])
    x, y = centre[0], -centre[1]
    along, across = np.where(flat, reach[0], -reach[1]), np.where(flat, -reach[1], reach[0])
    scans = (np.arange(pixels * _SCANLINES) + 0.5) / _SCANLINES - pixels / 2 - np.where(flat, x, y)[:, None]
    enters, leaves = _chords(scans, along, across, half, end)
    left = np.arange(pixels, dtype=np.float32) - pixels / 2 - np.where(flat, y, x)[:, None, None]
    covered = np.clip(leaves[..., None] - left, 0, 1) - np.clip(enters[..., None] - left, 0, 1)
    image = covered.reshape(-1, pixels, _SCANLINES, pixels).mean(axis=2)
    return np.where(flat[:, None, None], image.transpose(0, 2, 1), image)


def _chords(scans: Array, along: Array, across: Array, half: Array, end: Array) -> tuple[Array, Array]:
    """Where scanlines at `scans` (n, m) enter and leave lines to ±(along, across); equal where they miss."""
    length = np.hypot(along, across)
    sign = np.where(along < 0, -1, 1) / np.maximum(length, 1e-300)
    cos, sin, h = (sign * along)[:, None], (sign * across)[:, None], half[:, None]
    cos = np.where(length[:, None] > 0, cos, 1.0)
    sin = np.where(np.abs(sin) < 1e-9, 1e-9, sin)  # an axis-parallel line: its ends then bound a scanline wholly or not
    reach = (length + np.where(end == 2, half, 0))[:, None]
    ends = (-reach - scans * cos) / sin, (reach - scans * cos) / sin
    enters = np.maximum((scans * sin - h) / cos, np.minimum(*ends))
    leaves = np.minimum((scans * sin + h) / cos, np.maximum(*ends))
    enters, leaves = np.where(enters < leaves, enters, np.inf), np.where(enters < leaves, leaves, -np.inf)
    for side in (-1, 1):
        squared = np.where(end == 0, half**2, -1)[:, None] - (scans - side * reach * cos) ** 2
        lens = np.where(squared > 0, np.sqrt(np.maximum(squared, 0)), -np.inf)
        middle = side * reach * sin
        enters, leaves = np.minimum(enters, middle - lens), np.maximum(leaves, middle + lens)
    missed = enters >= leaves
    return np.where(missed, 0, enters), np.where(missed, 0, leaves)
