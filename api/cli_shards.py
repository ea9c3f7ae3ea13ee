"""The verbs that cut collections into shards on a cluster; what they do is in `api/commands/shards.py`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.options import Json, quiet, settings

shards_app = typer.Typer(no_args_is_help=True, help="Cut collections into shards on a cluster.")

Cluster = Annotated[
    str | None,
    typer.Option("--cluster", metavar="ADDRESS", help="The Ray cluster: HOST:PORT, or `auto` on one of it."),
]
Name = Annotated[str, typer.Argument(metavar="COLLECTION", help="Collection of documents.")]
Number = Annotated[int, typer.Argument(metavar="SHARD", help="Number of the shard.")]


@shards_app.command()
def lay(
    collection: Name,
    shards: Annotated[int, typer.Option(min=1, max=1024, help="Parts of one size.")] = 2,
    replicas: Annotated[int, typer.Option(min=1, max=16, help="Copies of each, on different nodes.")] = 2,
    cluster: Cluster = None,
    json: Json = False,
) -> None:
    """Cut a collection into shards, or cut it anew; it is searched meanwhile."""
    from api.commands.shards import change  # noqa: PLC0415

    found = quiet(settings(cluster=cluster))
    change(found, collection, "shards.lay", lambda each: each.lay(shards, replicas), as_json=json)


@shards_app.command()
def status(cluster: Cluster = None, json: Json = False) -> None:
    """Show every replica: where it is, what it holds, and whether it answers."""
    from api.commands.shards import status as show  # noqa: PLC0415

    show(quiet(settings(cluster=cluster)), as_json=json)


@shards_app.command()
def split(collection: Name, shard: Number, cluster: Cluster = None, json: Json = False) -> None:
    """Cut one shard into two while it is searched."""
    from api.commands.shards import change  # noqa: PLC0415

    found = quiet(settings(cluster=cluster))
    change(found, collection, "shards.split", lambda each: each.split(shard), as_json=json)


@shards_app.command()
def move(  # noqa: PLR0917 (typer calls it by name)
    collection: Name,
    shard: Number,
    replica: Annotated[int, typer.Argument(metavar="REPLICA", help="Number of the replica.")],
    node: Annotated[str | None, typer.Option(metavar="ID", help="Where to, by Ray's id of the node.")] = None,
    cluster: Cluster = None,
    json: Json = False,
) -> None:
    """Put a new replica, by default where there is most room, in place of one."""
    from api.commands.shards import change  # noqa: PLC0415

    found = quiet(settings(cluster=cluster))
    change(found, collection, "shards.move", lambda each: each.move(shard, replica, node), as_json=json)


@shards_app.command()
def replicate(
    collection: Name,
    replicas: Annotated[int, typer.Argument(min=1, max=16, help="Copies of each shard.")],
    cluster: Cluster = None,
    json: Json = False,
) -> None:
    """Let every shard have so many replicas."""
    from api.commands.shards import change  # noqa: PLC0415

    found = quiet(settings(cluster=cluster))
    change(found, collection, "shards.replicate", lambda each: each.replicate(replicas), as_json=json)


@shards_app.command()
def drop(collection: Name, cluster: Cluster = None, json: Json = False) -> None:
    """End the shards of a collection; every process searches it as a whole again."""
    from api.commands.shards import change  # noqa: PLC0415

    change(
        quiet(settings(cluster=cluster)), collection, "shards.drop", lambda each: each.remove(), as_json=json
    )
