"""A small backend for tests: speaks real HTTP on loopback, stores what it is sent, and misbehaves on demand."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, Tuple

Answer = Tuple[int, Dict[str, str], Any]  # evaluated at run time, on Python 3.8 too


class Request:
    """One request as it arrived: when (monotonic), headers, and the lines of its body."""

    def __init__(self, path: str, headers: dict[str, str], lines: list[bytes]) -> None:
        self.at = time.monotonic()
        self.path = path
        self.headers = headers
        self.lines = lines


class Sink(ThreadingHTTPServer):
    """Answers as `mode` says: `ok`, `hang`, or a status number such as `503`.

    `answer` decides for itself when set: it gets the request and returns status, headers and JSON, or None for `ok`.
    `events` holds what was acknowledged, by event id; `requests` everything that arrived.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode = "ok"
        self.headers: dict[str, str] = {}
        self.answer: Callable[[Request], Answer | None] | None = None
        self.requests: list[Request] = []
        self.lines: list[bytes] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        """Acknowledged events by id; lines may be journal lines or bare events."""
        found = {}
        for line in list(self.lines):
            value = json.loads(line.decode())
            event = value.get("event", value)
            found[event["event_id"]] = event
        return found

    def __enter__(self) -> Sink:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is not an error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one write: two would meet Nagle's algorithm and wait for 40 ms
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request = Request(self.path, {name.lower(): value for name, value in self.headers.items()}, body.splitlines())
        sink = self.server
        sink.requests.append(request)
        answer = sink.answer(request) if sink.answer else None
        if answer is None and sink.mode == "hang":
            sink.released.wait(60)
            self.close_connection = True
            return
        if answer is None:
            answer = (201 if sink.mode == "ok" else int(sink.mode), sink.headers, {"title": "as the test wants"})
            if sink.mode == "ok":
                answer[2]["received"] = len(request.lines)
        status, headers, value = answer
        if 200 <= status < 300:
            sink.lines.extend(request.lines)
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
