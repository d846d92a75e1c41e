#!/usr/bin/env python3
"""Turns webhooks of the Prometheus Alertmanager into runs of an agent: one program, nothing but the standard library.

    export ALERTMANAGER_BRIDGE_SECRET=...   # what Alertmanager sends as a Bearer token; at least 16 characters
    export GITHUB_TOKEN=...                 # may write the contents of the agent's repository, and nothing else
    python examples/alertmanager_bridge.py --repo acme/checkout-restart --listen 127.0.0.1:9095

Each group of alerts that Alertmanager posts becomes a `repository_dispatch` of type `alert-triggered`, with the payload
that specs/alert.schema.json of an agent repository describes.  examples/README.md has Alertmanager's side of it.

What is sent twice does no harm (the agent deduplicates the runs of an alert), what is lost does.  So the
bridge answers 200 only after GitHub has taken every dispatch, and 5xx otherwise: Alertmanager then tries again.  It
keeps no more than which alerts belong to an incident, in memory, so it may be restarted, and run twice, at any time: at
worst somebody is asked twice about one.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import logging
import os
import re
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

EVENT_TYPE = "alert-triggered"
DEFAULT_API_URL = "https://api.github.com"
USER_AGENT = "gated-agents-alertmanager-bridge"

MAX_BODY_BYTES = 4 * 1024 * 1024
# GitHub takes less than 64 KB; what is measured here is the payload without what surrounds it.
MAX_PAYLOAD_BYTES = 60_000
MAX_TEXT = 2_000
MAX_MEMBERS = 50
MAX_INCIDENTS = 10_000
MIN_SECRET = 16

# How long one webhook may take in all, and one request to GitHub.
BUDGET_SECONDS = 25.0
REQUEST_SECONDS = 10.0
SOCKET_SECONDS = 10.0
RETRIES = 3
# What Alertmanager is asked to wait when GitHub gives no time.
RETRY_AFTER_SECONDS = 30

# The identifiers of specs/alert.schema.json.
RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+=,~%#-]{0,255}")
SEVERITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}")
SEVERITIES = ("critical", "page", "high", "error", "warning", "medium", "low", "info", "none")
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

log = logging.getLogger("alertmanager-bridge")


# ------------------------------------------------------------------------------------ from webhooks to payloads, purely


class NotAWebhook(ValueError):
    """The body is not what Alertmanager posts."""


@dataclass(frozen=True)
class Group:
    """What is to be dispatched for one webhook.

    Arguments:
        payloads: one `client_payload` for each resource that fires.
        nameless: alerts that fire and name no resource that an agent could be asked about.
    """

    payloads: list[dict[str, Any]]
    nameless: list[str]


class Incidents:
    """Which alerts fired when an incident was last heard of, by group and resource.

    An incident begins with the earliest alert of its group.  That one may end before the others, and new ones may join:
    as long as one alert fired the last time too, it is the same incident.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], tuple[str, frozenset[str]]] = {}

    def trace_id(self, webhook: Mapping[str, Any], resource: str, alerts: Sequence[Mapping[str, Any]]) -> str:
        """The same for each webhook about the same incident: of a repetition, of a retry, mostly of a second bridge.

        Arguments:
            alerts: those that fire for the resource.
        """
        group = (str(webhook.get("groupKey") or ""), resource)
        with self._lock:
            trace_id, fired = self._known.pop(group, ("", frozenset()))
            if not fired & _names(webhook["alerts"]):  # it may be that one of them has just ended
                begun = min(str(alert.get("startsAt") or "") for alert in alerts)
                identity = json.dumps([*group, begun]).encode("utf-8", "surrogatepass")
                trace_id = "alertmanager-" + hashlib.sha256(identity).hexdigest()[:32]
            self._known[group] = trace_id, _names(alerts)
            while len(self._known) > MAX_INCIDENTS:
                del self._known[next(iter(self._known))]  # the one that was not heard of for longest
        return trace_id


def _names(alerts: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """What distinguishes one firing of an alert from another."""
    return frozenset(json.dumps([each.get("labels"), each.get("startsAt")], sort_keys=True) for each in alerts)


def read_webhook(body: bytes) -> dict[str, Any]:
    """Parse a webhook of Alertmanager, version 4.

    Source: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config

    Raises:
        NotAWebhook: it is something else.
    """
    try:
        webhook = json.loads(body)
    except (ValueError, RecursionError):
        raise NotAWebhook("the body is not JSON") from None
    if not isinstance(webhook, dict) or str(webhook.get("version")) != "4":
        raise NotAWebhook("the body is not a webhook of version 4")
    alerts = webhook.get("alerts")
    if not isinstance(alerts, list) or not all(isinstance(alert, dict) for alert in alerts):
        raise NotAWebhook("the webhook has no list of alerts")
    for alert in alerts:
        for key in ("labels", "annotations"):
            if not isinstance(alert.get(key, {}), dict):
                raise NotAWebhook(f"an alert's {key} are not an object")
    return webhook


def group(webhook: Mapping[str, Any], resource_labels: Sequence[str], incidents: Incidents) -> Group:
    """Say what to dispatch: a payload for each resource of the group that fires; what is resolved asks nobody.

    Arguments:
        webhook: as `read_webhook()` returns it.
        resource_labels: labels that may name the resource; the first that an alert has wins.
        incidents: what is known from before, and is remembered.
    """
    by_resource: dict[str, list[Mapping[str, Any]]] = {}
    nameless: list[str] = []
    for alert in webhook["alerts"]:
        if alert.get("status") != "firing":
            continue
        labels = alert.get("labels", {})
        resource = next((str(labels[name]) for name in resource_labels if labels.get(name)), "")
        if RESOURCE.fullmatch(resource):
            by_resource.setdefault(resource, []).append(alert)
        else:
            nameless.append(str(labels.get("alertname") or alert.get("fingerprint") or "an alert"))
    named = {name: incidents.trace_id(webhook, name, alerts) for name, alerts in by_resource.items()}
    return Group([_payload(webhook, name, alerts, named[name]) for name, alerts in by_resource.items()], nameless)


def _payload(
    webhook: Mapping[str, Any], resource: str, alerts: list[Mapping[str, Any]], trace_id: str
) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "resource": resource,
        "alert_severity": _severity(alerts),
        "trace_id": trace_id,
        "source": "alertmanager",
        "receiver": _text(webhook.get("receiver")),
        "group": _texts(webhook.get("groupLabels")),
        "external_url": _text(webhook.get("externalURL")),
        "alerts": [_alert(alert) for alert in alerts[:MAX_MEMBERS]],
    }
    truncated = webhook.get("truncatedAlerts")
    left_out = len(alerts) - len(payload["alerts"]) + (truncated if isinstance(truncated, int) else 0)
    # A reviewer can do without one alert; an alert that GitHub refuses for its size reaches nobody.
    while _size(payload) > MAX_PAYLOAD_BYTES and payload["alerts"]:
        payload["alerts"].pop()
        left_out += 1
    if not payload["alerts"]:
        payload.update(group={}, alerts=[_alert(alerts[0], members=10, limit=100)])
        left_out -= 1
    if left_out:
        payload["alerts_left_out"] = left_out
    return payload


def _severity(alerts: list[Mapping[str, Any]]) -> str:
    """The worst severity among the alerts; a word that is not known stands behind those that are."""
    words = [str(alert.get("labels", {}).get("severity") or "") for alert in alerts]
    usable = [word for word in words if SEVERITY.fullmatch(word)]
    ranks = {word: rank for rank, word in enumerate(SEVERITIES)}
    return min(usable, key=lambda word: ranks.get(word.lower(), len(ranks)), default="unknown")


def _alert(alert: Mapping[str, Any], members: int = MAX_MEMBERS, limit: int = MAX_TEXT) -> dict[str, Any]:
    return {
        "labels": _texts(alert.get("labels"), members, limit),
        "annotations": _texts(alert.get("annotations"), members, limit),
        "starts_at": _text(alert.get("startsAt")),
        "fingerprint": _text(alert.get("fingerprint")),
        "generator_url": _text(alert.get("generatorURL")),
    }


def _texts(values: Any, members: int = MAX_MEMBERS, limit: int = MAX_TEXT) -> dict[str, str]:
    pairs = list(values.items())[:members] if isinstance(values, dict) else []
    return {" ".join(_text(name, 128).split()) or "-": _text(text, limit) for name, text in pairs}


def _text(value: Any, limit: int = MAX_TEXT) -> str:
    """A text as the schema takes it: control characters become U+FFFD, and what is long is cut and says so."""
    text = CONTROL.sub("\ufffd", "" if value is None else str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _size(payload: Mapping[str, Any]) -> int:
    return len(json.dumps(payload).encode("ascii"))


# --------------------------------------------------------------------------------------------------------------- GitHub


class NotTaken(Exception):
    """GitHub did not take a dispatch; `retry_after` is when trying again makes sense, in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class GitHub:
    """Sends dispatches to one repository.

    Arguments:
        token: never printed.
        pause: how to wait, in seconds.
    """

    repository: str
    token: str = field(repr=False)
    api_url: str = DEFAULT_API_URL
    pause: Callable[[float], object] = time.sleep

    def dispatch(self, payload: Mapping[str, Any], deadline: float) -> None:
        """Start a run.

        Arguments:
            deadline: of `time.monotonic()`; nothing is tried after it.

        Raises:
            NotTaken: GitHub refused, or could not be reached.
        """
        for attempt in range(RETRIES + 1):
            try:
                self._post(payload)
                return
            except NotTaken as problem:
                last = attempt == RETRIES or problem.retry_after < 0
                if last or time.monotonic() + problem.retry_after + REQUEST_SECONDS > deadline:
                    raise
                log.warning("%s; trying again in %g s", problem, problem.retry_after)
                self.pause(problem.retry_after)

    def _post(self, payload: Mapping[str, Any]) -> None:
        body = json.dumps({"event_type": EVENT_TYPE, "client_payload": payload}).encode("ascii")
        request = urllib.request.Request(  # noqa: S310  the address is checked at the start
            f"{self.api_url.rstrip('/')}/repos/{self.repository}/dispatches",
            body,
            {
                "Accept": "application/vnd.github+json",
                "Authorization": "Bearer " + self.token,
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
                "X-GitHub-Api-Version": "2022-11-28",
            },
        )
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(request, timeout=REQUEST_SECONDS) as answer:
                answer.read(1024)
        except urllib.error.HTTPError as refusal:
            with refusal:
                raise NotTaken(*self._refused(refusal)) from None
        except (OSError, ValueError) as problem:
            # It may have been carried out. Twice is harmless: the agent deduplicates its runs.
            raise NotTaken(f"GitHub gave no answer ({type(problem).__name__})", 1.0) from None

    def _refused(self, refusal: urllib.error.HTTPError) -> tuple[str, float]:
        """What to report, and after how many seconds to try again; negative where the answer would be the same."""
        try:
            said = str(json.loads(refusal.read(64 * 1024)).get("message") or "")
        except (OSError, ValueError, AttributeError):
            said = ""
        message = f"GitHub answers HTTP {refusal.code} ({_shown(said.replace(self.token, '***'))})"
        headers = refusal.headers
        if refusal.code in (403, 429):
            asked = headers.get("Retry-After", "")
            reset = headers.get("X-RateLimit-Reset", "")
            if asked.isdigit():
                return message, float(asked)
            if headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
                return message, max(0.0, float(reset) - time.time())
            if refusal.code == 429 or "rate limit" in said.lower():
                return message, 60.0
        if refusal.code >= 500:
            return message, 1.0
        return message, -1.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token goes to one host."""

    def redirect_request(self, *_arguments: Any) -> None:
        return None


# -------------------------------------------------------------------------------------------------------------- serving


@dataclass(frozen=True)
class Answer:
    """What Alertmanager gets as an answer."""

    status: int
    text: str
    retry_after: float = 0.0


@dataclass(frozen=True)
class Bridge:
    """Answers webhooks.

    Arguments:
        secret: what a webhook must carry as its Bearer token; never printed.
        resource_labels: labels that may name the resource, the first of them first.
    """

    github: GitHub
    secret: str = field(repr=False)
    resource_labels: tuple[str, ...] = ("resource", "service", "job")
    incidents: Incidents = field(default_factory=Incidents)

    def is_known(self, authorization: str | None) -> bool:
        """Whether the header carries the secret; takes as long for every wrong one."""
        given = (authorization or "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, b"Bearer " + self.secret.encode("utf-8"))

    def take(self, body: bytes) -> Answer:
        """Dispatch what a webhook asks for, and say how it went."""
        try:
            webhook = read_webhook(body)
        except NotAWebhook as problem:
            log.error("refused: %s", problem)
            return Answer(400, str(problem))
        found = group(webhook, self.resource_labels, self.incidents)
        deadline = time.monotonic() + BUDGET_SECONDS
        for payload in found.payloads:
            about = f"{payload['resource']} ({payload['trace_id']})"
            try:
                self.github.dispatch(payload, deadline)
            except NotTaken as problem:
                # Not the reason, which may name what only this machine should know.
                log.error("not dispatched: %s: %s; Alertmanager will try again", about, problem)
                return Answer(503, "GitHub did not take the alert", max(problem.retry_after, RETRY_AFTER_SECONDS))
            log.info("dispatched: %s", about)
        if found.nameless:
            # Trying again would not help: somebody has to add the label. Alertmanager counts and logs a failure.
            names, labels = ", ".join(map(_shown, found.nameless[:10])), ", ".join(self.resource_labels)
            log.error("not dispatched: %s: no label %s names a resource", names, labels)
            return Answer(422, f"alerts without a usable label of: {labels}")
        return Answer(200, f"dispatched {len(found.payloads)}")


def _shown(text: str) -> str:
    """Untrusted text in a log: one line, ASCII, short."""
    return ascii(text)[1:-1][:200]


def make_server(bridge: Bridge, host: str, port: int) -> ThreadingHTTPServer:
    """Return a server that answers `POST /alerts` and `GET /healthz`; port 0 takes a free one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = SOCKET_SECONDS

        def do_GET(self) -> None:
            self._send(Answer(200, "ok") if self.path == "/healthz" else Answer(404, "not here"))

        def do_POST(self) -> None:
            # A body that is not read must not be taken for the next request.
            self.close_connection = True
            if self.path != "/alerts":
                self._send(Answer(404, "not here"))
            elif not bridge.is_known(self.headers.get("Authorization")):
                log.error("refused: a request from %s without the secret", self.client_address[0])
                self._send(Answer(401, "the secret is missing or wrong"))
            else:
                self._send(self._webhook())

        def _webhook(self) -> Answer:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or "Transfer-Encoding" in self.headers:
                return Answer(411, "Content-Length is missing")
            if int(length) > MAX_BODY_BYTES:
                log.error("refused: a webhook of %s bytes; %d are taken", length[:20], MAX_BODY_BYTES)
                return Answer(413, "the webhook is too large: set max_alerts")
            try:
                body = self.rfile.read(int(length))
            except OSError:
                return Answer(408, "the body did not come")
            if len(body) != int(length):
                return Answer(400, "the body ended early")
            try:
                return bridge.take(body)
            except Exception:
                log.exception("not dispatched: an error of the bridge itself; Alertmanager will try again")
                return Answer(500, "an error of the bridge")

        def _send(self, answer: Answer) -> None:
            data = (answer.text + "\n").encode("utf-8")
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            if answer.retry_after:
                self.send_header("Retry-After", str(int(answer.retry_after)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: object) -> None:
            """Stay silent: the bridge's own lines say what became of each alert."""

    class Server(ThreadingHTTPServer):
        daemon_threads = False  # what was begun is answered, also when the bridge is stopped
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server((host, port), Handler)


# --------------------------------------------------------------------------------------------------------- command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        refuse(message)


def refuse(message: str) -> NoReturn:
    """End with one line."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(2)


def configure(arguments: Sequence[str] | None, environ: Mapping[str, str]) -> tuple[Bridge, str, int]:
    """Return the bridge and the address to listen on; what is invalid ends the program with one line."""
    parser = _Parser(
        description="Turn webhooks of the Prometheus Alertmanager into runs of an agent.", allow_abbrev=False
    )
    parser.add_argument("--repo", default=environ.get("GITHUB_REPOSITORY", ""), metavar="OWNER/NAME")
    parser.add_argument("--listen", default="127.0.0.1:9095", metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument(
        "--resource-label",
        action="append",
        metavar="LABEL",
        help="label that names the resource; the first that an alert has wins (default: resource, service, job)",
    )
    options = parser.parse_args(arguments)
    if not REPOSITORY.fullmatch(options.repo):
        refuse("name the agent's repository with --repo OWNER/NAME")
    host, colon, port = options.listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        refuse("--listen is not HOST:PORT")
    secret, token = environ.get("ALERTMANAGER_BRIDGE_SECRET", ""), environ.get("GITHUB_TOKEN", "")
    if len(secret) < MIN_SECRET:
        refuse(f"ALERTMANAGER_BRIDGE_SECRET has less than {MIN_SECRET} characters; make one with: openssl rand -hex 24")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        refuse("GITHUB_TOKEN is not set, or is not a token; it needs the permission Contents: write on the repository")
    api_url = environ.get("GITHUB_API_URL") or DEFAULT_API_URL
    if not api_url.startswith("https://") and not re.match(r"http://(127\.0\.0\.1|localhost)(:|/|$)", api_url):
        refuse("GITHUB_API_URL must start with https://")
    labels = tuple(options.resource_label or Bridge.resource_labels)
    return Bridge(GitHub(options.repo, token, api_url), secret, labels), host.strip("[]"), int(port)


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process is asked to end."""
    bridge, host, port = configure(arguments, os.environ)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        server = make_server(bridge, host, port)
    except OSError as problem:
        refuse(f"can't listen on {host}:{port}: {problem.strerror}")
    for number in (signal.SIGINT, signal.SIGTERM):
        # From another thread: shutdown() waits for the loop that this signal interrupts.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    log.info("listening on %s:%d for %s", host, server.server_address[1], bridge.github.repository)
    with server:
        server.serve_forever()
    log.info("stopped")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
