"""Colours that tell names apart, for every eye and in grey."""

from __future__ import annotations

from itertools import combinations

from studyrun.report.style import ARM_COLORS, OTHER_COLORS, Palette

# Machado, Oliveira and Fernandes 2009, full severity, on linear RGB
DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))


def linear(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def lab(rgb):
    """CIE L*a*b*, D65, from linear RGB."""
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    xyz = [sum(a * b for a, b in zip(row, rgb, strict=True)) / w for row, w in zip(to_xyz, white, strict=True)]
    f = [max(v, 0) ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def seen(color, matrix):
    rgb = linear(color)
    return lab([sum(a * b for a, b in zip(row, rgb, strict=True)) for row in matrix])


def distance(first, second):
    return sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5


def test_four_arms_and_four_groups_are_told_apart_by_colour_blind_eyes():
    for matrix in (DEUTERANOPIA, PROTANOPIA):
        for colors in (ARM_COLORS[:4], OTHER_COLORS[:4]):
            for first, second in combinations(colors, 2):
                assert distance(seen(first, matrix), seen(second, matrix)) > 40, (first, second)


def test_every_colour_stands_out_from_white_paper():
    for color in (*ARM_COLORS, *OTHER_COLORS):
        luminance = sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear(color), strict=True))
        assert 1.05 / (luminance + 0.05) > 2, color


def test_two_arms_and_three_groups_share_no_colour():
    palette = Palette(["baseline", "exit"], ["a", "b", "c"])
    assert len({palette.color(name) for name in ("baseline", "exit", "a", "b", "c")}) == 5


def test_arms_differ_by_style_and_groups_by_marker():
    palette = Palette(["baseline", "exit", "other"])
    assert [palette.line_style(arm) for arm in ("baseline", "exit", "other", "no arm")] == ["-", "--", "-.", "-"]
    assert len({palette.marker(name) for name in "abcdef"}) == 6
    assert palette.marker("exit") == ""


def test_a_name_keeps_its_colour_whatever_is_asked_for_in_between():
    palette = Palette(["baseline"], ["inlier"])
    first = palette.color("later")
    for name in "xyz":
        palette.color(name)
    assert palette.color("later") == first
    assert palette.knows("later")
    assert not palette.knows("never")
