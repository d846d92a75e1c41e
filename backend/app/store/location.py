"""What a `DATABASE_URL` names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

_POSTGRES_SCHEMES = ("postgres", "postgresql", "postgresql+psycopg")
_FORMS = "use sqlite:///file, sqlite:////absolute/file or postgresql://user@host/name"


class InvalidLocation(ValueError):
    """The URL names no store that the backend can use."""


@dataclass(frozen=True)
class SqliteFile:
    """One file on this machine.

    Attributes:
        path: the file, absolute.
    """

    path: Path

    def __str__(self) -> str:
        return f"SQLite file {self.path}"


@dataclass(frozen=True)
class PostgresDatabase:
    """A database on a PostgreSQL server.

    Attributes:
        conninfo: its address as libpq understands it; may hold a password.
    """

    conninfo: str

    def __str__(self) -> str:
        parts = urlsplit(self.conninfo)
        host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "local socket")
        return f"PostgreSQL database {parts.path.lstrip('/') or '(default)'} at {host}:{parts.port or 5432}"

    def __repr__(self) -> str:
        return f"PostgresDatabase({self})"


Location = SqliteFile | PostgresDatabase


def parse_location(url: str) -> Location:
    """Return the store that `url` names.

    Raises:
        InvalidLocation: it names none; the message does not repeat the URL, which may hold a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidLocation(f"DATABASE_URL is no URL: {_FORMS}") from None
    if parts.scheme in ("sqlite", "sqlite+pysqlite"):
        return _sqlite(parts)
    if parts.scheme in _POSTGRES_SCHEMES:
        query = urlencode(parse_qsl(parts.query, keep_blank_values=True))
        return PostgresDatabase(urlunsplit(("postgresql", parts.netloc, parts.path, query, "")))
    raise InvalidLocation(f"DATABASE_URL has the unknown scheme {parts.scheme!r}: {_FORMS}")


def _sqlite(parts: SplitResult) -> SqliteFile:
    if parts.netloc or parts.query or not parts.path.strip("/"):
        raise InvalidLocation("DATABASE_URL names no SQLite file: use sqlite:///file or sqlite:////absolute/file")
    return SqliteFile(Path(parts.path[1:]).absolute())
