#!/usr/bin/env python3
"""A small real service to try an agent on: its capacity is a number of processes, set by a file in git.

    python example_service.py serve --folder FOLDER     run until SIGTERM; prints its address as one line of JSON
    python example_service.py with -- COMMAND [ARG...]  run it under load, around a command, and stop it afterwards

FOLDER gets `configuration.git`, a bare repository with `autoscaling.yml` on the branch `main`.  Each instance is a
process.  The load is shared among those that live: with a demand of 1.8 and two of them, CPU is at 90 %.

    GET  /metrics             Prometheus text: example_cpu_share, _memory_share, _latency_seconds, example_instances
    GET  /api/v1/query        the newest value of one of these, in the form of Prometheus' HTTP API
    GET  /api/v1/query_range  its history
    GET  /instances           the processes
    POST /load                {"demand": 1.8} makes users come or go
    POST /-/apply             starts and ends instances as the file on main says

A query is the name of a metric, which may be in brackets and be divided by a number.  Where --token is given, both
POST addresses want `Authorization: Bearer TOKEN`.  --stuck: instances are promised and don't come.  Standard library
and git only; POSIX only.
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
SERVICE = "example"
FILE = "autoscaling.yml"
MAX_BODY_BYTES = 1024
SAMPLE_SECONDS = 0.1
FIRST_INSTANCES = 2
EXIT_TERMINATED = 128 + signal.SIGTERM
QUERY = re.compile(r"\(?\s*([a-z_]+)\s*\)?(?:\s*/\s*([0-9.e-]+))?")
# An instance: it lives until its input ends, which it does when the service is gone.
INSTANCE = "import sys; sys.stdin.read()"

CONFIGURATION = f"""\
# How much capacity the example service has.  The deployer reads this file.
spec:
  service: {SERVICE}
  instances: {FIRST_INSTANCES}  # never 1: a restart would be an outage
"""

CATALOGUE = """\
services:
  {service}:
    prometheus: {url}
    cpu: example_cpu_share
    memory: example_memory_share
    latency: example_latency_seconds
    latency_limit_seconds: 0.5
    online: example_instances
    window_seconds: 5
    minimum: 2
    maximum: 8
    step: 2
    cooldown_seconds: 0
    target:
      git:
        repository: {repository}
        branch: main
        path: {file}
        key: spec.instances
    trigger: {url}/-/apply
"""


def git(repository: Path, *arguments: str, data: Optional[str] = None) -> str:
    """Run git in a bare repository, as nobody in particular, and return what it prints."""
    who = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        who.update({f"GIT_{role}_NAME": "Deployment", f"GIT_{role}_EMAIL": "deployment@example.com"})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", f"--git-dir={repository}", *arguments]
    done = subprocess.run(
        command, env={**environment, **who}, input=data, stdout=subprocess.PIPE, check=True, text=True
    )
    return done.stdout


def create(folder: Path) -> Path:
    """Make the repository with the first configuration, unless it is there."""
    repository = folder / "configuration.git"
    if not repository.exists():
        folder.mkdir(parents=True, exist_ok=True)
        git(repository, "init", "--quiet", "--bare", "--initial-branch=main", str(repository))
        blob = git(repository, "hash-object", "-w", "--stdin", data=CONFIGURATION).strip()
        tree = git(repository, "mktree", data=f"100644 blob {blob}\t{FILE}\n").strip()
        made = git(repository, "commit-tree", tree, "-m", "Start with two instances").strip()
        git(repository, "update-ref", "refs/heads/main", made)
    return repository


class Service:
    """Its instances, the load that they share, and what was measured of it."""

    def __init__(self, repository: Path, demand: float, stuck: bool) -> None:
        self.repository = repository
        self.demand = demand
        self.stuck = stuck
        self._instances: List[subprocess.Popen[bytes]] = []
        self._lock = threading.RLock()
        self._scale(FIRST_INSTANCES)
        # As if it had run like this for an hour: a trend needs a past.
        first, now = self.measure(), time.time()
        self.history: List[Tuple[float, Dict[str, float]]] = [(now - ago, first) for ago in range(3600, 0, -5)]

    def instances(self) -> List[int]:
        """The processes that live."""
        with self._lock:
            return [instance.pid for instance in self._instances if instance.poll() is None]

    def apply(self) -> int:
        """Start and end instances as the file on main says, and return how many it says."""
        wanted = re.search(r"^  instances: (\d+)", git(self.repository, "show", f"main:{FILE}"), re.MULTILINE)
        number = int(wanted.group(1)) if wanted else FIRST_INSTANCES
        if not self.stuck:
            self._scale(number)
        return number

    def measure(self) -> Dict[str, float]:
        """What is so now."""
        online = len(self.instances())
        cpu = min(1.0, self.demand / online) if online else 1.0
        return {
            "example_cpu_share": cpu,
            "example_memory_share": min(1.0, 0.05 + cpu / 2),
            "example_latency_seconds": 0.02 + 0.2 * cpu,
            "example_instances": float(online),
        }

    def watch(self) -> None:
        """Measure forever."""
        while True:
            with self._lock:
                self.history = [*self.history[-6000:], (time.time(), self.measure())]
            time.sleep(SAMPLE_SECONDS)

    def end(self) -> None:
        """End all instances."""
        self._scale(0)

    def _scale(self, number: int) -> None:
        with self._lock:
            while len(self._instances) < number:
                self._instances.append(subprocess.Popen([sys.executable, "-S", "-c", INSTANCE], stdin=subprocess.PIPE))
            while len(self._instances) > number:
                instance = self._instances.pop()
                instance.kill()
                instance.wait()
                if instance.stdin:
                    instance.stdin.close()


def answer_query(service: Service, path: str, asked: Dict[str, str]) -> Dict[str, Any]:
    """Return what Prometheus would answer to one of the few queries that the example knows."""
    found = QUERY.fullmatch(asked.get("query", ""))
    now = service.measure()
    if not found or found.group(1) not in now:
        return {"status": "success", "data": {"resultType": "vector", "result": []}}
    name, divisor = found.group(1), float(found.group(2) or 1)
    if path == "/api/v1/query":
        series = {"metric": {}, "value": [time.time(), repr(now[name] / divisor)]}
        return {"status": "success", "data": {"resultType": "vector", "result": [series]}}
    start, end, step = (float(asked[key]) for key in ("start", "end", "step"))
    values = []
    history = list(service.history)
    for number in range(int((end - start) / step + 1e-6) + 1):
        moment = start + number * step
        known = [sample for when, sample in history if moment - 300 <= when <= moment]
        if known:
            values.append([moment, repr(known[-1][name] / divisor)])
    return {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}}


class Server(ThreadingHTTPServer):
    """A server that does not make a noise about clients that leave early."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def handler(service: Service, token: Optional[str]) -> Any:
    """Return the class of request handlers."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0
        wbufsize = -1

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/metrics":
                lines = [f"# TYPE {name} gauge\n{name} {value!r}\n" for name, value in service.measure().items()]
                self.send(200, "text/plain; version=0.0.4; charset=utf-8", "".join(lines).encode())
            elif parts.path in ("/api/v1/query", "/api/v1/query_range"):
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                self.answer(200, answer_query(service, parts.path, asked))
            elif parts.path == "/instances":
                self.answer(200, {"pids": service.instances()})
            else:
                self.answer(404, {"error": "no such address"})

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "0")
            given = self.headers.get("Authorization", "")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                self.answer(400, {"error": f"a body of 0 to {MAX_BODY_BYTES} bytes is needed"})
                return
            body = self.rfile.read(int(length))
            if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                self.answer(401, {"error": "Authorization: Bearer <token> is needed"})
            elif self.path == "/-/apply":
                self.answer(202, {"instances": service.apply()})
            elif self.path == "/load":
                try:
                    service.demand = float(json.loads(body.decode())["demand"])
                    self.answer(200, {"demand": service.demand})
                except (ValueError, LookupError, TypeError):
                    self.answer(400, {"error": '{"demand": 1.8} is needed'})
            else:
                self.answer(404, {"error": "no such address"})

        def answer(self, status: int, value: Dict[str, Any]) -> None:
            self.send(status, "application/json", json.dumps(value).encode() + b"\n")

        def send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the metrics show what happened."""

    return Handler


def serve(options: argparse.Namespace) -> int:
    """Run until SIGTERM or until the parent is gone."""
    parent = os.getppid()
    repository = create(options.folder).resolve()
    # Not an Event: set() in a handler would wait forever for the lock that the interrupted wait() may hold.
    asked_to_stop: List[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _: asked_to_stop.append(signum))
    service = Service(repository, options.demand, options.stuck)
    try:
        server = Server((HOST, options.port), handler(service, options.token))
        for target in (service.watch, server.serve_forever):
            threading.Thread(target=target, daemon=True).start()
        address = {"url": f"http://{HOST}:{server.server_port}", "pid": os.getpid()}
        print(json.dumps({**address, "repository": f"file://{repository}"}), flush=True)
        while not asked_to_stop and os.getppid() == parent:
            time.sleep(0.05)
    finally:
        service.end()
    return 0


def around(options: argparse.Namespace) -> int:
    """Run the service under load around a command; return the command's exit code."""
    token = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="example-service-") as folder:
        start = [sys.executable, str(Path(__file__).resolve()), "serve", f"--folder={folder}", f"--token={token}"]
        service = subprocess.Popen([*start, f"--demand={options.demand}"], stdout=subprocess.PIPE)
        try:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
            started = json.loads(service.stdout.readline()) if service.stdout else {}
            catalogue = Path(folder) / "services.yml"
            places = {"service": SERVICE, "file": FILE, "url": started["url"], "repository": started["repository"]}
            catalogue.write_text(CATALOGUE.format(**places), encoding="utf-8")
            print(f"example service at {started['url']}: two instances under load", file=sys.stderr, flush=True)
            environment = dict(os.environ, SERVICES_FILE=str(catalogue), AGENT_ACT_TOKEN=token, no_proxy=HOST)
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
    serving.add_argument("--folder", type=Path, required=True, help="for the repository; made if it is not there")
    serving.add_argument("--port", type=int, default=0, help="0 lets the system choose (default)")
    serving.add_argument("--token", help="what POST requests must present")
    serving.add_argument("--stuck", action="store_true", help="instances are promised and don't come")
    within = commands.add_parser("with", help="run around a command", usage="%(prog)s [OPTION...] -- COMMAND...")
    serving.add_argument("--demand", type=float, default=1.0, help="load in instances (default: %(default)s)")
    within.add_argument("--demand", type=float, default=1.9, help="load in instances (default: %(default)s)")
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
