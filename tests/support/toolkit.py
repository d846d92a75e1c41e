"""Running example services, and the agents of the use cases as modules."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import Any
from urllib.parse import unquote_plus

import pytest

from support.environment import REPOSITORY

USE_CASES = REPOSITORY / "template" / "use_cases"
EXAMPLE = REPOSITORY / "examples" / "example_service.py"


@dataclass
class Example:
    """A running example service."""

    process: subprocess.Popen[bytes]
    url: str

    def get(self, path: str) -> tuple[int, bytes]:
        """Ask with GET and return status and body."""
        return self._ask(urllib.request.Request(self.url + path))

    def post(self, path: str, value: Any = None, token: str | None = None) -> tuple[int, bytes]:
        """Ask with POST and return status and body."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = b"" if value is None else json.dumps(value).encode()
        return self._ask(urllib.request.Request(self.url + path, data=data, headers=headers))

    def identity(self) -> dict[str, Any]:
        """Return instance, pid and start time of the worker."""
        answer: dict[str, Any] = json.loads(self.get("/healthz")[1])
        return answer

    def _ask(self, request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, answer.read()

    def stop(self) -> None:
        """End it as an operator would."""
        self.process.terminate()
        self.process.wait(10)
        if self.process.stdout:
            self.process.stdout.close()


def launch(*options: str) -> Example:
    """Start an example service; the caller stops it."""
    process = subprocess.Popen([sys.executable, str(EXAMPLE), "serve", *options], stdout=subprocess.PIPE)
    assert process.stdout is not None
    return Example(process, json.loads(process.stdout.readline())["url"])


@pytest.fixture(autouse=True)
def loopback_without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")


@pytest.fixture
def example() -> Iterator[Callable[..., Example]]:
    """Start example services with command line options; all of them are stopped after the test."""
    running: list[Example] = []

    def start(*options: str) -> Example:
        running.append(launch(*options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def load_agent(use_case: str) -> ModuleType:
    """The module of a use case, loaded anew, so that a test may shorten its deadlines."""
    path = USE_CASES / use_case / "agent_runner.py"
    spec = importlib.util.spec_from_file_location(use_case.replace("-", "_") + "_agent", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


Answers = Callable[[str, str, str], tuple[int, Any]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answers], str]]:
    """Serve what a function of method, address and bearer token answers (status, and text or JSON); return where."""
    running: list[ThreadingHTTPServer] = []

    def start(answers: Answers) -> str:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                bearer = self.headers.get("Authorization", "").partition("Bearer ")[2]
                status, value = answers(f"{self.command} {body}".strip(), unquote_plus(self.path), bearer)
                data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_: object) -> None:
                pass

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=running[-1].serve_forever, args=(0.02,), daemon=True).start()
        return f"http://127.0.0.1:{running[-1].server_port}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def restart_agent() -> ModuleType:
    """The module of the use case service-restart."""
    return load_agent("service-restart")
