"""Single HTTP requests with a bound on everything: time, size, redirects.

`get()` and `query()` read, and may be tried again; `send_once()` and `post_once()` change something.  The difference
that matters: when one of those fails, it says whether the request may have taken effect.  `token()` finds what a system
wants to see, `token_of()` what is only for reading; both know where it is from, so that a refusal names it.

Everywhere a text as `token` is sent as `Authorization: Bearer`, and None or an empty one sends none; `timeout_seconds`
is for the whole request, name resolution and body included; `max_bytes` is for the answer's body.

One module, because a team reads it as one page: reading and changing share the deadline, the token and the question
whether a request was sent.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, Type, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from agent_runtime.toolkit.errors import (
    ACCESS_REFUSED,
    NO_ANSWER,
    OUTCOME_UNKNOWN,
    REQUEST_REFUSED,
    TOKEN_INVALID,
    TOKEN_REFUSED,
    OutcomeUnknown,
    Refused,
    ToolError,
)

ACT_TOKEN = "AGENT_ACT_TOKEN"  # noqa: S105  the name of a variable
MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_REDIRECTS = 3
MIN_HIDDEN = 8  # characters of a token that no answer may repeat; a shorter one is a word
_CHUNK_BYTES = 64 * 1024
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PEM = (b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----")

_Origin = Tuple[str, Optional[str], Optional[int]]  # scheme, host, port
Value = TypeVar("Value")


@dataclass(frozen=True)
class Response:
    """An answer of any status.

    Arguments:
        url: what was asked, without its query.
        status: HTTP status code.
        body: the whole body; the token that was presented is redacted in it.
        headers: looked up in any case.
        presented: which token was presented, in words.
    """

    url: str
    status: int
    body: bytes = field(repr=False)  # it may hold a secret
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    presented: str = "without a token"

    @property
    def ok(self) -> bool:
        """Whether the status is one of success, 200 to 299."""
        return 200 <= self.status < 300

    @property
    def denied(self) -> bool:
        """Whether the token is missing, wrong, or may not do this.  A limit on how often to ask is another matter."""
        return self.status in (401, 403) and self._limited is None

    @property
    def said(self) -> str:
        """The status, with the token where that is what is wrong, or the limit where there is one."""
        why = " " + self.presented if self.denied else self._limited or ""
        return f"HTTP {self.status}{why}"

    @property
    def _limited(self) -> Optional[str]:
        after = self.headers.get("Retry-After", "")
        if self.status == 429 or (self.status == 403 and (after or self.headers.get("X-RateLimit-Remaining") == "0")):
            wait = f"; it asks to wait {after} s" if re.fullmatch("[0-9]{1,6}", after) else ""
            return f", too many requests{wait}"
        return None

    @property
    def date(self) -> Optional[float]:
        """What time it was at the server, in seconds since 1970, in whole seconds; None where it does not say."""
        from email.utils import parsedate_to_datetime  # noqa: PLC0415  imported when used

        try:
            return parsedate_to_datetime(self.headers["Date"]).timestamp()
        except (LookupError, TypeError, ValueError, OverflowError):
            return None

    def granted(self, otherwise: str = "") -> Response:
        """Return this answer.

        Arguments:
            otherwise: code of the error for any other status that is none of success; empty lets it pass.

        Raises:
            ToolError: the server wants a token, or another one (TOOL17), or `otherwise`.
        """
        code = ACCESS_REFUSED if self.denied else otherwise
        if code and not self.ok:
            raise ToolError(code, f"{self.url}: {self.said}")
        return self

    def text(self) -> str:
        """The body as UTF-8 text.

        Raises:
            ToolError: it is not UTF-8.
        """
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError as problem:
            raise ToolError(NO_ANSWER, f"{self.url}: the answer is not UTF-8: {problem}") from None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ToolError: it is not JSON.
        """
        from agent_runtime.text.strict_json import strict_json  # noqa: PLC0415  imported when used

        try:
            return strict_json(self.body)
        except ValueError as problem:
            raise ToolError(NO_ANSWER, f"{self.url}: the answer is not JSON: {problem}") from None

    def fields(self, **kinds: type) -> Dict[str, Any]:
        """The body as a JSON object that has these fields, each of its kind, such as `fields(id=str)`.

        Raises:
            ToolError: the status is none of success, or the body is no such object.  The message holds nothing of the
                body, which may be a secret.
        """
        self.granted()
        try:
            found = self.json() if self.ok else None
        except ToolError:
            found = None
        if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in kinds.items()):
            raise ToolError(NO_ANSWER, f"{self.url}: {self.said} without {', '.join(kinds)}")
        return found


class Token(str):
    """A credential that knows where it is from.  An empty one sends nothing; a refusal then says which one is missing.

    Arguments:
        place: the environment variable that holds it.
        missing: what is wrong there when it is empty.
        user: sends it as the password of this user, as `Authorization: Basic`.
        certificate: PEM, a client certificate and its private key, presented when the connection is made.
        reading: what is missing for a request that reads, where that is another variable.
    """

    place: str
    missing: str
    user: str
    certificate: str
    reading: str

    def __new__(
        cls,
        value: str,
        place: str,
        missing: str = "is empty",
        *,
        user: str = "",
        certificate: str = "",
        reading: str = "",
    ) -> Token:
        made = super().__new__(cls, value)
        made.place, made.missing, made.user, made.certificate, made.reading = place, missing, user, certificate, reading
        return made

    @property
    def presents(self) -> bool:
        """Whether it sends anything."""
        return bool(self or self.certificate)


def token(name: str) -> Token:
    """Return the credential for a system, by its name, such as `prometheus`; an empty one where there is none.

    The first of these variables that the job has is taken; the answers `investigate_secrets` and
    `investigate_variables`, or those for acting, name them:

    - PROMETHEUS_TOKEN is sent as a bearer token;
    - PROMETHEUS_PASSWORD is sent with PROMETHEUS_USERNAME, as HTTP's basic authentication;
    - PROMETHEUS_AUDIENCE asks GitHub for an identity token (OIDC) for this audience, anew at each call;
    - PROMETHEUS_CERTIFICATE is a client certificate and its private key, in PEM (mTLS); it may come with one of these.

    For a system that `act()` changes, the secret AGENT_ACT_TOKEN holds either the one token for all that have none of
    their own, or a JSON object with one for each, such as `{"git": "...", "restart": "..."}`, so that no system sees
    what belongs to another.  What this object names comes first where the job acts, and last where it investigates.

    Raises:
        ToolError: one of them is invalid (TOOL06), or GitHub gives no identity token.  No message holds a value.
    """
    own, acting = _own(name), _acting(name)
    is_set = own.presents or own.place.endswith("_AUDIENCE")
    if os.environ.get("AGENT_JOB") == "investigate":
        return own if is_set or not acting else acting
    if is_set and not (acting and os.environ[ACT_TOKEN].lstrip().startswith("{")):
        return own
    reading = f"{own.place} {own.missing}"
    return Token(acting, ACT_TOKEN, acting.missing, certificate=own.certificate, reading=reading)


def token_of(name: str) -> Token:
    """Return what is only for reading; an empty one where there is none.

    Arguments:
        name: of an environment variable with a token, such as MODEL_API_KEY; or, in lower case, of a system, as
            `token()` has it, but without AGENT_ACT_TOKEN.
    """
    if name != name.upper():
        return _own(name)
    job = os.environ.get("AGENT_JOB")
    missing = "is empty" + (f" in the job {job}" if job else "")
    return Token(os.environ.get(name, "").strip(), name, missing)


def _acting(name: str) -> Token:
    """What AGENT_ACT_TOKEN has for a system."""
    secret = token_of(ACT_TOKEN)
    if not secret.startswith("{"):
        return secret
    from agent_runtime.text.strict_json import strict_json  # noqa: PLC0415  imported when used

    try:
        tokens = strict_json(secret.encode())
    except ValueError:
        tokens = None
    if not isinstance(tokens, dict) or not all(isinstance(value, str) for value in tokens.values()):
        raise ToolError(
            TOKEN_INVALID, "AGENT_ACT_TOKEN starts like a JSON object and is none with a text for each name"
        )
    return Token(tokens.get(name, ""), ACT_TOKEN, f"has no token for {name}")


def _own(name: str) -> Token:
    """The credential in the variables that begin with the system's name; an empty one names the first of them."""
    prefix = re.sub("[^A-Z0-9]", "_", name.upper())
    certificate = os.environ.get(prefix + "_CERTIFICATE", "").strip()
    if certificate and not all(part in certificate.encode() for part in _PEM):
        raise ToolError(TOKEN_INVALID, f"{prefix}_CERTIFICATE is not PEM with a certificate and its private key")
    bearer, password = token_of(prefix + "_TOKEN"), token_of(prefix + "_PASSWORD")
    user = token_of(prefix + "_USERNAME")
    if bearer:
        found = bearer
    elif password and not user:
        raise ToolError(TOKEN_INVALID, f"{password.place} is set, and {user.place} {user.missing}")
    elif password:
        found = Token(password, password.place, user=user)
    elif os.environ.get(prefix + "_AUDIENCE"):
        found = _identity(prefix + "_AUDIENCE")
    else:
        found = Token("", prefix + "_CERTIFICATE") if certificate else bearer
    return Token(found, found.place, found.missing, user=found.user, certificate=certificate)


def _identity(variable: str) -> Token:
    """GitHub's word for who this job is, for the audience that a variable names."""
    address = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    if not address:
        missing = "gets an identity token only in a job of GitHub that may ask for one (investigate_oidc)"
        return Token("", variable, missing)
    audience = {"audience": os.environ[variable].strip()}
    answer = get(address, params=audience, token=token_of("ACTIONS_ID_TOKEN_REQUEST_TOKEN"))
    return Token(str(answer.fields(value=str)["value"]), variable)


def under(base: str, path: str) -> str:
    """The address of a path below `base`, whose own query stays behind it: `https://host/x?partial_response=false`."""
    parts = urlsplit(base)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))


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

    Raises:
        ToolError: no answer in time, an answer that is too large, or a redirect that leads elsewhere.
    """
    return _read(_Request("GET", url, token, timeout_seconds, max_bytes, params))


def query(
    url: str,
    value: Any = None,
    *,
    form: Optional[Mapping[str, str]] = None,
    params: Optional[Mapping[str, str]] = None,
    token: Optional[str] = None,
    timeout_seconds: float = 60.0,
    max_bytes: int = MAX_BODY_BYTES,
) -> Response:
    """Send a POST that changes nothing, such as a GraphQL query or a question to a model, and return the answer.

    Otherwise as `get()`: it fails like a reading, so `waiting.until()` may try it again.  Redirects are not followed.

    Arguments:
        value: sent as JSON; None sends no JSON.
        form: sent as a form instead, as Loki and Prometheus take a long query.

    Raises:
        ToolError: no answer in time, or an answer that is too large.
    """
    return _read(_Request("POST", url, token, timeout_seconds, max_bytes, params, value, form=form))


def post_once(url: str, *, token: Optional[str] = None, timeout_seconds: float = 30.0) -> Response:
    """Send an empty POST once, and never again, as `send_once()` does.  The answer's body is not read."""
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
    """Send a POST, PUT or PATCH that changes something once, and never again; `query()` is for one that reads.

    Arguments:
        value: sent as JSON; None sends no body.
        content_type: of the body.
        max_bytes: 0 does not read the answer's body.

    Raises:
        OutcomeUnknown: the request was or may have been sent, and no whole answer or a server error (5xx) came back.
        ToolError: the request was not sent, or the service refused it (3xx, 4xx): nothing was changed.  Its subclass
            Refused has the answer, unless it is about the token.
    """
    request = _Request(method, url, token, timeout_seconds, max_bytes, None, value, content_type, changes=True)
    try:
        response = request.within_time()
    except _DeadlinePassed:
        raise _unknown(method, url, f"no answer within {timeout_seconds:g} s") from None
    except ToolError as problem:
        raise OutcomeUnknown(OUTCOME_UNKNOWN, f"{problem.message}; it has taken effect") from None
    except _failures() as problem:
        if _never_sent(problem):
            raise _no_answer(method, url, _cause(problem)) from None
        raise _unknown(method, url, _cause(problem)) from None
    if response.status >= 500:
        raise _unknown(method, url, f"HTTP {response.status}")
    why = f"{method} {_shown(url)}: refused with {response.said}"
    if response.denied:
        raise ToolError(TOKEN_REFUSED if getattr(token, "place", "") == ACT_TOKEN else ACCESS_REFUSED, why)
    if not response.ok:
        raise Refused(REQUEST_REFUSED, why, response)
    return response


def check_token(token: Optional[str]) -> None:
    """Refuse a token that no header can hold, and an object of tokens: each system gets its own only (TOOL06)."""
    if getattr(token, "user", ""):
        return  # a password may hold anything: it is sent encoded
    if token and token.lstrip().startswith("{"):
        raise ToolError(
            TOKEN_INVALID, "the token is a JSON object, as AGENT_ACT_TOKEN may be: take one out of it with http.token()"
        )
    if token and not _TOKEN.fullmatch(token):
        of = f" of {token.place}" if isinstance(token, Token) else ""
        raise ToolError(TOKEN_INVALID, f"the token{of} contains spaces, line endings or non-ASCII characters")


def _presented(token: Optional[str], *, changes: bool) -> str:
    """Which token was presented, in words."""
    if isinstance(token, Token) and token.place:
        if token.presents:
            return f"with {'the token' if token else 'the certificate'} of {token.place}"
        missing = f"{token.place} {token.missing}" if changes or not token.reading else token.reading
        return f"and no token was sent, because {missing}"
    return "with a token of the agent's own" if token else "without a token"


def _read(request: _Request) -> Response:
    method, url = request.method, request.url
    try:
        return request.within_time()
    except _DeadlinePassed:
        raise _no_answer(method, url, f"no whole answer within {request.timeout_seconds:g} s") from None
    except _failures() as problem:
        raise _no_answer(method, url, _cause(problem)) from None


@dataclass(frozen=True)
class _Request:
    """One request; `get()` and `send_once()` say what its parts are."""

    method: str
    url: str
    token: Optional[str] = field(repr=False)
    timeout_seconds: float
    max_bytes: int
    params: Optional[Mapping[str, str]] = None
    value: Any = None
    content_type: str = "application/json"
    changes: bool = False
    form: Optional[Mapping[str, str]] = None

    def __post_init__(self) -> None:
        check_token(self.token)
        self._data  # noqa: B018  what can't be JSON is refused before anything is sent

    @cached_property
    def _data(self) -> Any:
        import json  # noqa: PLC0415  imported when used

        if self.value is None:
            return None if self.form is None else dict(self.form)
        try:
            return json.dumps(self.value, allow_nan=False).encode()
        except ValueError as problem:
            raise _no_answer(self.method, self.url, f"what to send is not JSON: {problem}") from None

    def within_time(self) -> Response:
        return _within(self.timeout_seconds, self._send)

    def _send(self) -> Response:
        import requests  # noqa: PLC0415  imported when used

        presented = _presented(self.token, changes=self.changes)
        # "identity": a small compressed answer can't unpack into a huge one.
        headers, url, params = {"Accept-Encoding": "identity"}, self.url, self.params
        if self.value is not None:
            headers["Content-Type"] = self.content_type
        with requests.Session() as session, _file_of(getattr(self.token, "certificate", "")) as certificate:
            session.auth, session.cert = _Authorization(self.token), certificate
            for _ in range(MAX_REDIRECTS + 1):
                with session.request(
                    self.method,
                    url,
                    params=dict(params or {}),
                    data=self._data,
                    headers=headers,
                    timeout=self.timeout_seconds,
                    stream=True,
                    allow_redirects=False,
                ) as answer:
                    if self.method != "GET" or not answer.is_redirect:
                        body = self._body(answer) if self.max_bytes else b""
                        return Response(_shown(url), answer.status_code, body, answer.headers, presented)
                    there = urljoin(answer.url, answer.headers["Location"])
                if _origin(there) != _origin(url):
                    raise _no_answer(
                        "GET", url, f"redirects to {_other(_origin(url), _origin(there))}, {_shown(there)}"
                    )
                url, params = there, None
        raise _no_answer("GET", url, f"more than {MAX_REDIRECTS} redirects")

    def _body(self, answer: Any) -> bytes:
        shown, body = f"{self.method} {_shown(self.url)}", bytearray()
        try:
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise ToolError(NO_ANSWER, f"{shown}: the answer is compressed although nobody asked for it")
            for chunk in answer.iter_content(_CHUNK_BYTES):
                body += chunk
                if len(body) > self.max_bytes:
                    raise ToolError(NO_ANSWER, f"{shown}: the answer has more than {self.max_bytes} bytes")
        except _failures(ToolError):
            if not self.changes or answer.status_code < 300:
                raise
            body.clear()  # what is refused is refused, however the answer continues
        for hidden in ((self.token or "").encode(), _header(self.token).partition(" ")[2].encode()):
            if len(hidden) >= MIN_HIDDEN:
                body = body.replace(hidden, b"***")
        return bytes(body)


def _failures(*more: Type[Exception]) -> Tuple[Type[Exception], ...]:
    """What requests raises when there is no answer."""
    import requests  # noqa: PLC0415  imported when used

    return (requests.RequestException, OSError, ValueError, *more)


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
            request.headers["Authorization"] = _header(self.token)
        return request


def _header(token: Optional[str]) -> str:
    """The value of the header `Authorization`."""
    from base64 import b64encode  # noqa: PLC0415  imported when used

    user = getattr(token, "user", "")
    return "Basic " + b64encode(f"{user}:{token}".encode()).decode() if user else f"Bearer {token or ''}"


@contextmanager
def _file_of(certificate: str) -> Iterator[Optional[str]]:
    """A file with this certificate while a connection needs it, which nobody else may read; None without one."""
    if not certificate:
        yield None
        return
    from tempfile import NamedTemporaryFile  # noqa: PLC0415  imported when used

    with NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate + "\n")
        file.flush()
        yield file.name


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
    return ToolError(NO_ANSWER, f"{method} {_shown(url)}: {why}")


def _unknown(method: str, url: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(OUTCOME_UNKNOWN, f"{method} {_shown(url)}: {why}; it may have taken effect")


def _shown(url: str) -> str:
    """The address as messages show it: without query, in ASCII."""
    return ascii(url.split("?", 1)[0].split("#", 1)[0])[1:-1][:300]


def _other(here: _Origin, there: _Origin) -> str:
    """Where a redirect leads that is not followed."""
    if here[1] != there[1]:
        return "another host"
    return f"{there[0]} on this host" if here[0] != there[0] else "another port of this host"


def _origin(url: str) -> _Origin:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
