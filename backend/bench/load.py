"""Making load: events as the SDK sends them, over kept connections, with as little work for this side as can be."""

from __future__ import annotations

import os
import random
import socket
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

HOST = "127.0.0.1"
TRACES = 200
AGENTS = 50


def new_id(milliseconds: int | None = None) -> str:
    """Return a UUID version 7 as the SDK makes them."""
    stamp = f"{time.time_ns() // 1_000_000 if milliseconds is None else milliseconds:012x}"
    tail = os.urandom(9).hex()
    return f"{stamp[:8]}-{stamp[8:]}-7{tail[:3]}-8{tail[3:6]}-{tail[6:]}"


def timestamp(milliseconds: int) -> str:
    """Return an RFC 3339 timestamp."""
    seconds, fraction = divmod(milliseconds, 1000)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{fraction:03d}000Z", time.gmtime(seconds))


class Events:
    """A source of events that look like those of real runs: many traces, one journal stream for each.

    Args:
        seed: two sources with one seed give the same traces and resources; None: no other source has the same. Two
            that write the same streams fork them, and then the backend has more to compare with every round.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311  load, no secrets
        self._traces = [f"{self._random.getrandbits(128):032x}" for _ in range(TRACES)]
        self._last: dict[int, tuple[int, str]] = {}

    def trace(self, number: int) -> str:
        """Return the id of a trace, from 0 to TRACES - 1."""
        return self._traces[number]

    def event(self, milliseconds: int, trace: int) -> str:
        """Return one event as JSON: about 420 bytes, like one of an agent on GitHub Actions."""
        resource = f"service/{self._random.randrange(200)}"
        return (
            f'{{"event_id":"{new_id(milliseconds)}","timestamp":"{timestamp(milliseconds)}"'
            f',"agent_instance_id":"restarter-{trace % AGENTS}","trace_id":"{self._traces[trace]}"'
            f',"actor":"agent","action_type":"api_call","resource":"{resource}","status":"success","latency_ms":12.5'
            f',"metadata":{{"attempt":1,"gha":{{"run_id":"{4_000_000_000 + trace}","run_attempt":1'
            f',"workflow":"Agent Runtime","job":"act","sha":"{self._traces[trace]}00000000"}}}}}}'
        )

    def run(self, number: int) -> str:
        """Return the last event of one of the gate's runs as JSON: how it ended, on what, and who approved."""
        outcome = ("acted", "acted", "rejected", "refused", "nothing_to_do")[number % 5]
        return (
            f'{{"event_id":"{new_id()}","timestamp":"{timestamp(time.time_ns() // 1_000_000)}"'
            f',"agent_instance_id":"restarter-{number % AGENTS}","trace_id":"{4_000_000_000 + number}-1"'
            f',"actor":"system","action_type":"tool_call","resource":"service/{number % 997}","status":"success"'
            f',"metadata":{{"step":"terminal","outcome":"{outcome}"'
            f',"approvers":[{{"login":"reviewer-{number % 101}","id":{number % 101},"type":"User"}}]'
            f',"steps":[{{"action":"restart_service","status":"success"}}]'
            f',"gha":{{"run_id":"{4_000_000_000 + number}","run_attempt":1,"job":"record"'
            f',"repository":"acme/restarter-{number % AGENTS}"}}}}}}'
        )

    def lines(self, count: int, milliseconds: int | None = None) -> list[str]:
        """Return `count` lines of the journal of one stream."""
        now = time.time_ns() // 1_000_000 if milliseconds is None else milliseconds
        trace = self._random.randrange(TRACES)
        start, prev = self._last.get(trace, (0, "null"))
        head = f'{{"v":1,"stream":"20261122T110000Z-{os.getpid()}-{self._traces[trace][:16]}"'
        lines = []
        for seq in range(start + 1, start + count + 1):
            lines.append(f'{head},"seq":{seq},"prev":{prev},"event":{self.event(now, trace)}}}')
            prev = f'"{sha256(lines[-1].encode()).hexdigest()}"'
        self._last[trace] = (start + count, prev)
        return lines


def post(path: str, media_type: str, body: bytes, headers: str = "") -> bytes:
    """Return a whole HTTP/1.1 request."""
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {media_type}\r\n{headers}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """Return a whole HTTP/1.1 request."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


class Connection:
    """A kept HTTP/1.1 connection that expects answers with a Content-Length. It never blocks."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((HOST, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.began = 0.0
        self._unsent = memoryview(b"")
        self._answer = b""

    def send(self, request: bytes) -> bool:
        """Send a request, or as much of it as there is room for; return whether that was all."""
        self.began = time.perf_counter()
        self._unsent = memoryview(request)
        return self.send_more()

    def send_more(self) -> bool:
        """Go on sending; return whether the whole request is sent."""
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        return not self._unsent

    def receive(self) -> tuple[int, bytes] | None:
        """Return status and body of the answer, or None when its end has not come yet."""
        came = self.socket.recv(1 << 20)
        if not came:
            raise ConnectionResetError("the backend ended a connection")
        self._answer += came
        head, end, body = self._answer.partition(b"\r\n\r\n")
        start = head.lower().find(b"content-length:")
        if not end or len(body) < int(head[start:].partition(b"\r\n")[0][len(b"content-length:") :]):
            return None
        self._answer = b""
        return int(head[9:12]), body


@dataclass(frozen=True)
class Result:
    """The result of a load.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each request, in seconds, sorted.
        processor_seconds: what this side took of a processor.
    """

    seconds: float
    latencies: Sequence[float]
    processor_seconds: float

    def percentile(self, share: float) -> float:
        """Return the latency in milliseconds that this share of the requests did not exceed."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))] * 1000


def drive(port: int, requests: Sequence[bytes], connections: int, expected: Sequence[int] = (200, 201)) -> Result:
    """Send all requests over that many connections, each waiting for its answer, and measure.

    Raises:
        RuntimeError: an answer has another status than `expected`.
    """
    waiting = deque(requests)
    latencies: list[float] = []
    with DefaultSelector() as selector:
        opened = [Connection(port) for _ in range(min(connections, len(requests)))]
        for connection in opened:
            selector.register(connection.socket, EVENT_READ, connection)
        spent, started = time.process_time(), time.perf_counter()
        for connection in opened:
            if not connection.send(waiting.popleft()):
                selector.modify(connection.socket, EVENT_READ | EVENT_WRITE, connection)
        while len(latencies) < len(requests):
            for key, events in selector.select():
                connection = key.data
                if events & EVENT_WRITE and connection.send_more():
                    selector.modify(connection.socket, EVENT_READ, connection)
                answer = connection.receive() if events & EVENT_READ else None
                if answer is None:
                    continue
                latencies.append(time.perf_counter() - connection.began)
                if answer[0] not in expected:
                    raise RuntimeError(f"{answer[0]} {answer[1][:500]!r}")
                if waiting and not connection.send(waiting.popleft()):
                    selector.modify(connection.socket, EVENT_READ | EVENT_WRITE, connection)
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
    for connection in opened:
        connection.socket.close()
    return Result(seconds, sorted(latencies), spent)
