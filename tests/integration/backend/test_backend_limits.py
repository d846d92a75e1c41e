"""Too much, too slow, broken or hostile: every answer is clear, none is a 500, and nothing is stored by halves."""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from backend_client import HERE, JSON, LINES, PROBLEM, Client, administer, command, event, eventually, trail_of
from bench.servers import HOST, Backend
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

INVALID_BODIES = int(os.environ.get("AIMGENTIX_TEST_INVALID_BODIES", "1000"))
"""How many invalid bodies are tried in all."""


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Backend(tmp_path_factory.mktemp("limits")).start() as one:
        yield one


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The port of a backend that waits for nobody; only for what has to be too slow for it."""
    settings = {"AIMGENTIX_BODY_TIMEOUT_SECONDS": "1"}
    with Backend(tmp_path_factory.mktemp("impatient"), settings=settings).start() as one:
        yield one.port


@pytest.fixture
def client(backend: Backend) -> Client:
    return Client(backend.port)


def test_fifty_megabytes(client: Client, backend: Backend) -> None:
    assert backend.process
    before = backend.memory_bytes()
    body = json.dumps(event(metadata={"x": "y" * 50_000_000})).encode()
    for path, media_type in (("/v1/events", JSON), ("/v1/events/batch", JSON), ("/v1/events/batch", LINES)):
        announced = send_and_listen(client.port, path, media_type, body)
        assert announced.startswith(b"HTTP/1.1 413"), announced[:200]
        assert b"8388608 bytes" in announced
        assert PROBLEM.encode() in announced
        assert client.get("/healthz").status == 200
    chunks = (body[at : at + 65536] for at in range(0, len(body), 65536))
    try:
        answer = client.ask("POST", "/v1/events", chunks, content_type=JSON)
        assert answer.status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server had answered and hung up while this side was still sending
    assert client.post(event()).status == 201
    assert backend.memory_bytes() - before < 40_000_000


def head(length: int, path: str = "/v1/events", media_type: str = JSON) -> bytes:
    """Return the head of a request."""
    lines = (f"POST {path} HTTP/1.1", f"Host: {HOST}", f"Content-Type: {media_type}", f"Content-Length: {length}")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def send_and_listen(port: int, path: str, media_type: str, body: bytes) -> bytes:
    """Send a request as far as the server takes it, and return the beginning of the answer."""
    with socket.create_connection((HOST, port), timeout=20) as connection:
        connection.sendall(head(len(body), path, media_type))
        connection.settimeout(20)
        answer = connection.recv(65536)
        while b"}" not in answer:
            more = connection.recv(65536)
            if not more:
                break
            answer += more
        return answer


def test_a_small_body_that_swells(client: Client, backend: Backend) -> None:
    before = backend.memory_bytes()
    bomb = gzip.compress(b" " * 500_000_000, 9)
    assert len(bomb) < 600_000
    answer = client.ask("POST", "/v1/events/batch", bomb, content_type=LINES, content_encoding="gzip")
    assert (answer.status, "after decompression" in answer.json["detail"]) == (413, True)
    assert backend.memory_bytes() - before < 60_000_000


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (gzip.compress(b"{}")[:-3], {"content_encoding": "gzip"}, 400),
        (b"plain", {"content_encoding": "gzip"}, 400),
        (gzip.compress(b"{}") + b"rubbish", {"content_encoding": "gzip"}, 400),
        (b"x", {"content_encoding": "br"}, 415),
        (b"x", {"content_encoding": "deflate"}, 415),
        (b"x", {"content_type": "text/plain"}, 415),
        (b"", {}, 400),
        (b"", {"content_encoding": "gzip"}, 400),
    ],
    ids=["cut gzip", "no gzip", "rubbish after gzip", "brotli", "deflate", "text", "empty", "empty gzip"],
)
def test_bodies_that_can_t_be_read(client: Client, body: bytes, headers: dict[str, str], status: int) -> None:
    answer = client.ask("POST", "/v1/events/batch", body, **{"content_type": LINES, **headers})
    assert (answer.status, answer.headers["content-type"]) == (status, PROBLEM), answer


def test_too_many_and_too_large_events(client: Client) -> None:
    answer = client.post_lines(event() for _ in range(5001))
    assert (answer.status, "at most 5000" in answer.json["detail"]) == (413, True)
    large = event(metadata={"x": "y" * 300_000})
    answer = client.post_lines([event(trace_id="with a large one"), large])
    assert (answer.status, answer.json["errors"][0]["index"]) == (413, 1)
    assert client.get("/v1/traces/with%20a%20large%20one/events").json["events"] == []
    assert client.post(large).status == 413


def test_a_body_that_never_comes(impatient: int) -> None:
    with socket.create_connection((HOST, impatient), timeout=60) as connection:
        connection.sendall(head(1000) + b"{")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("before", [False, True], ids=["at once", "after a request"])
@pytest.mark.parametrize(
    "sent", [b"", b"G", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "a byte", "half a head"]
)
def test_a_head_that_never_comes(impatient: int, sent: bytes, before: bool) -> None:
    with socket.create_connection((HOST, impatient), timeout=60) as connection:
        if before:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(sent)
        assert hangs_up(connection)


def hangs_up(connection: socket.socket) -> bool:
    """Read until the server ends the connection; without that the read fails after the connection's time-out."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_head_that_comes_byte_by_byte(impatient: int) -> None:
    with socket.create_connection((HOST, impatient), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        deadline = time.monotonic() + 60
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while time.monotonic() < deadline:
                connection.sendall(b"x")
                time.sleep(0.05)


def test_a_head_in_pieces_is_a_head(client: Client) -> None:
    with socket.create_connection((HOST, client.port), timeout=60) as connection:
        for _ in range(3):
            for piece in (b"GET /hea", b"lthz HTTP/1.1\r\nHo", b"st: x\r\n\r", b"\n"):
                connection.sendall(piece)
                time.sleep(0.01)
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")


def stalled_export(backend: Backend) -> socket.socket:
    """Ask for more than the buffers between here and there hold, and read no more than its beginning."""
    client = Client(backend.port)
    for _ in range(8):
        assert client.post_lines(event(metadata={"x": "y" * 10_000}) for _ in range(300)).status == 201
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(60)
    connection.connect((HOST, backend.port))
    connection.sendall(b"GET /v1/export?trace_id=run-42 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def test_an_export_that_nobody_reads_does_not_hold_up_a_stop(start: Any) -> None:
    backend: Backend = start(AIMGENTIX_STOP_TIMEOUT_SECONDS="1", AIMGENTIX_BODY_TIMEOUT_SECONDS="600")
    with stalled_export(backend):
        backend.stop()  # fails when it has to kill
    assert "stopped; all acknowledged events are stored" in backend.output()


def test_an_export_that_nobody_reads_ends(start: Any) -> None:
    backend: Backend = start(AIMGENTIX_STOP_TIMEOUT_SECONDS="600", AIMGENTIX_BODY_TIMEOUT_SECONDS="1")
    with stalled_export(backend) as connection:
        backend.stop()
        received = bytearray()
        try:
            while chunk := connection.recv(1 << 20):
                received += chunk
        except ConnectionResetError:
            pass
        assert not received.endswith(b"\r\n0\r\n\r\n"), "what broke off must not look complete"
    exporting, exported = trail_of(backend.database_url)
    assert (exporting["metadata"]["step"], exporting["status"]) == ("exporting", "pending")
    assert exported["metadata"]["export"] == exporting["metadata"]["export"]
    assert (exported["metadata"]["ended"], exported["status"]) == ("broken off", "error")
    assert 1000 <= exported["metadata"]["items"] < 2400, "more than came, and not more than was sent"


def test_an_export_that_fails_is_recorded_as_soon_as_that_is_possible(start: Any) -> None:
    backend: Backend = start()
    with stalled_export(backend) as connection:
        administer(backend.database_url, "ALTER TABLE events RENAME TO gone")
        received = bytearray()
        while chunk := connection.recv(1 << 20):
            received += chunk
        assert not received.endswith(b"\r\n0\r\n\r\n")
    eventually(lambda: "who reads can't be recorded" in backend.output())
    administer(backend.database_url, "ALTER TABLE gone RENAME TO events")
    eventually(lambda: len(trail_of(backend.database_url)) == 2)
    assert trail_of(backend.database_url)[1]["metadata"]["ended"] == "failed"


def test_an_export_that_is_read_slowly_is_whole(start: Any) -> None:
    backend: Backend = start(AIMGENTIX_BODY_TIMEOUT_SECONDS="5")
    with stalled_export(backend) as connection:
        received = bytearray()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += connection.recv(65536)
            time.sleep(0.02)
        assert received.count(b'"event_id"') == 2400
    backend.stop()
    exported = trail_of(backend.database_url)[1]["metadata"]
    assert (exported["ended"], exported["items"], exported["filter"]) == ("complete", 2400, {"trace_id": "run-42"})


def test_a_client_that_leaves(client: Client) -> None:
    body = json.dumps(event(trace_id="left")).encode()
    for _ in range(50):
        with socket.create_connection((HOST, client.port), timeout=20) as connection:
            connection.sendall(head(len(body)) + body[: -len(body) // 3])
    assert client.get("/healthz").status == 200
    assert client.get("/v1/traces/left/events").json["events"] == []


ENDLESS = """
    CREATE VIEW events AS
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers)
    SELECT n AS occurred_at, n AS position, n AS received_at, '{}' AS body, CAST(n AS text) AS resource FROM numbers
"""


def test_a_query_that_takes_too_long(start: Any, database_url: str) -> None:
    """On every machine: what it looks through has no end."""
    backend = start(database_url, AIMGENTIX_QUERY_TIMEOUT_SECONDS="1")
    client = Client(backend.port)
    sent = event()
    assert client.post(sent).status == 201
    administer(database_url, "ALTER TABLE events RENAME TO kept_events", ENDLESS)
    since = "since=1970-01-01T00:00:00Z"
    for path in (f"/v1/events?resource=nobody's&{since}", f"/v1/export?resource=nobody's&{since}"):
        answer = client.get(path)
        assert (answer.status, "too many events" in answer.json["detail"]) == (503, True), answer
        assert int(answer.headers["retry-after"]) >= 1
    administer(database_url, "DROP VIEW events", "ALTER TABLE kept_events RENAME TO events")
    eventually(lambda: client.get(f"/v1/events/{sent['event_id']}").status == 200)
    assert client.post(event()).status == 201


@pytest.mark.parametrize(
    "options",
    [
        ["--mode", "all", "--max-examples", "25", "--phases", "coverage,fuzzing"],
        [
            "--mode",
            "negative",
            "--max-examples",
            str(INVALID_BODIES // 4),
            "--phases",
            "fuzzing",
            "--include-method",
            "POST",
        ],
    ],
    ids=["everything", "invalid bodies"],
)
def test_schemathesis(start: Any, tmp_path: Path, options: list[str]) -> None:
    """Requests made from the API's own description: every answer is one that the description has, and never a 500."""
    url = f"sqlite:///{tmp_path}/described.db"
    key = command(url, "keys", "create", "--name", "all", "--scope", "read", "--scope", "write", "--scope", "metrics")
    backend: Backend = start(url)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{backend.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {key.stdout.strip()}"),
            # A cursor is a text to the description, but only those that the backend gave out are taken.
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--continue-on-failure", "--generation-database", "none", "--no-color"),
            *options,
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert '"status": 500' not in backend.output()


UNIMPORTANT = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
"""The client keeps nothing between examples, and how fast they are made depends on the machine."""

VALID = event()
members = st.sampled_from(sorted(VALID))
rubbish = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


@given(member=members, value=rubbish)
@settings(max_examples=INVALID_BODIES // 4, deadline=None, suppress_health_check=UNIMPORTANT)
def test_events_with_a_member_of_the_wrong_kind(client: Client, member: str, value: Any) -> None:
    answer = client.post(event(**{member: value}))
    if answer.status in (200, 201, 409):
        return
    assert answer.status == 400
    named = answer.fields
    assert named in ([member], [""]), answer
    if named == [""]:
        assert "malformed JSON" in answer.json["detail"] or "too large" in answer.json["detail"]


@given(st.data())
@settings(max_examples=INVALID_BODIES // 4, deadline=None, suppress_health_check=UNIMPORTANT)
def test_bodies_with_a_byte_changed(client: Client, data: st.DataObject) -> None:
    body = bytearray(json.dumps([event(), event()]).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.integers(0, 255))
    answer = client.ask("POST", "/v1/events/batch", bytes(body), content_type=JSON)
    assert answer.status in (200, 201, 400, 409), answer
    if answer.status >= 400:
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json["detail"]
