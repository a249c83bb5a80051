from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import pi
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from studyrun.components.datasets import dice
from studyrun.components.datasets.dice import FACES, HALF, Dice, coverage, parameters
from studyrun.errors import ComponentError

POINT_RADIUS, LINE_WIDTH = 2.7, 0.75
FINE = 32  # brute-force samples per pixel and axis

TABLE_3 = {
    "one": {"x": (-1, 1), "y": (-1, 1), "point": (0.1, 1)},
    "two": {"x": (-1, 1), "y": (-1, 1), "point": (0.1, 1)},
    "three": {"x": (-1, 1), "y": (-1, 1), "weight": (0.1, 2.5), "end": (0, 3)},
    "four": {"x": (-1, 1), "y": (-1, 1), "weight": (0.1, 1), "end": (0, 3)},
    "five": {"x": (0.2, 1), "y": (0.2, 1), "point": (0.1, 0.7), "weight": (0.1, 1), "end": (0, 3)},
    "six": {
        "x": (-0.9, 0.9),
        "y": (-0.9, 0.9),
        "x_shift": (0.1, 0.8),
        "y_shift": (0.1, 0.8),
        "weight": (0.1, 2.5),
        "end": (0, 3),
    },
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def load(seed: int = 0, **options: object) -> dice.Data:
    return Dice(**options).load(Path("nowhere"), generator(seed))


def render(face: str, drawn: dict[str, np.ndarray]) -> np.ndarray:
    return np.asarray(coverage(face, drawn, 32, POINT_RADIUS, LINE_WIDTH), dtype=float)


def one_drawing(**values: float) -> dict[str, np.ndarray]:
    return {name: np.array([value], dtype=float) for name, value in values.items()}


# --- an independent rasteriser: which of FINE² samples of a pixel lie inside the shape -------------------------------


def sampled(inside: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    at = (np.arange(32 * FINE) + 0.5) / FINE / 16 - 1
    x, y = np.meshgrid(at, -at)
    return inside(x, y).reshape(32, FINE, 32, FINE).mean(axis=(1, 3))


def disc(cx: float, cy: float, radius: float) -> np.ndarray:
    return sampled(lambda x, y: (x - cx) ** 2 + (y - cy) ** 2 < radius**2)


def near_segment(x: np.ndarray, y: np.ndarray, a: tuple[float, float], b: tuple[float, float], width: float, end: int):
    start, direction = complex(*a), complex(*b) - complex(*a)
    z = (x + 1j * y - start) / (direction / abs(direction))  # along the real axis from 0 to the length
    if end == 0:
        return abs(z - np.clip(z.real, 0, abs(direction))) < width / 2
    beyond = width / 2 if end == 2 else 0
    return (abs(z.imag) < width / 2) & (z.real > -beyond) & (z.real < abs(direction) + beyond)


def brute_force(face: str, drawn: dict[str, float]) -> np.ndarray:
    x, y = drawn["x"], drawn["y"]
    radius, width = drawn.get("point", 0) * POINT_RADIUS / 16, drawn.get("weight", 0) * LINE_WIDTH / 16
    end = int(drawn.get("end", 0))

    def segment(a: tuple[float, float], b: tuple[float, float]) -> np.ndarray:
        return sampled(lambda u, v: near_segment(u, v, a, b, width, end))

    def box(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        corners = [(x, y), (-x, y), (-x, -y), (x, -y), (x, y)]
        sides = [near_segment(u, v, *side, width, 0) for side in pairwise(corners)]
        return np.logical_or.reduce(sides)

    if face == "one":
        return disc(x, y, radius)
    if face == "two":
        return over(disc(x, y, radius), disc(-x, -y, radius))
    if face == "three":
        return segment((-x, -y), (x, y))
    if face == "four":
        return sampled(box)
    if face == "five":
        return over(sampled(box), disc(0, 0, radius))
    p, q = drawn["x_shift"], drawn["y_shift"]
    return over(segment((x - p, y - q), (-x - p, -y - q)), segment((x + p, y + q), (-x + p, -y + q)))


def over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    return below + above - below * above


@pytest.mark.parametrize("face", FACES)
def test_coverage_agrees_with_a_brute_force_rasteriser(face: str) -> None:
    pool = parameters(face, seed=3)
    some = {name: values[:9] for name, values in pool.items()}
    for place, image in enumerate(render(face, some)):
        truth = brute_force(face, {name: float(values[place]) for name, values in some.items()})
        # A sample more or less on a straight edge is 1/FINE of a pixel for each of up to two edges.
        np.testing.assert_allclose(image, truth, atol=2 / FINE)
        assert abs(image - truth).mean() < 2e-3


@pytest.mark.parametrize(
    ("face", "drawn"),
    [
        ("two", {"x": 0.04, "y": -0.05, "point": 0.9}),  # points that overlap
        ("one", {"x": 1.0, "y": -0.97, "point": 1.0}),  # half outside
        ("three", {"x": 0.01, "y": 0.0, "weight": 2.5, "end": 0}),  # shorter than wide
        ("three", {"x": 0.0, "y": 0.0, "weight": 2.0, "end": 2}),  # of no length
        ("four", {"x": 0.01, "y": -0.6, "weight": 1.0, "end": 0}),  # sides that overlap: no hole
        ("four", {"x": 1.0, "y": -1.0, "weight": 1.0, "end": 0}),  # half outside
        ("five", {"x": 0.2, "y": 0.2, "point": 0.7, "weight": 1.0, "end": 0}),
        ("six", {"x": 0.3, "y": 0.02, "x_shift": 0.1, "y_shift": 0.01, "weight": 2.5, "end": 0}),  # lines that overlap
    ],
)
def test_coverage_agrees_with_brute_force_where_shapes_are_awkward(face: str, drawn: dict[str, float]) -> None:
    image = render(face, one_drawing(**drawn))[0]
    if drawn["x"] == drawn["y"] == 0:
        drawn = drawn | {"x": 1e-9}
    np.testing.assert_allclose(image, brute_force(face, drawn), atol=2 / FINE)


@pytest.mark.parametrize(("end", "extra"), [(0, "disc"), (1, "none"), (2, "square")])
@pytest.mark.parametrize(("x", "y"), [(0.5, 0.3), (-0.2, 0.6), (0.5, 0.0), (0.0, -0.5), (0.4, 0.4)])
def test_ink_of_a_line_is_its_length_times_width_and_its_ends(end: int, extra: str, x: float, y: float) -> None:
    width = 2.0 * LINE_WIDTH
    ends = {"disc": pi * (width / 2) ** 2, "none": 0.0, "square": width**2}[extra]
    ink = render("three", one_drawing(x=x, y=y, weight=2.0, end=end)).sum()
    # The ends are rounded to a scanline, 1/16 pixel each, over the line's width.
    assert ink == pytest.approx(2 * 16 * np.hypot(x, y) * width + ends, abs=2 * width / 16)


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.001), (0.001, -0.5), (0.37, 0.37)])
def test_a_line_far_thinner_than_a_pixel_leaves_its_whole_ink(x: float, y: float) -> None:
    ink = render("three", one_drawing(x=x, y=y, weight=0.1, end=1)).sum()
    assert ink == pytest.approx(2 * 16 * np.hypot(x, y) * 0.1 * LINE_WIDTH, rel=5e-3)


def test_ink_of_points_and_boxes_is_their_area() -> None:
    point = render("one", one_drawing(x=0.21, y=-0.4, point=0.6)).sum()
    assert point == pytest.approx(pi * (0.6 * POINT_RADIUS) ** 2, rel=1e-9)
    width = 0.8 * LINE_WIDTH
    box = render("four", one_drawing(x=-0.31, y=0.52, weight=0.8, end=2)).sum()
    perimeter = 4 * 16 * (0.31 + 0.52)
    # A round join: a quarter disc outside each corner, and each corner's inner square counted once, not twice.
    assert box == pytest.approx(perimeter * width + (pi - 4) * (width / 2) ** 2, rel=1e-9)


def test_end_types_of_a_box_look_alike() -> None:
    images = [render("four", one_drawing(x=0.5, y=0.7, weight=0.9, end=end)) for end in (0, 1, 2)]
    assert np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


@pytest.mark.parametrize("face", ["two", "three", "four", "six"])
def test_symmetric_faces_are_unchanged_by_half_a_turn(face: str) -> None:
    images = render(face, {name: values[:40] for name, values in parameters(face, seed=0).items()})
    np.testing.assert_allclose(images, images[:, ::-1, ::-1], atol=1e-5)
    assert images.sum() > 0


def test_y_points_upwards_and_x_to_the_right() -> None:
    image = render("one", one_drawing(x=0.5, y=0.5, point=1.0))[0]
    assert image[8, 24] == pytest.approx(1)
    assert image[24, 8] == 0


def test_other_sizes_show_the_same_picture() -> None:
    some = {name: values[:4] for name, values in parameters("six", seed=0).items()}
    large = coverage("six", some, 64, POINT_RADIUS, LINE_WIDTH).reshape(4, 32, 2, 32, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(large, render("six", some), atol=0.1)
    assert abs(large - render("six", some)).mean() < 2e-3


@pytest.mark.parametrize("face", FACES)
def test_parameters_fill_the_ranges_of_table_3(face: str) -> None:
    drawn = parameters(face, seed=0)
    assert drawn.keys() == TABLE_3[face].keys()
    for name, (low, high) in TABLE_3[face].items():
        values, span = drawn[name], high - low
        assert values.shape == (20_000,)
        assert values.min() >= low
        assert values.max() <= high
        # 20,000 uniform draws: the extremes come within span/20,000, the mean's deviation is span/√12/141.
        assert values.min() < low + 1e-3 * span
        assert values.max() > high - 1e-3 * span
        assert abs(values.mean() - (low + high) / 2) < 5 * span / np.sqrt(12 * 20_000)
    if "end" in drawn:
        counts = np.bincount(np.floor(drawn["end"]).astype(int))
        assert len(counts) == 3
        assert counts.min() > 6_400


def test_an_example_is_a_function_of_generation_seed_class_and_index() -> None:
    assert np.array_equal(parameters("six", 1)["x"], parameters("six", 1)["x"])
    assert not np.array_equal(parameters("six", 1)["x"], parameters("six", 2)["x"])
    assert not np.array_equal(parameters("one", 1)["x"], parameters("two", 1)["x"])


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Images that say which example they are: its class in the first pixel, its index in the next two."""

    def number(face: str, seed: int) -> dict[str, np.ndarray]:
        return {"index": np.arange(2 * HALF), "face": np.full(2 * HALF, FACES.index(face))}

    def show(face: str, drawn: dict[str, np.ndarray], pixels: int, *lengths: float) -> np.ndarray:
        images = np.zeros((len(drawn["index"]), pixels, pixels))
        images[:, 0, 0], images[:, 0, 1] = drawn["face"] / 255, drawn["index"] % 256 / 255
        images[:, 0, 2] = drawn["index"] // 256 / 255
        return images

    monkeypatch.setenv("STUDYRUN_CACHE", str(tmp_path))
    monkeypatch.setattr(dice, "parameters", number)
    monkeypatch.setattr(dice, "coverage", show)


def identity(split: dice.Split) -> np.ndarray:
    """Class and index of each example, (n, 2)."""
    shown = (split.inputs[:, 0, 0] * 255).round().long().numpy()
    return np.stack([shown[:, 0], shown[:, 1] + 256 * shown[:, 2]], axis=1)


READABLE = {"ink": "white", "normalisation": "none", "pixels": 4}


@pytest.mark.usefixtures("numbered")
def test_the_whole_pool_is_split_in_half() -> None:
    data = load(classes=("two", "five"), size=None, test_size=None, **READABLE)
    train, test = identity(data.train), identity(data.test)
    for label, face in enumerate((1, 4)):
        assert np.array_equal(np.unique(data.train.targets[train[:, 0] == face]), [label])
        assert np.array_equal(np.sort(train[train[:, 0] == face, 1]), np.arange(10_000))
        assert np.array_equal(np.sort(test[test[:, 0] == face, 1]), np.arange(10_000, 20_000))


@pytest.mark.usefixtures("numbered")
def test_the_subset_seed_draws_training_examples_and_leaves_the_test_set() -> None:
    first, again, other = (load(seed, size=60, test_size=30, **READABLE) for seed in (0, 0, 1))
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert not torch.equal(first.train.inputs, other.train.inputs)
    assert torch.equal(first.test.inputs, other.test.inputs)


@pytest.mark.usefixtures("numbered")
def test_a_smaller_training_set_lies_within_a_larger_one() -> None:
    small, large = (identity(load(size=size, **READABLE).train) for size in (30, 120))
    assert set(map(tuple, small)) < set(map(tuple, large))
    assert len(set(map(tuple, large))) == 120


FOURS_TWICE = """
10083 4648  10237 9137  10726 5376  11637 2734  11753 5664  12410 6969  12479 7796  12540 9732
13872 442   14343 1454  14344 8032  14805 2658  15465 1323  17140 9259  17897 2010  19091 7796
"""  # of the default pool: each test image, and the training image that it equals


def test_the_sixteen_test_images_that_are_training_images_are_those_the_words_tell_of() -> None:
    """All 120,000 were drawn once, and looked up by their bytes."""
    pairs = np.array(FOURS_TWICE.split(), dtype=int).reshape(-1, 2)
    test, train = (Dice()._draw("four", column) for column in pairs.T)
    assert np.array_equal(test, train)
    assert f"pool {len(pairs)}, all of them fours" in " ".join(Dice.__doc__.split())


def test_distinct_draws_a_test_image_again_that_is_a_training_image_and_leaves_the_others() -> None:
    options = {"classes": ("four", "five"), "size": 600, "test_size": 600, "pixels": 6}
    as_drawn, distinct = load(**options), load(**options, distinct=True)
    known = {image.numpy().tobytes() for image in as_drawn.train.inputs}
    twice = np.array([image.numpy().tobytes() in known for image in as_drawn.test.inputs])
    assert twice.sum() > 10
    assert not any(image.numpy().tobytes() in known for image in distinct.test.inputs)
    assert torch.equal(as_drawn.train.inputs, distinct.train.inputs)
    assert torch.equal(as_drawn.test.inputs[~twice], distinct.test.inputs[~twice])
    assert torch.equal(load(**options, distinct=True).test.inputs, distinct.test.inputs)


def test_distinct_says_where_images_cannot_be_told_apart() -> None:
    with pytest.raises(ComponentError, match=r"dice: distinct: 5 test images of class one are training images however"):
        load(classes=("one", "two"), size=10, test_size=10, pixels=4, point_radius=1e-6, distinct=True)


@pytest.mark.usefixtures("numbered")
@pytest.mark.parametrize(("size", "counts"), [(9, [3, 3, 3]), (10, [4, 3, 3]), (11, [4, 4, 3])])
def test_classes_are_balanced_and_labelled_in_the_order_given(size: int, counts: list[int]) -> None:
    data = load(classes=("six", 1, "four"), size=size, test_size=0, **READABLE)
    assert data.test is None
    assert data.classes == ("six", "one", "four")
    assert data.outputs == 3
    assert data.train.targets.bincount().tolist() == counts
    assert np.array_equal(identity(data.train)[:, 0], np.array([5, 0, 3])[data.train.targets])


def test_images_are_grey_and_in_eight_bits_with_dark_ink_on_white() -> None:
    dark, light = (load(size=12, test_size=6, normalisation="none", ink=ink) for ink in ("black", "white"))
    assert dark.train.inputs.shape == (12, 1, 32, 32)
    assert dark.train.inputs.dtype == torch.float32
    assert dark.train.targets.dtype == torch.int64
    assert dark.train.inputs.median() == 1
    torch.testing.assert_close(dark.train.inputs, 1 - light.train.inputs)
    levels = light.train.inputs * 255
    torch.testing.assert_close(levels, levels.round())
    assert dark.mean == ()


@pytest.mark.parametrize("ink", ["black", "white"])
def test_standard_normalisation_is_undone_by_mean_and_deviation(ink: str) -> None:
    standard, plain = (load(size=1200, ink=ink, normalisation=how).train.inputs for how in ("standard", "none"))
    data = load(size=2, classes=("one", "two"), ink=ink)
    torch.testing.assert_close(standard * data.deviation[0] + data.mean[0], plain, atol=1e-6, rtol=0)
    assert abs(standard.mean()) < 0.02
    assert abs(standard.std() - 1) < 0.04


def test_loading_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    load(size=12)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("STUDYRUN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def forbid_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(dice, "coverage", refuse)


def test_images_once_drawn_come_from_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(size=12, test_size=0)
    forbid_drawing(monkeypatch)
    assert torch.equal(load(size=12, test_size=0).train.inputs, first.train.inputs)
    assert [path.name for path in cache.iterdir()] == ["dice"]


@pytest.mark.parametrize(
    "change", [{"pixels": 16}, {"line_width": 1.0}, {"point_radius": 2.0}, {"generation_seed": 1}, {"size": 14}]
)
@pytest.mark.usefixtures("cache")
def test_other_options_are_not_served_from_the_cache(change: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    load(size=12, test_size=0)
    forbid_drawing(monkeypatch)
    with pytest.raises(AssertionError, match="drawn again"):
        load(**{"size": 12, "test_size": 0} | change)


@pytest.mark.usefixtures("cache")
def test_another_rasteriser_is_not_served_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    load(size=12, test_size=0)
    monkeypatch.setattr(dice, "_RASTERISER", dice._RASTERISER + 1)
    forbid_drawing(monkeypatch)
    with pytest.raises(AssertionError, match="drawn again"):
        load(size=12, test_size=0)


@pytest.mark.parametrize("damage", [b"", b"not an image", None])
def test_a_damaged_cache_is_drawn_anew_without_fuss(cache: Path, damage: bytes | None) -> None:
    first = load(size=12, test_size=0)
    for path in (cache / "dice").iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damage is None else damage)
    again = load(size=12, test_size=0)
    assert torch.equal(again.train.inputs, first.train.inputs)
    third = [path.read_bytes() for path in (cache / "dice").iterdir()]
    assert damage not in third


def test_a_cache_that_cannot_be_written_is_done_without(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert len(load(size=12).train) == 12


def test_nothing_half_written_stays_in_the_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(dice.os, "replace", fail)
    load(size=12, test_size=0)
    assert list((cache / "dice").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": ("one",)}, "at least two different classes out of one, two, three, four, five, six"),
        ({"classes": ("one", 1)}, "at least two different classes"),
        ({"classes": ("one", "seven")}, "'one', 'two', 'three', 'four', 'five' or 'six'"),
        ({"classes": (1, 7)}, "1, 2, 3, 4, 5 or 6"),
        ({"classes": (1, 2), "size": 20_001}, "size 20001: 2 classes have 20000 such images in all"),
        ({"test_size": 60_001}, "test_size 60001: 6 classes have 60000 such images in all"),
        ({"ink": "red"}, "'black' or 'white'"),
    ],
)
def test_impossible_options_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Dice(**options)
