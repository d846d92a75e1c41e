"""The sender: one thread that delivers the journal while the process lives, and for a bounded time when it ends."""

from __future__ import annotations

import threading
import time
from queue import Empty, SimpleQueue

from .delivery import OUT_OF_TIME, Deliverer, Undelivered, backoff
from .segments import segment_paths
from .transport import MISCONFIGURED, UNAVAILABLE, DeliveryResult

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, ClassVar, Dict, List, Optional, Set, Tuple

    from .journal import Journal

    _Flush = Tuple[SimpleQueue[bool], float, bool]  # where the answer goes, until when it is wanted, whether to end

MISCONFIGURED_PAUSE = 300.0
ORPHANS_EVERY = 30.0
ORPHANS_AT_ONCE = 100  # looked at in one pass, so that a short process among many old segments stays a short one


class Sender:
    """Delivers what `journal` holds, and what dead processes left beside it.

    The thread starts with the first event, so that constructing a client starts nothing. It waits for commands on a
    `SimpleQueue`, whose `put` is safe even in a signal handler.

    Args:
        journal: the journal of this process.
        deliverer: how lines get to the backend.
        interval: seconds between passes.
        nudge_events: a pass is made at once after so many new events.
        on_failure: called with the outcome of each pass that failed, or passed something over.

    Attributes:
        threads: idents of the threads that run senders.
    """

    threads: ClassVar[Set[int]] = set()

    def __init__(
        self,
        journal: Journal,
        deliverer: Deliverer,
        interval: float,
        nudge_events: int,
        on_failure: Callable[[DeliveryResult], None],
    ) -> None:
        self._journal = journal
        self._deliverer = deliverer
        self._interval = interval
        self._nudge_events = nudge_events
        self._on_failure = on_failure
        self._settled: Dict[str, int] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """Begin anew: the thread of the parent does not exist in the child."""
        self._thread: Optional[threading.Thread] = None
        self._commands: SimpleQueue[Optional[_Flush]] = SimpleQueue()  # None: many new events
        self._new_events = 0
        self._failures = 0
        self._delay = self._interval
        self._not_before = 0.0  # the backend asked for patience until then
        self._orphans_at = 0.0
        self._orphans: List[str] = []  # still to be looked at, the newest last
        self._own: Dict[str, None] = {}  # segments that this process has closed, and that are not settled
        self._starting = threading.Lock()
        self._ended = False

    def nudge(self) -> None:
        """Note that an event was captured."""
        self._new_events += 1
        if self._thread is None:
            self._start()
        elif self._new_events == self._nudge_events:
            self._commands.put(None)

    def flush(self, deadline: float, last: bool = False) -> bool:
        """Deliver everything captured so far; return whether that worked before `deadline` (`time.monotonic()`).

        A failed attempt is repeated, as often as the time and the backend's wish for patience allow. With `last`
        there is one attempt only, and the thread ends with it.
        """
        while (self._thread or self._journal.accepted) and self._start():
            reply: SimpleQueue[bool] = SimpleQueue()
            self._commands.put((reply, deadline, last))
            try:
                done = reply.get(timeout=max(deadline - time.monotonic(), 0.001))
            except Empty:
                done = False
            self._ended = self._ended or last
            if done or last or time.monotonic() + self._delay >= deadline:
                return done
            time.sleep(self._delay)
        self._ended = self._ended or last  # an interpreter that goes down starts no thread, and may wait for it forever
        return False

    def _start(self) -> bool:
        """Start the thread unless it runs or is being started; return whether there is one to wait for."""
        if self._thread is None and not self._ended and self._starting.acquire(blocking=False):
            thread = threading.Thread(target=self._run, name="aimgentix-sender", daemon=True)
            try:
                thread.start()
                self._thread = thread
            except RuntimeError:  # the interpreter is going down: the journal keeps what is not delivered
                self._ended = True
        return not self._ended

    def _run(self) -> None:
        self.threads.add(threading.get_ident())
        last = False
        while not last:
            asked = self._wait()
            self._new_events = 0
            done = self._pass(min((deadline for _, deadline, _ in asked), default=None))
            for reply, _, is_last in asked:
                reply.put(done)
                last = last or is_last
        self._deliverer.close()
        self.threads.discard(threading.get_ident())

    def _wait(self) -> List[_Flush]:
        """Wait until the next pass is due, or asked for; return the flushes that it will answer."""
        asked: List[_Flush] = []
        due = time.monotonic() + self._delay
        while True:
            try:
                left = 0.0 if asked else due - time.monotonic()
                command = self._commands.get(timeout=left) if left > 0 else self._commands.get_nowait()
            except Empty:
                return asked
            if command is not None:
                asked.append(command)
            elif not self._failures:  # many new events: no reason to wait, unless the backend is down
                due = 0.0

    def _pass(self, deadline: Optional[float]) -> bool:
        """Deliver what there is; return whether all of it was."""
        if time.monotonic() < self._not_before:
            return False
        try:
            self._deliverer.begin(deadline)
            done = self._deliver()
            self._failures, self._delay = 0, self._interval
            if self._deliverer.problem and not self._ended:
                self._on_failure(self._deliverer.problem)
            return done
        except Undelivered as error:
            outcome = error.outcome
        except Exception as error:  # the thread must live on: a full disk goes away again
            outcome = DeliveryResult(UNAVAILABLE, f"{type(error).__name__}: {error}")
        self._failures += 1
        self._delay = MISCONFIGURED_PAUSE if outcome.kind == MISCONFIGURED else backoff(self._failures)
        if outcome.retry_after:
            self._delay = max(self._delay, outcome.retry_after)
            self._not_before = time.monotonic() + outcome.retry_after
        if not self._ended and outcome is not OUT_OF_TIME:
            self._on_failure(outcome)
        return False

    def _deliver(self) -> bool:
        """Deliver what this process has, then some of what others left; return whether all of its own is dealt with."""
        deliverer = self._deliverer
        self._own.update(dict.fromkeys(self._journal.release_retired()))
        paths = self._journal.paths
        done = [deliverer.deliver(path) for path in paths]
        done.append(deliverer.deliver_held(self._journal))
        deliverer.deliver_orphans(list(self._own), self._settled, paths)
        for path in [path for path in self._own if path in self._settled]:
            del self._own[path]
        done.append(not deliverer.problem)
        now = time.monotonic()
        if self._journal.directory and not self._orphans and now >= self._orphans_at:
            self._orphans = segment_paths(self._journal.directory)
            self._orphans_at = now + ORPHANS_EVERY
        some, self._orphans = self._orphans[-ORPHANS_AT_ONCE:], self._orphans[:-ORPHANS_AT_ONCE]
        deliverer.deliver_orphans(reversed(some), self._settled, paths)
        return all(done)
