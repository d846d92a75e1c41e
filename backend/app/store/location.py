"""What a `DATABASE_URL` names."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_SQLITE_SCHEMES = ("sqlite", "sqlite+pysqlite")
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
        shown: its address for people.
    """

    conninfo: str = field(repr=False)
    shown: str

    def __str__(self) -> str:
        return f"PostgreSQL database {self.shown}"


Location = SqliteFile | PostgresDatabase


def parse_location(url: str) -> Location:
    """Return the store that `url` names.

    Raises:
        InvalidLocation: it names none; the message does not repeat the URL, which may hold a password.
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        raise InvalidLocation(f"DATABASE_URL is not a URL: {_FORMS}")
    if scheme.lower() in _SQLITE_SCHEMES:
        return _sqlite(rest)
    if scheme.lower() in _POSTGRES_SCHEMES:
        return _postgres(f"postgresql://{rest}")
    raise InvalidLocation(f"DATABASE_URL has the unknown scheme {scheme!r}: {_FORMS}")


def _sqlite(rest: str) -> SqliteFile:
    start, _, path = rest.partition("/")
    if start or "?" in path or not path.strip("/"):
        raise InvalidLocation("DATABASE_URL names no SQLite file: use sqlite:///file or sqlite:////absolute/file")
    return SqliteFile(Path(path).absolute())


def _postgres(conninfo: str) -> PostgresDatabase:
    """Return the database that libpq connects to; what the URL may say is libpq's to know."""
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        said = conninfo_to_dict(conninfo)
    except ProgrammingError:
        raise InvalidLocation(
            "DATABASE_URL is not a connection URI that libpq takes; in user, password and values every character other "
            "than letters, digits and -._~ has to be percent-encoded"
        ) from None
    hosts = str(said.get("host") or said.get("hostaddr") or "the default host").split(",")
    ports = str(said.get("port") or "5432").split(",")
    if not all(port.isdecimal() for port in ports if port):
        raise InvalidLocation("DATABASE_URL has a port that is not a number")
    if len(ports) != len(hosts):  # one for all
        ports = ports[:1] * len(hosts)
    places = ", ".join(f"{host}:{port or 5432}" for host, port in zip(hosts, ports, strict=True))
    return PostgresDatabase(conninfo, f"{said.get('dbname') or '(default)'} at {places}")
