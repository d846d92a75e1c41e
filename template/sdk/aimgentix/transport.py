"""The HTTP edge: posts one batch of lines and says what became of it. Knows nothing of files and threads."""

from __future__ import annotations

import json
import os
import time
from collections import namedtuple

from ._version import VERSION
from .network import connections
from .settings import SettingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Dict, List, Optional, Tuple

DELIVERED = "delivered"  # stored durably by the backend
REFUSED = "refused"  # some line of the batch will never be accepted
MISCONFIGURED = "misconfigured"  # the address or the key is wrong: nothing wrong with the lines
UNAVAILABLE = "unavailable"  # try again later

MAX_RETRY_AFTER = 300.0
GZIP_FROM = 4096
MAX_ANSWER = 1024 * 1024

_MISCONFIGURED = (401, 403, 404, 405, 407)
_TRY_AGAIN = (408, 425, 429)


class DeliveryResult(namedtuple("DeliveryResult", "kind detail status retry_after faults", defaults=(None, None, {}))):
    """What became of a batch.

    Attributes:
        kind: DELIVERED, REFUSED, MISCONFIGURED or UNAVAILABLE.
        detail: one line for people: the status and what the backend said, or why there was no answer.
        status: HTTP status, or None when there was no answer.
        retry_after: seconds that the backend asks to wait, 0 to 300, or None.
        faults: what is wrong with which line of a refused batch, by its place from 0; empty when that was not said.
    """

    __slots__ = ()


class Transport:
    """Posts batches to one backend over a kept connection. Not for use by two threads at once.

    Args:
        api_url: address of the backend, http or https.
        api_key: sent as bearer token, or None.
        timeout: seconds that connecting, and each wait for bytes, may take.

    Raises:
        SettingError: `api_url` is not an http or https address, or `api_key` can't be sent.
    """

    def __init__(self, api_url: str, api_key: Optional[str], timeout: float) -> None:
        self._base = check_url(api_url)
        self.url = self._base + "/v1/events/batch"
        self.timeout = timeout
        self._api_key = check_key(api_key)
        self._connections: Any = None

    def prepare(self) -> None:
        """Import all that delivering needs, which takes a tenth of a second, unless `urllib3` is not installed.

        Nothing of it is imported later, by a thread: a process that forks meanwhile would leave its child with modules
        that are half imported, forever.
        """
        for name in ("email.utils", "encodings.idna", "gzip", "urllib.request", "urllib3"):
            try:
                __import__(name)
            except ImportError:  # said when there is something to deliver
                pass

    def connect(self) -> None:
        """Make the pool of connections.

        Raises:
            ImportError: `urllib3` is not installed.
        """
        if self._connections is None:
            self._connections = connections(self.url)

    def post(self, lines: List[bytes], timeout: Optional[float] = None) -> DeliveryResult:
        """Post `lines` (without newlines) as one batch.

        Args:
            lines: journal lines or encoded events.
            timeout: seconds, when less than the transport's own.
        """
        body = b"\n".join(lines) + b"\n"
        headers = {"Content-Type": "application/x-ndjson"}
        if len(body) > GZIP_FROM:
            import gzip

            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        limit = self.timeout if timeout is None else max(min(timeout, self.timeout), 0.05)

        def read(status: int, retry_after: Optional[str], answer: bytes) -> DeliveryResult:
            return judge(status, retry_after, answer, len(lines))

        return self._send("POST", self.url, body, headers, limit, read)

    def put_bundle(self, digest: str, file: BinaryIO, timeout: float, wait: int = 0) -> Tuple[DeliveryResult, Any]:
        """Put a ZIP file into the backend's archive; return what became of it, and the backend's answer.

        Args:
            digest: of the bundle, the SHA-256 of its `bundle.json`.
            timeout: seconds for each wait.
            wait: seconds that the backend may wait for the witnesses of its log.
        """
        said: List[Any] = [{}]

        def read(status: int, retry_after: Optional[str], answer: bytes) -> DeliveryResult:
            said[0] = _document(answer)
            return judge(status, retry_after, answer, echo=("digest", digest))

        address = f"{self._base}/v1/bundles/{digest}?wait={wait}"
        headers = {"Content-Type": "application/zip", "Content-Length": str(os.fstat(file.fileno()).st_size)}
        return self._send("PUT", address, file, headers, timeout, read), said[0]

    def put_attestations(self, digest: str, data: bytes, timeout: float) -> DeliveryResult:
        """Put attestations of a bundle beside it, one in JSON or one a line; return what became of them."""

        def read(status: int, retry_after: Optional[str], answer: bytes) -> DeliveryResult:
            return judge(status, retry_after, answer, echo=("digest", digest))

        address = f"{self._base}/v1/bundles/{digest}/attestations"
        return self._send("PUT", address, data, {"Content-Type": "application/json"}, timeout, read)

    def _send(
        self,
        method: str,
        address: str,
        body: Any,
        headers: Dict[str, str],
        timeout: float,
        read: Callable[[int, Optional[str], bytes], DeliveryResult],
    ) -> DeliveryResult:
        """Send one request, and return what `read` makes of status, Retry-After and body of the answer."""
        try:
            self.connect()
        except ImportError:
            return DeliveryResult(MISCONFIGURED, "the package `urllib3` is not installed")
        except ValueError as error:
            return DeliveryResult(
                MISCONFIGURED, f"a proxy that the environment names is not usable ({type(error).__name__})"
            )
        whole = {
            "User-Agent": f"aimgentix/{VERSION}",
            "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "identity",
        }
        whole.update(headers)
        if self._api_key:
            whole["Authorization"] = f"Bearer {self._api_key}"
        try:
            with self._connections.request(
                method,
                address,
                body=body,
                headers=whole,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
            ) as response:
                answer = response.read(MAX_ANSWER)
                return read(response.status, response.headers.get("Retry-After"), answer)
        except Exception as error:  # whatever goes wrong in the network or in its libraries, what was sent stays
            return DeliveryResult(UNAVAILABLE, _reason(error))

    def close(self) -> None:
        """Close the connection; a later post opens another."""
        pool, self._connections = self._connections, None
        if pool is not None:
            pool.clear()

    def after_fork(self) -> None:
        """Forget the connection, which is the parent's."""
        self._connections = None


def check_url(api_url: str) -> str:
    """Return `api_url` without whitespace around it and a slash at its end.

    Raises:
        SettingError: it is not an http or https address.
    """
    from urllib.parse import urlsplit

    api_url = api_url.strip()
    try:
        parts = urlsplit(api_url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or any(character.isspace() for character in api_url):
        raise SettingError("AIMGENTIX_API_URL (or its argument) must be an address such as https://audit.example.com")
    return api_url.rstrip("/")


def check_key(api_key: Optional[str]) -> Optional[str]:
    """Return `api_key` without whitespace around it, or None when there is none.

    Raises:
        SettingError: no header can hold it.
    """
    key = (api_key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise SettingError("AIMGENTIX_API_KEY (or its argument) must be one line of printable ASCII")
    return key or None


def judge(
    status: int, retry_after: Optional[str], answer: bytes, sent: int = 0, echo: Optional[Tuple[str, str]] = None
) -> DeliveryResult:
    """Return what an answer of the backend means for the batch of `sent` lines, or for what it repeats as `echo`."""
    document = _document(answer)
    if 200 <= status < 300:
        name, value = echo or ("received", sent)
        if type(document.get(name)) is type(value) and document[name] == value:
            return DeliveryResult(DELIVERED, str(status), status)
        return DeliveryResult(MISCONFIGURED, f"{status}, but not the answer of an audit backend", status)
    said = f"{status} {_said(document)}".strip()
    if status in _MISCONFIGURED or 300 <= status < 400:
        return DeliveryResult(MISCONFIGURED, said, status)
    if 400 <= status < 500 and status not in _TRY_AGAIN:
        return DeliveryResult(REFUSED, said, status, None, _faults(document, status, sent))
    return DeliveryResult(UNAVAILABLE, said, status, None if retry_after is None else _seconds(retry_after))


def _document(answer: bytes) -> Dict[str, Any]:
    try:
        document = json.loads(answer.decode())
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}


def _said(problem: Dict[str, Any]) -> str:
    """Return the title and detail of a problem document (RFC 9457), in one printable line of at most 200 characters."""
    parts = [problem.get("title"), problem.get("detail")]
    text = ": ".join(part for part in parts if isinstance(part, str) and part)
    return "".join(character if character.isprintable() else " " for character in text)[:200]


def _faults(problem: Dict[str, Any], status: int, sent: int) -> Dict[int, str]:
    """Return what a problem document says of which line: its member `errors` has their `index`."""
    faults: Dict[int, str] = {}
    errors = problem.get("errors")
    for error in errors if isinstance(errors, list) else []:
        index = error.get("index") if isinstance(error, dict) else None
        if type(index) is int and 0 <= index < sent:
            said = _said({"title": error.get("field"), "detail": error.get("detail")})
            faults.setdefault(index, f"{status} {said}".strip())
    return faults


def _seconds(retry_after: str) -> Optional[float]:
    """Return the seconds of a Retry-After header (a number or an HTTP date), from 0 to five minutes, or None."""
    try:
        seconds = float(int(retry_after))
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _reason(error: BaseException) -> str:
    """Return in a few words why there was no answer."""
    seen = error
    while True:
        inner = getattr(seen, "reason", None) or seen.__cause__ or seen.__context__
        if not isinstance(inner, BaseException) or (isinstance(seen, OSError) and seen.errno):
            break
        seen = inner
    name = type(seen).__name__
    text = getattr(seen, "strerror", None) or ("no answer in time" if "Timeout" in name else name)
    return str(text)
