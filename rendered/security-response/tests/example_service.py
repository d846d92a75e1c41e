#!/usr/bin/env python3
"""A small real service to try an agent on: an identity service with keys, and a secret store.

    python example_service.py serve --token TOKEN       run until SIGTERM; prints its address as one line of JSON
    python example_service.py with -- COMMAND [ARG...]  run it with a stolen key, around a command

alice owns the keys k-1 and k-2, which she uses from 198.51.100.7.  Their values are in the secret store as shop/k-1 and
shop/k-2.  k-3 belongs to somebody who is not known any more.  dave has no keys.

    GET  /identity/keys/ID          id, owner, status, created, stored_as
    GET  /identity/keys/ID/uses     uses: [{time, address, status}]
    GET  /identity/users/NAME       active, keys
    GET  /identity/whoami           200 and key with `Authorization: Bearer KEY` for an active key, else 401; a use
                                    either way
    POST /identity/keys/ID/disable  the key is refused from now on
    POST /identity/keys/ID/rotate   id and value of a new key for the same owner
    GET, PUT /secrets/NAME          value

POST and PUT, and everything below /secrets, want `Authorization: Bearer TOKEN`.  A use comes from the address in
`X-Forwarded-For`, if there is one.  --lying: it says that a key is disabled, and continues to accept it.  --fails PATH:
a POST or PUT whose address ends so is refused with 403.  Standard library only; POSIX only.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

HOST = "127.0.0.1"
SERVICE = "example"
USUAL, THIEF = "198.51.100.7", "203.0.113.9"
MAX_BODY_BYTES = 4096
EXIT_TERMINATED = 128 + signal.SIGTERM

CATALOGUE = """\
services:
  {service}:
    identity: {url}/identity
    secrets: {url}/secrets
"""

Answer = Tuple[int, Dict[str, Any]]


def ago(days: float) -> str:
    """The time so many days ago."""
    return datetime.fromtimestamp(time.time() - days * 86400, timezone.utc).isoformat()


@dataclass
class Key:
    """One key; its value is a secret."""

    id: str
    owner: str
    stored_as: str
    created: str
    status: str = "active"
    value: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    uses: List[Dict[str, Any]] = field(default_factory=list)

    def used(self, address: str, status: int, days: float = 0) -> None:
        """Write down a use."""
        self.uses.append({"time": ago(days), "address": address, "status": status})


class Service:
    """Keys, their owners, and the secret store."""

    def __init__(self, lying: bool) -> None:
        self.lying = lying
        self.users = {"alice": True, "dave": True}
        made = [Key("k-1", "alice", "shop/k-1", ago(30)), Key("k-2", "alice", "shop/k-2", ago(200))]
        made.append(Key("k-3", "carol", "shop/k-3", ago(30)))
        self.keys = {key.id: key for key in made}
        self.stored = {key.stored_as: key.value for key in made}
        self._lock = threading.RLock()
        for key in made:
            for days in range(20, 0, -1):
                key.used(USUAL, 200, days - 0.5)

    def get(self, path: str, bearer: str, address: str) -> Answer:
        """Answer a GET below /identity."""
        with self._lock:
            if path == "/whoami":
                return self._whoami(bearer, address)
            user = re.fullmatch(r"/users/([\w-]+)", path)
            if user and user.group(1) in self.users:
                owned = [key.id for key in self.keys.values() if key.owner == user.group(1)]
                return 200, {"active": self.users[user.group(1)], "keys": owned}
            found = re.fullmatch(r"/keys/([\w-]+)(/uses)?", path)
            key = self.keys.get(found.group(1)) if found else None
            if not found or not key:
                return 404, {"error": "no such address"}
            if found.group(2):
                return 200, {"uses": key.uses}
            return 200, {name: getattr(key, name) for name in ("id", "owner", "status", "created", "stored_as")}

    def post(self, path: str) -> Answer:
        """Answer a POST below /identity."""
        with self._lock:
            found = re.fullmatch(r"/keys/([\w-]+)/(disable|rotate)", path)
            key = self.keys.get(found.group(1)) if found else None
            if not found or not key:
                return 404, {"error": "no such address"}
            if found.group(2) == "disable":
                key.status = "disabled"
                return 200, {"status": key.status}
            new = Key(f"k-{len(self.keys) + 1}", key.owner, key.stored_as, ago(0))
            self.keys[new.id] = new
            return 201, {"id": new.id, "value": new.value}

    def _whoami(self, bearer: str, address: str) -> Answer:
        for key in self.keys.values():
            if hmac.compare_digest(key.value.encode(), bearer.encode()):
                status = 200 if key.status == "active" or self.lying else 401
                key.used(address, status)
                return status, {"key": key.id, "owner": key.owner} if status == 200 else {"error": "disabled"}
        return 401, {"error": "not known"}


class Server(ThreadingHTTPServer):
    """A server that does not make a noise about clients that leave early."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def handler(service: Service, options: argparse.Namespace) -> Any:
    """Return the class of request handlers."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0
        wbufsize = -1

        def do_GET(self) -> None:
            address = self.headers.get("X-Forwarded-For") or self.client_address[0]
            if self.path.startswith("/identity/"):
                self.answer(*service.get(self.path[len("/identity") :], self.bearer(), address))
            else:
                self.answer(*self.store(None))

        def do_POST(self) -> None:
            self.change()

        def do_PUT(self) -> None:
            self.change()

        def change(self) -> None:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.answer(400, {"error": f"a body of 0 to {MAX_BODY_BYTES} bytes is needed"})
                return
            body = self.rfile.read(int(length))
            if not self.authorized():
                self.answer(401, {"error": "Authorization: Bearer <token> is needed"})
            elif options.fails and self.path.endswith(options.fails):
                self.answer(403, {"error": "refused"})
            elif self.command == "POST" and self.path.startswith("/identity/"):
                self.answer(*service.post(self.path[len("/identity") :]))
            else:
                self.answer(*self.store(body))

        def store(self, body: Optional[bytes]) -> Answer:
            name = self.path[len("/secrets/") :] if self.path.startswith("/secrets/") else ""
            if not self.authorized():
                return 401, {"error": "Authorization: Bearer <token> is needed"}
            if name not in service.stored:
                return 404, {"error": "no such address"}
            if body is not None:
                service.stored[name] = str(json.loads(body.decode())["value"])
                return 200, {}
            return 200, {"value": service.stored[name]}

        def bearer(self) -> str:
            return self.headers.get("Authorization", "")[len("Bearer ") :]

        def authorized(self) -> bool:
            return hmac.compare_digest(self.bearer().encode(), options.token.encode())

        def answer(self, status: int, value: Dict[str, Any]) -> None:
            body = json.dumps(value).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the uses show what happened."""

    return Handler


def serve(options: argparse.Namespace) -> int:
    """Run until SIGTERM or until the parent is gone."""
    parent = os.getppid()
    # Not an Event: set() in a handler would wait forever for the lock that the interrupted wait() may hold.
    asked_to_stop: List[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: asked_to_stop.append(signum))
    server = Server((HOST, options.port), handler(Service(options.lying), options))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://{HOST}:{server.server_port}", "pid": os.getpid()}), flush=True)
    while not asked_to_stop and os.getppid() == parent:
        time.sleep(0.05)
    return 0


def steal(url: str, token: str, name: str = "shop/k-1") -> str:
    """Take a key out of the secret store, use it from elsewhere, and return it."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, bearer: str) -> Dict[str, Any]:
        headers = {"Authorization": f"Bearer {bearer}", "X-Forwarded-For": THIEF}
        with direct.open(urllib.request.Request(url + path, headers=headers), timeout=5) as answer:
            found: Dict[str, Any] = json.loads(answer.read())
            return found

    value = str(ask(f"/secrets/{name}", token)["value"])
    for _ in range(5):
        ask("/identity/whoami", value)
    return value


def around(options: argparse.Namespace) -> int:
    """Run the service, after a key was stolen, around a command; return the command's exit code."""
    token = secrets.token_urlsafe(24)
    start = [sys.executable, str(Path(__file__).resolve()), "serve", f"--token={token}"]
    service = subprocess.Popen(start, stdout=subprocess.PIPE)
    try:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
        url = json.loads(service.stdout.readline())["url"] if service.stdout else ""
        steal(url, token)
        with tempfile.TemporaryDirectory(prefix="example-service-") as folder:
            catalogue = Path(folder) / "services.yml"
            catalogue.write_text(CATALOGUE.format(service=SERVICE, url=url), encoding="utf-8")
            print(f"example service at {url}: the key k-1 is used from elsewhere", file=sys.stderr, flush=True)
            environment = dict(os.environ, SERVICES_FILE=str(catalogue), AGENT_ACT_TOKEN=token, no_proxy=HOST)
            environment["TARGET_RESOURCE"] = f"{SERVICE}/key/k-1"
            code = subprocess.call(options.command, env=environment)
            return code if code >= 0 else 128 - code
    except OSError as problem:
        print(f"can't run {options.command[0]}: {problem.strerror}", file=sys.stderr)
        return 127
    finally:
        service.terminate()
        service.wait()


def main(arguments: List[str]) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="mode", required=True)
    serving = commands.add_parser("serve", help="run until SIGTERM")
    serving.add_argument("--port", type=int, default=0, help="0 lets the system choose (default)")
    serving.add_argument("--token", required=True, help="what whoever changes something must present")
    serving.add_argument("--lying", action="store_true", help="a disabled key is still accepted")
    serving.add_argument("--fails", default="", help="end of an address that refuses POST and PUT")
    within = commands.add_parser("with", help="run around a command", usage="%(prog)s -- COMMAND...")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:split])
    options.command = arguments[split + 1 :]
    if options.mode == "serve":
        return serve(options)
    if not options.command:
        within.error("a COMMAND is needed after --")
    return around(options)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
