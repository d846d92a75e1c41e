"""How questions reach GitHub: through the runner's proxy, and only from an authority that the runner trusts."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent_runtime.github.transport import NotAnswered, Transport
from support.environment import require_tool

TOKEN = "ghs_" + "x" * 36
SETTINGS = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "requests_ca_bundle",
    "curl_ca_bundle",
    "ssl_cert_file",
)


@pytest.fixture(autouse=True)
def _settings_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve on loopback, over TLS where there is a context; yield the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, `ca.pem`, and what it signed for 127.0.0.1, `server.pem` and `server.key`."""
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "extensions").write_text("subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    new = "-newkey rsa:2048 -nodes"
    for command in (
        f"req -x509 {new} -subj /CN=authority -keyout ca.key -out ca.pem",
        f"req {new} -subj /CN=github -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out server.pem",
    ):
        subprocess.run([require_tool("openssl"), *command.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def github(certificates: Path) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A GitHub over TLS that answers with an empty object: its address, and the headers that it saw."""
    seen: list[dict[str, str]] = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            seen.append(dict(self.headers))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    with serving(Handler, context) as port:
        yield f"https://127.0.0.1:{port}", seen


@pytest.fixture
def proxy() -> Iterator[tuple[int, list[tuple[str, dict[str, str]]]]]:
    """A proxy: its port, and the request lines and headers that it saw."""
    seen: list[tuple[str, dict[str, str]]] = []

    class Handler(Quiet):
        def do_GET(self) -> None:
            seen.append((self.requestline, {name.lower(): value for name, value in self.headers.items()}))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_CONNECT(self) -> None:
            seen.append((self.requestline, {name.lower(): value for name, value in self.headers.items()}))
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port))) as there:
                self.send_response(200)
                self.end_headers()
                back = threading.Thread(target=pipe, args=(there, self.connection), daemon=True)
                back.start()
                pipe(self.connection, there)
                back.join()

    with serving(Handler) as port:
        yield port, seen


def pipe(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes until it ends."""
    try:
        while block := source.recv(65536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def ask(url: str, token: str | None = TOKEN) -> Any:
    return Transport(url, token, pause=lambda seconds: None).get("/rate_limit")


def test_an_authority_that_the_machine_does_not_trust_is_refused(github: tuple[str, list[dict[str, str]]]) -> None:
    url, seen = github
    with pytest.raises(NotAnswered, match="SSLError"):
        ask(url)
    assert seen == []


def folder_of(authority: Path) -> Path:
    """A folder of authorities as OpenSSL reads it."""
    folder = authority.parent / "authorities"
    folder.mkdir(exist_ok=True)
    (folder / "ca.pem").write_bytes(authority.read_bytes())
    subprocess.run([require_tool("openssl"), "rehash", str(folder)], check=True)
    return folder


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REQUESTS_CA_BUNDLE", Path),
        ("REQUESTS_CA_BUNDLE", folder_of),
        ("CURL_CA_BUNDLE", Path),
        ("SSL_CERT_FILE", Path),
    ],
    ids=["file", "folder", "curl", "openssl"],
)
def test_the_runner_may_name_its_own_authority(
    variable: str,
    value: Callable[[Path], Path],
    github: tuple[str, list[dict[str, str]]],
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, str(value(certificates / "ca.pem")))
    assert ask(github[0]) == {}
    assert github[1][0]["Authorization"] == f"Bearer {TOKEN}"


def test_a_named_authority_that_is_not_there_is_a_refusal(
    github: tuple[str, list[dict[str, str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with pytest.raises(NotAnswered):
        ask(github[0])
    assert github[1] == []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    ("place", "login"),
    [
        ("http://127.0.0.1:{}", None),
        ("127.0.0.1:{}", None),
        ("http://us%40er:pass%2Fword@127.0.0.1:{}", b"us@er:pass/word"),
    ],
    ids=["plain", "no scheme", "login"],
)
def test_a_proxy_carries_the_connection_and_never_sees_the_token(
    variable: str,
    place: str,
    login: bytes | None,
    github: tuple[str, list[dict[str, str]]],
    proxy: tuple[int, list[tuple[str, dict[str, str]]]],
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "ca.pem"))
    monkeypatch.setenv(variable, place.format(proxy[0]))
    assert ask(github[0]) == {}
    ((line, headers),) = proxy[1]
    assert line.startswith("CONNECT 127.0.0.1:")
    basic = f"Basic {base64.b64encode(login).decode()}" if login else None
    assert headers.get("proxy-authorization") == basic
    assert TOKEN not in json.dumps(headers)
    assert github[1][0]["Authorization"] == f"Bearer {TOKEN}" and "Proxy-Authorization" not in github[1][0]


@pytest.mark.parametrize("names", ["127.0.0.1", "*", "example.com, 127.0.0.1"])
def test_no_proxy_is_asked_for_hosts_that_the_runner_excepts(
    names: str,
    github: tuple[str, list[dict[str, str]]],
    proxy: tuple[int, list[tuple[str, dict[str, str]]]],
    certificates: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy[0]}")
    monkeypatch.setenv("NO_PROXY", names)
    assert ask(github[0]) == {}
    assert proxy[1] == []


def test_an_address_without_tls_goes_through_the_proxy_for_such(
    proxy: tuple[int, list[tuple[str, dict[str, str]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy[0]}")
    assert ask("http://github.invalid") == {}
    assert proxy[1][0][0] == "GET http://github.invalid/rate_limit HTTP/1.1"


@pytest.mark.parametrize("place", ["socks5://127.0.0.1:1", "http://127.0.0.1:1", "http://[", "ftp://x"])
def test_a_proxy_that_can_not_be_used_is_a_refusal_and_never_a_direct_connection(
    place: str, github: tuple[str, list[dict[str, str]]], certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", place)
    with pytest.raises(NotAnswered):
        ask(github[0])
    assert github[1] == []


@pytest.mark.parametrize("token", [TOKEN + "\n", TOKEN + "\r\nX: y", TOKEN + "\u20ac"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_readable(
    token: str, proxy: tuple[int, list[tuple[str, dict[str, str]]]]
) -> None:
    with pytest.raises(NotAnswered) as refused:
        ask(f"http://127.0.0.1:{proxy[0]}", token)
    assert TOKEN not in refused.value.message and refused.value.__cause__ is None
    assert proxy[1] == []
