"""Choosing the database that a location names. Only the driver that is needed is loaded: each takes its time."""

from __future__ import annotations

from app.store.base import Database
from app.store.location import Location, SqliteFile


def open_database(location: Location, query_timeout: float = 5.0) -> Database:
    """Return the database at `location`.

    Args:
        query_timeout: seconds that one query may take.
    """
    if isinstance(location, SqliteFile):
        from app.store.sqlite import SqliteDatabase

        return SqliteDatabase(location.path, query_timeout)
    from app.store.postgres import PostgresDatabase

    return PostgresDatabase(location.conninfo, query_timeout)
