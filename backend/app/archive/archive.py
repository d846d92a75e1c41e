"""The running archive: takes bundles, brings their digests into the transparency log, and gives them out again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from app.archive.attestation import MOST, read_attestations
from app.archive.bundle import Bundle, InvalidBundle, read_bundle
from app.archive.storage import Incoming, Storage
from app.archive.trail import by_of, event_of
from app.auth.keys import ApiKey
from app.log.entries import BUNDLE, Entry
from app.log.faults import Fault
from app.store.base import Conflicting, StoreUnavailable
from app.store.bundles import Kept, add_attestations, add_bundle, attestations_of, find_bundle
from app.store.store import Store

if TYPE_CHECKING:
    from app.store.sequencer import Sequencer

_BUFFER = 256 * 1024
_AT_ONCE = 4
"""Bundles that are unpacked at the same time."""
_POLL_SECONDS = 0.2
_CHECK_SECONDS = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Logged:
    """What the transparency log says of a bundle.

    Attributes:
        log: `none`: there is no log; `logged`; `halted` or `unavailable`: the bundle is kept, and not in the log yet.
        witnessed: whether the witnesses that the log's policy wants have signed the proof's checkpoint.
    """

    log: str
    proof: str | None = None
    witnessed: bool = False


class Archive:
    """Keeps bundles.

    Args:
        limit: most bytes of a bundle, packed, and unpacked.
        sequencer: the transparency log, if there is one.

    Attributes:
        failure: why bundles could not be kept when that was seen to last, or None.
    """

    def __init__(self, store: Store, storage: Storage, limit: int, sequencer: Sequencer | None) -> None:
        self.storage = storage
        self.limit = limit
        self._store = store
        self._log = sequencer
        self._room = asyncio.Semaphore(_AT_ONCE)
        self.failure: str | None = None

    async def receive(self, chunks: AsyncIterator[bytes], digest: str, key: ApiKey | None) -> tuple[Kept, bool]:
        """Keep the bundle that arrives, durably, if it is the one with this digest; return whether it is new.

        Args:
            key: who sends it.

        Raises:
            InvalidBundle: it isn't; nothing of it is kept.
            StoreUnavailable: it can't be kept now; the same again is safe.
        """
        with self.storage.incoming() as incoming:
            size = await self._write(incoming, chunks)
            async with self._room:
                bundle = await asyncio.to_thread(read_bundle, incoming.file, digest, self.limit)
            _require_allowed(bundle, key)
            locked_until = await asyncio.to_thread(self.storage.keep, incoming, digest)
        kept = Kept(bundle, time.time_ns() // 1000, by_of(key), size, locked_until=locked_until)
        new = await self._store.write(lambda connection: add_bundle(connection, kept))
        return kept, new

    async def _write(self, incoming: Incoming, chunks: AsyncIterator[bytes]) -> int:
        size = 0
        waiting = bytearray()
        async for chunk in chunks:
            size += len(chunk)
            if size > self.limit:
                raise InvalidBundle("bundle-too-large", f"it has more than {self.limit} bytes")
            waiting += chunk
            if len(waiting) >= _BUFFER:
                await asyncio.to_thread(incoming.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(incoming.write, bytes(waiting))
        return size

    async def log(self, bundle: Bundle, wait: float) -> Logged:
        """Bring a bundle into the transparency log and return the proof, cosigned if that comes in time.

        A log that can't take it now costs no bundle: it is kept, and delivering it again logs it.

        Args:
            wait: seconds for the witnesses.
        """
        if self._log is None:
            return Logged("none")
        from app.store.log import latest, prove  # only where there is a log: what it needs takes time and memory

        entry = Entry(BUNDLE, bundle.subject, bundle.digest, time.time_ns() // 1000)
        try:
            (place,) = await self._log.add([entry])
            deadline = time.monotonic() + (wait if self._log.has_witnesses else 0)
            while True:
                witnessed = await self._store.read(lambda connection: latest(connection, witnessed=True))
                covered = witnessed is not None and witnessed.checkpoint.size > place.index
                if covered or time.monotonic() >= deadline:
                    proof = await self._store.read(lambda connection: prove(connection, place.index))
                    return Logged("logged", None if proof is None else str(proof), covered)
                await asyncio.sleep(_POLL_SECONDS)
        except Fault:
            return Logged("halted")
        except StoreUnavailable:
            return Logged("unavailable")

    async def open(self, digest: str, key: ApiKey | None) -> BinaryIO | None:
        """Open a bundle, or return None; that it is read, and by whom, is recorded before.

        Raises:
            StoreUnavailable: it can't be recorded, or the file is missing.
        """
        kept = await self._store.read(lambda connection: find_bundle(connection, digest))
        if kept is None:
            return None
        try:
            file = await asyncio.to_thread(self.storage.open, digest)
        except InvalidBundle as problem:
            raise StoreUnavailable(f"what the archive has is not the bundle: {problem.detail}", 300) from None
        if file is None:
            raise StoreUnavailable("the bundle's file is missing in the archive; deliver the bundle again", 300)
        try:
            outcome = await self._store.append([event_of("read", digest, by_of(key), subject=kept.bundle.subject)])
        except BaseException:
            file.close()
            raise
        assert not isinstance(outcome, Conflicting)  # noqa: S101  its id is new
        return file

    async def attest(self, digest: str, data: bytes, key: ApiKey | None) -> tuple[int, int] | None:
        """Keep attestations beside their bundle; return how many are new and how many were there, or None: no bundle.

        Raises:
            InvalidBundle: they are not attestations of this bundle, or too many; none is kept.
        """
        kept = await self._store.read(lambda connection: find_bundle(connection, digest))
        if kept is None:
            return None
        _require_allowed(kept.bundle, key)
        lines = read_attestations(data, digest)
        given = {hashlib.sha256(line.encode()).hexdigest(): line for line in lines}
        now, by = time.time_ns() // 1000, by_of(key)
        new = await self._store.write(
            lambda connection: add_attestations(connection, digest, given, most=MOST, now=now, by=by)
        )
        if new is None:
            raise InvalidBundle("attestation-too-many", f"at most {MOST} are kept of one bundle")
        return new, len(given) - new

    async def attestations(self, digest: str, key: ApiKey | None) -> list[str] | None:
        """Return the attestations of a bundle, or None: no bundle. That they are read is recorded before."""
        kept, found = await self._store.read(
            lambda connection: (find_bundle(connection, digest), attestations_of(connection, digest))
        )
        if kept is None:
            return None
        facts = {"subject": kept.bundle.subject, "attestations": len(found)}
        await self._store.append([event_of("read", digest, by_of(key), **facts)])
        return found

    async def watch(self) -> None:
        """See again and again whether bundles can be kept, until cancelled; `failure` says why not."""
        while True:
            failure = None
            try:
                await asyncio.to_thread(self.storage.check)
            except StoreUnavailable as error:
                failure = error.reason
            if failure != self.failure:
                log.log(*(logging.INFO, "bundles can be kept again") if failure is None else (logging.ERROR, failure))
            self.failure = failure
            await asyncio.sleep(_CHECK_SECONDS)


async def stream(file: BinaryIO) -> AsyncIterator[bytes]:
    """Give what is in a file, and close it."""
    with file:
        while chunk := await asyncio.to_thread(file.read, _BUFFER):
            yield chunk


def _require_allowed(bundle: Bundle, key: ApiKey | None) -> None:
    if key is None:
        return
    for bound, found, what in (
        (key.repository, bundle.repository, "repository"),
        (key.agent, bundle.agent, "agent"),
    ):
        if bound is not None and bound != found:
            raise InvalidBundle("bundle-other-owner", f"the key writes for the {what} {bound}, not for {found or '?'}")
