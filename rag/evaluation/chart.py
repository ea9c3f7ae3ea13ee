"""A chart of a sweep as inline SVG: quality with its interval, and waiting time, over tokens read."""

from __future__ import annotations

import math

from rag.evaluation.page import text
from rag.evaluation.sweep import Sweep, Trial

_WIDTH, _HEIGHT = 720, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 640, 20, 320


def sweep_chart(found: Sweep) -> str:
    """The chart; it has a title and a description for those who can't see it."""
    trials = found.trials
    slowest = 1.1 * max(1.0, *(trial.latency for trial in trials))
    widest = max(trial.budget for trial in trials)
    narrowest = min(trial.budget for trial in trials)

    def across(trial: Trial) -> float:
        if widest == narrowest:
            return (_LEFT + _RIGHT) / 2
        return _LEFT + (_RIGHT - _LEFT) * math.log(trial.budget / narrowest) / math.log(widest / narrowest)

    def quality(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max(value, 0.0), 1.0)

    def waiting(trial: Trial) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * trial.latency / slowest

    parts = [
        f'<line x1="{_LEFT}" y1="{quality(share):.1f}" x2="{_RIGHT}" y2="{quality(share):.1f}" '
        f'stroke="currentColor" stroke-opacity=".15"/>'
        f'<text x="{_LEFT - 8}" y="{quality(share) + 4:.1f}" text-anchor="end">{share:.1f}</text>'
        f'<text x="{_RIGHT + 8}" y="{quality(share) + 4:.1f}">{share * slowest:.0f} ms</text>'
        for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    for trial in trials:
        x = across(trial)
        weight = ' font-weight="bold"' if trial.budget == found.chosen else ""
        parts.append(
            f'<text x="{x:.1f}" y="{_BOTTOM + 22}" text-anchor="middle"{weight}>{trial.budget}</text>'
        )
        parts.append(
            f'<line x1="{x:.1f}" y1="{quality(trial.low):.1f}" x2="{x:.1f}" y2="{quality(trial.high):.1f}" '
            'stroke="var(--mark)" stroke-width="2" stroke-opacity=".5"/>'
            f'<circle cx="{x:.1f}" cy="{quality(trial.quality):.1f}" '
            f'r="{7 if trial.budget == found.chosen else 4}" fill="var(--mark)">'
            f"<title>{trial.budget} tokens: {trial.quality:.3f}, {trial.latency:.0f} ms</title></circle>"
        )
    line = " ".join(f"{across(trial):.1f},{quality(trial.quality):.1f}" for trial in trials)
    times = " ".join(f"{across(trial):.1f},{waiting(trial):.1f}" for trial in trials)
    title = text(f"{found.metric} and waiting time by budget")
    told = text(
        "; ".join(f"{each.budget} tokens: {each.quality:.3f}, {each.latency:.0f} ms" for each in trials)
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="chart-title chart-text" '
        f'font-size="12"><title id="chart-title">{title}</title><desc id="chart-text">{told}</desc>'
        f'{"".join(parts)}<polyline points="{line}" fill="none" stroke="var(--mark)" stroke-width="2"/>'
        f'<polyline points="{times}" fill="none" stroke="currentColor" stroke-dasharray="5 4"/>'
        f'<text x="{(_LEFT + _RIGHT) / 2}" y="{_BOTTOM + 46}" text-anchor="middle">tokens of documents; '
        f"line: {text(found.metric)} with its 95 % interval; dashes: median time</text></svg>"
    )
