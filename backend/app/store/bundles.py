"""What the store knows of the archive's bundles. All SQL here runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.archive.bundle import Bundle
from app.store.base import Fetching, Row, WriteConnection

_COLUMNS = (
    "digest, repository, run_id, run_attempt, agent, outcome, resource, trace_id,"
    " received_at, received_by, bytes, held_because, locked_until"
)


@dataclass(frozen=True)
class Kept:
    """A bundle that is kept.

    Attributes:
        received_at: µs since 1970.
        received_by: the id of the key that sent it, or the empty text.
        bytes: of its file.
        held_because: why it must not be deleted, or None.
        locked_until: until when the archive's store lets nobody delete it, or None; µs since 1970.
    """

    bundle: Bundle
    received_at: int
    received_by: str
    bytes: int
    held_because: str | None = None
    locked_until: int | None = None


@dataclass(frozen=True)
class Wanted:
    """Which bundles are wanted; None: any.

    Attributes:
        since: earliest `received_at`, inclusive; µs since 1970.
        until: latest `received_at`, exclusive.
        held: whether they are held.
        unlocked_at: a time at which they are not locked; µs since 1970.
        but: agents whose bundles are not wanted.
    """

    repository: str | None = None
    agent: str | None = None
    since: int | None = None
    until: int | None = None
    held: bool | None = None
    unlocked_at: int | None = None
    but: Sequence[str] = ()


def add_bundle(connection: WriteConnection, kept: Kept) -> bool:
    """Remember a bundle; return whether it is new. Of one that is known nothing is changed."""
    one = kept.bundle
    connection.begin()
    rows = connection.fetch(
        f"INSERT INTO bundles ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608  fixed names
        " ON CONFLICT (digest) DO NOTHING RETURNING digest",
        (
            one.digest, one.repository, one.run_id, one.run_attempt, one.agent, one.outcome, one.resource, one.trace_id,
            kept.received_at, kept.received_by, kept.bytes, kept.held_because,
            kept.locked_until,
        ),
    )  # fmt: skip
    connection.commit()
    return bool(rows)


def find_bundle(connection: Fetching, digest: str) -> Kept | None:
    """Return the bundle with this digest, or None."""
    rows = connection.fetch(f"SELECT {_COLUMNS} FROM bundles WHERE digest = ?", (digest,))  # noqa: S608  fixed names
    return _kept(rows[0]) if rows else None


def bundles_of(connection: Fetching, trace_id: str, limit: int) -> list[Kept]:
    """Return the newest `limit` bundles that say that they are of this trace. Whoever may send bundles may say so."""
    sql = f"SELECT {_COLUMNS} FROM bundles WHERE trace_id = ? ORDER BY received_at DESC, digest LIMIT ?"  # noqa: S608
    return [_kept(row) for row in connection.fetch(sql, (trace_id, limit))]


def select_bundles(connection: Fetching, wanted: Wanted, after: tuple[int, str] | None, limit: int) -> list[Kept]:
    """Return the oldest `limit` bundles after the one with this `received_at` and digest."""
    conditions: list[str] = []
    parameters: list[Any] = []
    for sql, value in (
        ("repository = ?", wanted.repository),
        ("agent = ?", wanted.agent),
        ("received_at >= ?", wanted.since),
        ("received_at < ?", wanted.until),
    ):
        if value is not None:
            conditions.append(sql)
            parameters.append(value)
    if wanted.held is not None:
        conditions.append(f"held_because IS {'NOT ' if wanted.held else ''}NULL")
    if wanted.unlocked_at is not None:
        conditions.append("(locked_until IS NULL OR locked_until <= ?)")
        parameters.append(wanted.unlocked_at)
    for agent in wanted.but:
        conditions.append("agent <> ?")
        parameters.append(agent)
    if after is not None:
        conditions.append("(received_at, digest) > (?, ?)")
        parameters += after
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT {_COLUMNS} FROM bundles{where} ORDER BY received_at, digest LIMIT ?"  # noqa: S608  fixed names
    return [_kept(row) for row in connection.fetch(sql, [*parameters, limit])]


def add_attestations(
    connection: WriteConnection, bundle: str, attestations: Mapping[str, str], *, most: int, now: int, by: str
) -> int | None:
    """Keep attestations beside the bundle with this digest; return how many are new, or None when they are too many.

    Args:
        attestations: by the SHA-256 of each. None is kept of a bundle that is gone.
        most: how many one bundle may have.
        by: the id of the key that sent them, or the empty text.
    """
    connection.begin()
    new = 0
    for digest, body in attestations.items():
        new += len(
            connection.fetch(
                "INSERT INTO attestations (bundle, digest, received_at, received_by, body)"
                " SELECT digest, ?, CAST(? AS bigint), ?, ? FROM bundles WHERE digest = ?"
                " ON CONFLICT DO NOTHING RETURNING digest",
                (digest, now, by, body, bundle),
            )
        )
    ((kept,),) = connection.fetch("SELECT count(*) FROM attestations WHERE bundle = ?", (bundle,))
    if kept > most:
        connection.rollback()
        return None
    connection.commit()
    return new


def attestations_of(connection: Fetching, bundle: str) -> list[str]:
    """Return the attestations that are kept beside a bundle, in the order in which they came."""
    sql = "SELECT body FROM attestations WHERE bundle = ? ORDER BY received_at, digest"
    return [str(body) for (body,) in connection.fetch(sql, (bundle,))]


def hold_bundle(connection: WriteConnection, digest: str, because: str | None, event: Row) -> bool:
    """Keep a bundle from being deleted, or, with None, not any longer; return whether there is such a bundle.

    Args:
        event: what is recorded of it.
    """
    return _change(
        connection, "UPDATE bundles SET held_because = ? WHERE digest = ? RETURNING digest", (because, digest), event
    )


def forget_bundle(connection: WriteConnection, digest: str, event: Row) -> bool:
    """Forget a bundle that is not held, and its attestations; return whether it was there and is forgotten now.

    Args:
        event: what is recorded of it.
    """
    sql = "DELETE FROM bundles WHERE digest = ? AND held_because IS NULL RETURNING digest"
    return _change(connection, sql, (digest,), event, "DELETE FROM attestations WHERE bundle = ?")


def _change(connection: WriteConnection, sql: str, parameters: Sequence[Any], event: Row, also: str = "") -> bool:
    connection.begin()
    changed = bool(connection.fetch(sql, parameters))
    if changed:
        connection.insert([event])
        if also:
            connection.execute(also, parameters)
    connection.commit()
    return changed


def _kept(row: Sequence[Any]) -> Kept:
    return Kept(Bundle(*row[:8]), *row[8:])
