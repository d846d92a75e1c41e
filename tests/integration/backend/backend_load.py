"""Agents that never give up: they send journal lines like the SDK, and remember what was acknowledged."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from typing import Any
from uuid import uuid4

from backend_client import LINES, Client, chained, eventually, line
from bench.servers import HOST


class Agent(threading.Thread):
    """Sends batch after batch of one stream, each again and again until it is acknowledged.

    Attributes:
        trace: its trace and its stream.
        acknowledged: ids of the events that the backend answered for with 200 or 201.
        statuses: how often each status came, 0 for no answer.
    """

    def __init__(self, port: int, *, single: bool = False) -> None:
        super().__init__(daemon=True)
        self.trace = uuid4().hex
        self.acknowledged: list[str] = []
        self.statuses: Counter[int] = Counter()
        self._port = port
        self._single = single
        self._seq = 0
        self._last: dict[str, Any] | None = None
        self._halt = threading.Event()

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._halt.is_set():
            new = [self._line() for _ in range(1 if self._single else random.randint(1, 60))]
            lines = chained(new, self._last)
            self._last = lines[-1]
            body = "\n".join(map(json.dumps, lines)).encode()
            while not self._halt.is_set():
                status = 0
                try:
                    connection = connection or http.client.HTTPConnection(HOST, self._port, timeout=30)
                    connection.request("POST", "/v1/events/batch", body, {"Content-Type": LINES})
                    answer = connection.getresponse()
                    answer.read()
                    status = answer.status
                except (OSError, http.client.HTTPException):
                    connection = None
                self.statuses[status] += 1
                if status in (200, 201):
                    self.acknowledged += [one["event"]["event_id"] for one in lines]
                    break
                time.sleep(0.02)

    def _line(self) -> dict[str, Any]:
        self._seq += 1
        return line(self.trace, self._seq, trace_id=self.trace, agent_instance_id=self.trace)

    def finish(self) -> None:
        """Send no more."""
        self._halt.set()
        self.join(60)
        assert not self.is_alive()


def load(port: int, agents: int = 4) -> list[Agent]:
    """Start agents, half of which send single events."""
    started = [Agent(port, single=bool(number % 2)) for number in range(agents)]
    for agent in started:
        agent.start()
    return started


def settle(agents: list[Agent], *, new: int = 200) -> int:
    """Wait until every agent got `new` more events acknowledged, so that all that happened before is behind them.

    An agent that sends single events is not waited for so long. Returns how many events that were at least.
    """
    more = [new // 20 if agent._single else new for agent in agents]
    marks = [len(agent.acknowledged) + each for agent, each in zip(agents, more, strict=True)]
    for agent, mark in zip(agents, marks, strict=True):
        eventually(lambda agent=agent, mark=mark: len(agent.acknowledged) >= mark, 120)  # type: ignore[misc]
    return sum(more)


def verify(port: int, agents: list[Agent]) -> int:
    """Check that all acknowledged events are stored, none twice, and in order; return how many."""
    client = Client(port)
    total = 0
    for agent in agents:
        stored = client.events(f"/v1/traces/{agent.trace}/events")
        places = Counter(one["seq"] for one in stored)
        assert not [seq for seq, count in places.items() if count > 1], "an event is stored twice"
        found = {one["event_id"] for one in stored}
        assert len(found) == len(stored), "an event is stored twice"
        lost = [one for one in agent.acknowledged if one not in found]
        assert not lost, f"{len(lost)} of {len(agent.acknowledged)} acknowledged events are lost"
        assert [one["seq"] for one in stored] == sorted(places), "events are out of order"
        gaps = client.get(f"/v1/traces/{agent.trace}/gaps").json
        assert gaps["missing"] == 0
        assert [(stream["forked"], stream["broken"]) for stream in gaps["streams"]] == [([], [])]
        total += len(agent.acknowledged)
    return total
