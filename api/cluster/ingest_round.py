"""One round of a bulk ingest: the Ray Data pipeline from tickets to vectors, in a process of its own.

Ray Data keeps the actors, hands them work where their input lies, holds reading back where embedding is
behind, and does again what a lost node had. A round is ended by ending this process.
"""

from __future__ import annotations

from api.cluster.ingest_actors import Reader, Vectoriser
from api.cluster.ingest_messages import Office
from api.cluster.ingest_plan import Plan

TICKETS = 20_000
"""Of a round; the next one has as many again."""
BLOCKS = 200
"""Pieces that the tickets are dealt out in."""


def run_round(office: Office, chosen: Plan, number: int) -> int:
    """Work until the desk ends the round or the tickets are used up; returns the parts that were embedded."""
    import ray.data  # noqa: PLC0415
    from ray.data import ActorPoolStrategy, DataContext  # noqa: PLC0415

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # each bundle goes on at once, and is not gathered with others
    context.max_errored_blocks = -1  # what fails is in the jobs; a round goes on
    tickets = ray.data.from_items([{"ticket": n} for n in range(TICKETS)], override_num_blocks=BLOCKS)
    bundles = tickets.map_batches(
        Reader,
        fn_constructor_args=(office, number, chosen.bundle),
        batch_size=None,
        num_cpus=chosen.reader_cpus,
        compute=ActorPoolStrategy(size=chosen.readers, max_tasks_in_flight_per_actor=1),
        scheduling_strategy="SPREAD",
    )
    stored = bundles.map_batches(
        Vectoriser,
        fn_constructor_args=(office, chosen.threads),
        batch_size=None,
        num_cpus=chosen.embedder_cpus,
        num_gpus=chosen.embedder_gpus or None,
        compute=ActorPoolStrategy(size=chosen.embedders, max_tasks_in_flight_per_actor=1),
        scheduling_strategy="SPREAD",
    )
    return sum(int(sum(batch["parts"])) for batch in stored.iter_batches(batch_size=None, prefetch_batches=0))
