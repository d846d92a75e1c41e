"""A plain HTTP client for tests, and events to send."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
from bench.servers import BACKEND, HOST

HERE = Path(__file__).resolve().parent

LINES = "application/x-ndjson"
JSON = "application/json"
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fields(self) -> list[str]:
        """The fields that a problem names."""
        assert self.headers["content-type"] == PROBLEM, self
        assert self.json["status"] == self.status
        return [error.get("field", "") for error in self.json.get("errors", [])]


class Client:
    """Sends one request a connection."""

    def __init__(self, port: int, key: str | None = None) -> None:
        self.port = port
        self.headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def ask(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None, /, **headers: str) -> Answer:
        """Send a request; `content_type="…"` becomes the header Content-Type."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {**self.headers, **named})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, event: Any, **headers: str) -> Answer:
        return self.ask("POST", "/v1/events", json.dumps(event).encode(), **{"content_type": JSON, **headers})

    def post_lines(self, events: Iterable[Any], **headers: str) -> Answer:
        body = "".join(f"{json.dumps(event)}\n" for event in events).encode()
        return self.ask("POST", "/v1/events/batch", body, **{"content_type": LINES, **headers})

    def events(self, path: str) -> list[dict[str, Any]]:
        """Return all events of a list, page by page."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            separator = "&" if "?" in path else "?"
            answer = self.get(f"{path}{separator}limit=1000{cursor}")
            assert answer.status == 200, answer
            found += answer.json["events"]
            if answer.json["next"] is None:
                return found
            cursor = f"&cursor={answer.json['next']}"


def event(**members: Any) -> dict[str, Any]:
    """Return a new event; a member given as `...` is left out."""
    whole = {
        "event_id": str(uuid4()),
        "timestamp": "2026-11-22T11:00:00.123456Z",
        "agent_instance_id": "restarter-1",
        "trace_id": "run-42",
        "actor": "agent",
        "action_type": "api_call",
        "resource": "service/payments",
        "status": "success",
        "latency_ms": 12.5,
        "metadata": {"attempt": 1},
    }
    return {name: value for name, value in (whole | members).items() if value is not ...}


def line(stream: str, seq: int, **members: Any) -> dict[str, Any]:
    """Return a journal line with a new event. It follows no other line; `chained` makes that so."""
    return {
        "v": 1,
        "stream": stream,
        "seq": seq,
        "prev": None if seq == 1 else f"{seq:064x}",
        "event": event(**members),
    }


def line_hash(whole: dict[str, Any]) -> str:
    """Return the hash of a line as `post_lines` sends it."""
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def chained(lines: Iterable[dict[str, Any]], before: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the lines of one stream, each with the hash of the line before it."""
    chain: list[dict[str, Any]] = []
    for one in lines:
        chain.append(one if before is None else one | {"prev": line_hash(before)})
        before = chain[-1]
    return chain


def eventually(done: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is so. The bound only ends a test that would wait forever."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def administer(database_url: str, *statements: str) -> list[Any]:
    """Run statements as an administrator would, and return what the last one selects."""
    rows: list[Any] = []
    if database_url.startswith("sqlite"):
        path = database_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as file:
            for statement in statements:
                rows = file.execute(statement).fetchall()
    else:
        with psycopg.connect(database_url, autocommit=True) as session:
            for statement in statements:
                cursor = session.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
    return rows


def trail_of(database_url: str) -> list[dict[str, Any]]:
    """Return the events of the backend's own trail, in the order in which they were stored."""
    sql = "SELECT body FROM events WHERE trace_id = 'aimgentix-archive' ORDER BY position"
    return [json.loads(body) for (body,) in administer(database_url, sql)]


def command(database_url: str, *arguments: str, expected: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `python -m app …` as an operator does."""
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=BACKEND,
        env={**os.environ, "DATABASE_URL": database_url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expected, done
    return done
