"""HTTP to GitHub's REST API: one question, its answer or an error that says what GitHub said.

Passing faults are tried again, refusals are final, and the token never leaves through a message.

A proxy and a certificate authority come from the process's environment, because runners behind a company's proxy need
them (aimgentix.network).  Who sets them decides who answers the gate's questions: it must be the runner, so the linter
refuses them in a workflow (CON17).
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Callable, List, Mapping, Optional
from urllib.parse import urlencode

from agent_runtime import codes
from agent_runtime.text.escape import visible
from aimgentix.network import connections

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

DEFAULT_API_URL = "https://api.github.com"

_HEADERS = {
    "Accept": "application/vnd.github+json",
    "Accept-Encoding": "gzip",
    "X-GitHub-Api-Version": "2022-11-28",
}
_TIMEOUT_SECONDS = 10.0
_ATTEMPTS = 4
_MAX_PAGES = 50
_JITTER_SECONDS = 20.0
# Longest pause that a job or a person sits through; GitHub's secondary limits ask for one minute.
_MAX_WAIT_SECONDS = 90.0
_SECONDARY_LIMIT_SECONDS = 60.0
_SHOWN = 200

HTTP_UNAUTHORISED = 401
HTTP_FORBIDDEN = 403
HTTP_NOT_FOUND = 404
HTTP_UNPROCESSABLE = 422
_HTTP_OK = 200
_HTTP_REDIRECTS = 300
_HTTP_FOUND = 302
_HTTP_SERVER_ERROR = 500
_HTTP_TOO_MANY = 429
_RETRIED_STATUS = frozenset({500, 502, 503, 504})


class NotAnswered(codes.GateRefused):
    """GitHub did not give the documented answer.

    Arguments:
        status: of HTTP; 0 when there was no answer at all.
        said: GitHub's own words, shown as plain text; empty when there were none.
        accepted: the permissions with which a fine-grained token may ask this, as GitHub names them; or empty.
    """

    def __init__(self, message: str, status: int = 0, said: str = "", accepted: str = "") -> None:
        super().__init__(codes.GATE_API, message)
        self.status = status
        self.said = said
        self.accepted = accepted


class Transport:
    """Requests with one token.

    Arguments:
        api_url: base address, as GITHUB_API_URL gives it.
        token: or None for public endpoints; never printed.
        pause: how to wait between tries, in seconds.
        clock: seconds since the epoch; compared with the end of a rate limit.
    """

    def __init__(
        self,
        api_url: str,
        token: Optional[str],
        pause: Callable[[float], Any] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = api_url.rstrip("/")
        self._token = token
        self._pause = pause
        self._clock = clock
        self._connections: Optional[PoolManager] = None

    def get(self, path: str) -> Any:
        """Return the JSON at `path`.

        Raises:
            NotAnswered: any answer but 200 with JSON.
        """
        return self._decode("GET", path, self._exchange("GET", path, None))

    def get_or_none(self, path: str) -> Any:
        """Return the JSON at `path`, or None when GitHub says that there is nothing (404)."""
        try:
            return self.get(path)
        except NotAnswered as problem:
            if problem.status == HTTP_NOT_FOUND:
                return None
            raise

    def exists(self, path: str) -> bool:
        """Whether GitHub answers with success (an empty 204, say) rather than with 404."""
        try:
            self._exchange("GET", path, None)
        except NotAnswered as problem:
            if problem.status == HTTP_NOT_FOUND:
                return False
            raise
        return True

    def pages(
        self, path: str, key: Optional[str], size: int = 100, filters: Optional[Mapping[str, str]] = None
    ) -> List[Mapping[str, Any]]:
        """Return the entries of every page of a list.

        Arguments:
            filters: query parameters that choose entries.
            key: where the list is in an answer; None when the answer is the list.
            size: entries for each page; the endpoint's documented maximum.
        """
        found: List[Mapping[str, Any]] = []
        for page in range(1, _MAX_PAGES + 1):
            words = urlencode({**(filters or {}), "per_page": size, "page": page})
            asked = f"{path}{'&' if '?' in path else '?'}{words}"
            response = self._exchange("GET", asked, None)
            answer = self._decode("GET", path, response)
            entries = answer if key is None else field(answer, key, list, path)
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise malformed(path)
            found += entries
            # Only whether there is a next page is taken from the header, never where: the token goes to one host.
            if 'rel="next"' not in response.headers.get("Link", "") and len(entries) < size:
                return found
        raise NotAnswered(f"{path} has more than {_MAX_PAGES} pages")

    def download(self, path: str, limit: int) -> bytes:
        """Return the bytes that `path` leads to: GitHub answers with the address of its storage.

        The token stays with GitHub: the storage's address carries a right of its own.

        Raises:
            NotAnswered: no such address, or no answer there, or more than `limit` bytes.
        """
        from urllib3.exceptions import HTTPError  # noqa: PLC0415  imported when HTTP is spoken

        address = self._exchange("GET", path, None, redirected=True).headers.get("Location", "")
        if not address.startswith("https://") and not self._base.startswith("http://"):
            raise malformed(path)
        try:
            with connections(address) as storage:
                answer = storage.request(
                    "GET", address, timeout=_TIMEOUT_SECONDS, retries=False, redirect=False, preload_content=False
                )
                if answer.status != _HTTP_OK:
                    raise NotAnswered(f"{path}: the storage answers with HTTP {answer.status}")
                data = b""
                for block in answer.stream(1024 * 1024):
                    data += block
                    if len(data) > limit:
                        raise NotAnswered(f"{path}: more than {limit} bytes")
                return data
        except (HTTPError, ValueError) as error:
            raise NotAnswered(f"{path}: the storage gave no answer ({type(error).__name__})") from None

    def send(self, method: str, path: str, body: Optional[Mapping[str, Any]]) -> Any:
        """Send a PUT, PATCH, POST or DELETE and return the answer's JSON, or None when it has no body.

        A POST that got no answer, or a server error, may have been carried out: it is not sent again.
        """
        response = self._exchange(method, path, body)
        return self._decode(method, path, response) if response.data else None

    def _exchange(
        self, method: str, path: str, body: Optional[Mapping[str, Any]], *, redirected: bool = False
    ) -> BaseHTTPResponse:
        from urllib3.exceptions import HTTPError  # noqa: PLC0415  imported when HTTP is spoken

        headers = {**_HEADERS, **({"Authorization": "Bearer " + self._token} if self._token else {})}
        repeatable = method != "POST"
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if self._connections is None:
                    self._connections = connections(self._base)
                response = self._connections.request(
                    method,
                    self._base + path,
                    json=body,
                    headers=headers,
                    timeout=_TIMEOUT_SECONDS,
                    retries=False,
                    redirect=False,
                )
            # ValueError: of an address or a token that no header can carry; its message would contain the token.
            except (HTTPError, ValueError) as error:
                problem = NotAnswered(f"{method} {path}: no answer ({type(error).__name__})")
                least: Optional[float] = 0.0 if repeatable else None
            else:
                if redirected and response.status == _HTTP_FOUND:
                    return response
                if _HTTP_OK <= response.status < _HTTP_REDIRECTS and not redirected:
                    return response
                said = self._said(response)
                problem = NotAnswered(
                    f"{method} {path}: HTTP {response.status}" + (f" ({said.rstrip('.')})" if said else ""),
                    response.status,
                    said,
                    visible(response.headers.get("X-Accepted-GitHub-Permissions", ""), _SHOWN),
                )
                least = least_wait(response.status, response.headers, said, self._clock())
                if response.status >= _HTTP_SERVER_ERROR and not repeatable:
                    least = None
            if least is None or attempt == _ATTEMPTS:
                raise problem
            if least > _MAX_WAIT_SECONDS:
                raise NotAnswered(
                    f"{problem.message}; it asks to wait {least:.0f} seconds", problem.status, problem.said
                )
            # Full jitter: many jobs that failed together must not come back together.
            jitter = random.uniform(0, min(_JITTER_SECONDS, 0.5 * 2**attempt))  # noqa: S311  no secret depends on it
            self._pause(max(least, jitter))
        raise AssertionError("unreachable")

    def _decode(self, method: str, path: str, response: BaseHTTPResponse) -> Any:
        try:
            return response.json()
        except ValueError:
            raise malformed(path, method) from None

    def _said(self, response: BaseHTTPResponse) -> str:
        """GitHub's message, and the first of its reasons."""
        try:
            answer = response.json()
        except ValueError:
            return ""
        if not isinstance(answer, dict):
            return ""
        said = [str(answer.get("message") or "")]
        reasons = answer.get("errors")
        for reason in reasons[:1] if isinstance(reasons, list) else [reasons or ""]:
            said.append(str(reason.get("message") or "") if isinstance(reason, dict) else str(reason))
        text = visible(": ".join(part for part in said if part), _SHOWN)
        return text.replace(self._token, "***") if self._token else text


def least_wait(status: int, headers: Mapping[str, str], said: str, now: float) -> Optional[float]:
    """Return the seconds that a next try must at least wait, or None when it would get the same answer.

    Source: https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
    """
    asked = headers.get("Retry-After", "")
    if status in (HTTP_FORBIDDEN, _HTTP_TOO_MANY):
        if asked.isdigit():
            return float(asked)
        reset = headers.get("X-RateLimit-Reset", "")
        if headers.get("X-RateLimit-Remaining") == "0" and reset.isdigit():
            return max(0.0, float(reset) - now)
        if "secondary rate limit" in said.lower():
            return _SECONDARY_LIMIT_SECONDS
        return 0.0 if status == _HTTP_TOO_MANY else None
    if status in _RETRIED_STATUS:
        return float(asked) if asked.isdigit() else 0.0
    return None


def field(answer: Any, name: str, kind: type, path: str) -> Any:
    """Return one field of an answer, of the documented type.

    Raises:
        NotAnswered: it is missing or of another type.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get(name), kind):
        raise malformed(path)
    return answer[name]


def mapping(answer: Any, path: str) -> Mapping[str, Any]:
    """Return an answer that must be an object.

    Raises:
        NotAnswered: it is something else.
    """
    if not isinstance(answer, dict):
        raise malformed(path)
    return answer


def malformed(path: str, method: str = "GET") -> NotAnswered:
    """The error for an answer that is not as GitHub documents it."""
    return NotAnswered(f"{method} {path}: the answer does not have the documented shape")
