"""The figures of a report, in its order. Each draws itself from the records, wide or narrow, or says None: no data yet."""

from collections.abc import Callable

from reports.figures import controls, family, front, grid, network, progress
from reports.plates import Plate

FIGURES: dict[str, Callable[..., Plate | None]] = {
    "front": front.draw,
    "progress": progress.draw,
    "network": network.draw,
    "grid": grid.draw,
    "family": family.draw,
    "controls": controls.draw,
}
