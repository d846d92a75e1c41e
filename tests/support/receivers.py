"""Where messages arrive: webhooks over HTTP, services behind TLS that a proxy leads here, and a mail server."""

from __future__ import annotations

import json
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.environment import require_tool

# What stands behind TLS: Slack, and Teams' workflows.
HOSTS = ("hooks.slack.com", "prod-1.westeurope.logic.azure.com")


@dataclass
class Receiver:
    """What arrived.

    Arguments:
        mode: `ok`, `slow` (bytes come, and never all of them), or a status such as `500`.
        posts: host, path and JSON of each request; `mails`: each as it was sent.
    """

    mode: str = "ok"
    port: int = 0
    posts: list[tuple[str, str, Any]] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def _serving(server: socketserver.TCPServer, receiver: Receiver) -> Iterator[Receiver]:
    receiver.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.over.set()
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that went away is not an error."""


@contextmanager
def webhooks(mode: str = "ok", certificates: Path | None = None) -> Iterator[Receiver]:
    """Take what is posted; with certificates, also as a proxy for every host."""
    receiver = Receiver(mode)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            assert certificates is not None
            self.send_response(200)
            self.end_headers()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            Handler(context.wrap_socket(self.connection, server_side=True), self.client_address, self.server)
            self.close_connection = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.posts.append((str(self.headers["Host"]), self.path, body))
            if receiver.mode == "slow":
                self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                while not receiver.over.wait(0.5):
                    self.wfile.write(b"X-Wait: more\r\n")
                return
            answer = b"ok"
            self.send_response(200 if receiver.mode == "ok" else int(receiver.mode))
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            """Nothing is printed."""

    with _serving(_Server(("127.0.0.1", 0), Handler), receiver):
        yield receiver


@contextmanager
def mail_server() -> Iterator[Receiver]:
    """Take mails, as RFC 5321 has it."""
    receiver = Receiver()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 mail.example ready")
            while line := self.rfile.readline():
                verb = line[:4].upper().strip()
                if verb == b"DATA":
                    self._say("354 end with a line with one dot")
                    lines = []
                    while (line := self.rfile.readline()) != b".\r\n":
                        lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
                    receiver.mails.append(b"".join(lines).decode())
                self._say(
                    {b"EHLO": "250-mail.example\r\n250 AUTH PLAIN", b"AUTH": "235 ok", b"QUIT": "221 bye"}.get(
                        verb, "250 ok"
                    )
                )
                if verb == b"QUIT":
                    return

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with _serving(Server(("127.0.0.1", 0), Handler), receiver):
        yield receiver


@contextmanager
def nobody() -> Iterator[int]:
    """A port at which nobody listens."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler, bind_and_activate=False) as server:
        server.server_bind()
        yield server.server_address[1]


def certify(folder: Path) -> Path:
    """Write an authority, `ca.pem`, and what it signed for HOSTS, `server.pem` and `server.key`."""
    names = ",".join("DNS:" + host for host in HOSTS)
    (folder / "extensions").write_text(f"subjectAltName={names}\nauthorityKeyIdentifier=keyid\n")
    new = "-newkey rsa:2048 -nodes"
    for command in (
        f"req -x509 {new} -subj /CN=authority -keyout ca.key -out ca.pem",
        f"req {new} -subj /CN=services -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile extensions -out server.pem",
    ):
        subprocess.run([require_tool("openssl"), *command.split()], cwd=folder, check=True, capture_output=True)
    return folder
