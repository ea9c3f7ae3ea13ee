"""Measures the constants of the model of cost, and how well a simulation with them says what a run does.

    python -m bench.constants [--out FILE] [--quick]

All in CPU seconds, so that other programs on the machine do not count; one core. The engine: steps of prompts
read alone and of answers written together, fitted; then loads of which the fit knows nothing, run by a real
engine on a clock of its own CPU time (`bench.scale.stepped`) and by a simulated one. The service: PostgreSQL,
searches over two numbers of chunks, fitted by a line that is checked at a third; questions answered by
quotes; documents. `bench.simulate` reads what is written to FILE.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.scale import measure_cluster, measure_engine, measure_service, simulated, stepped
from bench.scale.constants import Constants
from bench.scale.pace import CpuPace
from bench.scale.stepped import Timed
from model import Engine
from model.hardware import describe

RATES = (0.6, 1.2, 1.8, 2.4)
"""Questions a second that come: from much idle time to more than one core can do."""
OUT = Path(__file__).parent / "scale" / "constants.json"


def check_engine(engine: Engine, count: int) -> tuple[CpuPace, list[float]]:
    """Print runs beside simulations of them; gives the constants and how far the two are apart."""
    heads = ("questions/s", "first token", "", "last token", "", "of 20", "", "busy", "", "cached", "")
    print("".join(f"{head:>12}" for head in heads))
    print("".join(f"{head:>12}" for head in ("that come", *(("run", "simulated") * 5))))
    apart: list[float] = []
    measure_engine.calibration(engine)  # what is slow the first time
    before = measure_engine.calibration(engine)
    every = [*before]
    for number, rate in enumerate(RATES):
        asked = measure_engine.questions(rate, count, seed=number)
        measure_engine.forget(engine)
        run = stepped.run(engine, asked)
        after = measure_engine.calibration(engine)
        steps, before = [*before, *after], after
        every += after
        guess, guessed, _ = simulated.run(CpuPace.fit(steps), measure_engine.SHAPE, asked)
        pairs = [
            *zip(_figures(run.timed), _figures(guess), strict=True),
            (sum(seconds for _, seconds in run.steps), guessed.busy),
            (sum(each.cached for each in run.timed), sum(each.cached for each in guess)),
        ]
        print(f"{rate:12.1f}" + "".join(f"{real:12.3f}{other:12.3f}" for real, other in pairs), flush=True)
        apart += [abs(other / real - 1) for real, other in pairs]
    print(f"apart: {statistics.median(apart):.1%} (median), {max(apart):.1%} (most)")
    return CpuPace.fit(every), apart


def _figures(timed: Sequence[Timed]) -> tuple[float, float, float]:
    """Mean seconds to the first and the last token, and the 19th of 20 of the first."""
    first = [each.first for each in timed]
    return (
        statistics.mean(first),
        statistics.mean(each.last for each in timed),
        statistics.quantiles(first, n=20)[-1],
    )


def main() -> None:
    """Print them, and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    options = parser.parse_args()
    searches, sizes = (20, (1000, 3000, 2000)) if options.quick else (60, (2000, 10_000, 6000))
    machine = f"{describe('cpu').device_name}, one core, {platform.system()}"
    print(machine)
    engine = measure_engine.load()
    pace, _ = check_engine(engine, 16 if options.quick else 40)
    with measure_service.bench(engine) as bench:
        bench.documents(2, 1)
        note, _ = bench.documents(20, 1)
        long, more = bench.documents(2, 40)
        per_chunk = (more - 2) or 1
        embed = bench.embed(searches)
        found: dict[int, tuple[int, float]] = {}
        for size in sorted(sizes):
            bench.fill(size)
            spent, held = bench.search(searches)
            found[size] = (held, spent.cpu / searches)
        answers = bench.answer(searches)
    (few, little), (many, much) = found[sizes[0]], found[sizes[1]]
    slope = (much - little) / (many - few)
    middle, real = found[sizes[2]]
    guess = little + slope * (middle - few)
    print(
        f"a search over {middle:,} chunks: {real * 1000:.2f} ms, by the line {guess * 1000:.2f} "
        f"({guess / real - 1:+.1%})"
    )
    routed = [measure_cluster.route(engines) for engines in (4, 64)]
    each = (routed[1].seconds - routed[0].seconds) / 60
    base = little - slope * few
    last = base + slope * max(held for held, _ in found.values())
    constants = Constants(
        machine=machine,
        engine=pace,
        embed=embed.cpu / searches,
        search=base,
        search_chunk=slope,
        answer=max(0.0, answers.cpu / searches - embed.cpu / searches - last),
        statements=answers.statements / searches,
        commits=answers.commits / searches,
        postgres=answers.postgres / searches,
        document_statements=note.statements / 20,
        document_postgres=note.postgres / 20,
        document=note.cpu / 20,
        chunk_statements=max(0.0, (long.statements - 2 * note.statements / 20) / per_chunk),
        chunk_postgres=max(0.0, (long.postgres - 2 * note.postgres / 20) / per_chunk),
        chunk=max(0.0, (long.cpu - 2 * note.cpu / 20) / per_chunk),
        hop=measure_cluster.hop(),
        route=routed[0].seconds - 4 * each,
        route_engine=each,
    )
    constants.save(options.out)
    for name, value in constants.__dict__.items():
        print(f"{name:22} {value if isinstance(value, (str, CpuPace)) else f'{value:.3g}'}")


if __name__ == "__main__":
    main()
