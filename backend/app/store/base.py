"""What a store is made of, whichever database is behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from app.events.chain import Link, Place

T = TypeVar("T")


class Row(NamedTuple):
    """One event as it is stored. The fields are the columns of `events`, in the order in which they are written.

    Times are microseconds since 1970-01-01T00:00:00Z. `body` is the event as JSON on one line. `line_hash` is the
    SHA-256, in hex, of the line of a journal that the event came in.
    """

    event_id: bytes
    occurred_at: int
    received_at: int
    agent_instance_id: str
    trace_id: str
    actor: str
    action_type: str
    resource: str
    status: str
    stream: str | None
    seq: int | None
    line_hash: str | None
    body: str


@dataclass(frozen=True)
class Stored:
    """A batch is durable.

    Attributes:
        stored: how many of its events are new.
        duplicates: how many were there already, with the same content.
    """

    stored: int
    duplicates: int


@dataclass(frozen=True)
class Conflicting:
    """Nothing of a batch was stored.

    Attributes:
        indices: which of its events carry the id of another event with other content.
    """

    indices: tuple[int, ...]


AppendResult = Stored | Conflicting


class StoreUnavailable(Exception):
    """The store can't take or give events now; trying again later is right.

    Attributes:
        reason: one line for people, without event contents or passwords.
        retry_after: seconds.
    """

    def __init__(self, reason: str, retry_after: int = 1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


class Contention(Exception):
    """The database gave this transaction up in favour of another one; the same again at once is right."""


class QueryTimeout(Exception):
    """The query looked at more events than its time allowed."""


class Fetching(Protocol):
    """A connection that answers queries, whatever else it can do."""

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows that `sql`, with `?` for parameters, selects."""


class WriteConnection(Protocol):
    """A connection that stores. Used by one thread at a time. Methods raise StoreUnavailable and Contention."""

    def begin(self) -> None:
        """Start a transaction."""

    def insert(self, rows: Sequence[Row]) -> int:
        """Insert the rows whose `event_id` is not there yet; return how many."""

    def existing(self, event_ids: Sequence[bytes]) -> dict[bytes, str]:
        """Return the bodies of those of the given events that are there."""

    def links(self, places: Sequence[Place]) -> list[Link]:
        """Return the links of the stored lines at these places."""

    def mark_broken(self, places: Sequence[Place]) -> None:
        """Remember that the lines at these places don't follow the ones before them."""

    def purge(self, before: int, limit: int) -> int:
        """Delete the oldest events received before the time `before` (µs), at most `limit`; return how many."""

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows that `sql`, with `?` for parameters, selects or returns."""

    def execute(self, sql: str, parameters: Sequence[Any]) -> None:
        """Run a statement, with `?` for parameters."""

    def lock_log(self) -> None:
        """Keep every other process from adding to the transparency log until this transaction ends."""

    def put_words(self, words: Sequence[tuple[int, str]]) -> None:
        """Let a search find the run with each number by its words, and by no others."""

    def drop_words(self, number: int) -> None:
        """Let no search find the run with this number."""

    def last_position(self) -> int:
        """Return the highest position of an event, in a transaction of its own.

        Every event at a lower position that will ever be stored is stored by then.
        """

    def commit(self) -> None:
        """Make the transaction durable."""

    def rollback(self) -> None:
        """Undo the transaction; never raises."""

    def close(self) -> None:
        """Give the connection up; never raises."""


def parts_of(rows: Sequence[T], sizes: Sequence[int]) -> Iterator[Sequence[T]]:
    """Give rows in parts of few sizes, the largest first, so that a statement for each size is prepared once.

    Args:
        sizes: falling, the last one 1.
    """
    start = 0
    for size in sizes:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


class ReadConnection(Protocol):
    """A connection that answers queries. Used by one thread at a time."""

    WITH_WORDS: ClassVar[str]
    """The query for the numbers of runs that have the words of a `words_query`."""
    WORDS_NUMBER: ClassVar[str]
    """Its column with the number."""

    @staticmethod
    def words_query(words: Sequence[str]) -> str:
        """Return the parameter of `WITH_WORDS` for some beginnings of words, all of which are wanted."""

    def fetch(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows that `sql`, with `?` for parameters, selects.

        Raises:
            QueryTimeout: it took too long.
            StoreUnavailable: the database did not answer.
        """

    def close(self) -> None:
        """Give the connection up; never raises."""


class Database(Protocol):
    """One database. Every method raises StoreUnavailable when it does not answer."""

    def create(self) -> None:
        """Bring the database into being, where that is not an administrator's work."""

    def revision(self) -> str | None:
        """Return the revision of its schema, or None when it has none yet."""

    def engine(self) -> Engine:
        """Return it as SQLAlchemy sees it, for migrations."""

    def lock(self, connection: Connection) -> None:
        """Begin, on a connection of `engine`, the transaction of a migration: one process at a time."""

    def execute(self, sql: str, parameters: Sequence[Any]) -> int:
        """Run one statement, with `?` for parameters, on a connection of its own; return how many rows it changed."""

    def connect_writer(self) -> WriteConnection:
        """Open a connection that stores."""

    def connect_reader(self) -> ReadConnection:
        """Open a connection that answers queries."""

    def encode_id(self, event_id: bytes) -> object:
        """Return an event id as a query parameter."""

    def free_bytes(self) -> int | None:
        """Return the room left on the disk that the events go to, or None when that is not known here."""
