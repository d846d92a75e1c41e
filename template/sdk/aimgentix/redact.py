"""Redaction: what looks like a secret is replaced before an event is written anywhere.

Found are: values under keys that name a secret, tokens of well-known providers, passwords in URLs and command lines,
private keys, the values of environment variables whose names say that they are secret, and whatever custom patterns
match. What was replaced is said: `metadata.redacted` lists JSON pointers into the event, `metadata.truncated` those
of values that were cut because they were too long, too deep or too many.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from json.encoder import encode_basestring

from .events import MAX_ID, MAX_RESOURCE, AuditEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, List, Pattern, Set, Tuple

REDACTED = "[REDACTED]"
TRUNCATED = "[TRUNCATED]"

MAX_DEPTH = 8
MAX_STRING = 8192
MAX_ITEMS = 1000  # of one object or list
MAX_EVENT_BYTES = 65536
MAX_POINTER_BYTES = 8192  # of all pointers together
MIN_ROOM = 2048  # where an object or list ends when an event gets too large: its next member may need that much
CUT = 1024  # longer than any token
MIN_SECRET = 6  # shorter environment values would black out ordinary text

# A key is secret when one of its words is (words: split at punctuation and camelCase humps), or two of them together.
_SECRET_WORDS = frozenset(
    """
    apikey auth authorization bearer cookie cookies credential credentials creds csrf jwt otp passcode passphrase
    passwd password passwords pat pgpassword private pwd secret secrets sshpass token tokens xsrf
    """.split()
)
_KINDS_OF_KEYS = frozenset("access account api client deploy encryption master private shared signing ssh".split())
_SECRET_PARTS = ("password", "passwd", "secret", "apikey", "accesskey", "privatekey", "authtoken", "accesstoken")
_SECRET_VARIABLES = frozenset(
    """
    APIKEY BEARER COOKIE CREDENTIAL CREDENTIALS CREDS JWT KEY PASS PASSCODE PASSPHRASE PASSWD PASSWORD PAT PGPASSWORD
    SECRET SECRETS SSHPASS TOKEN TOKENS
    """.split()
)
_SECRET_ENDS = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "APIKEY", "_PWD", "_PW")  # PWD itself is the current folder
# These make it a description, or a count of language model tokens: secret_name, auth_type, prompt_tokens.
_DESCRIBES = frozenset(
    "at count expired expires expiry length method mode name policy scheme status ttl type url version".split()
)
_COUNTS = frozenset(
    "budget cached completion input limit max output prompt reasoning remaining total usage used".split()
)
_WORDS = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"

_NAMES = (
    r"(?:password|passwd|passphrase|pwd|secret|token|credential"
    r"|api[_-]?key|access[_-]?key|account[_-]?key|private[_-]?key)"
)

# Where a token begins that could as well be the end of a word: not after a letter or digit, but after an escape it may.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[abfnrtv0])|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2})|(?<=%[0-9A-Fa-f]{2}))"
_PEM = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r".*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
# Tokens of providers, as (hint, pattern). Most text has none, so a pattern is tried only on text that has the
# character of its group and then its hint, as every match has.
_PROVIDERS = {
    "_": (
        ("gh", r"gh[pousr]_[A-Za-z0-9_.-]{20,}"),  # GitHub
        ("github_pat_", r"github_pat_[A-Za-z0-9_]{20,}"),
        ("k_", _START + r"[rs]k_(?:live|test)_[A-Za-z0-9]{10,}"),  # Stripe
        ("whsec_", r"whsec_[A-Za-z0-9][A-Za-z0-9+/=]{15,}"),
        ("npm_", r"npm_[A-Za-z0-9]{30,}"),
        ("hf_", _START + r"hf_[A-Za-z0-9]{30,}"),  # Hugging Face
        ("_v1_", r"do[opr]_v1_[0-9a-f]{40,}"),  # DigitalOcean
        ("shp", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}"),  # Shopify
        ("dckr_", r"dckr_[a-z]{3}_[A-Za-z0-9_-]{20,}"),  # Docker
        ("gl", r"gl(?:sa|c)_[A-Za-z0-9+/=_]{20,}"),  # Grafana
        ("aim_", _START + r"aim_[A-Za-z0-9_]{20,}"),  # AIMgentix
    ),
    "-": (
        ("sk-", _START + r"sk-[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic
        ("gl", r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[A-Za-z0-9_.-]{20,}"),  # GitLab
        ("xox", r"xox[a-z]-[A-Za-z0-9-]{12,}"),  # Slack
        ("xapp-", r"xapp-[A-Za-z0-9-]{12,}"),
        ("GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{20,}"),  # Google
        ("pypi-Ag", r"pypi-Ag[A-Za-z0-9_-]{16,}"),
        ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
        ("PRIVATE KEY", _PEM),
    ),
    ".": (
        ("eyJ", r"eyJ[A-Za-z0-9_-]{8,2048}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,3}"),  # JWT
        ("hooks.slack.com/", r"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"),
        ("ya29.", r"ya29\.[A-Za-z0-9_.-]{20,}"),  # Google
        ("SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),  # SendGrid
        ("hv", _START + r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),  # HashiCorp Vault
        (".atlasv1.", _START + r"[A-Za-z0-9]{10,20}\.atlasv1\.[A-Za-z0-9_=-]{20,}"),  # HCP Terraform
    ),
    "": (
        ("A", _START + r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),  # AWS
        ("AIza", r"AIza[A-Za-z0-9_-]{30,}"),  # Google
        ("SK", _START + r"SK[0-9a-f]{32}(?![A-Za-z0-9])"),  # Twilio
        ("dapi", _START + r"dapi[0-9a-f]{32}"),  # Databricks
        ("ATATT3", r"ATATT3[A-Za-z0-9_=-]{20,}"),  # Atlassian
        (":AA", r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}"),  # Telegram
    ),
}
# The same, whatever the case: hints are looked for in lower-case text. The group `keep` stays.
_SHAPES = (
    ("@", r"(?P<keep>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]{0,30}://[^\s/:@]{0,255}:)[^\s/]+(?=@)"),
    ("@", r"(?P<keep>https?://)[^\s/:@]{16,}(?=@)"),
    ("bearer", r"(?P<keep>\bbearer\s+)[a-z0-9._~+/=-]{16,}"),
    ("basic", r"(?P<keep>\bbasic\s+)[a-z0-9+/=]{8,}"),
    ("-u", r"(?P<keep>\s(?:-u|--user)[\s=]+[^\s:]{1,255}:)\S+"),
    ("sig", r"(?P<keep>[?&][a-z-]{0,40}sig(?:nature)?=)[^\s&#]+"),
)
# And those that need the name of a secret in the text.
_STEMS = ("pass", "pwd", "secret", "token", "key", "credential")
_NAMED = (
    ("=", r"(?P<keep>" + _NAMES + r"[\w-]{0,40}[\"']?\s{0,9}=\s{0,9}[\"']?)(?!\[REDACTED)[^\s\"'&;,]+"),
    ("pass", r"(?P<keep>(?:[a-z0-9]_|ssh)pass[\"']?\s{0,9}=\s{0,9}[\"']?)(?!\[REDACTED)[^\s\"'&;,]+"),
    (":", r"(?P<keep>" + _NAMES + r"[\w-]{0,40}\\?[\"']?\s{0,9}:\s{0,9}\\?[\"']?)(?!\[REDACTED)[^\s\"'&;,\\{}\[]+"),
    ("--", r"(?P<keep>--[a-z-]{0,40}" + _NAMES + r"[a-z-]{0,40}\s{1,9}[\"']?)(?!\[REDACTED)[^\s\"'-][^\s\"']*"),
)


class Redactor:
    """Replaces secrets in events and encodes them.

    Args:
        secrets: values to replace wherever they occur; see `environment_secrets`.
        patterns: regular expressions whose matches are replaced.

    Raises:
        ValueError: a pattern is no regular expression, or matches the empty string.
    """

    def __init__(self, secrets: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._token_run = re.compile(r"[A-Za-z0-9_.-]{16}")
        self._providers = [
            (character, [(hint, re.compile(pattern, re.DOTALL)) for hint, pattern in group])
            for character, group in _PROVIDERS.items()
        ]
        self._shapes = [(hint, re.compile(pattern, re.IGNORECASE)) for hint, pattern in _SHAPES]
        self._named = [(hint, re.compile(pattern, re.IGNORECASE)) for hint, pattern in _NAMED]
        self._custom = [_custom(pattern) for pattern in patterns]
        self._secrets: Tuple[str, ...] = ()  # in all their forms, the longest first
        self._signs: Tuple[str, ...] = ()  # a text without any of these has none of those; the shortest first
        self._clean_texts: Dict[str, None] = {}
        self._clean_keys: Dict[str, None] = {}
        for secret in secrets:
            self.add_secret(secret)

    def add_secret(self, value: str) -> None:
        """Replace `value` from now on, in whatever form it stands: see `_forms`. Shorter than 6 characters: ignored."""
        if len(value.strip()) < MIN_SECRET:
            return
        forms = _forms(value) | _forms(value.strip())
        forms.update(line.strip() for line in value.splitlines() if len(line.strip()) >= MIN_SECRET)
        self._secrets = tuple(sorted(forms.union(self._secrets), key=len, reverse=True))
        # Escaping and percent-encoding leave runs of letters and digits alone: one sign for many forms.
        run = max(re.findall("[A-Za-z0-9]+", value) or [""], key=len)
        signs: List[str] = []
        for form in sorted({*self._signs, *forms, *([run] if len(run) >= MIN_SECRET else ())}, key=len):
            if not any(sign in form for sign in signs):
                signs.append(form)
        self._signs = tuple(signs)
        self._clean_texts = {}
        self._clean_keys = {}

    def encode(self, event: AuditEvent) -> bytes:
        """Return `event` without secrets, as one line of JSON of at most 64 KiB, whatever its metadata holds."""
        known = self._clean_texts
        try:
            if (
                (event.resource in known or self._is_clean_text(event.resource))
                and (event.agent_instance_id in known or self._is_clean_text(event.agent_instance_id))
                and (event.trace_id in known or self._is_clean_text(event.trace_id))
                and (not event.metadata or self._is_clean(event.metadata, MAX_DEPTH))
            ):
                data = event.encode()
                if len(data) <= MAX_EVENT_BYTES:
                    return data
        except (ValueError, TypeError, RecursionError, RuntimeError):
            pass  # something that JSON can't hold, or an object that another thread is changing
        return self.redact(event).encode()

    def redact(self, event: AuditEvent) -> AuditEvent:
        """Return `event` with every secret replaced; its metadata is JSON and says what was replaced."""
        walk = _Walk(self)
        resource = walk.text(event.resource, "/resource", MAX_RESOURCE)
        agent = walk.text(event.agent_instance_id, "/agent_instance_id", MAX_ID)
        trace = walk.text(event.trace_id, "/trace_id", MAX_ID)
        metadata = walk.value(event.metadata, "/metadata", MAX_DEPTH, False)
        for name, pointers in (("redacted", walk.redacted), ("truncated", walk.truncated)):
            if pointers:
                known = metadata.pop(name, [])
                if not isinstance(known, list):  # the caller's own member of that name
                    metadata[f"{name} "], known = known, []
                metadata[name] = known + [pointer for pointer in pointers if pointer not in known]
        return event.replace(agent_instance_id=agent, trace_id=trace, resource=resource, metadata=metadata)

    def text(self, text: str) -> str:
        """Return `text` with every secret in it replaced."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, REDACTED)
        for pattern in self._custom:
            text = pattern.sub(REDACTED, text)
        for character, group in self._providers:
            if character in text:
                for hint, pattern in group:
                    if hint in text:
                        text = pattern.sub(REDACTED, text)
        lower = text.lower()
        rules = self._shapes + self._named if any(stem in lower for stem in _STEMS) else self._shapes
        for hint, pattern in rules:
            if hint in lower:
                text = pattern.sub(r"\g<keep>" + REDACTED, text)
        return text

    def is_secret_key(self, key: str) -> bool:
        """Return whether `key` names a secret."""
        words = [word.lower() for word in re.findall(_WORDS, key)]
        if not words or words[-1] in _DESCRIBES:
            return False
        if "token" in words or "tokens" in words:
            return _COUNTS.isdisjoint(words)
        squashed = "".join(words)
        return (
            not _SECRET_WORDS.isdisjoint(words)
            or words[-1] == "pass"
            or any(part in squashed for part in _SECRET_PARTS)
            or any(a in _KINDS_OF_KEYS and b in ("key", "keys") for a, b in zip(words, words[1:]))
        )

    def _is_clean_text(self, text: str) -> bool:
        known = self._clean_texts  # before the secrets are looked at: another thread may add one, and a new dictionary
        if text in known:
            return True
        if len(text) > MAX_STRING or "\0" in text:
            return False
        if not text.isascii():
            text.encode()  # lone surrogates raise
        if (self._custom or self._may_hold_secret(text) or self._has_sign(text)) and self.text(text) != text:
            return False
        if len(text) <= MAX_ID:
            _remember(known, text)
        return True

    def _has_sign(self, text: str) -> bool:
        """Return whether one of the known secrets may be in a text."""
        size = len(text)
        for sign in self._signs:
            if len(sign) > size:
                break
            if sign in text:
                return True
        return False

    def _may_hold_secret(self, text: str) -> bool:
        """Return whether a pattern may match: every match has one of these, and most text has none."""
        if ":" in text or "=" in text or "--" in text or "-u" in text or self._token_run.search(text) is not None:
            return True
        lower = text.lower()
        return "basic" in lower or "bearer" in lower

    def _is_clean(self, value: Dict[str, Any], depth: int) -> bool:
        """Return whether nothing in a JSON object needs a change. A quick no sends it through the thorough walk."""
        if depth == 0 or len(value) > MAX_ITEMS:
            return False
        for key, item in value.items():
            if key not in self._clean_keys and not self._is_clean_key(key):
                return False
            kind = type(item)
            if kind is str:
                if item not in self._clean_texts and not self._is_clean_text(item):
                    return False
            elif kind is int:
                if not -(2**63) <= item < 2**63:
                    return False
            elif kind is dict:
                if not self._is_clean(item, depth - 1):
                    return False
            elif kind is list:
                if not self._is_clean_list(item, depth - 1):
                    return False
            elif kind is not bool and kind is not float and item is not None:
                return False
        return True

    def _is_clean_list(self, items: List[Any], depth: int) -> bool:
        if depth == 0 or len(items) > MAX_ITEMS:
            return False
        for item in items:
            kind = type(item)
            if kind is str:
                if not self._is_clean_text(item):
                    return False
            elif not self._is_clean({"": item}, depth):
                return False
        return True

    def _is_clean_key(self, key: Any) -> bool:
        known = self._clean_keys
        if type(key) is not str or len(key) > MAX_ID or self.is_secret_key(key) or not self._is_clean_text(key):
            return False
        _remember(known, key)
        return True


class _Walk:
    """One thorough pass over an event: makes a copy that JSON can hold, replaces secrets, and notes where."""

    def __init__(self, redactor: Redactor) -> None:
        self.redactor = redactor
        self.redacted: List[str] = []
        self.truncated: List[str] = []
        self.room = MAX_EVENT_BYTES - MAX_POINTER_BYTES - 1024  # bytes of JSON that values may still take
        self.pointer_room = MAX_POINTER_BYTES

    def value(self, value: Any, pointer: str, depth: int, secret: bool) -> Any:
        """Return `value` as JSON values; with `secret` every leaf in it is replaced."""
        self.room -= 1
        if value is None or value is True or value is False:
            self.room -= 5
            return value
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self.container(value, pointer, depth, secret)
        if secret:
            self.note(self.redacted, pointer)
            return self.text(REDACTED, pointer, MAX_STRING)
        kind = type(value)
        if (kind is float and value - value == 0) or (kind is int and -(2**63) <= value < 2**63):
            self.room -= 24
            return value
        return self.text(as_text(value), pointer, MAX_STRING)

    def container(self, value: Any, pointer: str, depth: int, secret: bool) -> Any:
        """Return a JSON object or list with what of `value` fits."""
        if depth == 0:
            self.note(self.truncated, pointer)
            return self.text(TRUNCATED, pointer, MAX_STRING)
        try:
            pairs = [(key, item) for key, item in value.items()] if isinstance(value, Mapping) else enumerate(value)
            items = list(pairs)
        except Exception:  # of the object's own code
            return self.text(as_text(value), pointer, MAX_STRING)
        self.room -= 2
        named: Dict[str, Any] = {}
        listed: List[Any] = []
        for key, item in items:
            if self.room <= MIN_ROOM or len(named) + len(listed) >= MAX_ITEMS:
                self.note(self.truncated, pointer)
                break
            if not isinstance(value, Mapping):
                listed.append(self.value(item, f"{pointer}/{key}", depth - 1, secret))
                continue
            name = as_text(key)
            safe = self.text(name, pointer, MAX_ID)
            if safe in named:  # two keys that differed in what was replaced
                safe = f"{safe} {len(named)}"
            hide = secret or (self.redactor.is_secret_key(name) and not _is_count(name, item))
            inner = f"{pointer}/{safe.replace('~', '~0').replace('/', '~1')}"
            named[safe] = self.value(item, inner, depth - 1, hide)
        return named if isinstance(value, Mapping) else listed

    def text(self, text: str, pointer: str, limit: int) -> str:
        """Return `text` without secrets, cut to `limit` characters and to the room that is left."""
        whole = text[: MAX_STRING + CUT]
        safe = self.redactor.text(whole)
        if safe != whole:
            self.note(self.redacted, pointer)
        if len(whole) < len(text):
            safe = safe[:-CUT]  # a secret may have been cut in two there, and not been recognised
        safe = safe.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode()
        size = _size(safe)
        if len(whole) < len(text) or len(safe) > limit or size > self.room:
            self.note(self.truncated, pointer)
            keep = limit if size <= self.room else min(limit, self.room // 6)  # a character takes 6 bytes at most
            safe = safe[: max(keep - len(TRUNCATED), 0)] + TRUNCATED
            size = _size(safe)
        self.room -= size
        return safe

    def note(self, pointers: List[str], pointer: str) -> None:
        """Note `pointer` once, as long as there is room."""
        size = _size(pointer)
        if pointer not in pointers and size <= self.pointer_room:
            pointers.append(pointer)
            self.pointer_room -= size


def _is_count(name: str, value: Any) -> bool:
    return type(value) in (int, float) and ("token" in name.lower() or name.lower() == "pass")


def _forms(secret: str) -> Set[str]:
    """Return a secret as programs write it: as it is, escaped, percent-encoded, in hex, and in base64 at any offset."""
    from base64 import b64encode
    from json import dumps
    from urllib.parse import quote, quote_plus

    data = secret.encode("utf-8", "replace")
    quoted = secret.replace('"', "&quot;")
    markup = secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    forms = {secret, quoted, markup, markup.replace('"', "&quot;"), data.hex(), data.hex().upper()}
    forms.update(text.replace("'", one) for text in list(forms) for one in ("&#x27;", "&#39;", "&#039;", "&apos;"))
    for text in (dumps(secret), dumps(secret, ensure_ascii=False), repr(secret), ascii(secret), repr(data)[1:]):
        forms.update((text[1:-1], text[1:-1].replace("/", "\\/")))
    for one in ("'", '"'):
        forms.add(secret.replace("\\", "\\\\").replace(one, "\\" + one))
    for text in (quote(data, safe=""), quote(data), quote_plus(data), quote_plus(data, safe="/")):
        forms.update((text, re.sub("%..", lambda found: found.group().lower(), text)))
    for before in range(3):
        # Of the first and the last character of base64 other bytes may hold a part, so the whole ones count.
        first, last = -(-8 * before // 6), 8 * (before + len(data)) // 6
        text = b64encode(b"\0" * before + data).decode()
        whole = {text[first:last]} if before else {text, text.rstrip("="), text[:last]}
        forms.update(form.replace("+", "-").replace("/", "_") for form in list(whole))
        forms.update(whole)
    return {form for form in forms if len(form) >= MIN_SECRET}


def _size(text: str) -> int:
    """Return the bytes that a string takes in an event, with its quotes and a comma."""
    return len(encode_basestring(text).encode()) + 1


def environment_secrets(environment: Mapping[str, str], names: Iterable[str] = ()) -> List[str]:
    """Return the values in `environment` that are secrets by the name of their variable, and those of `names`.

    Paths of existing files are left out: the name of a key file is no secret.
    """
    wanted = set(names)
    return [
        value
        for name, value in environment.items()
        if name in wanted
        or (_is_secret_variable(name.upper()) and not (value.startswith("/") and os.path.exists(value)))
    ]


def _is_secret_variable(name: str) -> bool:
    return name.endswith(_SECRET_ENDS) or not _SECRET_VARIABLES.isdisjoint(name.split("_"))


def _custom(pattern: str) -> Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"redaction pattern {pattern!r} is no regular expression: {error}") from None
    if compiled.search(""):
        raise ValueError(f"redaction pattern {pattern!r} matches the empty string")
    return compiled


def _remember(texts: Dict[str, None], text: str) -> None:
    if len(texts) >= 2048:
        texts.clear()
    texts[text] = None


def as_text(value: Any) -> str:
    """Return `value` as text, whatever it is; its own code can't make this fail."""
    try:
        if isinstance(value, (bytes, bytearray)):
            return bytes(value[:MAX_EVENT_BYTES]).decode("utf-8", "backslashreplace")
        if isinstance(value, str):
            return str.__str__(value)
        return str(value)
    except Exception:  # of the object's own __str__
        return f"<{type(value).__name__}>"
