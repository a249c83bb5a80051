"""Where the axes of a figure stand: blocks that were asked for together, one below another, in one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 0.45  # of a row's height, for the axes themselves
WIDTH = 7.4  # inches: a page's text width, and 1,110 pixels at the figures' resolution


@dataclass(frozen=True, slots=True)
class Block:
    """Axes that were asked for together. `height` is one row's, in inches."""

    rows: int
    columns: int
    height: float
    panels: tuple[Axes, ...]
    share_x: bool


def add_block(figure: Figure, rows: int, columns: int, height: float, share_x: bool) -> Block:
    """Make the axes of a block; `arrange` puts them into their places."""
    panels: list[Axes] = []
    for place in range(rows * columns):
        shared = panels[0] if share_x and panels else None
        panels.append(figure.add_subplot(rows, columns, place + 1, sharex=shared))
    return Block(rows, columns, height, tuple(panels), share_x)


def arrange(figure: Figure, blocks: Sequence[Block]) -> None:
    """Give every block its rows in one grid over the whole figure, and the figure the height they take."""
    from matplotlib.gridspec import GridSpec

    heights = [block.height for block in blocks for _ in range(block.rows)]
    columns = lcm(*(block.columns for block in blocks))
    grid = GridSpec(len(heights), columns, figure=figure, height_ratios=heights)
    figure.set_size_inches(WIDTH, sum(heights) + 0.2)
    top = 0
    for block in blocks:
        span = columns // block.columns
        for place, panel in enumerate(block.panels):
            row, column = top + place // block.columns, place % block.columns
            panel.set_subplotspec(grid[row, column * span : (column + 1) * span])
        top += block.rows


def lacks(blocks: Sequence[Block], height: float) -> float:
    """How many inches a figure of `height` lacks until axes have the part of their rows that is theirs at least."""
    rows = [
        block.rows * max(0.0, LEAST * block.height - min(_inches(panel, height) for panel in standing))
        for block in blocks
        if (standing := [panel for panel in block.panels if panel.figure is not None])
    ]
    return sum(rows) / LEAST


def _inches(panel: Axes, height: float) -> float:
    return float(panel.get_position(original=True).height) * height


def holds_no_number(panel: Axes) -> bool:
    """Whether axes have lines or points, and not one that can be seen: what only marks a place does not count."""
    from matplotlib.collections import LineCollection

    lines = [line for line in panel.get_lines() if line.get_transform() == panel.transData]
    drawn = [np.isfinite(np.asarray(line.get_ydata(), dtype=float)).any() for line in lines]
    areas = [one for one in panel.collections if not isinstance(one, LineCollection)]
    drawn += [np.isfinite(one.get_datalim(panel.transData).extents).all() for one in areas]
    drawn += [True for patch in panel.patches if patch.get_data_transform() == panel.transData]
    return bool(drawn) and not any(drawn) and not panel.images


def columns_of(panels: Sequence[Axes]) -> Iterator[Sequence[Axes]]:
    """The axes that stand above one another, from left to right."""
    places = {panel: spec.colspan.start for panel in panels if (spec := panel.get_subplotspec()) is not None}
    for column in sorted(set(places.values())):
        yield [panel for panel in places if places[panel] == column]


def trim(block: Block) -> None:
    """Remove axes that hold nothing; name a shared x axis once a column, below, and a shared y axis once a row."""
    panels, columns = block.panels, block.columns
    for panel in panels:
        if not panel.has_data():
            panel.remove()
    for place, panel in enumerate(panels):
        below = panels[place + columns :: columns]
        if block.share_x and any(other.has_data() for other in below):
            panel.set_xlabel("")
            panel.tick_params(labelbottom=False)
    for place in reversed(range(len(panels))):
        panel, left = panels[place], panels[place - 1]
        shared = panel.get_shared_y_axes().joined(panel, left)
        if place % columns and shared and panel.get_ylabel() == left.get_ylabel():
            panel.set_ylabel("")
