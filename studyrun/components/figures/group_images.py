"""What the examples of each group look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from studyrun.plugin import Canvas, Ensemble, Field, Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAP = 0.12  # of an image's width, between two images
MOST_GROUPS = 24  # rows
FEWEST = 8  # as many images as fit side by side at the size of few


class GroupImages(Figure):
    """Example images of each group, a row for each, with the class that each is labelled as.

    Pixels as the model sees them with the normalisation undone, cut off at black and white. Draws the channels
    image(step, group, image_number, channel, row, column) and label(step, group, image_number) of a `group_data` probe,
    from its first measurement in the first run.
    """

    probe: str | None = None
    """The label of the probe; null takes the first one that records images."""
    images: Annotated[int, Field(ge=1)] = 10
    """At most so many images a group."""

    def draw(self, ensemble: Ensemble, canvas: Canvas) -> str:
        probe = ensemble.locate("group_data", "image", label=self.probe)
        channels = ensemble.run.arms[ensemble.recording(probe, "image")[0]].probes[probe].channels
        labels = channels["image"].labels["group"]
        kept = canvas.some(range(len(labels)), MOST_GROUPS, "groups")
        groups = [str(labels[place]) for place in kept]
        images = np.asarray(channels["image"].values[0][:, : self.images], dtype=float)[list(kept)]
        names = self._classes(ensemble, channels, images.shape[:2], kept)
        panels = canvas.axes(len(groups), share_x=False, height=0.5 + 6.2 / max(images.shape[1], FEWEST))
        for panel, group, row, classes in zip(panels, groups, images, names, strict=True):
            self._draw(panel, group.replace("$", r"\$"), row, classes)
        canvas.table("images", _table(groups, names))
        return "Example images of each group, with the class that they are labelled as, the normalisation undone."

    def _draw(self, panel: Axes, group: str, images: np.ndarray, classes: list[str]) -> None:
        """Put the images side by side; those that are all NaN are padding."""
        shown = [place for place, image in enumerate(images) if np.isfinite(image).any()]
        height, width = images.shape[-2:]
        pitch = width * (1 + GAP)
        for place in shown:
            image = np.clip(np.nan_to_num(images[place]), 0, 1).transpose(1, 2, 0)
            image = image.repeat(3, axis=2) if image.shape[2] == 1 else image
            panel.imshow(image, extent=(place * pitch, place * pitch + width, height, 0))
            left, right = place * pitch, place * pitch + width
            panel.plot((left, right, right, left, left), (0, 0, height, height, 0), color="#b0b0b0", linewidth=0.6)
        edge = 0.02 * width
        panel.set(xlim=(-edge, max(len(images), FEWEST) * pitch), ylim=(height + edge, -edge), title=group)
        panel.set_xticks([place * pitch + width / 2 for place in shown], [classes[place] for place in shown])
        panel.set_yticks([])
        panel.grid(False)
        panel.tick_params(length=0, pad=1)
        panel.spines[:].set_visible(False)

    def _classes(
        self, ensemble: Ensemble, channels: Any, shape: tuple[int, ...], kept: Sequence[int]
    ) -> list[list[str]]:
        """The class of every image in words, by the names that the study's data set gives, else by its number."""
        if "label" not in channels:
            return [[""] * shape[1] for _ in range(shape[0])]
        block = ensemble.run.document.get("dataset")
        given = block.get("classes") if isinstance(block, dict) else None
        names = [str(name) for name in given] if isinstance(given, list) else []
        labels = channels["label"].values[0][list(kept), : shape[1]].astype(int)
        return [[names[number] if 0 <= number < len(names) else f"class {number}" for number in row] for row in labels]


def _table(groups: list[str], names: list[list[str]]) -> dict[str, list[Any]]:
    rows = [(group, place, name) for group, row in zip(groups, names, strict=True) for place, name in enumerate(row)]
    return {key: list(column) for key, column in zip(("group", "image", "label"), zip(*rows, strict=True), strict=True)}
