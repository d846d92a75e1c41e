"""The client: what an agent calls to leave an audit trail."""

from __future__ import annotations

import os
import time
from _thread import get_ident
from collections import namedtuple
from weakref import WeakSet

from . import settings
from .events import MAX_RESOURCE, ActionType, ActorType, AuditEvent, EventStatus, member
from .recorder import Recorder
from .redact import as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Tuple, Type, TypeVar, Union

    from .segments import StrPath
    from .sender import Sender
    from .transport import DeliveryResult

    F = TypeVar("F", bound=Callable[..., Any])


class Counters(namedtuple("Counters", "captured delivered spooled rejected lost")):
    """What became of the events that this process captured.

    Attributes:
        captured: accepted by `capture()`.
        delivered: acknowledged by the backend.
        spooled: safe in the journal (or held in memory while no disk can be written), not delivered yet.
        rejected: refused by the backend for what they are; kept in `rejected/`.
        lost: not accepted, because no disk could be written and memory was full.
    """

    __slots__ = ()

    def to_dict(self) -> Dict[str, int]:
        """Return the numbers by name."""
        return dict(self._asdict())

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.to_dict().items() if value or name != "lost")


class AuditClient(Recorder):
    """Captures audit events into the journal of this process and delivers them to a backend when there is one.

    An argument left out is read from its environment variable, then has its default: README.md has the table of all.
    Without `api_url` the journal is everything, and no thread is started.

    Raises:
        SettingError: an argument or variable has an impossible value.
        InvalidEvent: the agent's or the trace's id breaks the contract of events.
    """

    def __init__(
        self,
        api_url: Optional[str] = None,
        api_key: Optional[str] = None,
        agent_instance_id: Optional[str] = None,
        trace_id: Optional[str] = None,
        journal_dir: Optional[StrPath] = None,
        strict: Optional[bool] = None,
        metadata: Optional[Mapping[str, Any]] = None,
        redact_patterns: Optional[Iterable[str]] = None,
        redact_env: Optional[Iterable[str]] = None,
        segment_bytes: Optional[int] = None,
        exit_timeout: Optional[float] = None,
        timeout: Optional[float] = None,
        flush_interval: Optional[float] = None,
        batch_events: Optional[int] = None,
    ) -> None:
        self.api_url = settings.text(api_url, "AIMGENTIX_API_URL")
        key = settings.text(api_key, "AIMGENTIX_API_KEY")
        self.exit_timeout = settings.number(exit_timeout, "AIMGENTIX_EXIT_TIMEOUT", float, 1.0, 0)
        self._metadata = dict(metadata or {})
        self._delivered = self._rejected = 0
        timeout = settings.number(timeout, "AIMGENTIX_TIMEOUT", float, 10.0, 0.001)
        interval = settings.number(flush_interval, "AIMGENTIX_FLUSH_INTERVAL", float, 1.0, 0.001)
        batch = settings.number(batch_events, "AIMGENTIX_BATCH_EVENTS", int, 500, 1)
        self._sender: Optional[Sender] = None
        if self.api_url:  # without a backend, none of this is even imported
            from .delivery import Deliverer
            from .sender import Sender
            from .transport import Transport

            self._transport = Transport(self.api_url, key, timeout)
            self._transport.prepare()  # here, and not in the sender's thread: a fork would find imports half done
        super().__init__(agent_instance_id, trace_id, journal_dir, strict, redact_patterns, redact_env, segment_bytes)
        if key:
            self._redactor.add_secret(key)
        if self.api_url:
            deliverer = Deliverer(self._transport, batch, self._progress)
            self._sender = Sender(self._journal, deliverer, interval, batch, self._failed)
        _clients.add(self)

    @property
    def counters(self) -> Counters:
        """What became of the events of this process so far."""
        captured, delivered, rejected = self._journal.accepted, self._delivered, self._rejected
        return Counters(captured, delivered, captured - delivered - rejected, rejected, self._journal.refused)

    def capture(self, event: AuditEvent, durable: bool = False) -> None:
        """Redact `event` and append it to the journal; it survives the death of the process when this returns.

        Args:
            event: what happened.
            durable: also wait until it survives a power cut (fsync).

        Raises:
            JournalError: `strict`, and the event is not safe on disk.

        What a log handler captures of the delivery of events is not recorded.
        """
        sender = self._sender
        if sender is not None and get_ident() in sender.threads:
            return  # delivery itself, as a log handler sees it: to record that would never end
        if self._metadata:
            event = event.replace(metadata={**self._metadata, **event.metadata})
        self._journal.append(self._redactor.encode(event), durable)
        if sender is not None:
            sender.nudge()

    def record(
        self,
        action_type: Union[ActionType, str],
        resource: str,
        status: Union[EventStatus, str] = EventStatus.SUCCESS,
        actor: Union[ActorType, str] = ActorType.AGENT,
        latency_ms: Optional[float] = None,
        metadata: Optional[Mapping[str, Any]] = None,
        durable: bool = False,
    ) -> AuditEvent:
        """Capture an event of this client's agent and trace, and return it.

        A resource that is too long is cut, and characters that the contract excludes are written as escapes.

        Raises:
            InvalidEvent: another field breaks the contract.
            JournalError: `strict`, and the event is not safe on disk.
        """
        event = AuditEvent(
            self.agent_instance_id,
            self.trace_id,
            actor,
            action_type,
            _fit(resource, MAX_RESOURCE),
            status,
            latency_ms,
            metadata,
        )
        self.capture(event, durable)
        return event

    def timed(
        self,
        action_type: Union[ActionType, str],
        resource: str,
        actor: Union[ActorType, str] = ActorType.AGENT,
        metadata: Optional[Mapping[str, Any]] = None,
        durable: bool = False,
    ) -> TimedAction:
        """Return a context manager, also usable as a decorator, that records one event with duration and outcome.

            with client.timed("api_call", "service/payments") as action:
                action.metadata["attempts"] = restart()

            @client.timed("tool_call", "restart")
            def restart(): ...

        The status is `success`, or `error` with the exception's type and message in `metadata.error`; the exception
        continues.
        """
        return TimedAction(self, action_type, resource, actor, metadata, durable)

    def add_secret(self, value: str) -> None:
        """Keep `value`, a secret that the environment did not show, out of every event from now on."""
        self._redactor.add_secret(value)

    def flush(self, timeout: Optional[float] = None) -> bool:
        """Make everything captured so far survive a power cut, and deliver it when there is a backend.

        Args:
            timeout: seconds that delivery may take, with as many attempts as fit; default `exit_timeout`.

        Returns:
            Whether all of it survives a power cut here or is stored by the backend and, with a backend, dealt with.

        Raises:
            JournalError: `strict`, and something is not safe on disk.
        """
        return self._flush(timeout, last=False)

    def close(self, timeout: Optional[float] = None) -> bool:
        """Flush with one attempt, and give up the journal's segment; runs by itself when the process exits.

        What is captured later is still journalled, but not delivered by this process.

        Args and result as those of `flush`.
        """
        return self._close(lambda: self._flush(timeout, last=True))

    def _flush(self, timeout: Optional[float], last: bool) -> bool:
        budget = self.exit_timeout if timeout is None else timeout
        deadline = time.monotonic() + 0.9 * budget  # the rest is for ending the process
        safe = False
        try:
            safe = self._journal.sync()
        finally:  # what can't be synced can still be delivered
            delivered = self._sender is None or self._sender.flush(deadline, last) or not self.counters.spooled
            if last and not delivered and budget > 0:
                self._say_once("backend", f"no time to deliver everything: events stay in {self.journal_dir}")
        return delivered and (safe or (self._sender is not None and not self.counters.spooled))

    def _progress(self, stream: str, delivered: int, rejected: int) -> None:
        if not stream or stream in self._journal.streams:  # not of a dead process whose segment was adopted
            self._delivered += delivered
            self._rejected += rejected
        if rejected:
            self._say_once("rejected", f"the backend refuses events; they are kept in {self.journal_dir}/rejected")

    def _failed(self, outcome: DeliveryResult) -> None:
        where = "in memory" if self._journal.held else f"in {self.journal_dir}"
        url = self._redactor.text(str(self.api_url))
        self._say_once("backend", f"can't deliver to {url} ({outcome.detail}): events stay {where} until it works")

    def _after_fork_in_child(self) -> None:
        self._delivered = self._rejected = 0
        if self._sender is not None:
            self._transport.after_fork()
            self._sender.threads.clear()
            self._sender.after_fork()


class TimedAction:
    """One timed action; see `AuditClient.timed`.

    Attributes:
        metadata: of the event to come; add to it while the action runs.
        event: the captured event, after the action.
    """

    def __init__(
        self,
        client: AuditClient,
        action_type: Union[ActionType, str],
        resource: str,
        actor: Union[ActorType, str],
        metadata: Optional[Mapping[str, Any]],
        durable: bool,
    ) -> None:
        kinds = member("actor", ActorType, actor), member("action_type", ActionType, action_type)
        self._arguments = (client, kinds[1], _fit(resource, MAX_RESOURCE), kinds[0], metadata, durable)
        self.metadata: Dict[str, Any] = dict(metadata or {})
        self.event: Optional[AuditEvent] = None
        self._started = 0.0
        self._harmless: Tuple[Type[BaseException], ...] = ()  # what ends it without being an error
        self._goes_on = False  # the call returned, and its work has not ended

    def __enter__(self) -> TimedAction:
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._goes_on and error is None:
            return
        latency = round((time.perf_counter() - self._started) * 1000, 3)
        client, action_type, resource, actor, _, durable = self._arguments
        status = EventStatus.SUCCESS
        leaving = isinstance(error, SystemExit) and error.code in (None, 0)
        if error is not None and not leaving and not isinstance(error, self._harmless):
            status = EventStatus.ERROR
            self.metadata.setdefault("error", {"type": type(error).__qualname__, "message": as_text(error)})
        self.event = client.record(action_type, resource, status, actor, latency, self.metadata, durable)

    def __call__(self, function: F) -> F:
        """Return `function`, timed and recorded on each call, when its work has ended.

        That is when a coroutine or another awaitable was awaited, a generator is exhausted or closed, a future is done.
        """
        import functools
        import inspect

        if inspect.iscoroutinefunction(function):
            timed = _coroutine(self._arguments, function)
        elif inspect.isgeneratorfunction(function):
            timed = _generator(self._arguments, function)
        elif inspect.isasyncgenfunction(function):
            timed = _async_generator(self._arguments, function)
        else:
            timed = _call(self._arguments, function)
        return functools.wraps(function)(timed)  # type: ignore[return-value]


def _call(arguments: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with TimedAction(*arguments) as action:
            result = function(*args, **kwargs)
            kind = type(result)
            follow = None
            is_future = callable(getattr(kind, "add_done_callback", None))
            if is_future:
                pass
            elif hasattr(kind, "__await__") and not hasattr(kind, "__aenter__"):
                follow = _coroutine
            elif hasattr(kind, "gi_frame"):
                follow = _generator
            elif hasattr(kind, "ag_frame"):
                follow = _async_generator
            action._goes_on = is_future or follow is not None
        if is_future:
            result.add_done_callback(lambda future: _end(action, future))
        return result if follow is None else follow(arguments, lambda: result)()

    return timed


def _end(action: TimedAction, future: Any) -> None:
    action._goes_on = False
    try:
        error = future.exception()
    except BaseException as cancelled:
        error = cancelled
    action.__exit__(type(error), error, None)


def _coroutine(arguments: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    async def timed(*args: Any, **kwargs: Any) -> Any:
        with TimedAction(*arguments):
            return await function(*args, **kwargs)

    return timed


def _generator(arguments: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with TimedAction(*arguments) as action:
            action._harmless = (GeneratorExit,)
            return (yield from function(*args, **kwargs))

    return timed


def _async_generator(arguments: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    async def timed(*args: Any, **kwargs: Any) -> Any:
        with TimedAction(*arguments) as action:
            action._harmless = (GeneratorExit,)
            work = function(*args, **kwargs)
            step = work.__anext__()
            while True:
                try:
                    value = await step
                except StopAsyncIteration:
                    return
                try:
                    step = work.asend((yield value))
                except GeneratorExit:
                    await work.aclose()
                    raise
                except BaseException as error:
                    step = work.athrow(error)

    return timed


def _fit(text: str, limit: int) -> str:
    """Return `text` as the contract wants it: no lone surrogates or U+0000, not empty, at most `limit` characters."""
    text = str(text).replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode() or "-"
    return text if len(text) <= limit else text[: limit - 1] + "…"


_clients: WeakSet[AuditClient] = WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
