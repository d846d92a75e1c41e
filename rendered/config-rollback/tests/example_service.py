#!/usr/bin/env python3
"""A small real service to try an agent on: it reads its configuration from git, and fails when that is wrong.

    python example_service.py serve --folder FOLDER     run until SIGTERM; prints its address as one line of JSON
    python example_service.py with -- COMMAND [ARG...]  run it after a bad change, around a command, and stop it then

FOLDER gets `configuration.git`, a bare repository whose branch `main` is what the service reads when it starts, and
`log.jsonl`, its log.  The service needs ten connections: with fewer in `service.json`, the share of requests that is
missing fails.  A restart is another process image with counters at zero.

    GET  /             does some work: 200, or 500 where connections are missing
    GET  /healthz      200 and {"status": "ok", "started": ..., "configuration": COMMIT}
    GET  /metrics      Prometheus text: http_requests_total by code, process_start_time_seconds
    GET  /log?since=T  the log as one JSON object a line
    POST /-/restart    restarts the service, which then reads its configuration again
    POST /deploy       {"connections": 4} commits that to main and restarts, as a deployment would

Where --token is given, both POST addresses want `Authorization: Bearer TOKEN`.  --sticky-failure: it fails whatever the
configuration says.  --deaf: it promises to restart and does not.  Standard library and git only; POSIX only.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, List, Optional
from urllib.parse import urlsplit

HOST = "127.0.0.1"
SERVICE = "example"
FILE = "service.json"
FLAGS = "flags.json"
NEEDED_CONNECTIONS = 10
MAX_BODY_BYTES = 1024
EXIT_TERMINATED = 128 + signal.SIGTERM

CATALOGUE = """\
services:
  {service}:
    repository: {repository}
    branch: main
    path: {file}
    flags: {flags}
    log: {url}/log
    metrics:
      url: {url}/metrics
    health: {url}/healthz
    restart: {url}/-/restart
"""


def git(repository: Path, *arguments: str, data: Optional[str] = None) -> str:
    """Run git in a bare repository, as nobody in particular, and return what it prints."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        who.update({f"GIT_{role}_NAME": "Deployment", f"GIT_{role}_EMAIL": "deployment@example.com"})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", f"--git-dir={repository}", *arguments]
    done = subprocess.run(
        command, env=dict(environment, **who), input=data, stdout=subprocess.PIPE, check=True, text=True
    )
    return done.stdout.strip()


def commit(repository: Path, files: Dict[str, Any], message: str) -> None:
    """Commit these files, and only these, to the branch main."""
    entries = []
    for name, value in files.items():
        blob = git(repository, "hash-object", "-w", "--stdin", data=json.dumps(value, indent=2) + "\n")
        entries.append(f"100644 blob {blob}\t{name}\n")
    tree = git(repository, "mktree", data="".join(entries))
    parents = git(repository, "for-each-ref", "--format=%(objectname)", "refs/heads/main").split()
    options = [word for parent in parents for word in ("-p", parent)]
    made = git(repository, "commit-tree", tree, *options, "-m", message)
    git(repository, "update-ref", "refs/heads/main", made)


def deploy(repository: Path, connections: int) -> None:
    """Change the configuration on main."""
    flags = json.loads(git(repository, "show", f"main:{FLAGS}"))
    files = {FILE: {"connections": connections, "timeout_ms": 800}, FLAGS: flags}
    commit(repository, files, f"Set connections to {connections}")


def create(folder: Path) -> Path:
    """Make the repository with a configuration that works, unless it is there."""
    repository = folder / "configuration.git"
    if not repository.exists():
        folder.mkdir(parents=True, exist_ok=True)
        git(repository, "init", "--quiet", "--bare", "--initial-branch=main", str(repository))
        files = {FILE: {"connections": NEEDED_CONNECTIONS, "timeout_ms": 800}, FLAGS: {"new-checkout": False}}
        commit(repository, files, "Start with a configuration that works")
    return repository


class Service:
    """One life of the service: its counters start at zero, and its configuration is the newest."""

    def __init__(self, folder: Path, sticky_failure: bool) -> None:
        repository = folder / "configuration.git"
        self.configuration = git(repository, "rev-parse", "main")
        connections = json.loads(git(repository, "show", f"{self.configuration}:{FILE}"))["connections"]
        self.error_rate = max(0.0, min(1.0, 1 - connections / NEEDED_CONNECTIONS))
        if sticky_failure:
            self.error_rate = max(self.error_rate, 0.4)
        self.started = time.time()
        self.counters = {"200": 0, "500": 0}
        self.log = folder / "log.jsonl"
        self._lock = threading.Lock()

    def work(self) -> str:
        """Serve one request and return its code.  Failures are spread evenly, so that shares are exact."""
        with self._lock:
            done = sum(self.counters.values()) + 1
            code = "500" if int(done * self.error_rate + 1e-9) > self.counters["500"] else "200"
            self.counters[code] += 1
            entry = {"time": datetime.now(timezone.utc).isoformat(), "level": "info", "message": "served"}
            if code == "500":
                entry.update(level="error", message="no connection left in the pool")
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            return code

    def exposition(self) -> str:
        """The metrics in the Prometheus text format."""
        with self._lock:
            counts = dict(self.counters)
        lines = [
            "# TYPE http_requests_total counter",
            *("http_requests_total{" + f'code="{code}"' + f"}} {count}" for code, count in sorted(counts.items())),
            "# TYPE process_start_time_seconds gauge",
            f"process_start_time_seconds {self.started!r}",
        ]
        return "\n".join(lines) + "\n"

    def log_text(self) -> bytes:
        """The whole log."""
        with self._lock:
            return self.log.read_bytes() if self.log.exists() else b""


class Server(ThreadingHTTPServer):
    """A server that does not make a noise about clients that leave early."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def handler(service: Service, options: argparse.Namespace, restart: Any) -> Any:
    """Return the class of request handlers."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0
        wbufsize = -1

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/":
                self.answer(int(service.work()), {"service": SERVICE})
            elif path == "/healthz":
                known = {"started": service.started, "configuration": service.configuration}
                self.answer(200, dict(known, status="ok"))
            elif path == "/metrics":
                self.send(200, "text/plain; version=0.0.4; charset=utf-8", service.exposition().encode())
            elif path == "/log":
                self.send(200, "application/jsonl", service.log_text())
            else:
                self.answer(404, {"error": "no such address"})

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            given = self.headers.get("Authorization", "")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.answer(400, {"error": f"a body of 0 to {MAX_BODY_BYTES} bytes is needed"})
                return
            body = self.rfile.read(int(length))
            if options.token and not hmac.compare_digest(given.encode(), f"Bearer {options.token}".encode()):
                self.answer(401, {"error": "Authorization: Bearer <token> is needed"})
            elif self.path == "/-/restart":
                self.restart(deaf=options.deaf)
            elif self.path == "/deploy" and deployed(options.folder, body):
                self.restart()
            else:
                self.answer(404, {"error": 'no such address, or no {"connections": 10}'})

        def restart(self, deaf: bool = False) -> None:
            if not deaf:
                self.server.shutdown()  # first stop accepting: who connects from now on waits for the next life
            self.answer(202, {"restarting": service.started})
            self.wfile.flush()
            if not deaf:
                restart()

        def answer(self, status: int, value: Dict[str, Any]) -> None:
            self.send(status, "application/json", json.dumps(value).encode() + b"\n")

        def send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the log shows what happened."""

    return Handler


def deployed(folder: Path, body: bytes) -> bool:
    """Commit the configuration that a request asks for; whether it asks for one."""
    try:
        connections = int(json.loads(body.decode())["connections"])
    except (ValueError, LookupError, TypeError):
        return False
    deploy(folder / "configuration.git", connections)
    return True


def serve(options: argparse.Namespace) -> int:
    """Run until SIGTERM or until the parent is gone.  The listening socket outlives a restart."""
    create(options.folder)
    parent = options.parent or os.getppid()
    if options.socket is None:
        listener = socket.create_server((HOST, options.port), backlog=128)
        address = {"url": f"http://{HOST}:{listener.getsockname()[1]}", "pid": os.getpid()}
        repository = (options.folder / "configuration.git").resolve()
        print(json.dumps(dict(address, repository=f"file://{repository}")), flush=True)
    else:
        listener = socket.socket(fileno=options.socket)
    service = Service(options.folder, options.sticky_failure)
    wake = threading.Event()
    server = Server((HOST, 0), handler(service, options, wake.set), bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    if options.traffic > 0:
        threading.Thread(target=users, args=(service, options.traffic), daemon=True).start()
    while not wake.wait(0.2):
        if os.getppid() != parent:
            return 0
    os.set_inheritable(listener.fileno(), True)
    known = [f"--socket={listener.fileno()}", f"--parent={parent}", f"--folder={options.folder}"]
    known += [f"--traffic={options.traffic}", *(["--sticky-failure"] if options.sticky_failure else [])]
    known += [f"--token={options.token}"] if options.token else []
    os.execv(sys.executable, [sys.executable, str(Path(__file__).resolve()), "serve", *known])


def users(service: Service, each_second: float) -> None:
    """Be the users: so many requests a second, without the detour over the network."""
    while True:
        service.work()
        time.sleep(1 / each_second)


def around(options: argparse.Namespace) -> int:
    """Run the service, after a change that does it no good, around a command; return the command's exit code."""
    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="example-service-") as folder:
        repository = create(Path(folder))
        deploy(repository, round(NEEDED_CONNECTIONS * (1 - options.error_rate)))
        start = [sys.executable, str(Path(__file__).resolve()), "serve", f"--folder={folder}", f"--token={token}"]
        service = subprocess.Popen([*start, f"--traffic={options.traffic}"], stdout=subprocess.PIPE)
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
            url = json.loads(service.stdout.readline())["url"] if service.stdout else ""
            time.sleep(1 + 40 / max(options.traffic, 1))  # something must be in the log
            catalogue = Path(folder) / "services.yml"
            places = {"service": SERVICE, "url": url, "file": FILE, "flags": FLAGS}
            catalogue.write_text(CATALOGUE.format(repository=f"file://{repository}", **places), encoding="utf-8")
            print(f"example service at {url}: its configuration lacks connections", file=sys.stderr, flush=True)
            environment = dict(os.environ, SERVICES_FILE=str(catalogue), AGENT_ACT_TOKEN=token, no_proxy=HOST)
            code = subprocess.call(options.command, env=environment)
            return code if code >= 0 else 128 - code
        except OSError as problem:
            print(f"can't run {options.command[0]}: {problem.strerror}", file=sys.stderr)
            return 127
        finally:
            service.kill()
            service.wait()


def main(arguments: List[str]) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="mode", required=True)
    serving = commands.add_parser("serve", help="run until SIGTERM")
    serving.add_argument("--folder", type=Path, required=True, help="for repository and log; made if it is not there")
    serving.add_argument("--port", type=int, default=0, help="0 lets the system choose (default)")
    serving.add_argument("--token", help="what POST requests must present")
    serving.add_argument("--sticky-failure", action="store_true", help="it fails whatever the configuration says")
    serving.add_argument("--deaf", action="store_true", help="it promises to restart and does not")
    serving.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    serving.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    within = commands.add_parser("with", help="run around a command", usage="%(prog)s [OPTION...] -- COMMAND...")
    within.add_argument("--error-rate", type=float, default=0.4, help="share that fails, 0 to 1 (default: %(default)s)")
    for mode in (serving, within):
        mode.add_argument("--traffic", type=float, default=50.0, help="own requests a second (default: %(default)s)")
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
