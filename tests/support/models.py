"""A provider of language models on the loopback interface, which answers like OpenAI's chat completions, or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# What one request is answered with: status, headers, body; None hangs, and a body of more than its length breaks off.
Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Provider:
    """What was asked of it, and how it answers: each reply once, the last one again and again."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    replies: list[Reply | None] = field(default_factory=list)


def said(tool: str, arguments: Any, *, usage: bool = True) -> Reply:
    """An answer that calls a tool, or chooses an action."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return calls([(tool, text)], usage=usage)


def calls(tools: list[tuple[str, str]], *, usage: bool = True) -> Reply:
    """An answer that calls several tools at once."""
    called = [
        {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}}
        for number, (name, text) in enumerate(tools)
    ]
    return completion({"role": "assistant", "content": None, "tool_calls": called}, usage=usage)


def completion(message: dict[str, Any], *, usage: bool = True) -> Reply:
    """An answer with this message."""
    whole: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "small",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    if usage:
        whole["usage"] = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    return 200, {}, json.dumps(whole).encode()


def refused(status: int, message: str, **headers: str) -> Reply:
    """An error as OpenAI writes it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode()


def plan(action: str, calls: list[str], parameters: Any = None, **changed: Any) -> Reply:
    """An answer that chooses an action."""
    finding = {"message": "The log is full of errors.", "severity": "high", "calls": calls}
    whole = {"findings": [finding], "reason": "It stops the errors.", "analysis": "", "confidence": 0.5, **changed}
    return said(action, whole if parameters is None else {"parameters": parameters, **whole})


class _Quiet(ThreadingHTTPServer):
    """Makes no noise about clients that leave early."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def provider(*replies: Reply | None, hold: Callable[[], object] = lambda: time.sleep(30)) -> Iterator[Provider]:
    """Serve these replies for the time of a block."""
    known = Provider(replies=list(replies))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            known.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            known.keys.append(self.headers.get("Authorization", self.headers.get("X-Api-Key", "")))
            reply = known.replies.pop(0) if len(known.replies) > 1 else known.replies[0]
            if reply is None:
                hold()
                return
            status, headers, body = reply
            self.send_response(status)
            given = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
            for name, value in given.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = _Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    known.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield known
    finally:
        server.shutdown()
        server.server_close()
