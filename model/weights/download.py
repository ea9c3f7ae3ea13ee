"""Fetches a model from the hub into the user's hub cache: the files that are needed, checked by digest."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from model.errors import CheckpointError

_log = logging.getLogger(__name__)

_SMALL = frozenset(
    {
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "chat_template.jinja",
    }
)  # fmt: skip
_INDEX, _SINGLE = "model.safetensors.index.json", "model.safetensors"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_META = re.compile(r"(original/)?(consolidated\.\d+\.pth|params\.json|tokenizer\.model)")
_STREAMS = 4
"""Files that are fetched at a time."""


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is.

    Attributes:
        done, total: bytes of all files; what was there before counts as done.
    """

    model: str
    done: int
    total: int


Progress: TypeAlias = Callable[[DownloadProgress], None]


def pull(hub_id: str, revision: str, cache: Path, on_progress: Progress | None = None) -> Path:
    """Fetch what is needed of a model; files that the cache holds are not fetched again.

    A connection that breaks is taken up again where it broke. After an interruption, a second call fetches
    the files that are not there whole. The branch's entry in the cache is written last, so that nobody
    finds half a model under its name.

    Returns:
        The snapshot's folder.

    Raises:
        CheckpointError: the hub cannot be reached, refuses, or has no such model; a file arrived damaged;
            or the library `huggingface_hub` is not installed.
    """
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise CheckpointError(f"downloading {hub_id} needs the package huggingface_hub") from error
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        raise CheckpointError(f"{hub_id} is not in the hub cache, and HF_HUB_OFFLINE forbids to fetch it")
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    try:
        return _pull(hub, endpoint, hub_id, revision, cache=cache, on_progress=on_progress)
    except CheckpointError:
        raise
    except Exception as error:  # the library's own errors, its HTTP client's, and the system's
        raise _explained(error, hub.errors, endpoint, hub_id, revision) from error


def needed(names: Iterable[str]) -> list[str]:
    """The files of a repository that a model is loaded from: never code, and weights in one format only.

    Raises:
        CheckpointError: there are no weights that can be read, or a choice between several.
    """
    names = set(names)
    small = names & _SMALL
    if _INDEX in names:
        return sorted(small | {_INDEX} | {name for name in names if _SHARD.fullmatch(name)})
    if _SINGLE in names:
        return sorted(small | {_SINGLE})
    # The same files may stand in the root and in `original/`.
    for prefix in ("", "original/"):
        if f"{prefix}consolidated.00.pth" in names:
            own = {name for name in names if (found := _META.fullmatch(name)) and (found[1] or "") == prefix}
            return sorted(small | own)
    quantised = sorted(name for name in names if name.endswith(".gguf") and "/" not in name)
    if len(quantised) == 1:
        return quantised
    if quantised:
        raise CheckpointError(
            f"it holds {len(quantised)} GGUF files ({', '.join(quantised[:3])}, …): fetch one with "
            "`hf download ID FILE` and give its path"
        )
    raise CheckpointError("it holds no safetensors, no consolidated.*.pth and no GGUF files")


def _pull(
    hub: Any, endpoint: str, hub_id: str, revision: str, *, cache: Path, on_progress: Progress | None
) -> Path:
    info = hub.HfApi(endpoint=endpoint).model_info(
        hub_id, revision=revision, files_metadata=True, timeout=30.0
    )
    files = {each.rfilename: each for each in info.siblings or ()}
    try:
        wanted = needed(files)
    except CheckpointError as error:
        raise CheckpointError(f"{hub_id} cannot be used: {error}") from error
    entry = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot: Path = entry / "snapshots" / info.sha
    meter = Meter(hub_id, sum(files[name].size or 0 for name in wanted), on_progress)
    _log.info("fetching %d files of %s (%s), %d MB", len(wanted), hub_id, info.sha, meter.total // 10**6)

    def fetch(name: str) -> None:
        if (snapshot / name).is_file():
            meter.add(files[name].size or 0)
            return
        hub.hf_hub_download(
            hub_id, name, revision=info.sha, cache_dir=cache, endpoint=endpoint, tqdm_class=meter.bar()
        )
        _check(snapshot / name, files[name], hub_id)

    with ThreadPoolExecutor(_STREAMS, "download") as pool:
        try:
            for _ in pool.map(fetch, wanted):
                pass
        except BaseException:
            meter.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    reference = entry / "refs" / revision
    if revision != info.sha:
        reference.parent.mkdir(parents=True, exist_ok=True)
        unfinished = reference.with_name(f"{reference.name}.{os.getpid()}")
        unfinished.write_text(info.sha, "utf-8")
        unfinished.replace(reference)
    _log.info("%s is in %s", hub_id, snapshot)
    return snapshot


def _check(path: Path, expected: Any, hub_id: str) -> None:
    """Compare size and digest with what the hub lists: SHA-256 for large files, git's SHA-1 for others."""
    size, lfs = path.stat().st_size, expected.lfs
    digest = hashlib.sha256() if lfs else hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    listed = lfs.sha256 if lfs else expected.blob_id
    if (expected.size in {None, size}) and listed in {None, digest.hexdigest()}:
        return
    path.resolve().unlink()
    path.unlink(missing_ok=True)
    raise CheckpointError(
        f"{expected.rfilename} of {hub_id} arrived damaged ({size} bytes, digest {digest.hexdigest()[:12]}…; "
        f"the hub lists {expected.size} and {str(listed)[:12]}…) and was removed: try again"
    )


class Meter:
    """Adds up what all streams have received, and tells it on."""

    def __init__(self, model: str, total: int, tell: Progress | None) -> None:
        self.model, self.total, self.done = model, total, 0
        self.stopped = threading.Event()
        self._tell, self._lock, self._tenths = tell, threading.Lock(), 0

    def add(self, count: float) -> None:
        """Count bytes; negative ones where a stream begins again. Raises in a stream that is to end."""
        if self.stopped.is_set():
            raise InterruptedError("the download was stopped")
        with self._lock:
            self.done += int(count)
            tenths = 10 * self.done // max(1, self.total)
            if tenths > self._tenths:
                self._tenths = tenths
                _log.info("%s: %d of %d MB", self.model, self.done // 10**6, self.total // 10**6)
            if self._tell is not None:
                self._tell(DownloadProgress(self.model, self.done, self.total))

    def bar(self) -> Callable[..., Any]:
        """What the library takes for the class of a progress bar."""
        meter = self

        class Bar:
            """Of tqdm's interface, what the library calls. A byte counts when it is stored."""

            total: float | None = None

            def __init__(self, *_: object, initial: float = 0, **__: object) -> None:
                meter.add(initial)

            def __enter__(self) -> Bar:
                return self

            def __exit__(self, *_: object) -> None: ...

            def update(self, n: float | None = 1) -> None:
                meter.add(n or 0)

            def update_transfer(self, n: float | None = 1) -> None: ...

            def set_postfix_str(self, *_: object, **__: object) -> None: ...

            def set_transfer_postfix_str(self, *_: object, **__: object) -> None: ...

            def refresh(self) -> None: ...

            def close(self) -> None: ...

        return Bar


def _explained(error: Exception, errors: Any, endpoint: str, hub_id: str, revision: str) -> CheckpointError:
    """The library's error in the words of somebody who wants a model."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return CheckpointError(
            f"{hub_id} is gated: sign in at {endpoint}/{hub_id} and accept its licence, then set HF_TOKEN to "
            "a token of that account (or run `hf auth login`) and try again"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return CheckpointError(f"{hub_id} has no revision {revision!r} at {endpoint}")
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"there is no model {hub_id} at {endpoint}, or it is private: check the name, or set HF_TOKEN to "
            "a token that may read it"
        )
    if status in {401, 403}:
        return CheckpointError(f"{endpoint} refused to give {hub_id} ({status}): check HF_TOKEN")
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"cannot fetch {hub_id} from {endpoint}: {said}; files that have arrived are kept, so try again"
    )
