"""How many engines Ray Serve is to have: by the tokens that wait, not by requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.cluster.router_scaling import engines_for

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

METRIC = "waiting_tokens"


class WaitingTokens:
    """Ray Serve's policy for the deployment of engines; Serve keeps to its delays and bounds itself."""

    def __init__(self, target: int) -> None:
        """`target` is how many tokens may wait for each engine."""
        self._target = target

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """How many engines there are to be.

        Every replica reports what waits at all of them, as the router knows it, so the last word is the
        largest.
        """
        reported = (context.aggregated_metrics or {}).get(METRIC, {})
        now = context.target_num_replicas
        if not reported:
            return now, {}
        least, most = context.capacity_adjusted_min_replicas, context.capacity_adjusted_max_replicas
        return engines_for(max(reported.values()), self._target, now, least, most), {}
