"""Single HTTP requests with a bound on everything: time, size, redirects.

`get()` reads, `send_once()` and `post_once()` change something.  The difference that matters: when one of those fails,
it says whether the request may have taken effect.  `token()` finds what they present.
"""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple, TypeVar
from urllib.parse import SplitResult, urljoin, urlsplit

from agent_runtime.toolkit.errors import (
    NO_ANSWER,
    OUTCOME_UNKNOWN,
    TOKEN_INVALID,
    TOKEN_REFUSED,
    OutcomeUnknown,
    Refused,
    ToolError,
)

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_REDIRECTS = 3
_CHUNK_BYTES = 64 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]+")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Response:
    """An answer of any status.

    Arguments:
        url: what was asked, without its query.
        status: HTTP status code.
        body: the whole body.
    """

    url: str
    status: int
    body: bytes = field(repr=False)  # it may hold a secret

    @property
    def ok(self) -> bool:
        """Whether the status is one of success, 200 to 299."""
        return 200 <= self.status < 300

    def text(self) -> str:
        """The body as UTF-8 text.

        Raises:
            ToolError: it is not UTF-8.
        """
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError as problem:
            raise ToolError(NO_ANSWER, "{}: the answer is not UTF-8: {}".format(self.url, problem)) from None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ToolError: it is not JSON.
        """
        from agent_runtime.text.strict_json import strict_json  # noqa: PLC0415  imported when used

        try:
            return strict_json(self.body)
        except ValueError as problem:
            raise ToolError(NO_ANSWER, "{}: the answer is not JSON: {}".format(self.url, problem)) from None

    def fields(self, **kinds: type) -> Dict[str, Any]:
        """The body as a JSON object that has these fields, each of its kind, such as `fields(id=str)`.

        Raises:
            ToolError: the status is none of success, or the body is no such object.  The message holds nothing of the
                body, which may be a secret.
        """
        try:
            found = self.json() if self.ok else None
        except ToolError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in kinds.items()):
            raise ToolError(NO_ANSWER, "{}: HTTP {} without {}".format(self.url, self.status, ", ".join(kinds)))
        return found


class NoToken(str):
    """An empty text in the place of a token, so that nothing is sent; a refusal then says whose token is missing.

    Arguments:
        name: what `token()` was asked for.
    """

    name: str

    def __new__(cls, name: str) -> NoToken:
        empty = super().__new__(cls)
        empty.name = name
        return empty


def token(name: str) -> Optional[str]:
    """Return the token for one of the systems that `act()` changes; None or an empty text where there is none.

    The secret AGENT_ACT_TOKEN holds either the one token for all of them, or a JSON object with one for each, such as
    `{"git": "...", "restart": "..."}`, so that no system sees what belongs to another.

    Arguments:
        name: of the system, as docs/RUNBOOK.md names it.

    Raises:
        ToolError: it looks like an object and is none of texts (TOOL06).  The message never holds the value.
    """
    secret = os.environ.get("AGENT_ACT_TOKEN", "").strip()
    if not secret.startswith("{"):
        return secret or None
    from agent_runtime.text.strict_json import strict_json  # noqa: PLC0415  imported when used

    try:
        tokens = strict_json(secret.encode())
    except ValueError:
        tokens = None
    if not isinstance(tokens, dict) or not all(isinstance(value, str) for value in tokens.values()):
        raise ToolError(
            TOKEN_INVALID, "AGENT_ACT_TOKEN starts like a JSON object and is none with a text for each name"
        )
    return tokens.get(name) or NoToken(name)


def get(
    url: str,
    *,
    params: Optional[Mapping[str, str]] = None,
    token: Optional[str] = None,
    timeout_seconds: float = 10.0,
    max_bytes: int = MAX_BODY_BYTES,
) -> Response:
    """Read `url` once.  Follows redirects on the same host only, at most three.

    Arguments:
        params: the query.
        token: sent as `Authorization: Bearer`; None or empty sends none.
        timeout_seconds: for the whole request, name resolution and body included.
        max_bytes: of the body.

    Raises:
        ToolError: no answer in time, an answer that is too large, or a redirect that leads elsewhere.
    """

    check_token(token)

    def read() -> Response:
        return _read(url, params, token, timeout_seconds, max_bytes)

    try:
        return _within(timeout_seconds, read)
    except _DeadlinePassed:
        raise _no_answer("GET", url, "no whole answer within {:g} s".format(timeout_seconds)) from None


def post_once(url: str, *, token: Optional[str] = None, timeout_seconds: float = 30.0) -> Response:
    """Send an empty POST once, and never again.  The answer's body is not read.

    Arguments:
        token: sent as `Authorization: Bearer`; None or empty sends none.
        timeout_seconds: for the whole request.

    Raises:
        OutcomeUnknown: the request was or may have been sent, and no answer or a server error (5xx) came back.
        ToolError: the request was not sent, or the service refused it (3xx, 4xx): nothing was changed.
    """
    return send_once("POST", url, token=token, timeout_seconds=timeout_seconds, max_bytes=0)


def send_once(
    method: str,
    url: str,
    *,
    value: Any = None,
    content_type: str = "application/json",
    token: Optional[str] = None,
    timeout_seconds: float = 30.0,
    max_bytes: int = MAX_BODY_BYTES,
) -> Response:
    """Send a POST, PUT or PATCH once, and never again.

    Arguments:
        value: sent as JSON; None sends no body.
        content_type: of the body.
        token: sent as `Authorization: Bearer`; None or empty sends none.
        timeout_seconds: for the whole request.
        max_bytes: of the answer's body; 0 does not read it.

    Raises:
        OutcomeUnknown: the request was or may have been sent, and no whole answer or a server error (5xx) came back.
        ToolError: the request was not sent, or the service refused it (3xx, 4xx): nothing was changed.  Its subclass
            Refused tells the status, unless it is about the token (401, 403).
    """
    check_token(token)

    def send() -> Response:
        return _send(
            method,
            url,
            value=value,
            content_type=content_type,
            token=token,
            timeout_seconds=timeout_seconds,
            max_bytes=max_bytes,
        )

    try:
        response = _within(timeout_seconds, send)
    except _DeadlinePassed:
        raise _unknown(method, url, "no answer within {:g} s".format(timeout_seconds)) from None
    if response.status >= 500:
        raise _unknown(method, url, "HTTP {}".format(response.status))
    if response.status in (401, 403):
        raise ToolError(
            TOKEN_REFUSED, "{} {}: refused with HTTP {} {}".format(method, _shown(url), response.status, _sent(token))
        )
    if not response.ok:
        why = "{} {}: refused with HTTP {}".format(method, _shown(url), response.status)
        raise Refused(NO_ANSWER, why, response.status)
    return response


def check_token(token: Optional[str]) -> None:
    """Refuse a token that no header can hold, and an object of tokens: each system gets its own only (TOOL06)."""
    if token and token.lstrip().startswith("{"):
        raise ToolError(
            TOKEN_INVALID, "the token is a JSON object, as AGENT_ACT_TOKEN may be: take one out of it with http.token()"
        )
    if token and not _TOKEN.fullmatch(token):
        raise ToolError(TOKEN_INVALID, "the token holds spaces, line ends or characters that are not ASCII")


def _sent(token: Optional[str]) -> str:
    """Which token was presented, in words."""
    if token:
        return "with the token of AGENT_ACT_TOKEN"
    if isinstance(token, NoToken):
        return "without a token: AGENT_ACT_TOKEN has no token for {}".format(token.name)
    return "without a token: AGENT_ACT_TOKEN is empty"


def _read(
    url: str, params: Optional[Mapping[str, str]], token: Optional[str], timeout_seconds: float, max_bytes: int
) -> Response:
    import requests  # noqa: PLC0415  imported when used

    shown = _shown(url)
    try:
        with requests.Session() as session:
            session.auth = _Authorization(token)
            for _ in range(MAX_REDIRECTS + 1):
                # "identity": a small compressed answer can't unpack into a huge one.
                with session.get(
                    url,
                    params=dict(params or {}),
                    headers={"Accept-Encoding": "identity"},
                    timeout=timeout_seconds,
                    stream=True,
                    allow_redirects=False,
                ) as answer:
                    if not answer.is_redirect:
                        return Response(shown, answer.status_code, _body(answer, shown, max_bytes))
                    there = urljoin(answer.url, answer.headers["Location"])
                if _origin(there) != _origin(url):
                    raise _no_answer("GET", url, "redirects to another host, {}".format(_shown(there)))
                url, params = there, None
    except (requests.RequestException, OSError, ValueError) as problem:
        raise _no_answer("GET", url, _cause(problem)) from None
    raise _no_answer("GET", url, "more than {} redirects".format(MAX_REDIRECTS))


def _send(
    method: str,
    url: str,
    *,
    value: Any,
    content_type: str,
    token: Optional[str],
    timeout_seconds: float,
    max_bytes: int,
) -> Response:
    import json  # noqa: PLC0415  imported when used

    import requests  # noqa: PLC0415  imported when used

    headers: Dict[str, str] = {"Accept-Encoding": "identity"}
    data = None
    if value is not None:
        data = json.dumps(value, allow_nan=False).encode()
        headers["Content-Type"] = content_type
    try:
        with requests.Session() as session:
            session.auth = _Authorization(token)
            with session.request(
                method, url, data=data, headers=headers, timeout=timeout_seconds, stream=True, allow_redirects=False
            ) as answer:
                wanted = max_bytes and 200 <= answer.status_code < 300
                body = _body(answer, _shown(url), max_bytes, method) if wanted else b""
                return Response(_shown(url), answer.status_code, body)
    except ToolError as problem:
        raise OutcomeUnknown(OUTCOME_UNKNOWN, "{}; it has taken effect".format(problem.message)) from None
    except (requests.RequestException, OSError, ValueError) as problem:
        if _never_sent(problem):
            raise _no_answer(method, url, _cause(problem)) from None
        raise _unknown(method, url, _cause(problem)) from None


def _body(answer: Any, shown: str, max_bytes: int, method: str = "GET") -> bytes:
    shown = "{} {}".format(method, shown)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise ToolError(NO_ANSWER, "{}: the answer is compressed although nobody asked for it".format(shown))
    body = bytearray()
    for chunk in answer.iter_content(_CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise ToolError(NO_ANSWER, "{}: the answer has more than {} bytes".format(shown, max_bytes))
    return bytes(body)


def _within(seconds: float, call: Callable[[], Value]) -> Value:
    """Return what `call` returns, or raise _DeadlinePassed after `seconds`, whatever `call` hangs on.

    The timeouts of sockets bound one wait each; a server that sends a byte now and then, or a name server that is
    silent, would hold a job for hours.
    """
    from concurrent import futures  # noqa: PLC0415  imported when used

    answer: futures.Future[Value] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as problem:  # handed to the caller's thread, which raises it
            answer.set_exception(problem)

    threading.Thread(target=run, daemon=True).start()
    try:
        return answer.result(timeout=seconds)
    except futures.TimeoutError:
        raise _DeadlinePassed from None


class _DeadlinePassed(Exception):
    """A call took too long."""


class _Authorization:
    """Sends the token, or nothing; either way no password of a `.netrc` file."""

    def __init__(self, token: Optional[str]) -> None:
        self.token = token

    def __call__(self, request: Any) -> Any:
        if self.token:
            request.headers["Authorization"] = "Bearer " + self.token
        return request


def _never_sent(problem: BaseException) -> bool:
    """Whether the request surely never left: no connection, an untrusted certificate, or an address that is none."""
    import ssl  # noqa: PLC0415  imported when used

    import requests  # noqa: PLC0415  imported when used
    from urllib3.exceptions import NewConnectionError  # noqa: PLC0415  imported when used

    unusable = (requests.ConnectTimeout, requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)
    if isinstance(problem, unusable):
        return True
    return any(isinstance(cause, (NewConnectionError, ssl.SSLCertVerificationError)) for cause in _causes(problem))


def _causes(problem: BaseException) -> Tuple[BaseException, ...]:
    """The exception and those inside it: libraries keep them in `args`, `reason` and `__cause__`."""
    found: List[BaseException] = []
    waiting = [problem]
    while waiting and len(found) < 20:
        cause = waiting.pop(0)
        found.append(cause)
        inside = [getattr(cause, "reason", None), cause.__cause__, cause.__context__, *cause.args]
        waiting.extend(one for one in inside if isinstance(one, BaseException) and one not in found)
    return tuple(found)


def _cause(problem: BaseException) -> str:
    """What went wrong in a few words, without the library's nesting."""
    import requests  # noqa: PLC0415  imported when used

    causes = _causes(problem)
    if isinstance(problem, requests.Timeout):
        return "timed out"
    for cause in causes:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[:1].lower() + cause.strerror[1:]
    return " ".join(str(causes[-1]).split())[:200] or type(problem).__name__


def _no_answer(method: str, url: str, why: str) -> ToolError:
    return ToolError(NO_ANSWER, "{} {}: {}".format(method, _shown(url), why))


def _unknown(method: str, url: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(OUTCOME_UNKNOWN, "{} {}: {}; it may have taken effect".format(method, _shown(url), why))


def _shown(url: str) -> str:
    """The address as messages show it: without query, in ASCII."""
    return ascii(url.split("?", 1)[0].split("#", 1)[0])[1:-1][:300]


def _origin(url: str) -> Tuple[str, Optional[str], Optional[int]]:
    parts: SplitResult = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
