"""What an operator can set, each by one environment variable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 1024 * 1024
BUCKET = "s3://"
"""How the address of a bucket begins."""


class InvalidSettings(ValueError):
    """An environment variable has a value that is invalid; the message names it."""


def _comma_separated(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _pairs(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.strip().rpartition("=") for part in value.split(",") if part.strip()]
    return {agent.strip(): days.strip() for agent, _, days in pairs}


Days = Annotated[int, Field(ge=1, le=36500)]


@dataclass(frozen=True)
class Lock:
    """How long nobody may delete a bundle.

    Attributes:
        mode: `governance`: but for those to whom the store allows it; `compliance`: nobody at all.
    """

    mode: Literal["governance", "compliance"]
    days: Days


def _lock(value: object) -> object:
    if not isinstance(value, str):
        return value
    mode, _, days = value.strip().partition("=")
    return {"mode": mode, "days": days}


class Settings(BaseSettings):
    """The settings of one process. Every name is `AIMGENTIX_` and the field in capitals, but for `DATABASE_URL`."""

    model_config = SettingsConfigDict(env_prefix="AIMGENTIX_", frozen=True, extra="ignore", populate_by_name=True)

    database_url: str = Field(default="sqlite:///aimgentix.db", validation_alias="DATABASE_URL")
    """Where events are kept: `sqlite:///file`, `sqlite:////absolute/file` or `postgresql://user@host/name`."""

    migrate_on_start: bool = True
    """Bring the store's schema up to date when starting; else refuse to start on an old one."""

    auth: Literal["required", "local", "off"] = "required"
    """`required`: callers need a key; `local`: while none exists, callers on this machine are served without one."""

    retention_days: int | None = Field(default=None, ge=1, le=36500)
    """Delete events this many days after they were received; unset: keep everything."""

    max_body_bytes: int = Field(default=8 * MIB, ge=1024, le=256 * MIB)
    """Largest request body, counted after decompression."""

    max_event_bytes: int = Field(default=256 * 1024, ge=1024, le=16 * MIB)
    """Largest single event."""

    max_batch_events: int = Field(default=5000, ge=1, le=100_000)
    """Most events in one request."""

    max_queued_events: int = Field(default=50_000, ge=1)
    """Events that may wait for the store before further ones are refused with 503."""

    max_queued_bytes: int = Field(default=64 * MIB, ge=1024)
    """Bytes that may wait for the store before further ones are refused with 503."""

    store_timeout_seconds: float = Field(default=15.0, gt=0, le=300)
    """How long a request waits for its commit before it is answered with 503."""

    query_timeout_seconds: float = Field(default=5.0, gt=0, le=300)
    """How long one query may run before it is given up."""

    body_timeout_seconds: float = Field(default=30.0, gt=0, le=600)
    """How long a client may take to send the head of a request, to send its body, and to read on in an answer."""

    stop_timeout_seconds: float = Field(default=20.0, gt=0, le=600)
    """How long requests under way may take when the backend is stopped; then their connections are ended."""

    readers: int = Field(default=4, ge=1, le=64)
    """Connections that answer queries."""

    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = ()
    """Origins whose pages may call the API, comma separated; none by default."""

    log_key: Path | None = None
    """The file with the key of the transparency log (`python -m app log-key create`); unset: there is no log."""

    log_policy: Path | None = None
    """The policy with the log's witnesses and their addresses, which are asked to cosign; unset: nobody is."""

    log_seal_seconds: float = Field(default=60.0, ge=0.1, le=86_400)
    """How often the heads of the streams go into the transparency log."""

    log_public: bool = False
    """Serve the log's checkpoint and tiles without a key, so that anybody may mirror it."""

    archive: str | None = Field(default=None, min_length=1)
    """The folder or the bucket, `s3://bucket/prefix`, in which bundles are kept; unset: beside a SQLite store, and
    nowhere with PostgreSQL."""

    archive_lock: Annotated[Lock | None, NoDecode, BeforeValidator(_lock)] = None
    """How long nobody may delete a bundle from the bucket, as `governance=days` or `compliance=days`."""

    max_bundle_bytes: int = Field(default=64 * MIB, ge=1024, le=1024 * MIB)
    """Largest bundle, packed, and unpacked."""

    archive_retention_days: int | None = Field(default=None, ge=1, le=36500)
    """Delete bundles this many days after they came, unless they are held; unset: keep them."""

    archive_retention_agents: Annotated[dict[str, Days], NoDecode, BeforeValidator(_pairs)] = Field(
        default_factory=dict
    )
    """The same by agent, as `agent=days`, comma separated; these don't follow the number for all."""

    oidc_issuer: str | None = None
    """The identity provider (OpenID Connect) through which people may sign in to the pages; unset: with keys only."""

    oidc_client_id: str = ""
    """What the provider calls this backend."""

    oidc_client_secret_file: Path | None = None
    """The file with the secret that belongs to it."""

    oidc_emails: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = ()
    """Who may read: email addresses that the provider has verified, comma separated."""

    oidc_groups: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = ()
    """Who may read besides: members of these groups, comma separated."""

    oidc_groups_claim: str = "groups"
    """The claim of the ID token that lists a person's groups."""

    read_minutes: float = Field(default=15.0, ge=0, le=1440)
    """How long what somebody reads again is summed up before it is recorded once more; 0: reads are not recorded."""

    verify_hours: float = Field(default=24.0, gt=0, le=8760)
    """How often everything that is stored of a run is verified again, in the background."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    """`auto`: text on a terminal, JSON lines elsewhere."""

    access_log: bool = False
    """Log every request, not only the refused and failed ones."""


def load_settings() -> Settings:
    """Read the settings from the environment.

    Raises:
        InvalidSettings: a value is invalid.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        faults = "; ".join(f"{_variable(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_url=False))
        raise InvalidSettings(faults) from None
    if settings.archive_lock is not None and not (settings.archive or "").startswith(BUCKET):
        raise InvalidSettings(
            f"AIMGENTIX_ARCHIVE_LOCK is for a bucket ({BUCKET}…), which AIMGENTIX_ARCHIVE doesn't name"
        )
    return settings


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    return name if name == "DATABASE_URL" else f"AIMGENTIX_{name.upper()}"


PACKAGE = Path(__file__).resolve().parent
