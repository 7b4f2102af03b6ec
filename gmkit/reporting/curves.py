"""The record of a run's training, read back and drawn."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gmkit.reporting.figures import MUTED, colours, figure, plain, style
from gmkit.reporting.plots import draw_line, floats, is_long, legend_above, robust_range, set_log
from gmkit.reporting.tables import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

#: Keys of a record that say when it was made.
CLOCKS = ("step", "seconds", "wall_seconds", "time")


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, one per step and in the order of steps.

    A run that was killed leaves a torn line, a run that was resumed logs some steps again: lines
    that are no JSON object with an integer "step" are skipped (how many is logged), and records of
    one step are merged, the later value of a key winning.

    Raises:
      FileNotFoundError: there is no such file.
    """
    records: dict[int, dict[str, Any]] = {}
    skipped = 0
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        record = _parse(line)
        if record is None:
            skipped += 1
        else:
            records.setdefault(record["step"], {}).update(record)
    if skipped:
        log.warning("%s: skipped %d unreadable line(s)", Path(path).name, skipped)
    return [records[step] for step in sorted(records)]


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and isinstance(record.get("step"), int)
    return record if whole else None


@style()
def training_curves(records: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """One figure per group of scalars over the training step.

    Scalars named "group/name" share the figure "group"; others have one of their own. Positive
    values over more than two decades get a logarithmic axis; curves of a group whose sizes differ
    so much that one would look flat get an axis each. Long curves are a running median over a faint
    trace of the values; values off the scale are counted. Missing, null and NaN values
    are gaps; keys that hold anything but numbers and null are left out.

    Args:
      records: dicts with an integer "step", as `read_metrics` returns them.

    Returns:
      group name -> figure, in the order of first appearance; empty without records.
    """
    groups: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for key in dict.fromkeys(key for record in records for key in record):
        values = [(record["step"], record[key]) for record in records if key in record]
        if key in CLOCKS or not all(v is None or is_number(v) for _, v in values):
            continue
        group, _, name = key.partition("/")
        steps, y = zip(*values, strict=True)
        groups.setdefault(group, {})[name or group] = (floats(steps), floats(y))
    return {group: _curves(group, series) for group, series in groups.items()}


def _curves(group: str, series: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    finite = {name: y[np.isfinite(y)] for name, (_, y) in series.items()}
    values = np.concatenate(list(finite.values()))
    logy = bool(values.size and values.min() > 0 and values.max() / values.min() > 100)
    panels = [list(series)] if logy or not _sizes_differ(finite) else [[name] for name in series]
    rows = len(panels)
    fig, axes = figure(5.6, 3.2 if rows == 1 else 0.9 + 1.5 * rows, rows=rows, sharex=True)
    colour = colours(series)
    for ax, names in zip(axes[:, 0], panels, strict=True):
        for name in names:
            draw_line(ax, name, *series[name], colour[name], logy=logy, smooth=True)
        set_log(ax, logy)
        if rows > 1:
            ax.set_title(plain(names[0]), fontsize=9, color=colour[names[0]])
        if not logy:
            _bulk(ax, [finite[name] for name in names])
    smooth = any(is_long(y) for _, y in series.values())
    axes[-1, 0].set_xlabel("step (bold: running median)" if smooth else "step")
    steps = np.unique(np.concatenate([x[np.isfinite(y)] for x, y in series.values()]))
    if steps.size > 1:
        axes[-1, 0].locator_params(axis="x", integer=True)
    else:
        axes[-1, 0].set_xticks(steps)
    if rows == 1 and list(series) != [group]:
        legend_above(fig, axes[0, 0], group)
    else:
        fig.suptitle(plain(group), x=0.012, ha="left", fontsize=10)
    return fig


def _sizes_differ(finite: Mapping[str, np.ndarray]) -> bool:
    """Whether, on one linear axis, some curve would be squeezed into a twentieth of the height."""
    ranges = [robust_range([values]) for values in finite.values() if values.size > 1]
    ranges = [r for r in ranges if r]
    if len(ranges) < 2:
        return False
    whole = max(high for _, high in ranges) - min(low for low, _ in ranges)
    return whole > 20 * min(high - low for low, high in ranges)


def _bulk(ax: Axes, series: Sequence[np.ndarray]) -> None:
    """Limits the y axis to the bulk of the values when a few spikes would flatten the rest."""
    limits = robust_range(series)
    if limits is None:
        return
    values = np.concatenate(series)
    span = limits[1] - limits[0]
    if values.max() - values.min() <= 5 * span:
        return
    low, high = limits[0] - 0.05 * span, limits[1] + 0.05 * span
    ax.set_ylim(low, high)
    outside = int(((values < low) | (values > high)).sum())
    note = f"{outside} of {values.size} values off the scale"
    ax.text(0.99, 0.97, note, transform=ax.transAxes, ha="right", va="top", fontsize=7, color=MUTED)
