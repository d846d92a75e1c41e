"""Deleting bundles that are older than they have to be kept. One that is held stays."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from app.archive.folder import Folder
from app.archive.trail import event_of
from app.store.base import StoreUnavailable, WriteConnection
from app.store.bundles import Wanted, forget_bundle, select_bundles
from app.store.store import Store

log = logging.getLogger(__name__)

DAY_US = 24 * 60 * 60 * 1_000_000
BATCH = 50

_EVERY_SECONDS = 600.0


def purge_bundles(connection: WriteConnection, folder: Folder, wanted: Wanted, by: str) -> int:
    """Delete the oldest of the wanted bundles that are not held, at most `BATCH`; return how many.

    What is deleted, and by whom, is recorded with it. The file goes last: `archive check` finds what a crash leaves.

    Raises:
        StoreUnavailable: not now; what was deleted stays deleted.
    """
    deleted = 0
    for kept in select_bundles(connection, wanted, None, BATCH):
        one = kept.bundle
        event = event_of("purged", one.digest, by, subject=one.subject, received_at=kept.received_at)
        if forget_bundle(connection, one.digest, event):
            folder.remove(one.digest)
            deleted += 1
    return deleted


async def keep_bundle_retention(store: Store, folder: Folder, days: int | None, agents: Mapping[str, int]) -> None:
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
                before = time.time_ns() // 1000 - age * DAY_US
                wanted = Wanted(agent=agent, until=before, held=False, but=() if agent else tuple(agents))
                while await store.write(lambda connection: purge_bundles(connection, folder, wanted, "retention")):  # noqa: B023  awaited
                    await asyncio.sleep(0)
        except StoreUnavailable as error:
            log.warning("retention of bundles has to wait", extra={"reason": error.reason})
        except Exception as error:
            log.error("retention of bundles failed", extra={"error": type(error).__name__})
        await asyncio.sleep(_EVERY_SECONDS)
