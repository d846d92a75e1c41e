#!/usr/bin/env python3
"""A small real service to try an agent on: it serves, counts, fails on demand, and restarts on request.

    python example_service.py [serve]                   run until SIGTERM; prints its address as one line of JSON
    python example_service.py with -- COMMAND [ARG...]  run it, failing, around a command, and stop it afterwards

A supervisor holds the listening socket and forks a worker that serves.  A restart ends the worker: the next one is a
new process with a new instance id, counters at zero and no failure, unless started with --sticky-failure.

    GET  /           does some work: 200, or 500 for the share of requests that was asked for
    GET  /healthz    200 and {"status": "ok", "instance": ..., "pid": ..., "started": ...}
    GET  /metrics    Prometheus text: http_requests_total by code, process_start_time_seconds
    POST /chaos      {"error_rate": 0.3} makes 30 % of the requests fail
    POST /-/restart  restarts the service

Where --token is given, both POST addresses want `Authorization: Bearer TOKEN`.  Standard library only; POSIX only.
One module, because a team throws it away as one.
"""

from __future__ import annotations

import argparse
import hmac
import json
import mmap
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

HOST = "127.0.0.1"
SERVICE = "example"
RESTART_EXIT_CODE = 75
MAX_BODY_BYTES = 1024
READY_SECONDS = 10.0
POLL_SECONDS = 0.1
TERMINATE_SECONDS = 10.0
EXIT_TERMINATED = 128 + signal.SIGTERM

CATALOGUE = """\
services:
  {service}:
    metrics:
      url: {url}/metrics
      window_seconds: 2
      fresh_seconds: 2
    health: {url}/healthz
    restart: {url}/-/restart
"""


class ErrorRate:
    """The share of requests that fail, in memory that supervisor and workers share."""

    def __init__(self, rate: float) -> None:
        self._memory = mmap.mmap(-1, 8)
        self.set(rate)

    def get(self) -> float:
        return float(struct.unpack("d", self._memory[:8])[0])

    def set(self, rate: float) -> None:
        self._memory[:8] = struct.pack("d", rate)


class Worker:
    """One life of the service: its counters start at zero, and its instance id is new."""

    def __init__(self, error_rate: ErrorRate) -> None:
        self.instance = secrets.token_hex(8)
        self.started = time.time()
        self.counters = {"200": 0, "500": 0}
        self.error_rate = error_rate
        self._since_chaos = (0, 0)
        self._lock = threading.Lock()

    def work(self) -> str:
        """Serve one request and return its code.  Failures are spread evenly, so that shares are exact."""
        with self._lock:
            done, failed = self._since_chaos
            fails = int((done + 1) * self.error_rate.get() + 1e-9) > failed
            self._since_chaos = (done + 1, failed + fails)
            code = "500" if fails else "200"
            self.counters[code] += 1
            return code

    def chaos(self, rate: float) -> None:
        """From now on let this share of requests fail."""
        with self._lock:
            self.error_rate.set(rate)
            self._since_chaos = (0, 0)

    def exposition(self) -> str:
        """The metrics in the Prometheus text format."""
        with self._lock:
            counts = dict(self.counters)
        lines = [
            "# HELP http_requests_total Requests served, by HTTP status code.",
            "# TYPE http_requests_total counter",
            *(series("http_requests_total", count, code=code) for code, count in sorted(counts.items())),
            "# HELP process_start_time_seconds Start time of the process since the epoch in seconds.",
            "# TYPE process_start_time_seconds gauge",
            series("process_start_time_seconds", self.started),
            "# HELP example_instance_info The life of the service that answers.",
            "# TYPE example_instance_info gauge",
            series("example_instance_info", 1, instance_id=self.instance, pid=str(os.getpid())),
        ]
        return "\n".join(lines) + "\n"


def series(name: str, value: float, **labels: str) -> str:
    """Return one line of the Prometheus text format."""
    pairs = ",".join(f'{label}="{text}"' for label, text in labels.items())
    return name + ("{" + pairs + "}" if pairs else "") + f" {value!r}"


class Server(ThreadingHTTPServer):
    """A server that does not make a noise about clients that leave early."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def handler(worker: Worker, token: Optional[str]) -> Any:
    """Return the class of request handlers for one worker."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0
        wbufsize = -1

        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if path == "/":
                self.answer(int(worker.work()), {"service": SERVICE})
            elif path == "/healthz":
                identity = {"instance": worker.instance, "pid": os.getpid(), "started": worker.started}
                self.answer(200, dict(identity, status="ok"))
            elif path == "/metrics":
                self.send(200, "text/plain; version=0.0.4; charset=utf-8", worker.exposition().encode())
            else:
                self.answer(404, {"error": "no such address"})

        def do_POST(self) -> None:
            body = self.body()
            if body is None:
                self.answer(400, {"error": f"a body of 0 to {MAX_BODY_BYTES} bytes is needed"})
            elif not self.authorized():
                self.answer(401, {"error": "Authorization: Bearer <token> is needed"})
            elif self.path == "/chaos":
                rate = parse_rate(body)
                if rate is None:
                    self.answer(400, {"error": '{"error_rate": 0 to 1} is needed'})
                else:
                    worker.chaos(rate)
                    self.answer(200, {"error_rate": rate})
            elif self.path == "/-/restart":
                self.restart()
            else:
                self.answer(404, {"error": "no such address"})

        def restart(self) -> None:
            # First stop accepting: who connects from now on waits for the next worker.
            self.server.shutdown()
            try:
                self.answer(202, {"restarting": worker.instance})
                self.wfile.flush()
            finally:
                os._exit(RESTART_EXIT_CODE)

        def authorized(self) -> bool:
            given = self.headers.get("Authorization", "")
            return token is None or hmac.compare_digest(given.encode(), ("Bearer " + token).encode())

        def body(self) -> Optional[bytes]:
            length = self.headers.get("Content-Length", "0")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                return None
            return self.rfile.read(int(length))

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


def parse_rate(body: bytes) -> Optional[float]:
    """Return the error rate of a request body, or None when it holds none between 0 and 1."""
    try:
        rate = json.loads(body.decode())["error_rate"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        return None
    return float(rate)


class Supervisor:
    """Keeps one worker running; ends with its parent, on SIGTERM, and takes the worker along."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._parent = os.getppid()
        self._options = options
        self._error_rate = ErrorRate(options.error_rate)
        self._socket = socket.create_server((HOST, options.port), backlog=128)
        # The workers read from this pipe until it ends, which it does whatever this process dies of.
        self._alive: Tuple[int, int] = os.pipe()
        self._worker = 0
        self._stopping = False
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"

    def start(self) -> None:
        """Start the first worker and wait until it answers."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)
        self._fork()
        deadline = time.monotonic() + READY_SECONDS
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                direct.open(self.url + "/healthz", timeout=1).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    self.close()
                    raise

    def running(self) -> bool:
        """Start the worker again if it ended.  False when the service is to end."""
        if self._stopping or os.getppid() != self._parent:
            return False
        ended, _ = os.waitpid(self._worker, os.WNOHANG)
        if ended:
            if not self._options.sticky_failure:
                self._error_rate.set(0.0)
            self._fork()
        return True

    def close(self) -> None:
        """End the worker."""
        self._socket.close()
        if self._worker:
            os.kill(self._worker, signal.SIGKILL)
            os.waitpid(self._worker, 0)
            self._worker = 0

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _fork(self) -> None:
        self._worker = os.fork()
        if self._worker == 0:
            try:
                self._serve()
            finally:
                os._exit(1)

    def _serve(self) -> None:
        """Be the worker."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(self._alive[1])
        worker = Worker(self._error_rate)
        threading.Thread(target=self._end_with_supervisor, daemon=True).start()
        if self._options.traffic > 0:
            threading.Thread(target=self._traffic, args=(worker,), daemon=True).start()
        server = Server((HOST, 0), handler(worker, self._options.token), bind_and_activate=False)
        server.socket.close()
        server.socket = self._socket
        server.serve_forever(POLL_SECONDS)
        # A restart stopped the server, and ends the process when it has answered.
        threading.Event().wait()

    def _end_with_supervisor(self) -> None:
        os.read(self._alive[0], 1)
        os._exit(0)

    def _traffic(self, worker: Worker) -> None:
        """Be the users: so many requests a second, without the detour over the network."""
        while True:
            worker.work()
            time.sleep(1 / self._options.traffic)


def serve(options: argparse.Namespace) -> int:
    """Run until SIGTERM or until the parent is gone."""
    supervisor = Supervisor(options)
    try:
        supervisor.start()
        print(json.dumps({"url": supervisor.url, "pid": os.getpid()}), flush=True)
        while supervisor.running():
            time.sleep(POLL_SECONDS)
    finally:
        supervisor.close()
    return 0


def around(options: argparse.Namespace) -> int:
    """Run the service around a command and return the command's exit code."""
    options.token = options.token or secrets.token_urlsafe(24)
    supervisor = Supervisor(options)
    command: Optional[subprocess.Popen[bytes]] = None
    try:
        supervisor.start()
        failing = f"{options.error_rate * 100:g} % of its requests fail"
        print(f"example service at {supervisor.url}: {failing}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="example-service-") as folder:
            catalogue = Path(folder) / "services.yml"
            catalogue.write_text(CATALOGUE.format(service=SERVICE, url=supervisor.url), encoding="utf-8")
            environment = dict(
                os.environ,
                EXAMPLE_SERVICE_URL=supervisor.url,
                SERVICES_FILE=str(catalogue),
                AGENT_ACT_TOKEN=options.token,
                no_proxy=",".join([HOST, *filter(None, [os.environ.get("no_proxy", os.environ.get("NO_PROXY"))])]),
            )
            try:
                command = subprocess.Popen(options.command, env=environment)
            except OSError as problem:
                print(f"can't run {options.command[0]}: {problem.strerror}", file=sys.stderr)
                return 127
            while supervisor.running():
                try:
                    code = command.wait(POLL_SECONDS)
                    return code if code >= 0 else 128 - code
                except subprocess.TimeoutExpired:
                    continue
            return EXIT_TERMINATED
    finally:
        if command is not None and command.poll() is None:
            end(command)
        supervisor.close()


def end(command: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it end when it does not."""
    command.terminate()
    try:
        command.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        command.kill()
        command.wait()


def rate_option(text: str) -> float:
    """Read a share between 0 and 1 from the command line."""
    rate = parse_rate(b'{"error_rate": %s}' % text.encode())
    if rate is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")
    return rate


def main(arguments: List[str]) -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="mode", required=True)
    modes = {
        "serve": commands.add_parser("serve", help="run until SIGTERM"),
        "with": commands.add_parser("with", help="run around a command", usage="%(prog)s [OPTION...] -- COMMAND..."),
    }
    for name, mode in modes.items():
        mode.add_argument("--port", type=int, default=0, help="0 lets the system choose (default)")
        mode.add_argument(
            "--error-rate",
            type=rate_option,
            default=0.3 if name == "with" else 0.0,
            help="share of requests that fail, 0 to 1 (default: %(default)s)",
        )
        mode.add_argument("--sticky-failure", action="store_true", help="a restart does not fix the failure")
        mode.add_argument("--token", help="what POST requests must present")
        mode.add_argument("--traffic", type=float, default=50.0, help="own requests a second (default: %(default)s)")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:split] or ["serve"])
    options.command = arguments[split + 1 :]
    if options.mode == "serve":
        return serve(options)
    if not options.command:
        modes["with"].error("a COMMAND is needed after --")
    return around(options)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
