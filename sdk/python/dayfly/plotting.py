"""Records of calls as a frame, and as a picture: when each call waited and ran, and how many ran at a time."""

from __future__ import annotations

import io
from typing import Any, Optional

_WAITED, _RAN, _FAILED = "#c9c9c9", "#2b6cb0", "#c53030"


def frame(records: list[dict[str, Any]]) -> Any:
    """A pandas frame with a row per call; the list itself where pandas is not installed."""
    try:
        import pandas
    except ImportError:
        return records
    return pandas.DataFrame(records)


def times(records: list[dict[str, Any]]) -> list[tuple[float, float, float, bool]]:
    """(queued, started, ended, worked) of each call that had an instance; seconds from when the first was queued."""
    ran = [record for record in records if record.get("started_at_ms")]
    if not ran:
        return []
    zero = min(float(record["queued_at_ms"]) for record in ran)
    found = []
    for record in ran:
        queued, started = (float(record[name]) - zero for name in ("queued_at_ms", "started_at_ms"))
        ended = started + float(record.get("duration_us") or 0) / 1000
        found.append((queued / 1000, started / 1000, ended / 1000, record.get("status") == "success"))
    return sorted(found)


def concurrency(spans: list[tuple[float, float, float, bool]]) -> tuple[list[float], list[int]]:
    """How many calls ran, from each point in time on."""
    # At one point in time, those that end come before those that start.
    steps = sorted([(start, 1) for _, start, _, _ in spans] + [(end, -1) for _, _, end, _ in spans])
    points, levels, level = [0.0], [0], 0
    for point, step in steps:
        level += step
        points.append(point)
        levels.append(level)
    return points, levels


def plot(records: list[dict[str, Any]], title: str, path: Optional[str], width: float, height: float) -> Any:
    """The picture, saved to `path` when there is one. Sizes in inches. Needs matplotlib, but no screen."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    class Picture(Figure):
        """Seen in a notebook also where pyplot, which would show it there, is not imported."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            self.savefig(file, format="png")
            return file.getvalue()

    spans = times(records)
    figure = Picture(figsize=(width, height), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    rows = range(len(spans))
    # Bars that nearly touch, as long as there is room; thousands of them as pixels also in a drawing.
    thick = min(8.0, max(0.8, 0.6 * 72 * 0.65 * height / max(1, len(spans))))
    style = {"rasterized": len(spans) > 2000}
    waits = [s[0] for s in spans], [s[1] for s in spans]
    above.hlines(rows, *waits, colors=_WAITED, linewidth=thick / 2, label="waited", **style)
    for worked, colour, label in ((True, _RAN, "ran"), (False, _FAILED, "failed")):
        some = [(row, span) for row, span in zip(rows, spans) if span[3] is worked]
        if some:
            lines = [row for row, _ in some], [s[1] for _, s in some], [s[2] for _, s in some]
            above.hlines(*lines, colors=colour, linewidth=thick, label=label, **style)
    above.set_ylabel("call")
    above.yaxis.set_major_locator(MaxNLocator(integer=True))
    above.set_title(title)
    # Calls go up as time goes on: this corner is empty.
    above.legend(loc="lower right", frameon=False)
    points, levels = concurrency(spans)
    below.step(points, levels, where="post", color=_RAN)
    below.fill_between(points, levels, step="post", color=_RAN, alpha=0.2)
    below.set_ylabel("calls that run")
    below.set_xlabel("seconds")
    below.set_ylim(bottom=0)
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    if path is not None:
        figure.savefig(path)
    return figure
