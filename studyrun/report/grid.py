"""Where the axes of a figure stand: blocks that were asked for together, one below another, in one grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
