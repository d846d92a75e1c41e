"""The running log: takes entries, signs, brings the heads of streams in, and asks the witnesses."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from app.log.checkpoint import Checkpoint
from app.log.cosigning import Answer, Request, ask_cosignature, fetch_witnessed, new_signatures
from app.log.entries import Entry
from app.log.faults import Fault
from app.log.guard import Guard, open_guard, require_continued
from app.log.note import Signature, signatures_of
from app.log.policy import Policy, Witness, read_policy
from app.log.tree import prove_consistency
from app.log.verify import checkpoint_of
from app.store.base import ReadConnection, StoreUnavailable
from app.store.log import (
    Logged,
    Published,
    StoredTree,
    add_entries,
    latest,
    publish,
    seal_events,
    store_cosigned,
)
from app.store.store import Store

log = logging.getLogger(__name__)

GROUP_ENTRIES = 2000
"""No further entries join so many in one transaction."""
MAX_WAITING = 20_000

_AGAIN_SECONDS = 300
"""An unchanged tree is cosigned anew so often, so that its readers see that it is not an old one."""
_FAILURES = (OSError, HTTPException, Fault)
"""What talking to a witness may end with; nothing of it says anything about this log."""
_PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)


@dataclass(frozen=True)
class _Waiting:
    entries: Sequence[Entry]
    future: asyncio.Future[list[Logged]]


class Sequencer:
    """Adds to the log, in groups, and acknowledges what is durable and signed.

    Args:
        policy: which witnesses are asked; None: none.
        seal_seconds: how often the heads of the streams go into the log.
    """

    def __init__(self, store: Store, guard: Guard, policy: Policy | None, seal_seconds: float) -> None:
        self.guard = guard
        self._store = store
        self.policy = policy
        self._seal_seconds = seal_seconds
        self._waiting: list[_Waiting] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._published = asyncio.Event()
        self._sizes: dict[str, int] = {}  # of the tree that each witness has, as far as is known
        self.halted: Fault | None = None

    async def start(self) -> None:
        """Sign what was stored and not signed yet, and begin.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        try:
            await self._compare_with_witnesses()
            await self._store.write(lambda connection: publish(connection, self.guard))
        except Fault as fault:
            self._halt(fault)
        self._tasks = [asyncio.create_task(self._add()), asyncio.create_task(self._seal())]
        if self._witnesses():
            self._published.set()
            self._tasks.append(asyncio.create_task(self._cosign()))

    async def stop(self) -> None:
        """End; what waits is refused."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._waiting:
            _fail(waiting, StoreUnavailable("the backend is shutting down", 5))

    async def add(self, entries: Sequence[Entry]) -> list[Logged]:
        """Return where the entries are, once that is durable and signed.

        Raises:
            StoreUnavailable: they may or may not be in the log; the same again is safe.
            Fault: the log is halted.
        """
        if self.halted is not None:
            raise _copy_of(self.halted)
        if sum(len(one.entries) for one in self._waiting) + len(entries) > MAX_WAITING:
            raise StoreUnavailable("too many entries are waiting for the log")
        waiting = _Waiting(entries, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        return await waiting.future

    async def _add(self) -> None:
        while True:
            await self._wake.wait()
            group: list[_Waiting] = []
            count = 0
            while self._waiting and count < GROUP_ENTRIES:
                group.append(self._waiting.pop(0))
                count += len(group[-1].entries)
            if not self._waiting:
                self._wake.clear()
            entries = [entry for one in group for entry in one.entries]
            try:
                if self.halted is not None:
                    raise self.halted
                places = await self._store.write(lambda connection: add_entries(connection, self.guard, entries))  # noqa: B023  awaited
            except asyncio.CancelledError:
                for one in group:
                    _fail(one, StoreUnavailable("the backend is shutting down", 5))
                raise
            except Exception as error:
                self._note(error)
                for one in group:
                    _fail(one, _copy_of(error))
                continue
            self._published.set()
            at = 0
            for one in group:
                if not one.future.done():
                    one.future.set_result(places[at : at + len(one.entries)])
                at += len(one.entries)

    async def _seal(self) -> None:
        while True:
            try:
                if self.halted is None:
                    await self.seal()
            except Exception as error:
                self._note(error)
            await asyncio.sleep(self._seal_seconds)

    async def seal(self) -> None:
        """Bring the heads of all streams that got events into the log.

        Raises:
            StoreUnavailable, Fault: not now, or not any more.
        """
        through = await self._store.write(lambda connection: connection.last_position())
        while await self._store.write(lambda connection: seal_events(connection, self.guard, through, _now())):
            self._published.set()

    @property
    def has_witnesses(self) -> bool:
        """Whether somebody is asked to cosign."""
        return bool(self._witnesses())

    def _witnesses(self) -> list[Witness]:
        return [witness for witness in self.policy.witnesses if witness.url] if self.policy else []

    async def _compare_with_witnesses(self) -> None:
        """Do nothing if what the witnesses saw of this log is still in it. One that doesn't answer is not waited for.

        Raises:
            Fault: it isn't: the store and what is beside the key were restored from a backup together.
        """
        await asyncio.gather(*(self._compare_with(witness) for witness in self._witnesses()))

    async def _compare_with(self, witness: Witness) -> None:
        try:
            note = await asyncio.to_thread(fetch_witnessed, witness.url, self.guard.origin)
            if note is None:
                return
            # Only what this log signed says something: else a witness could halt it.
            seen, _ = checkpoint_of(note, [key.verifier for key in self.guard.keys])
        except _FAILURES as error:
            _warn(witness, error)
            return
        await self._store.read(lambda connection: _require_seen(connection, seen))

    async def _cosign(self) -> None:
        failures = 0
        while True:
            try:
                async with asyncio.timeout(_AGAIN_SECONDS):
                    await self._published.wait()
            except TimeoutError:
                pass
            self._published.clear()
            try:
                done = self.halted is not None or await self._cosign_latest()
            except Exception as error:
                self._note(error)
                done = False
            if done:
                failures = 0
                continue
            await asyncio.sleep(_PAUSES[min(failures, len(_PAUSES) - 1)])
            failures += 1
            self._published.set()

    async def _cosign_latest(self) -> bool:
        """Ask every witness for the newest checkpoint; return whether all answered with their signature."""
        published = await self._store.read(latest)
        if published is None or self.policy is None:
            return True
        answers = await asyncio.gather(*(self._ask(witness, published) for witness in self._witnesses()))
        found = [signature for signatures in answers for signature in signatures]
        if found:
            note, policy = new_signatures(published.note, found), self.policy
            keys = [witness.key for witness in policy.witnesses]
            await self._store.write(
                lambda connection: store_cosigned(
                    connection, note, lambda merged: policy.is_met(set(signatures_of(merged, keys)))
                )
            )
        return all(answers)

    async def _ask(self, witness: Witness, published: Published) -> list[Signature]:
        """Return the witness's signatures under a checkpoint; none when it doesn't sign."""
        for _ in range(3):
            try:
                answer = await self._submit(witness, published, self._sizes.get(witness.name, 0))
                if answer.status == 200:
                    valid = [one for one in answer.signatures if witness.key.signed(one)]
                    for one in valid:
                        witness.key.time_of(published.note.text, one)
                    self._sizes[witness.name] = published.checkpoint.size
                    return valid
            except _FAILURES as error:
                _warn(witness, error)
                return []
            if answer.status in (409, 422):
                await self._compare_with(witness)
            if answer.size is None or answer.size > published.checkpoint.size:
                break  # another backend was quicker
            self._sizes[witness.name] = answer.size
        log.warning("a witness does not sign", extra={"witness": witness.name, "status": answer.status})
        return []

    async def _submit(self, witness: Witness, published: Published, old: int) -> Answer:
        size = published.checkpoint.size
        proof = await self._store.read(lambda connection: prove_consistency(old, size, StoredTree(connection).subtree))
        request = Request(old, tuple(proof), published.note)
        return await asyncio.to_thread(ask_cosignature, witness.url, request)

    def _note(self, error: Exception) -> None:
        if isinstance(error, Fault):
            self._halt(error)
        elif isinstance(error, StoreUnavailable):
            log.warning("the log has to wait", extra={"reason": error.reason})
        else:
            log.error("the log failed", extra={"error": type(error).__name__})

    def _halt(self, fault: Fault) -> None:
        if self.halted is None:
            log.error("the transparency log is halted and signs nothing", extra=fault.describe())
        self.halted = fault


def _now() -> int:
    return time.time_ns() // 1000


def _warn(witness: Witness, error: Exception) -> None:
    said = str(error) if isinstance(error, Fault) else type(error).__name__
    log.warning("a witness does not answer as it should", extra={"witness": witness.name, "error": said})


def open_sequencer(store: Store, key: Path, policy: Path | None, seal_seconds: float) -> Sequencer:
    """Return the log whose keys are in the file `key`; what it signed last is beside them.

    Raises:
        Fault: the keys or the policy can't be read.
    """
    return Sequencer(store, open_guard(key), None if policy is None else read_policy(policy), seal_seconds)


def _require_seen(connection: ReadConnection, seen: Checkpoint) -> None:
    tree = StoredTree(connection)
    require_continued(seen, tree.size, tree.subtree)


def _copy_of(error: Exception) -> Exception:
    """Return an error for one of those who wait: one that is raised again and again collects tracebacks."""
    if isinstance(error, Fault):
        return Fault(error.code, error.detail)
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(error.reason, error.retry_after)
    return StoreUnavailable("the log can't be written now", 5)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.future.done():
        waiting.future.set_exception(error)
