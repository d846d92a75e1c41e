"""Deleting what is older than it has to be kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from app.store.base import StoreUnavailable
from app.store.store import Store

log = logging.getLogger(__name__)

DAY_US = 24 * 60 * 60 * 1_000_000
BATCH = 2000
"""Events deleted in one transaction: few enough that events coming in hardly wait."""

_EVERY_SECONDS = 600.0
_PAUSE_SECONDS = 0.05


async def delete_older(store: Store, before: int) -> int:
    """Delete all events received before the time `before` (µs), little by little; return how many.

    Age counts from when the backend received an event, not from what the agent's clock said: an agent whose clock is
    wrong can't make its events vanish. Events are deleted in the order in which they came, up to the first that is
    young enough: a backend clock that was moved back makes events stay longer, never shorter.

    Raises:
        StoreUnavailable: the store did not answer; what was deleted stays deleted.
    """
    total = 0
    while True:
        deleted = await store.purge(before, BATCH)
        total += deleted
        if deleted < BATCH:
            return total
        await asyncio.sleep(_PAUSE_SECONDS)


async def keep_retention(store: Store, days: int, expired: Callable[[int], None]) -> None:
    """Delete events `days` after they were received, until cancelled; report to `expired` how many."""
    while True:
        try:
            deleted = await delete_older(store, time.time_ns() // 1000 - days * DAY_US)
        except StoreUnavailable as error:
            log.warning("retention has to wait", extra={"reason": error.reason})
        except Exception as error:
            log.error("retention failed", extra={"error": type(error).__name__})
        else:
            expired(deleted)
            if deleted:
                log.info("retention deleted events", extra={"events": deleted, "older_than_days": days})
        await asyncio.sleep(_EVERY_SECONDS)
