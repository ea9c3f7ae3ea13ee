"""Curves: the loss of a training run by step, as lines of JSON while it goes on, and as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rag.evaluation.page import page, table, text

_WIDTH, _HEIGHT = 720, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 700, 20, 290


@dataclass(frozen=True)
class Point:
    """Losses after a step, in nats a token of the answers; `held_out` where it was measured then."""

    step: int
    loss: float | None
    held_out: float | None
    rate: float
    seconds: float


class Curve:
    """The points of a run, in a file; a run that goes on behind its last checkpoint writes those steps
    again."""

    def __init__(self, path: Path, step: int = 0) -> None:
        """Keep the points up to `step`; of a new run, none."""
        self._path = path
        self.points: list[Point] = []
        if step and path.is_file():
            for line in path.read_text("utf-8").splitlines():
                try:
                    point = Point(**json.loads(line))
                except (ValueError, TypeError):  # the line that a kill cut short
                    continue
                if point.step <= step:
                    self.points.append(point)
        path.write_text("".join(map(_line, self.points)), "utf-8")

    def add(self, point: Point) -> None:
        """Keep a point."""
        self.points.append(point)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(point))


def _line(point: Point) -> str:
    return json.dumps(asdict(point)) + "\n"


def curve_page(title: str, points: Sequence[Point], about: Sequence[tuple[str, str]]) -> str:
    """One HTML file that needs nothing from elsewhere: the curve, and what is to be known of the run."""
    rows = [(text(name), text(value)) for name, value in about]
    held = [point for point in points if point.held_out is not None]
    figures = [(str(point.step), f"{point.held_out:.3f}", f"{point.seconds:.0f}") for point in held]
    body = (
        table(("", ""), rows)
        + "<h2>Loss by step</h2>"
        + curve_chart(points)
        + "<h2>Held out</h2>"
        + table(("step", "loss", "seconds"), figures, numbers=(0, 1, 2))
    )
    return page(title, body)


def curve_chart(points: Sequence[Point]) -> str:
    """The losses as inline SVG: dots of the steps, a line of the held-out documents."""
    values = [v for point in points for v in (point.loss, point.held_out) if v is not None]
    if not values:
        return ""
    top, last = 1.05 * max(values), max(point.step for point in points) or 1

    def x(step: int) -> float:
        return _LEFT + (_RIGHT - _LEFT) * step / last

    def y(loss: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * loss / top

    parts = []
    for part in range(5):
        at, loss = y(top * part / 4), top * part / 4
        parts.append(
            f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{_RIGHT}" y2="{at:.1f}" stroke="currentColor" '
            f'stroke-opacity=".15"/><text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">'
            f"{loss:.2f}</text>"
        )
        step = round(last * part / 4)
        parts.append(f'<text x="{x(step):.1f}" y="{_BOTTOM + 20}" text-anchor="middle">{step}</text>')
    for point in points:
        if point.loss is not None:
            parts.append(
                f'<circle cx="{x(point.step):.1f}" cy="{y(point.loss):.1f}" r="1.5" fill="currentColor" '
                'fill-opacity=".45"/>'
            )
    held = [(point.step, point.held_out) for point in points if point.held_out is not None]
    line = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in held)
    told = text("; ".join(f"step {step}: {loss:.3f}" for step, loss in held))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="curve-title curve-text" '
        'font-size="12"><title id="curve-title">Loss by step</title>'
        f'<desc id="curve-text">On held-out documents: {told}</desc>{"".join(parts)}'
        f'<polyline points="{line}" fill="none" stroke="var(--mark)" stroke-width="2"/>'
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 42}" text-anchor="middle">steps; dots: loss of the '
        "step; line: loss on held-out documents</text></svg>"
    )
