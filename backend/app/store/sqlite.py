"""Events in one SQLite file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from app.events.chain import Link, Place
from app.store.base import QueryTimeout, Row, StoreUnavailable, parts_of
from app.store.queries import LAST_POSITION, LINK

if TYPE_CHECKING:
    from sqlalchemy import Connection as SqlConnection
    from sqlalchemy import Engine

_COLUMNS = ", ".join(Row._fields)
_ROW = f"({', '.join('?' * len(Row._fields))})"
_CHUNKS = (1024, 256, 64, 16, 4, 1)
"""How many rows one INSERT takes. Few sizes, so that each is prepared once; SQLite allows 32,766 parameters."""

_BUSY_SECONDS = 5.0
_START_SECONDS = 60.0
"""How long a start or a command waits for other processes that start on the same file."""

Identity = tuple[int, int] | None
"""What distinguishes a file from every other, whatever its name; None: there is no file."""

_COMPANIONS = ("-wal", "-shm")
"""What SQLite keeps beside its file while it is open. Commits are in the first of them before they are in the file."""

_STEPS_BETWEEN_CHECKS = 20_000

_PURGE_SELECT = """
    SELECT position, stream, seq, received_at FROM events ORDER BY position LIMIT ?
"""


class SqliteDatabase:
    """The SQLite file `path`.

    Args:
        query_timeout: seconds that one query may take.
    """

    def __init__(self, path: Path, query_timeout: float) -> None:
        self.path = path
        self.query_timeout = query_timeout
        self._file: int | None = None
        self._companions: list[Path] = []
        self._companions_lost = False

    def create(self) -> None:
        """Create the file, readable for its owner only, unless it is there; from now on it has to stay in its place."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Open as long as the process lives: no other file can have its inode then, and closing it would let go of
            # the locks that SQLite holds on it.
            self._file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
            real = self.path.resolve(strict=True)  # SQLite keeps them beside the file, not beside a link to it
            self._companions = [real.with_name(f"{real.name}{suffix}") for suffix in _COMPANIONS]
        except OSError as error:
            raise StoreUnavailable(f"{self.path} can't be opened for writing: {error.strerror}") from None

    def require_in_place(self) -> None:
        """Do nothing if the file is still where it was at the start.

        SQLite continues reading and writing a file that was deleted, moved away or replaced, and all of that is gone
        when the process ends.

        Raises:
            StoreUnavailable: it is not.
        """
        if self._file is not None and not _same_file(self._file, self.path):
            raise StoreUnavailable(
                "the SQLite file was deleted, moved away or replaced; put it back, or restart the backend", 30
            )

    def companions(self) -> tuple[Identity, ...]:
        """Return which files SQLite's companions are now."""
        return tuple(map(_identity, self._companions))

    def require_companions(self, expected: tuple[Identity, ...] | None = None) -> None:
        """Do nothing if the companions of an open connection are still the files `expected` that it opened.

        After that has failed once it fails until the process ends: connections opened now would have a log of their own
        beside that of those which are open.

        Raises:
            StoreUnavailable: they are not.
        """
        self._companions_lost = self._companions_lost or (expected is not None and self.companions() != expected)
        if self._companions_lost:
            raise StoreUnavailable("SQLite's -wal or -shm file was deleted or moved away; restart the backend", 30)

    def revision(self) -> str | None:
        with _unavailable(), closing(connect(self.path, seconds=_START_SECONDS)) as connection:
            try:
                found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            except sqlite3.OperationalError as error:
                if _error_name(error) != "SQLITE_ERROR":
                    raise
                return None
        return str(found[0]) if found else None

    def engine(self) -> Engine:
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        return create_engine(
            "sqlite://", creator=lambda: connect(self.path, seconds=_START_SECONDS), poolclass=NullPool
        )

    def lock(self, connection: SqlConnection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def execute(self, sql: str, parameters: Sequence[Any]) -> int:
        with _unavailable(), closing(connect(self.path, seconds=_START_SECONDS)) as connection:
            return connection.execute(sql, parameters).rowcount

    def copy_to(self, target: Path) -> None:
        """Write a copy of the database, as it is at one moment, to the new file `target`.

        Raises:
            OSError: `target` exists already, or can't be written.
            StoreUnavailable: the copy failed; nothing is left of it.
        """
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            with _unavailable(), closing(connect(self.path)) as connection:
                connection.execute("VACUUM INTO ?", (str(target),))
        except BaseException:
            target.unlink()
            raise

    def connect_writer(self) -> SqliteWriter:
        return SqliteWriter(self)

    def connect_reader(self) -> SqliteReader:
        return SqliteReader(self)

    def encode_id(self, event_id: bytes) -> object:
        return event_id

    def free_bytes(self) -> int | None:
        try:
            return shutil.disk_usage(self.path.parent).free
        except OSError:
            return None


def _identity(path: Path) -> Identity:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _same_file(descriptor: int, path: Path) -> bool:
    status = os.fstat(descriptor)
    return _identity(path) == (status.st_dev, status.st_ino)


def _error_name(error: sqlite3.Error) -> str:
    """Return the name of SQLite's error without its details: SQLITE_BUSY for SQLITE_BUSY_RECOVERY, too."""
    return "_".join(getattr(error, "sqlite_errorname", "SQLITE_ERROR").split("_")[:2])


@contextmanager
def _unavailable() -> Iterator[None]:
    """Turn SQLite's errors that are about the machine, and not about the statement, into StoreUnavailable."""
    try:
        yield
    except sqlite3.OperationalError as error:
        name = _error_name(error)
        if name == "SQLITE_ERROR":
            raise
        raise StoreUnavailable(_REASONS.get(name, f"SQLite answered {name}"), _RETRY_AFTER.get(name, 5)) from None
    except sqlite3.DatabaseError as error:
        if _error_name(error) not in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
            raise
        raise StoreUnavailable("the SQLite file is damaged", 60) from None


_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_BUSY": "another process holds the SQLite file",
    "SQLITE_READONLY": "the SQLite file can't be written",
    "SQLITE_CANTOPEN": "the SQLite file can't be opened",
}
_RETRY_AFTER = {"SQLITE_FULL": 30, "SQLITE_BUSY": 1}


class SqliteWriter:
    """The connection that stores. An acknowledged commit survives a power cut: WAL with `synchronous=FULL`."""

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        database.require_in_place()
        database.require_companions()
        with _unavailable():
            self._connection = connect(database.path)
            self._connection.execute("SELECT count(*) FROM sqlite_master")  # SQLite opens the companions now
            self._companions = database.companions()
            # The index pages of a busy day in memory; it is taken as needed.
            self._connection.execute("PRAGMA cache_size = -32768")
            # Fewer, larger checkpoints; the log stays near 16 MiB and shrinks again after a burst.
            self._connection.execute("PRAGMA wal_autocheckpoint = 4000")
            self._connection.execute("PRAGMA journal_size_limit = 67108864")

    def begin(self) -> None:
        self._require_files()
        with _unavailable():
            self._connection.execute("BEGIN IMMEDIATE")

    def _require_files(self) -> None:
        try:
            self._database.require_in_place()
            self._database.require_companions(self._companions)
        except StoreUnavailable:
            # No other connection may ever read this log again, or take it for that of another file.
            with suppress(sqlite3.Error):
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            raise

    def insert(self, rows: Sequence[Row]) -> int:
        # One statement for many rows, not executemany(): that one lets go of the interpreter lock and takes it again
        # for every row, and then waits each time for the thread that serves HTTP.
        before = self._connection.total_changes
        with _unavailable():
            for some in parts_of(rows, _CHUNKS):
                self._connection.execute(_INSERTS[len(some)], list(chain.from_iterable(some)))
        return self._connection.total_changes - before

    def existing(self, event_ids: Sequence[bytes]) -> dict[bytes, str]:
        found: dict[bytes, str] = {}
        with _unavailable():
            for start in range(0, len(event_ids), 500):
                some = event_ids[start : start + 500]
                marks = ", ".join("?" * len(some))
                sql = f"SELECT event_id, body FROM events WHERE event_id IN ({marks})"  # noqa: S608  only marks
                found.update(self._connection.execute(sql, some))
        return found

    def links(self, places: Sequence[Place]) -> list[Link]:
        # In one statement that returns one row, for the same reason.
        found: list[Link] = []
        with _unavailable():
            for some in parts_of(places, _CHUNKS):
                ((rows,),) = self._connection.execute(_LINKS[len(some)], list(chain.from_iterable(some)))
                found.extend(Link(*row) for row in msgspec.json.decode(rows))
        return found

    def mark_broken(self, places: Sequence[Place]) -> None:
        with _unavailable():
            self._connection.executemany(_MARK_BROKEN, places)

    def purge(self, before: int, limit: int) -> int:
        with _unavailable():
            expired: list[tuple[int, str | None, int | None]] = []
            for position, stream, seq, received_at in self._connection.execute(_PURGE_SELECT, (limit,)):
                if received_at >= before:
                    break
                expired.append((position, stream, seq))
            if not expired:
                return 0
            streams = [(stream, seq) for _, stream, seq in expired if stream is not None]
            self._connection.executemany(_MARK_EXPIRED, streams)
            self._connection.execute("DELETE FROM events WHERE position <= ?", (expired[-1][0],))
            self._connection.execute(_START_EPOCH)
        return len(expired)

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with _unavailable():
            return self._connection.execute(sql, parameters).fetchall()

    def execute(self, sql: str, parameters: Sequence[Any]) -> None:
        with _unavailable():
            self._connection.execute(sql, parameters)

    def put_words(self, words: Sequence[tuple[int, str]]) -> None:
        with _unavailable():
            for some in parts_of(words, _CHUNKS):
                marks = ", ".join(["(?, ?)"] * len(some))
                sql = f"INSERT OR REPLACE INTO run_words (rowid, words) VALUES {marks}"  # noqa: S608  only marks
                self._connection.execute(sql, list(chain.from_iterable(some)))

    def drop_words(self, number: int) -> None:
        with _unavailable():
            self._connection.execute("DELETE FROM run_words WHERE rowid = ?", (number,))

    def lock_log(self) -> None:
        """Do nothing: `begin` locks the file."""

    def last_position(self) -> int:
        with _unavailable():
            return int(self._connection.execute(LAST_POSITION).fetchone()[0])

    def commit(self) -> None:
        with _unavailable():
            self._connection.execute("COMMIT")
        self._require_files()  # nothing is acknowledged that went to a file which is not there any more

    def rollback(self) -> None:
        with suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()


_LINKS = {
    size: f"""
    WITH places (stream, seq) AS (VALUES {", ".join(["(?, ?)"] * size)})
    SELECT json_group_array(json_array({LINK})) FROM places CROSS JOIN events USING (stream, seq)
    """  # noqa: S608  fixed names
    for size in _CHUNKS
}
_MARK_BROKEN = "INSERT INTO broken_links (stream, seq) VALUES (?, ?) ON CONFLICT DO NOTHING"
_MARK_EXPIRED = """
    INSERT INTO expired_streams (stream, through_seq) VALUES (?, ?)
    ON CONFLICT (stream) DO UPDATE SET through_seq = max(through_seq, excluded.through_seq)
"""
# SQLite gives out the positions of events that were deleted again once there is none left.
_START_EPOCH = "UPDATE log_seals SET epoch = epoch + 1, through = 0 WHERE NOT EXISTS (SELECT 1 FROM events)"

_INSERTS = {
    size: f"INSERT INTO events ({_COLUMNS}) VALUES {', '.join([_ROW] * size)} ON CONFLICT (event_id) DO NOTHING"  # noqa: S608
    for size in _CHUNKS
}


class SqliteReader:
    """A connection that can't write."""

    WORDS_NUMBER: ClassVar[str] = "rowid"
    WITH_WORDS: ClassVar[str] = "SELECT rowid FROM run_words WHERE run_words MATCH ?"

    @staticmethod
    def words_query(words: Sequence[str]) -> str:
        return " AND ".join(f'"{word}"*' for word in words)

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        database.require_in_place()
        with _unavailable():
            self._connection = connect(database.path, read_only=True)
        self._timeout = database.query_timeout
        self._deadline = 0.0
        self._connection.set_progress_handler(self._is_late, _STEPS_BETWEEN_CHECKS)

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        self._database.require_in_place()
        self._deadline = time.monotonic() + self._timeout
        try:
            with _unavailable():
                return self._connection.execute(sql, parameters).fetchall()
        except StoreUnavailable:
            if time.monotonic() > self._deadline:
                raise QueryTimeout from None
            raise

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()

    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline


def connect(path: Path, *, read_only: bool = False, seconds: float = _BUSY_SECONDS) -> sqlite3.Connection:
    """Open the file with the settings that every connection needs; transactions are explicit.

    Args:
        seconds: how long to wait for other processes.

    Raises:
        sqlite3.Error: that can't be done.
    """
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}",
        uri=True,
        timeout=seconds,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if not read_only:
            # Readers never wait for the writer, and a commit is one sequential write and one fsync.
            _use_wal(connection, seconds)
            # NORMAL would lose the last acknowledged commits in a power cut.
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA temp_store = MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, seconds: float) -> None:
    """Switch a new file to write-ahead logging; one that has it stays as it is.

    When another process is just writing to a new file, SQLite refuses the switch at once instead of waiting.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _error_name(error) != "SQLITE_BUSY" or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)
