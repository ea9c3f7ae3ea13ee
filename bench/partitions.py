"""Whether hash partitions of the largest tables pay: the store's statements over plain and parted tables.

    python -m bench.partitions [--documents 1000] [--partitions 16] [--repeat 200]

Each document has 200 chunks with vectors of 768 bytes and three segments of text. Both tables are filled
once as the migrations make them, and once parted by the document's id, which all statements know but those of
a search and of embedding: these have the keys of chunks alone. Medians of milliseconds, each way's turn after
the other's: CPU time of the session's process in PostgreSQL, with statements prepared as the service has
them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psycopg
from psycopg import sql

from bench.search_latency import databases

PER_DOCUMENT = 200
TEXTS = 3
WAYS = ("plain", "parted")

_CHUNKS = """
CREATE SEQUENCE {way}.keys;
CREATE TABLE {way}.chunks (id bigint NOT NULL DEFAULT nextval('{way}.keys'), document_id varchar(40) NOT NULL,
  collection_id varchar(40) NOT NULL, generation int NOT NULL, ordinal int NOT NULL, start bigint NOT NULL,
  "end" bigint NOT NULL, page_start int, page_end int, headings jsonb NOT NULL, tokens int NOT NULL,
  digest bytea, vector bytea, PRIMARY KEY ({key}), UNIQUE (document_id, generation, ordinal)) {by}
"""
_TEXTS = """
CREATE TABLE {way}.texts (document_id varchar(40) NOT NULL, generation int NOT NULL, start bigint NOT NULL,
  text text NOT NULL, PRIMARY KEY (document_id, generation, start)) {by}
"""
_NAME = "'doc_' || lpad(d::text, 26, '0')"


class Measured:
    """Both ways in one database."""

    def __init__(self, connection: psycopg.Connection, documents: int, partitions: int) -> None:
        self.connection = connection
        self.documents = documents
        self._fresh = documents
        self.rng = np.random.default_rng(0)
        for way in WAYS:
            parted = way == "parted"
            by = "PARTITION BY HASH (document_id)" if parted else ""
            self.run(f"CREATE SCHEMA {way}")
            self.run(_CHUNKS.format(way=way, key="document_id, id" if parted else "id", by=by))
            self.run(_TEXTS.format(way=way, by=by))
            for part in range(partitions if parted else 0):
                for name in ("chunks", "texts"):
                    self.run(
                        f"CREATE TABLE {way}.{name}_{part} PARTITION OF {way}.{name} "
                        f"FOR VALUES WITH (MODULUS {partitions}, REMAINDER {part})"
                    )
            if parted:
                self.run(f"CREATE INDEX ON {way}.chunks (id)")
            self.add(way, 1, documents)
            self.run(f"VACUUM ANALYZE {way}.chunks")
            self.run(f"VACUUM ANALYZE {way}.texts")

    def run(self, statement: str, values: Sequence[object] = ()) -> None:
        """Any statement of ours."""
        self.connection.execute(sql.SQL(statement), values)

    def add(self, way: str, first: int, last: int) -> None:
        """Documents with these numbers, whole."""
        self.run(
            f'INSERT INTO {way}.chunks (document_id, collection_id, generation, ordinal, start, "end", '  # noqa: S608
            f"headings, tokens, digest, vector) "
            f"SELECT {_NAME}, 'col', 1, o, o * 1000, o * 1000 + 999, '[]', 300, "
            "decode(md5(o::text), 'hex'), decode(repeat(md5((d * 1000 + o)::text), 48), 'hex') "
            f"FROM generate_series({first}, {last}) d, generate_series(0, {PER_DOCUMENT - 1}) o"
        )
        self.run(
            f"INSERT INTO {way}.texts SELECT {_NAME}, 1, s * 65536, "  # noqa: S608
            "repeat(md5((d * 7 + s)::text) || ' ', 1900) "
            f"FROM generate_series({first}, {last}) d, generate_series(0, {TEXTS - 1}) s"
        )

    def name(self, number: int) -> str:
        """A document's id."""
        return f"doc_{number:026}"

    def live(self, way: str) -> None:
        """A search looks at ten chunks of ten documents, by their keys."""
        keys = self.rng.integers(1, self.documents * PER_DOCUMENT, 10).tolist()
        wanted = ", ".join(["%s"] * 10)
        self.run(f"SELECT id, document_id, generation, start FROM {way}.chunks WHERE id IN ({wanted})", keys)  # noqa: S608

    def texts(self, way: str) -> None:
        """And reads ten segments of their texts."""
        values: list[object] = []
        for number in self.rng.integers(1, self.documents, 10).tolist():
            values += [self.name(number), 1, 65536 * int(self.rng.integers(0, TEXTS))]
        places = " OR ".join(["(document_id = %s AND generation = %s AND start = %s)"] * 10)
        self.run(f"SELECT document_id, start, text FROM {way}.texts WHERE {places}", values)  # noqa: S608

    def publish(self, way: str) -> None:
        """A document comes, in the order in which its rows are written."""
        self._fresh += 1
        self.add(way, self._fresh, self._fresh)

    def embed(self, way: str) -> None:
        """Sixteen vectors of a document are set by their keys."""
        first = int(self.rng.integers(1, self.documents * PER_DOCUMENT - 16))
        keys, vectors = list(range(first, first + 16)), [bytes(768)] * 16
        self.run(
            f"UPDATE {way}.chunks SET vector = r.packed "  # noqa: S608
            "FROM unnest(%s::bigint[], %s::bytea[]) AS r (id, packed) "
            f"WHERE {way}.chunks.id = r.id",
            (keys, vectors),
        )

    def delete(self, way: str) -> None:
        """A document goes."""
        name = self.name(int(self.rng.integers(1, self.documents)))
        self.run(f"DELETE FROM {way}.chunks WHERE document_id = %s", (name,))  # noqa: S608
        self.run(f"DELETE FROM {way}.texts WHERE document_id = %s", (name,))  # noqa: S608

    def vacuum(self, way: str) -> None:
        """What was deleted is cleared away, in all partitions."""
        self.run(f"VACUUM {way}.chunks")
        self.run(f"VACUUM {way}.texts")


def compare(repeat: int, work: Callable[[str], None], spent: Callable[[], float]) -> list[float]:
    """Median milliseconds of each way, by `spent`; whose turn is first changes."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(repeat):
        for way in WAYS[:: 1 if turn % 2 else -1]:
            began = spent()
            work(way)
            taken[way].append(1000 * (spent() - began))
    return [statistics.median(taken[way]) for way in WAYS]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, databases(Path(folder), ["postgres"]) as opened:
        ((_, db),) = opened
        address = db.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address, autocommit=True) as connection:
            measured = Measured(connection, options.documents, options.partitions)
            chunks = options.documents * PER_DOCUMENT
            print(f"{chunks:,} chunks of {options.documents:,} documents; {options.partitions} partitions\n")
            print(f"{'milliseconds of CPU, median':>40} {'plain':>9} {'parted':>9} {'ratio':>7}")
            schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")

            def spent() -> float:
                return int(schedule.read_text().split()[0]) / 1e9

            for title, work, times in (
                ("a search's 10 chunks by key", measured.live, options.repeat),
                ("a search's 10 segments of text", measured.texts, options.repeat),
                ("200 chunks and 3 segments written", measured.publish, options.repeat // 4),
                ("16 vectors set by key", measured.embed, options.repeat),
                ("a document deleted", measured.delete, options.repeat // 4),
                ("vacuum after it", measured.vacuum, 1),
            ):
                plain, parted = compare(max(1, times), work, spent)
                print(f"{title:>40} {plain:>9.2f} {parted:>9.2f} {parted / plain:>7.2f}", flush=True)


if __name__ == "__main__":
    main()
