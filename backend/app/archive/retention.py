"""Deleting bundles that are older than they have to be kept. One that is held or locked stays."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from app.archive.storage import Storage
from app.archive.trail import event_of
from app.store.base import StoreUnavailable, WriteConnection
from app.store.bundles import Kept, Wanted, forget_bundle, select_bundles
from app.store.store import Store

log = logging.getLogger(__name__)

DAY_US = 24 * 60 * 60 * 1_000_000
BATCH = 50

_EVERY_SECONDS = 600.0


def forget(connection: WriteConnection, kept: Kept, by: str) -> bool:
    """Forget a bundle unless it is held; return whether that is done. It is recorded, and by whom.

    Its file goes afterwards: `archive check` finds what a crash leaves.
    """
    one = kept.bundle
    event = event_of("purged", one.digest, by, subject=one.subject, received_at=kept.received_at)
    return forget_bundle(connection, one.digest, event)


async def keep_bundle_retention(store: Store, storage: Storage, days: int | None, agents: Mapping[str, int]) -> None:
    """Delete bundles so many days after they came, until cancelled.

    Args:
        days: for all agents that are not in `agents`; None: keep theirs.
    """
    while True:
        try:
            for agent in [*agents, None]:
                age = days if agent is None else agents[agent]
                if age is None:
                    continue
                before = _now() - age * DAY_US
                wanted = Wanted(
                    agent=agent, until=before, held=False, unlocked_at=_now(), but=() if agent else tuple(agents)
                )
                await _purge(store, storage, wanted)
        except StoreUnavailable as error:
            log.warning("retention of bundles has to wait", extra={"reason": error.reason})
        except Exception as error:
            log.error("retention of bundles failed", extra={"error": type(error).__name__})
        await asyncio.sleep(_EVERY_SECONDS)


async def _purge(store: Store, storage: Storage, wanted: Wanted) -> None:
    after = None
    while found := await store.read(lambda connection: select_bundles(connection, wanted, after, BATCH)):  # noqa: B023  awaited
        for kept in found:
            # What a store far away is asked doesn't keep the thread that writes waiting.
            digest = kept.bundle.digest
            reason = await asyncio.to_thread(storage.locked, digest)
            if reason is not None:
                log.warning("a bundle has to stay", extra={"digest": digest, "reason": reason})
            elif await store.write(lambda connection: forget(connection, kept, "retention")):  # noqa: B023  awaited
                await asyncio.to_thread(storage.remove, digest)
        after = (found[-1].received_at, found[-1].bundle.digest)


def _now() -> int:
    return time.time_ns() // 1000
