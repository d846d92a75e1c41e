"""What the toolkit asks of GitHub about pull requests, and what it reads, is as GitHub's own description has it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jsonschema
import pytest

from agent_runtime.toolkit import git
from support.openapi import description

PATHS = {"POST": "/repos/{owner}/{repo}/pulls", "GET": "/repos/{owner}/{repo}/pulls/{pull_number}"}


def operation(method: str) -> Any:
    return description.whole()["paths"][PATHS[method]][method.lower()]


def example(method: str, status: str) -> Any:
    """GitHub's own example of an answer."""
    shown = operation(method)["responses"][status]["content"]["application/json"]["examples"]["default"]
    return description.whole()["components"]["examples"][shown["$ref"].rsplit("/", 1)[1]]["value"]


@pytest.fixture
def github() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server that answers as in GitHub's examples; its address, and what was asked."""
    asked: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", "200")

        def do_POST(self) -> None:
            self._answer("POST", "201")

        def _answer(self, method: str, status: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            asked.append((f"{method} {self.path}", json.loads(body) if body else None))
            data = json.dumps(example(method, status)).encode()
            self.send_response(int(status))
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_a_pull_request_is_opened_and_looked_at_as_described(github: tuple[str, list[tuple[str, Any]]]) -> None:
    url, asked = github
    opened = git.open_pull_request(
        url, "acme/configuration", branch="rollback/x", base="main", title="Roll back", body="Why", token="tok"
    )
    merged = git.is_merged(url, "acme/configuration", opened, token="tok")

    assert (opened, merged) == (example("POST", "201")["number"], example("GET", "200")["merged"])
    (post, body), (get, _) = asked
    assert (post, get) == ("POST /repos/acme/configuration/pulls", f"GET /repos/acme/configuration/pulls/{opened}")
    schema = operation("POST")["requestBody"]["content"]["application/json"]["schema"]
    jsonschema.validate(body, {**schema, "additionalProperties": False})
