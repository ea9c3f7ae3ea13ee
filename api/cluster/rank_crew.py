"""A crew over machines of a cluster: a placement group, an actor in it for each rank, and Ray's calls between
their parent and them."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from api.cluster.joining import load_ray
from api.cluster.rank_host import LOOK, MeetingPlace, RankHost
from api.cluster.rank_room import Spread
from model.errors import HardwareError
from model.parallel.channel import tensor_bytes
from model.parallel.crew import Place
from model.parallel.worker import Job

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from model.options import EngineOptions

log = logging.getLogger(__name__)

ROOM_SECONDS = 900.0
"""How long an engine waits for machines; a cluster that grows by itself starts them meanwhile."""
_ANSWER_SECONDS = 5.0
"""A rank that has not said within that time how far it is cannot be reached; it can whatever it computes."""


class RayCrew:
    """See `model.parallel.crew.Crew`. The actors end with the process that holds this."""

    grace = 1.0

    def __init__(
        self, device: torch.device, options: EngineOptions, *, spread: Spread, seconds: float = ROOM_SECONDS
    ) -> None:
        """Wait for room and start the ranks there. Raises HardwareError where there is none in time."""
        ray = self._ray = load_ray()
        from ray.exceptions import RayError  # noqa: PLC0415
        from ray.util.placement_group import placement_group  # noqa: PLC0415
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415

        room = spread.room(options.processes, options.stages)
        self._group = placement_group(room.bundles, strategy="PACK")
        self._actors: list[Any] = []
        try:
            if not self._group.wait(seconds):
                raise HardwareError(
                    f"the cluster has no room within {seconds:g} s for {len(room.bundles)} times "
                    f"{room.bundles[0]}, each on one machine: see `ray status`"
                )
            gpu = room.kind == "GPU"
            for rank in range(options.world):
                strategy = PlacementGroupSchedulingStrategy(self._group, room.bundle_of(rank))
                actor = ray.remote(concurrency_groups={LOOK: 2})(RankHost)
                self._actors.append(
                    actor.options(
                        num_cpus=0 if gpu else 1, num_gpus=1 if gpu else 0, scheduling_strategy=strategy
                    ).remote()
                )
            found = ray.get([actor.place.remote() for actor in self._actors], timeout=seconds)
        except (HardwareError, RayError):
            self.end()
            raise
        self._meeting = ray.remote(MeetingPlace).options(num_cpus=0).remote()
        nodes: dict[str, list[str]] = {}
        for _, node, gpus in found:
            nodes.setdefault(node, []).extend(gpus)
        self._gpus = [nodes[node] for _, node, _ in found]
        threads = 1 if not gpu else max(1, (os.cpu_count() or 1) // max(map(len, nodes.values())))
        self.places: Sequence[Place] = [
            Place(f"{device.type}:{nodes[node].index(gpus[0])}" if gpu else "cpu", threads, address)
            for address, node, gpus in found
        ]
        self._lives = [actor.live.options(concurrency_group=LOOK).remote() for actor in self._actors]
        self._answers: list[deque[Any]] = [deque() for _ in self._actors]

    def send(self, rank: int, value: Any, tensor: Tensor | None, deadline: float) -> None:  # noqa: ARG002
        """See `Crew`; a call is taken at once."""
        actor = self._actors[rank]
        if isinstance(value, Job):
            answer = actor.load.remote(value, self._meeting, self._gpus[rank])
        else:
            answer = actor.do.remote(*value, b"" if tensor is None else bytes(tensor_bytes(tensor)))
        self._answers[rank].append(answer)

    def ready(self, ranks: Sequence[int], deadline: float) -> list[int]:
        """See `Crew`."""
        asked = {self._answers[rank][0]: rank for rank in ranks}
        for count, seconds in ((1, max(0.0, deadline - time.monotonic())), (len(asked), 0)):
            done, _ = self._ray.wait([*asked], num_returns=count, timeout=seconds)
            if not done:
                raise TimeoutError
        return [asked[each] for each in done]

    def receive(self, rank: int, deadline: float) -> tuple[Any, bytearray]:
        """See `Crew`."""
        from ray.exceptions import GetTimeoutError, RayError  # noqa: PLC0415

        try:
            value, raw = self._ray.get(
                self._answers[rank].popleft(), timeout=max(0.001, deadline - time.monotonic())
            )
        except GetTimeoutError:
            raise TimeoutError from None
        except RayError as error:
            raise EOFError(type(error).__name__) from error
        return value, bytearray(raw)

    def deaths(self) -> dict[int, str]:
        """See `Crew`."""
        done, _ = self._ray.wait([*self._lives], num_returns=len(self._lives), timeout=0)
        return {self._lives.index(each): "was lost, with its process or its host" for each in done}

    def unreachable(self) -> list[int]:
        """See `Crew`."""
        there = self.steps()
        return [rank for rank in range(len(self._actors)) if rank not in there]

    def steps(self) -> dict[int, tuple[int, int]]:
        """See `Crew`."""
        from ray.exceptions import RayError  # noqa: PLC0415

        asked = [actor.steps.options(concurrency_group=LOOK).remote() for actor in self._actors]
        done, _ = self._ray.wait(asked, num_returns=len(asked), timeout=_ANSWER_SECONDS)
        found = {}
        for rank, each in enumerate(asked):
            if each in done:
                with suppress(RayError):
                    found[rank] = self._ray.get(each)
        return found

    def met(self) -> None:
        """See `Crew`."""
        self._ray.kill(self._meeting)

    def end(self) -> None:
        """See `Crew`."""
        from ray.util.placement_group import remove_placement_group  # noqa: PLC0415

        # Ray may be gone already; what was started goes with it then.
        for actor in self._actors:
            with suppress(Exception):
                self._ray.kill(actor)
        with suppress(Exception):
            remove_placement_group(self._group)
