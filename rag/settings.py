"""Every setting of the service, read from `LONGLEAF_*` variables and an optional `.env` file.

Nothing needs to be set: the defaults serve one person on one machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 1024**3
MIB = 1024**2


class Settings(BaseSettings):
    """Settings of one process: unknown `LONGLEAF_*` variables are ignored, bad values are refused by name."""

    model_config = SettingsConfigDict(env_prefix="LONGLEAF_", env_file=".env", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address that the HTTP server binds to.")
    port: int = Field(8000, ge=0, le=65535, description="Port of the HTTP server; 0 takes any free one.")
    auth: Literal["off", "on", "open"] = Field(
        "off",
        description="Whether keys are asked for. `off`: one person, reached from this machine alone. `on`: "
        "every request needs a key or a sign-in. `open`: nobody is asked, and everybody who reaches the "
        "server may do everything; for a server behind a proxy that signs people in.",
    )
    sign_in_hours: float = Field(
        12.0, gt=0, le=24 * 365, description="How long a browser stays signed in to the page."
    )
    public_url: str = Field(
        "",
        description="Address under which browsers reach the service, such as `https://longleaf.example.org`; "
        "needed for sign-in with a provider.",
    )
    oidc_issuer: str = Field(
        "", description="Address of an OpenID Connect provider that people sign in with; empty means none."
    )
    oidc_client_id: str = Field("", description="What the provider calls this service.")
    oidc_client_secret: SecretStr = Field(
        SecretStr(""), description="The secret that the provider gave for it; empty for a public client."
    )
    oidc_client_secret_file: str = Field("", description="A file with that secret instead.")
    oidc_scopes: str = Field("openid email profile", description="What is asked of the provider.")
    oidc_groups_claim: str = Field(
        "groups", description="Where the provider tells the groups that somebody is in."
    )
    oidc_grants: str = Field(
        "",
        description="Who is let in without having been entered, with which role, as `WHO=WORKSPACE:ROLE` "
        "between semicolons; WHO is `@domain` of a confirmed address, the name of a group, or `*` for all.",
    )
    data_dir: Path = Field(
        Path("data"), description="Folder of the database, the uploaded files and the indexes."
    )
    database_url: str = Field("", description="SQLAlchemy URL; empty means SQLite inside the data folder.")
    database_replica_url: str = Field(
        "",
        description="URL of a standby of that PostgreSQL, or several between spaces, which searches are read "
        "from as far as it has what they need. Empty means none.",
    )
    database_pool: int = Field(
        10, ge=1, description="Connections to the database that a process keeps open, once it needed them."
    )
    database_pool_extra: int = Field(
        20, ge=0, description="Connections that it opens beyond those while all are in use."
    )
    database_pool_seconds: float = Field(
        10.0, gt=0, description="How long a request waits for a free connection before it gets 503."
    )
    database_connect_seconds: float = Field(
        10.0, ge=1, description="How long a new connection to PostgreSQL may take."
    )
    database_pooler: bool = Field(
        False,
        description="Whether a pooler in transaction mode, such as PgBouncer, stands before PostgreSQL: then "
        "no statement is prepared in a session.",
    )
    objects: str = Field(
        "",
        description="Place that all processes reach, for copies of what is costly to make: "
        "`file:///folder` or `s3://bucket/prefix`. Empty means none.",
    )
    objects_endpoint: str = Field(
        "", description="Address of a server with the S3 API, where the bucket is not Amazon's."
    )
    objects_region: str = Field("us-east-1", description="Region of the bucket.")
    objects_access_key: str = Field(
        "", description="Name of the bucket's access key; empty means what the environment provides."
    )
    objects_secret_key: SecretStr = Field(SecretStr(""), description="The secret of that key.")
    objects_secret_key_file: str = Field("", description="A file with that secret instead.")
    objects_keys_file: str = Field(
        "",
        description="File with keys that encrypt what is kept in that place, 32 bytes in base64 a line; the "
        "first encrypts, all decrypt. Empty means that nothing is encrypted.",
    )
    originals: Literal["folder", "objects"] = Field(
        "folder",
        description="Where the uploaded files are kept: `folder`, in the data folder; `objects`, in the "
        "place of LONGLEAF_OBJECTS, where processes without that folder reach them.",
    )
    model: str = Field(
        "auto", description="Folder, GGUF file, hub id in the local cache, or `auto` (bundled model)."
    )
    embedder: str = Field(
        "auto", description="Folder, hub id in the local cache, or `auto` (multilingual-e5-small)."
    )
    index: Literal["auto", "flat", "pq"] = Field(
        "auto",
        description="How vectors are searched: `flat` scans them all exactly, `pq` scans 4-bit codes and "
        "scores the best exactly; `auto` takes `pq` from 50,000 chunks in a collection on.",
    )
    reranker: str = Field(
        "",
        description="Reads the best passages of a search once more: `sentences`, or folder or hub id in the "
        "local cache of a sentence-transformers cross-encoder. Empty means none.",
    )
    allow_download: bool = Field(
        False, description="Whether a `model` that is not in the local cache may be fetched from the hub."
    )
    allow_worse_model: bool = Field(
        False,
        description="Whether a distilled `model` may be loaded though its own trial says that it is not "
        "better than the model that it was made from.",
    )
    teacher_key: SecretStr = Field(
        SecretStr(""), description="Key that `longleaf distil --teacher-url` sends; read there alone."
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda` or `cuda:N`.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="Number format of the weights; `auto` measures what this machine does best."
    )
    model_processes: int = Field(
        1, ge=1, description="Processes, on as many GPUs, over which the model is split (tensor parallelism)."
    )
    model_stages: int = Field(
        1,
        ge=1,
        description="Groups of so many processes over which the layers are dealt out (pipeline parallelism).",
    )
    cluster: str = Field(
        "",
        description="Address `HOST:PORT` of a Ray cluster on which `longleaf serve` runs and holds shards, "
        "or `auto` for the one that this machine is in; empty means this process alone.",
    )
    cluster_engines: int = Field(1, ge=1, description="Engines that a cluster has at least.")
    cluster_most_engines: int = Field(
        1, ge=1, description="Engines that it has at most, where many tokens wait."
    )
    cluster_waiting_tokens: int = Field(
        16_384,
        ge=256,
        description="Tokens of prompts that may wait for one engine of a cluster; where more wait, another "
        "is started.",
    )
    cluster_resume: bool = Field(
        True,
        description="Whether an answer whose engine is lost goes on at another; otherwise it ends with "
        "`engine_lost`.",
    )
    cluster_surge: bool = Field(
        True,
        description="Whether a new version's processes on a cluster are started before the old ones end, "
        "which takes room for both; otherwise an engine ends first, and questions wait meanwhile.",
    )
    cluster_drain_seconds: float = Field(
        120.0,
        gt=0,
        description="How long a process of a cluster that is replaced goes on with what it has begun to "
        "answer.",
    )
    kv_tokens: int = Field(
        0,
        ge=0,
        description="Tokens that all answers in work may hold together; 0 takes what suits the memory.",
    )
    kv_memory_bytes: int = Field(
        0, ge=0, description="Memory beside the model's for what was read and may be asked about again."
    )
    kv_disk_bytes: int = Field(
        2 * GIB,
        ge=0,
        description="Disk in the data folder for what was read, which then need not be read again after a "
        "restart; 0 keeps nothing there.",
    )
    kv_shared_bytes: int = Field(
        0,
        ge=0,
        description="Most bytes of what was read in the place of LONGLEAF_OBJECTS, where other engines of "
        "the same model find it; 0 keeps nothing there.",
    )
    max_upload_bytes: int = Field(2 * GIB, gt=0, description="Largest file that is accepted, in bytes.")
    upload_hours: float = Field(
        24.0, gt=0, description="How long a resumable upload is kept to which nothing more comes."
    )
    key_requests_per_minute: int = Field(
        0,
        ge=0,
        description="Requests that a key may make in a minute, where it has no limit of its own; 0 is any.",
    )
    key_tokens_per_minute: int = Field(
        0, ge=0, description="The same for tokens that the models read and write for it."
    )
    workspace_requests_per_minute: int = Field(
        0, ge=0, description="Requests in a minute of all keys and people of a workspace; 0 is any number."
    )
    workspace_tokens_per_minute: int = Field(0, ge=0, description="The same for tokens.")
    workspace_max_documents: int = Field(
        0,
        ge=0,
        description="Documents that a workspace may hold, where it has no quota of its own; 0 is any.",
    )
    workspace_max_bytes: int = Field(0, ge=0, description="The same for bytes of its originals.")
    max_waiting: int = Field(
        64,
        ge=0,
        description="Questions that may wait in this process while others are answered, and as many "
        "searches; further ones get 503 at once.",
    )
    max_uploads: int = Field(
        64, ge=1, description="Uploads that this process takes in at a time; further ones get 503 at once."
    )
    max_queued_documents: int = Field(
        0, ge=0, description="Documents that may wait to be read; beyond it uploads get 503. 0 is any number."
    )
    max_context_tokens: int = Field(
        0,
        ge=0,
        description="Tokens of documents read for one answer; 0 means 2,048 on CPU, the whole window on GPU.",
    )
    max_tokens: int = Field(256, gt=0, description="Longest generated answer, in tokens.")
    answer_mode: Literal["auto", "quotes", "answer", "prose"] = Field(
        "auto",
        description="`quotes`: quotes alone; `answer` (of old `prose`): always write; `auto`: write if the "
        "model is able to.",
    )
    model_languages: str = Field(
        "",
        description="Languages that the model was made for, as ISO 639-1 codes between commas; by default as "
        "its name tells (SmolLM2: `en`; Llama 3.1: `en,de,fr,it,pt,hi,es,th`). Others bring a warning.",
    )
    chunk_tokens: int = Field(
        300, ge=32, le=480, description="Aimed size of a chunk, in tokens of the embedder."
    )
    parse_timeout_seconds: float = Field(
        120.0, gt=0, description="Longest time that reading one document may take."
    )
    parse_memory_bytes: int = Field(
        GIB,
        gt=0,
        description="Memory limit of the process that reads a document; a second one that reads along where "
        "that is a large PDF may take half as much.",
    )
    ocr: Literal["auto", "off"] = Field(
        "auto", description="Text in pictures and scans: `auto` reads it where the extra `ocr` is; or `off`."
    )
    ocr_languages: str = Field(
        "eng",
        description="Languages of pictures and scans, by Tesseract's names, joined by `+`: `eng+deu`. `eng` "
        "and `deu` come with the extra, others with packages such as `tesseract-ocr-fra`.",
    )
    ocr_timeout_seconds: float = Field(
        1800.0, ge=0, description="Time that a document may take on top once pictures in it are read."
    )
    ingest_workers: int = Field(
        1, ge=0, le=64, description="Ingest threads in the server; 0 leaves ingest to others."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="Form of the log lines.")
    metrics_token_file: str = Field(
        "",
        description="File with a token that reads `/metrics` and nothing else, for a Prometheus; made "
        "at the start where it is missing. Empty means that operators alone read them.",
    )
    traces: Literal["off", "otlp"] = Field(
        "off",
        description="Whether the way of each request is traced: `otlp` sends spans as the variables `OTEL_*` "
        "say; it needs the extra `otel`.",
    )
    allowed_hosts: str = Field(
        "",
        description="Names, separated by commas, that the server answers to besides localhost; `*` is any. "
        "Without it a server bound to another address answers to any name.",
    )
    webhook_private_addresses: bool = Field(
        False,
        description="Whether webhooks may be sent to addresses of this machine and of private networks; "
        "otherwise to public ones alone.",
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="How long a server that is asked to stop still takes requests while `/readyz` says that "
        "it leaves: what a proxy in front needs to notice. A second signal ends it.",
    )
    shutdown_seconds: float = Field(
        5.0, gt=0, description="How long answers and streams may go on after that."
    )

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @property
    def resolved_database_url(self) -> str:
        """The SQLAlchemy URL in use: `database_url`, or SQLite inside the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir / 'longleaf.db'}"
