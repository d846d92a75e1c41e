#!/usr/bin/env python3
"""A small real service to try an agent on: it has a feature switch that breaks it, a log, and a history in git.

    python example_service.py serve --folder FOLDER     run until SIGTERM; prints its address as one line of JSON
    python example_service.py with -- COMMAND [ARG...]  run it with the switch on, around a command, and stop it then

FOLDER gets `configuration.git`, a bare repository whose branch `main` has the switches, and `log.jsonl`, the log.  With
`new-checkout` on, 40 % of the requests fail.  A restart is another process image with counters at zero.

    GET  /              does some work: 200, or 500
    GET  /metrics       Prometheus text: http_requests_total by code, process_start_time_seconds
    GET  /log           the log as one JSON object a line
    GET  /switches      {"switches": {"new-checkout": true}}
    PUT  /switches/NAME {"on": false} turns a switch off or on, and commits that
    POST /-/restart     restarts the service

Where --token is given, PUT and POST want `Authorization: Bearer TOKEN`.  --sticky-failure: it fails whatever the
switches say.  --deaf: it promises to restart and does not.  --log-line TEXT: an attacker wrote this into the log.
Standard library and git only; POSIX only.
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
FILE = "switches.json"
SWITCH = "new-checkout"
FAILING = 0.4
MAX_BODY_BYTES = 1024
EXIT_TERMINATED = 128 + signal.SIGTERM

CATALOGUE = """\
services:
  {service}:
    metrics:
      url: {url}/metrics
      window_seconds: 2
      fresh_seconds: 2
    log: {url}/log
    switches: {url}/switches
    repository: {repository}
    branch: main
    path: {file}
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


def commit(repository: Path, switches: Dict[str, bool], message: str) -> None:
    """Commit the switches to the branch main."""
    blob = git(repository, "hash-object", "-w", "--stdin", data=json.dumps(switches, indent=2) + "\n")
    tree = git(repository, "mktree", data=f"100644 blob {blob}\t{FILE}\n")
    parents = git(repository, "for-each-ref", "--format=%(objectname)", "refs/heads/main").split()
    options = [word for parent in parents for word in ("-p", parent)]
    git(repository, "update-ref", "refs/heads/main", git(repository, "commit-tree", tree, *options, "-m", message))


def create(folder: Path) -> Path:
    """Make the repository with every switch off, unless it is there."""
    repository = folder / "configuration.git"
    if not repository.exists():
        folder.mkdir(parents=True, exist_ok=True)
        git(repository, "init", "--quiet", "--bare", "--initial-branch=main", str(repository))
        commit(repository, {SWITCH: False, "dark-mode": True}, "Start with switches that work")
    return repository


class Service:
    """One life of the service: its counters start at zero, and its switches are the newest."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.repository = options.folder / "configuration.git"
        self.switches: Dict[str, bool] = json.loads(git(self.repository, "show", f"main:{FILE}"))
        self.sticky = options.sticky_failure
        self.started = time.time()
        self.counters = {"200": 0, "500": 0}
        self.log = options.folder / "log.jsonl"
        self._since = (0, 0)
        self._lock = threading.Lock()
        for line in options.log_line:
            self.write("info", line)

    def write(self, level: str, message: str) -> None:
        """Append a line to the log."""
        entry = {"time": datetime.now(timezone.utc).isoformat(), "level": level, "message": message}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def work(self) -> str:
        """Serve one request and return its code.  Failures are spread evenly, so that shares are exact."""
        with self._lock:
            rate = FAILING if self.switches[SWITCH] or self.sticky else 0.0
            done, failed = self._since[0] + 1, self._since[1]
            fails = int(done * rate + 1e-9) > failed
            self._since = (done, failed + fails)
            code = "500" if fails else "200"
            self.counters[code] += 1
            if fails:
                self.write("error", f"{SWITCH}: the price service does not know this currency")
            return code

    def turn(self, name: str, on: bool) -> None:
        """Turn a switch on or off, and commit that."""
        with self._lock:
            self.switches[name] = on
            self._since = (0, 0)
            commit(self.repository, self.switches, f"Turn {'on' if on else 'off'} {name}")

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
            elif path == "/switches":
                self.answer(200, {"switches": service.switches})
            elif path == "/metrics":
                self.send(200, "text/plain; version=0.0.4; charset=utf-8", service.exposition().encode())
            elif path == "/log":
                self.send(200, "application/jsonl", service.log.read_bytes() if service.log.exists() else b"")
            else:
                self.answer(404, {"error": "no such address"})

        def do_PUT(self) -> None:
            name = self.path.rpartition("/")[2]
            on = self.ordered()
            if on is None:
                return
            if name not in service.switches or not isinstance(on.get("on"), bool):
                self.answer(404, {"error": 'no such switch, or no {"on": false}'})
                return
            service.turn(name, on["on"])
            self.answer(200, {"switches": service.switches})

        def do_POST(self) -> None:
            if self.ordered() is None:
                return
            if self.path != "/-/restart":
                self.answer(404, {"error": "no such address"})
                return
            if not options.deaf:
                self.server.shutdown()  # first stop accepting: who connects from now on waits for the next life
            self.answer(202, {"restarting": service.started})
            self.wfile.flush()
            if not options.deaf:
                restart()

        def ordered(self) -> Optional[Dict[str, Any]]:
            """The body of a request by somebody who may change something; None when it was refused."""
            length = self.headers.get("Content-Length", "0")
            given = self.headers.get("Authorization", "")
            body = self.rfile.read(min(int(length), MAX_BODY_BYTES)) if length.isdecimal() else b""
            if options.token and not hmac.compare_digest(given.encode(), f"Bearer {options.token}".encode()):
                self.answer(401, {"error": "Authorization: Bearer <token> is needed"})
                return None
            try:
                value = json.loads(body or b"{}")
            except ValueError:
                value = {}
            return value if isinstance(value, dict) else {}

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
    service = Service(options)
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
    """Run the service, with the switch on, around a command; return the command's exit code."""
    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="example-service-") as folder:
        repository = create(Path(folder))
        commit(repository, {SWITCH: True, "dark-mode": True}, f"Turn on {SWITCH}")
        start = [sys.executable, str(Path(__file__).resolve()), "serve", f"--folder={folder}", f"--token={token}"]
        service = subprocess.Popen([*start, f"--traffic={options.traffic}"], stdout=subprocess.PIPE)
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
            url = json.loads(service.stdout.readline())["url"] if service.stdout else ""
            time.sleep(1 + 40 / max(options.traffic, 1))  # something must be in the log
            catalogue = Path(folder) / "services.yml"
            places = {"service": SERVICE, "url": url, "file": FILE, "repository": f"file://{repository}"}
            catalogue.write_text(CATALOGUE.format(**places), encoding="utf-8")
            print(f"example service at {url}: its switch {SWITCH} is on", file=sys.stderr, flush=True)
            environment = dict(os.environ, SERVICES_FILE=str(catalogue), AGENT_ACT_TOKEN=token, no_proxy=HOST)
            environment.setdefault("MODEL_NAME", "recorded:tests/conversation.json")
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
    serving.add_argument("--token", help="what PUT and POST requests must present")
    serving.add_argument("--sticky-failure", action="store_true", help="it fails whatever the switches say")
    serving.add_argument("--deaf", action="store_true", help="it promises to restart and does not")
    serving.add_argument("--log-line", action="append", default=[], help="a line that somebody wrote into the log")
    serving.add_argument("--socket", type=int, help=argparse.SUPPRESS)
    serving.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    within = commands.add_parser("with", help="run around a command", usage="%(prog)s [OPTION...] -- COMMAND...")
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
