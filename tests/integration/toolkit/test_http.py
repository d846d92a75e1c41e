"""Bounded requests, against servers that misbehave on real sockets."""

from __future__ import annotations

import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent_runtime.toolkit import health, http, waiting
from agent_runtime.toolkit.errors import (
    ACCESS_REFUSED,
    REQUEST_REFUSED,
    TOKEN_REFUSED,
    OutcomeUnknown,
    Refused,
    ToolError,
)
from aimgentix.redact import Redactor
from support.environment import require_tool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
Behaviour = Callable[[socket.socket, bytes], None]


class Server:
    """Takes connections, keeps what was asked, and behaves as set."""

    def __init__(self, behave: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.ended = threading.Event()
        self._behave = behave
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
            asked = b""
            while b"\r\n\r\n" not in asked:
                part = connection.recv(65536)
                if not part:
                    return
                asked += part
            self.requests.append(asked)
            self._behave(connection, asked)
        except OSError:
            pass
        finally:
            connection.close()

    def close(self) -> None:
        self.ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; all of them are closed after the test."""
    running: list[Server] = []

    def start(behave: Behaviour, context: ssl.SSLContext | None = None) -> Server:
        running.append(Server(behave, context))
        return running[-1]

    yield start
    for server in running:
        server.close()


def answers(data: bytes) -> Behaviour:
    return lambda connection, _: connection.sendall(data)


def status(line: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {line}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def silence(connection: socket.socket, _: bytes) -> None:
    connection.recv(1)


def drips(head: bytes) -> Behaviour:
    """Send a head at once, and then forever one byte every now and then."""

    def behave(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    return behave


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_answer_of_any_status_is_an_answer(serve: Callable[..., Server]) -> None:
    response = http.get(serve(answers(status("503 Busy", body=b"later"))).url + "/x?secret=1")
    assert (response.status, response.ok, response.body) == (503, False, b"later")
    assert "secret" not in response.url


def test_the_query_is_encoded(serve: Callable[..., Server]) -> None:
    server = serve(answers(OK))
    http.get(server.url, params={"query": 'a{b="c&d"}[5m]'})
    assert server.requests[0].startswith(b"GET /?query=a%7Bb%3D%22c%26d%22%7D%5B5m%5D HTTP/1.1\r\n")
    assert b"Accept-Encoding: identity\r\n" in server.requests[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "GET"),
        (b"", "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "GET"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "GET"),
        (status("200 OK", body=b"x" * 101), "more than 100 bytes"),
        (status("200 OK", "Content-Encoding: gzip", body=gzip.compress(b"x" * 100_000)), "compressed"),
        (status("302 Found", "Location: http://elsewhere.invalid/x"), "another host, http://elsewhere.invalid/x"),
        (status("302 Found", "Location: file:///etc/passwd"), "another host"),
        (status("301 Moved", "Location: https://127.0.0.1/x"), "redirects to https on this host, https://127.0.0.1/x"),
        (status("302 Found", "Location: http://127.0.0.1:1/x"), "redirects to another port of this host"),
        (status("302 Found", "Location: http://[broken"), "GET"),
        (status("302 Found", "Location: /again"), "more than 3 redirects"),
    ],
)
def test_what_is_not_a_usable_answer_is_one_clear_error(
    serve: Callable[..., Server], data: bytes, message: str
) -> None:
    with pytest.raises(ToolError, match=message) as caught:
        http.get(serve(answers(data)).url, max_bytes=100)
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    "data",
    [
        status("200 OK", body=b'{"val": "s3cret"}'),
        status("200 OK", body=b'{"value": ["s3cret"]}'),
        status("200 OK", body=b'"s3cret"'),
        status("200 OK", body=b"s3cret"),
        status("200 OK", body=b'{"s3cret": 1, "s3cret": 2}'),
        status("404 Gone", body=b'{"value": "s3cret"}'),
    ],
)
def test_fields_that_are_not_there_are_named_without_what_is(serve: Callable[..., Server], data: bytes) -> None:
    response = http.get(serve(answers(data)).url)
    with pytest.raises(ToolError, match=f"HTTP {response.status} without value") as caught:
        response.fields(value=str)
    assert "s3cret" not in caught.value.line()


def test_fields_are_given_with_what_else_there_is(serve: Callable[..., Server]) -> None:
    response = http.get(serve(answers(status("200 OK", body=b'{"id": "k-1", "more": 1}'))).url)
    assert response.fields(id=str) == {"id": "k-1", "more": 1}


def test_an_answer_has_a_bound_that_nobody_has_to_set(serve: Callable[..., Server]) -> None:
    server = serve(answers(status("200 OK", body=b"x" * (8 * 1024 * 1024 + 1))))
    with pytest.raises(ToolError, match="more than 8388608 bytes"):
        http.get(server.url)


def test_a_redirect_on_the_same_host_is_followed(serve: Callable[..., Server]) -> None:
    def behave(connection: socket.socket, asked: bytes) -> None:
        connection.sendall(OK if asked.startswith(b"GET /new ") else status("301 Moved", "Location: /new"))

    assert http.get(serve(behave).url + "/old", params={"a": "b"}).body == b"ok"


@pytest.mark.parametrize(
    "behave",
    [silence, drips(b"HTTP/1.1 200 OK\r\nX: "), drips(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")],
    ids=["silent", "endless head", "slow body"],
)
def test_the_time_limit_is_for_the_whole_request(serve: Callable[..., Server], behave: Behaviour) -> None:
    url = serve(behave).url
    http.get(serve(answers(OK)).url)  # the libraries are loaded
    begin = time.monotonic()
    with pytest.raises(ToolError, match=r"within 0\.3 s|timed out"):
        http.get(url, timeout_seconds=0.3)
    assert time.monotonic() - begin < 60


def test_nobody_there_is_said_so() -> None:
    with pytest.raises(ToolError, match="connection refused"):
        http.get(closed_port())
    with pytest.raises(ToolError, match=r"GET http://name\.invalid: "):
        http.get("http://name.invalid")
    with pytest.raises(ToolError, match=r"GET http://127\.0\.0\.1:1/\\u202e\\xfc: connection refused"):
        http.get("http://127.0.0.1:1/\u202eü#part?q=1")


def test_no_password_of_a_netrc_file_is_sent(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(answers(OK))
    http.get(server.url)
    http.post_once(server.url)
    assert not any(b"authorization" in asked.lower() for asked in server.requests)


def test_a_body_that_is_not_what_was_expected_is_an_error(serve: Callable[..., Server]) -> None:
    response = http.get(serve(answers(status("200 OK", body=b"\xff"))).url)
    with pytest.raises(ToolError, match="not UTF-8"):
        response.text()
    with pytest.raises(ToolError, match="not JSON"):
        response.json()


def test_a_post_is_sent_once_with_its_token(serve: Callable[..., Server]) -> None:
    server = serve(answers(status("202 Accepted")))
    assert http.post_once(server.url + "/restart", token="abc").status == 202
    (asked,) = server.requests
    assert asked.startswith(b"POST /restart HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer abc\r\n" in asked


@pytest.mark.parametrize("line", ["301 Moved", "400 Bad", "401 Who", "403 No", "404 What", "409 Busy"])
def test_a_refused_post_changed_nothing(serve: Callable[..., Server], line: str) -> None:
    server = serve(answers(status(line, "Location: /elsewhere")))
    with pytest.raises(ToolError, match=f"refused with HTTP {line[:3]}") as caught:
        http.post_once(server.url)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert len(server.requests) == 1


def test_a_post_that_never_left_changed_nothing() -> None:
    for url in (closed_port(), "http://name.invalid", "http:///nowhere", "gopher://127.0.0.1"):
        with pytest.raises(ToolError) as caught:
            http.post_once(url)
        assert not isinstance(caught.value, OutcomeUnknown), url


def test_a_post_to_a_server_with_an_untrusted_certificate_never_left(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = [require_tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = serve(answers(OK), context)
    with pytest.raises(ToolError) as caught:
        http.post_once(server.url)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert server.requests == []


@pytest.mark.parametrize(
    "behave",
    [
        silence,
        answers(b""),
        answers(b"garbage\r\n\r\n"),
        answers(status("500 Broken")),
        answers(status("504 Gateway Timeout")),
        drips(b"HTTP/1.1 200 OK\r\nX: "),
    ],
    ids=["silent", "closes", "garbage", "500", "504", "endless head"],
)
def test_a_post_without_a_clear_answer_is_unknown_and_not_repeated(
    serve: Callable[..., Server], behave: Behaviour
) -> None:
    server = serve(behave)
    with pytest.raises(OutcomeUnknown, match="may have taken effect"):
        http.post_once(server.url, timeout_seconds=0.5)
    assert len(server.requests) == 1


def test_the_body_of_an_accepted_post_can_not_spoil_it(serve: Callable[..., Server]) -> None:
    server = serve(drips(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n"))
    assert http.post_once(server.url, timeout_seconds=60).ok


@pytest.mark.parametrize("token", ["top-secret\n", "top secret", "tøp-secret"])
def test_a_token_that_can_not_be_sent_is_refused_and_not_shown(serve: Callable[..., Server], token: str) -> None:
    server = serve(answers(OK))
    with pytest.raises(ToolError) as caught:
        http.post_once(server.url, token=token)
    assert "secret" not in caught.value.message
    assert server.requests == []


def test_health_is_what_the_endpoint_says(serve: Callable[..., Server]) -> None:
    assert health.check(serve(answers(OK)).url) == health.Health(True, "HTTP 200", 200)
    assert health.check(serve(answers(status("503 Busy"))).url) == health.Health(False, "HTTP 503", 503)
    gone = health.check(closed_port())
    assert not gone.healthy
    assert "connection refused" in gone.detail


# Tokens, and changes with a body


@pytest.mark.parametrize(
    ("secret", "git", "restart"),
    [
        ("", "", ""),
        (" one-for-all \n", "one-for-all", "one-for-all"),
        ('{"git": "g", "restart": "r"}', "g", "r"),
        ('{"git": "g", "restart": ""}', "g", ""),
        ('{"git": "g"}', "g", ""),
    ],
)
def test_each_system_gets_its_own_token(secret: str, git: str, restart: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_ACT_TOKEN", secret)
    assert (http.token("git"), http.token("restart")) == (git, restart)


@pytest.mark.parametrize("secret", ['{"git": "s3cret"', '{"git": 7}', '{"git": {"s3cret": "x"}}'])
def test_a_broken_object_of_tokens_is_refused_without_showing_it(secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_ACT_TOKEN", secret)
    with pytest.raises(ToolError, match="AGENT_ACT_TOKEN") as caught:
        http.token("git")
    assert "s3cret" not in caught.value.line()


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("", "and no token was sent, because AGENT_ACT_TOKEN is empty"),
        ("s3cret", "with the token of AGENT_ACT_TOKEN"),
        ('{"git": "s3cret"}', "and no token was sent, because AGENT_ACT_TOKEN has no token for restart"),
        ('{"git": "s3cret", "restart": ""}', "and no token was sent, because AGENT_ACT_TOKEN has no token for restart"),
    ],
)
def test_a_refusal_says_which_token_was_missing(
    serve: Callable[..., Server], secret: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_ACT_TOKEN", secret)
    server = serve(answers(status("401 Who")))
    with pytest.raises(ToolError) as caught:
        http.post_once(server.url, token=http.token("restart"))
    assert caught.value.message.endswith(f"refused with HTTP 401 {why}")
    assert Redactor().text(caught.value.message) == caught.value.message, "names are not secrets"
    (asked,) = server.requests
    assert (b"authorization" in asked.lower()) == (secret == "s3cret")


@pytest.mark.parametrize("secret", ['{"git":"s3cret"}', ' {"git": "s3cret"}'])
def test_an_object_of_tokens_is_not_a_token(serve: Callable[..., Server], secret: str) -> None:
    server = serve(answers(OK))
    for ask in (http.get, http.post_once):
        with pytest.raises(ToolError, match=r"http\.token") as caught:
            ask(server.url, token=secret)
        assert "s3cret" not in caught.value.line()
    assert server.requests == [], "no system sees what belongs to another"


def test_a_change_sends_its_body_once_and_gives_the_answer(serve: Callable[..., Server]) -> None:
    server = serve(answers(status("201 Created", body=b'{"number": 7}')))
    answer = http.send_once("PATCH", server.url + "/x", value={"a": 1}, content_type="application/x+json", token="tok")
    assert (answer.status, answer.json()) == (201, {"number": 7})
    (asked,) = server.requests
    assert asked.startswith(b"PATCH /x HTTP/1.1\r\n")
    assert b"Content-Type: application/x+json\r\n" in asked
    assert b"Authorization: Bearer tok\r\n" in asked
    assert "number" not in repr(answer), "an answer may hold a secret"


def test_what_is_not_json_is_refused_before_anything_is_sent(serve: Callable[..., Server]) -> None:
    server = serve(answers(OK))
    for send in (http.query, lambda url, value: http.send_once("PUT", url, value=value)):
        with pytest.raises(ToolError, match="what to send is not JSON") as caught:
            send(server.url, {"rate": float("nan")})
        assert not isinstance(caught.value, OutcomeUnknown)
    assert server.requests == []


def test_a_change_whose_answer_can_not_be_read_has_taken_effect(serve: Callable[..., Server]) -> None:
    server = serve(answers(status("200 OK", body=b"x" * 101)))
    with pytest.raises(OutcomeUnknown, match="more than 100 bytes; it has taken effect"):
        http.send_once("POST", server.url, max_bytes=100)
    assert len(server.requests) == 1


# Refusals: whose token it was, and what is not a matter of tokens


@pytest.mark.parametrize(
    ("token", "reported", "code"),
    [
        (lambda: http.token("restart"), "with the token of AGENT_ACT_TOKEN", TOKEN_REFUSED),
        (lambda: http.token_of("MODEL_API_KEY"), "with the token of MODEL_API_KEY", ACCESS_REFUSED),
        (lambda: http.token_of("NO_SUCH_KEY"), "and no token was sent, because NO_SUCH_KEY is empty", ACCESS_REFUSED),
        (lambda: "s3cret-of-my-own", "with a token of the agent's own", ACCESS_REFUSED),
        (lambda: None, "without a token", ACCESS_REFUSED),
    ],
    ids=["act", "named", "empty", "plain", "none"],
)
def test_a_refusal_names_the_credential_that_was_given_and_no_other(
    serve: Callable[..., Server],
    token: Callable[[], str | None],
    reported: str,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AGENT_ACT_TOKEN", "s3cret-for-act")
    monkeypatch.setenv("MODEL_API_KEY", " s3cret-for-models\n")
    url = serve(answers(status("401 Who", body=b"{}"))).url
    for use in (
        lambda: http.send_once("POST", url, value={}, token=token()),
        lambda: http.query(url, {}, token=token()).fields(choices=list),
        lambda: http.get(url, token=token()).granted(),
    ):
        with pytest.raises(ToolError) as caught:
            use()
        assert caught.value.message.endswith(f"HTTP 401 {reported}")
        assert caught.value.code in (code, ACCESS_REFUSED)
        assert ("AGENT_ACT_TOKEN" in caught.value.line()) == ("AGENT_ACT_TOKEN" in reported)
        assert "s3cret" not in caught.value.line()
    with pytest.raises(ToolError) as caught:
        http.send_once("POST", url, token=token())
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("line", "header", "reported"),
    [
        ("403 Forbidden", "Retry-After: 60", "HTTP 403, too many requests; it asks to wait 60 s"),
        ("403 Forbidden", "X-RateLimit-Remaining: 0", "HTTP 403, too many requests"),
        ("429 Too Many", "Retry-After: 7", "HTTP 429, too many requests; it asks to wait 7 s"),
        ("429 Too Many", "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", "HTTP 429, too many requests"),
        ("409 Conflict", "X: y", "HTTP 409"),
    ],
)
def test_a_limit_or_a_conflict_is_not_a_matter_of_tokens(
    serve: Callable[..., Server], line: str, header: str, reported: str
) -> None:
    server = serve(answers(status(line, header, body=b'{"message": "why"}')))
    with pytest.raises(Refused) as caught:
        http.send_once("POST", server.url, token="s3cret-token")
    assert (caught.value.code, caught.value.status) == (REQUEST_REFUSED, int(line[:3]))
    assert caught.value.message.endswith("refused with " + reported)
    assert caught.value.answer.json() == {"message": "why"}
    assert "token" not in caught.value.message
    assert "runs" not in caught.value.line(), "it runs, and it said no"
    assert http.get(server.url).said == reported
    assert len(server.requests) == 2


def test_what_is_refused_stays_refused_however_the_answer_goes_on(serve: Callable[..., Server]) -> None:
    for rest in ("Content-Length: 100\r\n\r\nshort", "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"):
        server = serve(answers(f"HTTP/1.1 422 No\r\n{rest}".encode()))
        with pytest.raises(Refused) as caught:
            http.send_once("POST", server.url, value={})
        assert (caught.value.status, caught.value.answer.body) == (422, b"")


# A POST that reads


def test_a_question_is_sent_as_json_and_may_be_asked_again(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_API_KEY", "s3cret-for-models")
    said = iter([b"", status("503 Busy"), status("200 OK", body=b'{"choices": [1]}')])
    server = serve(lambda connection, _: connection.sendall(next(said)))

    def asked() -> list[int]:
        answer = http.query(
            server.url + "/v1?x=1", {"q": "ü"}, params={"y": "2"}, token=http.token_of("MODEL_API_KEY"), max_bytes=100
        )
        found: list[int] = answer.fields(choices=list)["choices"]
        return found

    assert waiting.until(asked, seconds=60, interval_seconds=0) == [1]
    assert len(server.requests) == 3
    for request in server.requests:
        assert request.startswith(b"POST /v1?x=1&y=2 HTTP/1.1\r\n")
        assert b"Content-Type: application/json\r\n" in request
        assert b"Authorization: Bearer s3cret-for-models\r\n" in request


@pytest.mark.parametrize(
    "behave",
    [silence, answers(b""), answers(status("200 OK", body=b"x" * 101)), answers(status("307 Go", "Location: /x"))],
    ids=["silent", "closes", "too large", "redirect"],
)
def test_a_question_without_an_answer_changed_nothing(serve: Callable[..., Server], behave: Behaviour) -> None:
    server = serve(behave)
    with pytest.raises(ToolError) as caught:
        http.query(server.url, {}, timeout_seconds=0.5, max_bytes=100).fields(choices=list)
    assert not isinstance(caught.value, OutcomeUnknown)
    assert "taken effect" not in caught.value.line()
    assert len(server.requests) == 1


def test_a_long_question_is_sent_as_a_form(serve: Callable[..., Server]) -> None:
    def behave(connection: socket.socket, asked: bytes) -> None:
        assert b"Content-Type: application/x-www-form-urlencoded\r\n" in asked
        while not asked.endswith(b"\r\n\r\nquery=up%7Ba%3D%22b%22%7D"):
            asked += connection.recv(100)
        connection.sendall(OK)

    assert http.query(serve(behave).url, form={"query": 'up{a="b"}'}, timeout_seconds=5).ok


# A credential for reading, by the system's name


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"PROMETHEUS_EU_TOKEN": " s3cret-token\n"}, b"Bearer s3cret-token"),
        (
            {"PROMETHEUS_EU_USERNAME": "reader", "PROMETHEUS_EU_PASSWORD": "pass word"},
            b"Basic cmVhZGVyOnBhc3Mgd29yZA==",
        ),
        ({"PROMETHEUS_EU_TOKEN": "s3cret-token", "AGENT_ACT_TOKEN": "acting"}, b"Bearer s3cret-token"),
        (
            {
                "PROMETHEUS_EU_TOKEN": "s3cret-token",
                "PROMETHEUS_EU_USERNAME": "reader",
                "PROMETHEUS_EU_PASSWORD": "pass word",
            },
            b"Bearer s3cret-token",
        ),
        ({"AGENT_ACT_TOKEN": '{"prometheus-eu": "acting-token"}', "AGENT_JOB": "investigate"}, b"Bearer acting-token"),
        ({"AGENT_ACT_TOKEN": '{"prometheus-eu": "acting-token"}'}, b"Bearer acting-token"),
        (
            {"AGENT_ACT_TOKEN": '{"prometheus-eu": "acting-token"}', "PROMETHEUS_EU_TOKEN": "s3cret-token"},
            b"Bearer acting-token",
        ),
        (
            {
                "AGENT_ACT_TOKEN": '{"prometheus-eu": "acting-token"}',
                "PROMETHEUS_EU_TOKEN": "s3cret-token",
                "AGENT_JOB": "investigate",
            },
            b"Bearer s3cret-token",
        ),
    ],
    ids=[
        *("bearer", "basic", "own before acting", "bearer before basic", "acting while it reads"),
        *("acting", "named for acting", "named for acting while it reads"),
    ],
)
def test_a_system_gets_what_is_stored_under_its_name(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], header: bytes
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    presented = http.token("prometheus-eu")
    server = serve(lambda connection, asked: connection.sendall(status("200 OK", body=asked + presented.encode())))
    for answer in (
        http.get(server.url, token=presented),
        http.query(server.url, token=presented, form={"query": "up"}),
    ):
        assert header.split()[1] not in answer.body, "not even where the server repeats it"
        assert presented.encode() not in answer.body
    http.send_once("POST", server.url, token=presented)
    assert [b"\r\nAuthorization: " + header + b"\r\n" in asked for asked in server.requests] == [True] * 3
    own = {name for name in variables if not name.startswith("AGENT_")}
    assert bool(http.token_of("prometheus-eu")) == bool(own), "what only reads never presents what acts"


@pytest.mark.parametrize(
    ("job", "variables", "read", "changed"),
    [
        ("investigate", {}, "LOKI_TOKEN is empty in the job investigate", "LOKI_TOKEN is empty in the job investigate"),
        ("act", {}, "LOKI_TOKEN is empty in the job act", "AGENT_ACT_TOKEN is empty in the job act"),
        (
            "act",
            {"AGENT_ACT_TOKEN": '{"git": "s3cret"}'},
            "LOKI_TOKEN is empty in the job act",
            "AGENT_ACT_TOKEN has no token for loki",
        ),
        ("investigate", {"LOKI_AUDIENCE": "loki"}, "LOKI_AUDIENCE gets an identity token only in a job of GitHub", ""),
    ],
)
def test_what_is_missing_is_named_with_its_job(
    serve: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    job: str,
    variables: dict[str, str],
    read: str,
    changed: str,
) -> None:
    for name, value in {"AGENT_JOB": job, **variables}.items():
        monkeypatch.setenv(name, value)
    url = serve(answers(status("401 Who"))).url
    for use in (http.get, http.query):
        with pytest.raises(ToolError) as caught:
            use(url, token=http.token("loki")).granted()
        assert f"HTTP 401 and no token was sent, because {read}" in caught.value.message
        assert caught.value.code == ACCESS_REFUSED
        assert "AGENT_ACT_TOKEN" not in caught.value.line()
    with pytest.raises(ToolError) as caught:
        http.post_once(url, token=http.token("loki"))
    assert changed in caught.value.message


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"LOKI_PASSWORD": "s3cret"}, "LOKI_PASSWORD is set, and LOKI_USERNAME is empty"),
        ({"LOKI_CERTIFICATE": "s3cret"}, "LOKI_CERTIFICATE is not PEM with a certificate and its private key"),
    ],
)
def test_half_a_credential_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ToolError, match=problem) as caught:
        http.token("loki")
    assert "s3cret" not in caught.value.line()


def test_an_identity_token_is_asked_for_the_audience_and_presented(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    github = serve(answers(status("200 OK", body=b'{"value": "head.claims.signature"}')))
    system = serve(answers(OK))
    monkeypatch.setenv("LOKI_AUDIENCE", " https://loki.example.com\n")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", github.url + "/id-token?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-runner")
    http.get(system.url, token=http.token("loki"))
    assert github.requests[0].startswith(b"GET /id-token?api-version=2.0&audience=https%3A%2F%2Floki.example.com ")
    assert b"Authorization: Bearer of-the-runner\r\n" in github.requests[0]
    assert b"Authorization: Bearer head.claims.signature\r\n" in system.requests[0]


def test_a_client_certificate_is_presented_and_leaves_no_file(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole.pem"
    for_an_address = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = [require_tool("openssl"), "req", "-x509", "-nodes", "-subj", "/CN=x", *for_an_address]
    made = subprocess.run([*command, "-keyout", "-", "-out", "-"], check=True, capture_output=True).stdout
    whole.write_bytes(made)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(whole))
    context.load_cert_chain(whole)
    context.verify_mode = ssl.CERT_REQUIRED
    server = serve(answers(OK), context)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(whole))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ToolError):
        http.get(server.url, token=http.token("loki"))
    monkeypatch.setenv("LOKI_CERTIFICATE", made.decode())
    assert http.get(server.url, token=http.token("loki")).body == b"ok"
    (asked,) = server.requests
    assert b"authorization" not in asked.lower()
    assert list(tmp_path.iterdir()) == [whole]


# Where a token must not show up


def test_a_server_that_repeats_the_token_does_not_bring_it_into_a_report(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret-for-reading")
    server = serve(lambda connection, asked: connection.sendall(status("400 Bad", body=asked)))
    for answer in (
        http.get(server.url, token=http.token_of("PROMETHEUS_TOKEN")),
        http.query(server.url, {}, token=http.token_of("PROMETHEUS_TOKEN")),
    ):
        assert b"Bearer ***" in answer.body
        assert b"s3cret" not in answer.body
    with pytest.raises(Refused) as caught:
        http.send_once("PUT", server.url, token=http.token_of("PROMETHEUS_TOKEN"))
    assert b"s3cret" not in caught.value.answer.body


def test_a_word_that_is_a_token_stays_in_the_answer(serve: Callable[..., Server]) -> None:
    assert http.get(serve(answers(OK)).url, token="ok").body == b"ok"


def test_a_refusal_names_the_certificate(serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOKI_CERTIFICATE", "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----")
    answer = http.get(serve(answers(status("401 Who"))).url, token=http.token("loki"))
    assert answer.said == "HTTP 401 with the certificate of LOKI_CERTIFICATE"


def test_a_token_that_can_not_be_sent_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_TOKEN", "s3cret with spaces")
    with pytest.raises(ToolError, match="the token of PROMETHEUS_TOKEN contains spaces") as caught:
        http.get("http://127.0.0.1:1", token=http.token_of("PROMETHEUS_TOKEN"))
    assert "s3cret" not in caught.value.line()


@pytest.mark.parametrize(
    ("base", "whole"),
    [
        ("https://h", "https://h/api/v1"),
        ("https://h/", "https://h/api/v1"),
        ("https://h:9/prom/", "https://h:9/prom/api/v1"),
        ("https://h/prom?partial_response=false", "https://h/prom/api/v1?partial_response=false"),
        ("https://h?a=1&b=2", "https://h/api/v1?a=1&b=2"),
    ],
)
def test_a_path_goes_before_the_query_of_an_address(base: str, whole: str) -> None:
    assert http.under(base, "/api/v1") == whole
