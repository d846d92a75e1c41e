"""Who is served: keys, scopes, and callers on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from backend_client import Client, command, event
from bench.servers import BACKEND, HOST


def new_key(database_url: str, *scopes: str) -> str:
    options = [option for scope in scopes for option in ("--scope", scope)]
    return command(database_url, "keys", "create", "--name", "test", *options).stdout.strip()


@pytest.mark.threat("T35")
def test_keys_and_scopes(start: Any, database_url: str) -> None:
    writer, reader = new_key(database_url, "write"), new_key(database_url, "read")
    watcher = new_key(database_url, "metrics")
    port = start(database_url).port
    assert re.fullmatch(r"aim_\w{8}_\w{40}[0-9a-f]{8}", writer)
    for key, may_write, may_read, may_measure in (
        (writer, 201, 403, 403),
        (reader, 403, 200, 403),
        (watcher, 403, 403, 200),
        (None, 401, 401, 401),
        ("aim_guess", 401, 401, 401),
        (writer[:-1] + "x", 401, 401, 401),
    ):
        client = Client(port, key)
        assert client.post(event()).status == may_write, key
        assert client.get("/v1/events").status == may_read, key
        assert client.get("/v1/export").status == may_read, key
        assert client.get("/v1/traces/t/gaps").status == may_read, key
        assert client.get(f"/v1/events/{event()['event_id']}").status in (may_read, 404), key
        assert client.get("/metrics").status == may_measure, key
        assert client.get("/").status == client.get("/healthz").status == client.get("/readyz").status == 200
    refused = Client(port).post(event())
    assert refused.headers["www-authenticate"].startswith("Bearer")
    assert refused.headers["content-type"] == "application/problem+json"


def test_only_the_hash_of_a_key_is_kept(start: Any, database_url: str) -> None:
    key = new_key(database_url, "write", "read")
    backend = start(database_url)
    Client(backend.port, key).post(event())
    Client(backend.port, key[:-1] + "0").post(event())
    assert key not in command(database_url, "keys", "list").stdout
    assert key not in backend.output()
    assert key[13:30] not in backend.output()


def test_a_revoked_key_opens_nothing(start: Any, database_url: str) -> None:
    key = new_key(database_url, "write")
    key_id = key.split("_")[1]
    command(database_url, "keys", "revoke", key_id)
    command(database_url, "keys", "revoke", key_id, expected=1)
    assert "revoked" in command(database_url, "keys", "list").stdout
    client = Client(start(database_url).port, key)
    assert client.post(event()).status == 401
    # A revoked key still means that this backend is not open to callers on this machine.
    assert Client(client.port).post(event()).status == 401


@contextmanager
def hidden_proxy(port: int) -> Iterator[int]:
    """A proxy as nginx is by default: it rewrites Host, closes connections, and adds nothing."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            upstream = HTTPConnection("127.0.0.1", port)
            upstream.request("GET", self.path, headers={"Connection": "close"})
            answer = upstream.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.threat("T35")
def test_without_any_key_nobody_is_served_unless_asked_for(start: Any) -> None:
    """Neither a program on this machine nor, through a proxy that shows nothing of itself, somebody elsewhere."""
    backend = start(AIMGENTIX_AUTH="")
    refused = Client(backend.port).post(event())
    assert refused.status == 401 and "there is none yet" in refused.json["detail"]
    with hidden_proxy(backend.port) as port:
        assert Client(port).get("/v1/export").status == 401
    assert "there is none yet; create one with" in backend.output()
    assert "or start with AIMGENTIX_AUTH=local" in backend.output()


def test_for_a_trial_this_machine_only(start: Any) -> None:
    backend = start(AIMGENTIX_AUTH="local")
    client = Client(backend.port)
    assert client.post(event()).status == 201
    for header in ("x_forwarded_for", "forwarded", "via", "x_real_ip"):
        assert client.post(event(), **{header: "203.0.113.9"}).status == 401, header
    for host in ("rebound.example", f"rebound.example:{backend.port}", "localhost.example", ""):
        assert client.post(event(), host=host).status in (400, 401), host
    for host in ("localhost", f"LOCALHOST:{backend.port}", f"[::1]:{backend.port}"):
        assert client.post(event(), host=host).status == 201, host
    assert "callers on this machine need no API key" in backend.output()


def test_required_means_required(start: Any) -> None:
    backend = start(AIMGENTIX_AUTH="required")
    assert Client(backend.port).post(event()).status == 401
    assert "there is none yet" in backend.output()


def test_off_says_so(start: Any) -> None:
    backend = start(AIMGENTIX_AUTH="off")
    assert Client(backend.port).post(event(), x_forwarded_for="203.0.113.9").status == 201
    assert "NOT PROTECTED" in backend.output()


@pytest.mark.parametrize("arguments", [["keys", "create", "--name", "", "--scope", "read"], ["purge"], []])
def test_commands_say_what_is_wrong(tmp_path: Any, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        cwd=BACKEND,
        env={**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/x.db"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_commands_work_in_every_encoding(tmp_path: Any, encoding: str) -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path}/gr\xfc\xdfe \u2192.db",
        "PYTHONIOENCODING": encoding,
    }
    for arguments in (
        ["keys", "create", "--name", "Gr\xf6\xdfe \u2192 \U0001f600", "--scope", "read"],
        ["keys", "list"],
        ["migrate"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "app", *arguments],
            cwd=BACKEND,
            env={**environment, "PYTHONUTF8": "1"},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done
    assert b"up to date" in done.stdout


def test_the_log_is_json_in_every_encoding(start: Any, tmp_path: Any) -> None:
    path = tmp_path / "gr\xfc\xdfe \u2192 \U0001f600.db"
    backend = start(f"sqlite:///{path}", PYTHONIOENCODING="ascii", PYTHONUTF8="1")
    said = [json.loads(text)["message"] for text in backend.output().splitlines()]
    assert f"stores in SQLite file {path}; all events are kept" in said


def test_of_two_headers_with_one_name_the_first_counts_on_the_quick_way_too(start: Any) -> None:
    backend = start(AIMGENTIX_AUTH="required")
    key = new_key(backend.database_url, "write", "read")
    statuses = []
    for first, second in ((key, "aim_none"), ("aim_none", key)):
        for method, path, body in (("POST", "/v1/events", json.dumps(event()).encode()), ("GET", "/v1/events", b"")):
            connection = HTTPConnection(HOST, backend.port, timeout=60)
            connection.putrequest(method, path)
            for name, value in (
                ("Authorization", f"Bearer {first}"),
                ("AUTHORIZATION", f"Bearer {second}"),
                ("CONTENT-TYPE", "application/json"),
                ("Content-Length", str(len(body))),
            ):
                connection.putheader(name, value)
            connection.endheaders(body)
            statuses.append(connection.getresponse().status)
            connection.close()
    assert statuses == [201, 200, 401, 401]
