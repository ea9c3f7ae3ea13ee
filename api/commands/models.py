"""`longleaf models`: what is there without a download."""

from __future__ import annotations

from api.inventory import local_models
from api.terminal import human_bytes, say, say_heading, say_json
from rag.settings import Settings


def run(settings: Settings, *, as_json: bool) -> None:
    """Print the models found, the chosen ones marked."""
    found = local_models(settings)
    if as_json:
        say_json({"models": [model.as_dict() for model in found]})
        return
    for model in found:
        mark = "* " if model.chosen else "  "
        say_heading(f"{mark}{model.name}", f"  {model.role}, {human_bytes(model.bytes)}, {model.source}")
        say(f"    {model.path}")
    say()
    say("* in use. LONGLEAF_MODEL and LONGLEAF_EMBEDDER choose others, by folder or by hub id.")
