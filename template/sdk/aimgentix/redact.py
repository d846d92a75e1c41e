"""Redaction: what looks like a secret is replaced before an event is written anywhere.

Found are: values under keys that name a secret, tokens of well-known providers, passwords in URLs and command lines,
private keys, the values of environment variables whose names say that they are secret, and whatever custom patterns
match; `specs/redaction.vectors.json` has each form with the right answer. What was replaced is said:
`metadata.redacted` lists JSON pointers into the event, `metadata.truncated` those of values that were cut because they
were too long, too deep or too many.

A capture waits for this, so a text is first searched for what every form has, at a nanosecond a character. Expressions
run only where that was found.

One module, because forms are found, measured and replaced in one pass over the text, in which each has its place.
"""

from __future__ import annotations

import os
import re
from binascii import a2b_base64
from collections.abc import Mapping
from json.encoder import encode_basestring

from .events import MAX_ID, MAX_RESOURCE, AuditEvent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Optional, Pattern, Set, Tuple

REDACTED = "[REDACTED]"
TRUNCATED = "[TRUNCATED]"

MAX_DEPTH = 8
MAX_STRING = 8192
MAX_ITEMS = 1000  # of one object or list
MAX_EVENT_BYTES = 65536
MAX_POINTER_BYTES = 8192  # of all pointers together
MIN_ROOM = 2048  # where an object or list ends when an event gets too large: its next member may need that much
CUT = 1024  # longer than any token
MIN_SECRET = 6  # shorter environment values would redact ordinary text

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
    """
    at count expired expires expiry file length method mode name path policy scheme status ttl type url version
    """.split()
)
_COUNTS = frozenset(
    "budget cached completion input limit max output prompt reasoning remaining total usage used".split()
)
_PAGES = frozenset("continuation next page prev previous token tokens".split())  # page_token: where a list continues
_WORDS = r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+"

# Where a token begins that could as well be the end of a word: not after a letter or digit, but after an escape it may.
_START = r"(?:(?<![A-Za-z0-9])|(?<=\\[abfnrtv0])|(?<=\\u[0-9A-Fa-f]{4})|(?<=\\x[0-9A-Fa-f]{2})|(?<=%[0-9A-Fa-f]{2}))"
_PEM = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r".*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
# Tokens of providers, as (hint, pattern): a pattern is tried only on text that has the hint, as every match has.
_PROVIDERS = (
    ("gh", r"gh[pousr]_[A-Za-z0-9_.-]{20,}"),  # GitHub
    ("github_pat_", r"github_pat_[A-Za-z0-9_]{20,}"),
    ("k_", _START + r"[rs]k_(?:live|test)_[A-Za-z0-9]{12,}"),  # Stripe
    ("whsec_", r"whsec_[A-Za-z0-9][A-Za-z0-9+/=]{15,}"),
    ("npm_", r"npm_[A-Za-z0-9]{30,}"),
    ("hf_", _START + r"hf_[A-Za-z0-9]{30,}"),  # Hugging Face
    ("_v1_", r"do[opr]_v1_[0-9a-f]{40,}"),  # DigitalOcean
    ("shp", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}"),  # Shopify
    ("dckr_", r"dckr_[a-z]{3}_[A-Za-z0-9_-]{20,}"),  # Docker
    ("gl", r"gl(?:sa|c)_[A-Za-z0-9+/=_]{20,}"),  # Grafana
    ("aim_", _START + r"aim_[A-Za-z0-9_]{20,}"),  # AIMgentix
    ("gsk_", _START + r"gsk_[A-Za-z0-9]{20,}"),  # Groq
    ("lin_", _START + r"lin_(?:api|oauth)_[A-Za-z0-9]{20,}"),  # Linear
    ("sntry", r"sntry[a-z]_[A-Za-z0-9+/=_-]{20,}"),  # Sentry
    ("sk-", _START + r"sk-[A-Za-z0-9_-]{20,}"),  # OpenAI, Anthropic
    ("gl", r"gl(?:pat|dt|rt|cbt|ptt|ft|soat|agent)-[A-Za-z0-9_.-]{20,}"),  # GitLab
    ("xox", r"xox[a-z]-[A-Za-z0-9-]{15,}"),  # Slack
    ("xapp-", r"xapp-[A-Za-z0-9-]{15,}"),
    ("GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{20,}"),  # Google
    ("pypi-Ag", r"pypi-Ag[A-Za-z0-9_-]{16,}"),
    ("xai-", _START + r"xai-[A-Za-z0-9_-]{20,}"),  # xAI
    ("AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    ("PRIVATE KEY", _PEM),
    ("eyJ", r"eyJ[A-Za-z0-9_-]{8,2048}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,3}"),  # JWT
    ("hooks.slack.com/", r"(?<=hooks\.slack\.com/)(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"),
    ("ya29.", r"ya29\.[A-Za-z0-9_.-]{20,}"),  # Google
    ("SG.", r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"),  # SendGrid
    ("hv", _START + r"hv[sbr]\.[A-Za-z0-9_-]{20,}"),  # HashiCorp Vault
    (
        ".",
        _START + r"[MNO][A-Za-z0-9_-]{22,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}(?![A-Za-z0-9_-])",
    ),  # Discord
    (".atlasv1.", _START + r"[A-Za-z0-9]{10,20}\.atlasv1\.[A-Za-z0-9_=-]{20,}"),  # HCP Terraform
    ("A", _START + r"A(?:KIA|SIA|BIA|CCA)[A-Z0-9]{16}(?![A-Za-z0-9])"),  # AWS
    ("AIza", r"AIza[A-Za-z0-9_-]{30,}"),  # Google
    ("SK", _START + r"SK[0-9a-f]{32}(?![A-Za-z0-9])"),  # Twilio
    ("dapi", _START + r"dapi[0-9a-f]{32}"),  # Databricks
    ("ATATT3", r"ATATT3[A-Za-z0-9_=-]{20,}"),  # Atlassian
    (":AA", r"(?<![0-9])[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}"),  # Telegram
    ("/webhooks/", r"(?<=/webhooks/)[0-9]{15,}/[A-Za-z0-9_-]{40,}"),  # Discord
    ("Q~", _START + r"[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"),  # Azure: client secrets
    ("AZDO", _START + r"[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4}"),  # DevOps
    ("JQQJ99", _START + r"[A-Za-z0-9]{52}JQQJ99[A-Za-z0-9]{26}"),  # AI services
    ("A", r"[A-Za-z0-9+/]{33,76}(?:\+(?:ASt|AEh|ASb|ABa|ACR)|AzSe|AzFu|AIoT|ACDb)[A-Za-z0-9+/]{4,8}=*"),  # keys
)
# A name is a run of letters, digits and _.- ; a token of a provider has one of 20 at least.
_LOWER = bytes(range(256)).lower()
_RUNS = bytes(ord("x" if chr(byte) in "0123456789abcdefghijklmnopqrstuvwxyz_.-" else " ") for byte in _LOWER)
_LONG = b"x" * 20
_NEAR = 80  # how far from its longest run a token may begin

# What else a text must have: one of these stems. A sketch of it, its rarer consonants, is searched first, because that
# is a fifth of the text: what the sketch does not have, the text does not have.
_RARE = b"bcdknpswyz"
_NOT_RARE = bytes(byte for byte in range(256) if _LOWER[byte] not in _RARE)
_STEMS: Dict[bytes, Dict[bytes, List[bytes]]] = {}  # by a letter and then by the sketch
for _stem in (
    b"pass pwd secret token credential cookie authorization bearer basic "
    b"apikey api_key api-key accesskey access_key access-key accountkey account_key account-key privatekey private_key "
    b"private-key"
).split():
    _sketch = _stem.translate(_LOWER, _NOT_RARE)
    _STEMS.setdefault(min(_sketch, key=b"zwbpdcsnky".index).to_bytes(1, "big"), {}).setdefault(_sketch, []).append(
        _stem
    )
# What stands between a name and its value: an assignment, or a comma in a list, or whitespace after a flag.
_ASSIGNED = re.compile(r"""\\?["'`]?\s{0,9}(?::=|=>|[:=])\s{0,9}(\\?["'`])?""")
_LISTED = re.compile(r"""\\?["']\s{0,9},\s{0,9}(?:\\?["'][Vv]alue\\?["']\s{0,9}:\s{0,9})?(\\?["'])""")
_SPACED = re.compile(r"""["']?\s{1,9}(?!-)(["'])?""")
_SCHEME = re.compile(
    r"(?:basic|bearer|token|api-?key|digest|negotiate|sharedkey(?:lite)?|aws4-hmac-sha256)\s{1,9}", re.IGNORECASE
)
_BARE = re.compile(r"[^\s\"'`&;,]+")
_BARE_AFTER_COLON = re.compile(r"[^\s\"'`&;,\\{}\[]+")
_COOKIES = re.compile(r"[^\r\n\"'`]+")
_LINE = re.compile(r"[^\r\n]+")
_QUOTED = {
    quote: re.compile(rf"(?:[^{quote}\\\r\n]|\\.)+") if len(quote) == 1 else re.compile(r"(?:(?!\\[\"'`])[^\r\n])+")
    for one in "\"'`"
    for quote in (one, "\\" + one)
}
_NO_SECRETS = frozenset("false nil no none null true undefined yes".split())
_BEARER = re.compile(r"bearer\s{1,9}([a-z0-9._~+/=-]{16,})", re.IGNORECASE)
_BASIC = re.compile(r"basic\s{1,9}([a-z0-9+/=]{8,})", re.IGNORECASE)
_URL = re.compile(r"://(?:[^\s/:@]{0,255}:([^\s/]+)@|(?<=http://)([^\s/:@]{16,})@|(?<=https://)([^\s/:@]{16,})@)")
_QUERY = re.compile(r"[?&](?:key|[a-z-]{0,40}sig(?:nature)?)=([^\s&#\"']+)", re.IGNORECASE)
_USER = re.compile(r"-u(?:ser)?(?:[\s=]\s{0,9}|[\"'],\s{0,9})[\"']?([^\s:\"']{1,255}):([^\s\"']+)")
_USER_FLAGS = ("-u", "--user", "--proxy-user")
_HEADERS = ("authorization", "cookie")


class Redactor:
    """Replaces secrets in events and encodes them.

    Args:
        secrets: values to replace wherever they occur; see `environment_secrets`.
        patterns: regular expressions whose matches are replaced.

    Raises:
        ValueError: a pattern is not a regular expression, or matches the empty string.
    """

    def __init__(self, secrets: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        self._providers = [(hint, re.compile(pattern, re.DOTALL)) for hint, pattern in _PROVIDERS]
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
        if self._signs and self._has_sign(text):
            for secret in self._secrets:
                if secret in text:
                    text = text.replace(secret, REDACTED)
        for pattern in self._custom:
            text = pattern.sub(REDACTED, text)
        data = text.encode("latin-1", "replace")  # one byte a character: a place in it is one in the text
        runs = data.translate(_RUNS)
        if _LONG in runs:
            whole, text = text, self._without_tokens(text, runs)
            if text != whole:
                data = text.encode("latin-1", "replace")
                runs = data.translate(_RUNS)
        if not ("=" in text or ":" in text or " " in text or '"' in text or "'" in text):
            return text
        spans = self._named(text, data, runs)
        if "@" in text:
            spans += [found.span(found.lastindex or 0) for found in _URL.finditer(text)]
        if "?" in text or "&" in text:
            spans += [found.span(1) for found in _QUERY.finditer(text)]
        if "-" in text and "-u" in text:
            spans += _passwords_of_users(text)
        return _replaced(text, spans) if spans else text

    def _without_tokens(self, text: str, runs: bytes) -> str:
        """Return `text` without tokens of providers, which are looked for around its long runs."""
        near, start = [], runs.find(_LONG)
        while start >= 0:
            end = runs.find(b" ", start)
            end = len(runs) if end < 0 else end
            near.append(text[max(start - _NEAR, 0) : end + _NEAR])
            start = runs.find(_LONG, end)
        around = text if len(near) * 2 * _NEAR > len(text) else "\n".join(near)
        for hint, pattern in self._providers:
            if hint in around:
                text = pattern.sub(REDACTED, text)
        return text

    def _named(self, text: str, data: bytes, runs: bytes) -> List[Tuple[int, int]]:
        """Return where the values stand that a name before them says are secret."""
        spans = []
        sketch = data.translate(_LOWER, _NOT_RARE)
        likely = [group for letter, group in _STEMS.items() if letter in sketch]
        stems = [stem for group in likely for sketched in group if sketched in sketch for stem in group[sketched]]
        low = data.lower() if stems else b""
        for stem in stems:
            at = low.find(stem)
            while at >= 0:
                end = runs.find(b" ", at)
                end = len(runs) if end < 0 else end
                if stem in (b"bearer", b"basic"):
                    span = _credentials(text, at)
                else:
                    span = self._value(text, max(runs.rfind(b" ", 0, at) + 1, end - 80), end)
                if span is not None:
                    spans.append(span)
                at = low.find(stem, max(end, span[1] if span else 0))
        return spans

    def _value(self, text: str, start: int, end: int) -> Optional[Tuple[int, int]]:
        """Return where the secret value stands of the name in `text[start:end]`, or None."""
        name = text[start:end].rpartition(".")[2]
        listed = None
        found = _ASSIGNED.match(text, end)
        if found is None:
            found = listed = _LISTED.match(text, end)
        if found is None and name.startswith("-"):
            found = _SPACED.match(text, end)
        if found is None or not self.is_secret_key(name):
            return None
        lower, between, place, quote = name.lower(), found.group(), found.end(), found.group(1)
        must_have = ""
        if listed and "alue" not in between and "-" not in name and lower not in _HEADERS:
            return None  # a list of names
        if lower.endswith("pass") and (lower == "pass" or not (quote or "=" in between)):
            return None  # the first pass: 3 of 4
        value = (_QUOTED[quote] if quote else _BARE_AFTER_COLON if ":" in between else _BARE).match(text, place)
        if lower.endswith(("cookie", "cookies")) and not quote and ":" in between:
            value, must_have = _COOKIES.match(text, place), "="
        elif lower.endswith("authorization"):
            scheme = _SCHEME.match(text, place)
            if scheme:
                many = scheme.group().lower().startswith(("digest", "aws4"))  # parameters, with quotes
                value = (_LINE if many else _BARE).match(text, scheme.end())
            else:
                must_have = "[0-9]|.{16}"  # authorization: denied
        said = value.group() if value else ""
        if not said or (listed and said.startswith("-")) or not re.search(must_have, said) or _is_no_secret(name, said):
            return None
        return value.span() if value else None

    def is_secret_key(self, key: str) -> bool:
        """Return whether `key` names a secret."""
        words = [word.lower() for word in re.findall(_WORDS, key)]
        if not words or words[-1] in _DESCRIBES:
            return False
        if "token" in words or "tokens" in words:
            return _COUNTS.isdisjoint(words) and not (len(words) > 1 and _PAGES.issuperset(words))
        squashed = "".join(words)
        return (
            not _SECRET_WORDS.isdisjoint(words)
            or words[-1] == "pass"
            or words[-1].endswith(("token", "pwd", "passphrase"))
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
        if self.text(text) != text:
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

    def hides_value(self, value: Mapping[Any, Any]) -> bool:
        """Return whether an object is a pair such as {"name": "DB_PASSWORD", "value": …}."""
        return ("value" in value or "Value" in value) and any(
            type(value.get(name)) is str and self.is_secret_key(value[name]) for name in ("name", "Name", "key", "Key")
        )

    def hides_next(self, item: Any, following: Any) -> bool:
        """Return whether `item` of a list is the flag or header whose secret value comes next."""
        return (
            type(item) is str
            and ("-" in item or item.lower() in _HEADERS)
            and len(item) <= MAX_ID
            and not (type(following) is str and (following.startswith("-") or self.is_secret_key(following)))
            and re.fullmatch(r"[\w-]+:?", item) is not None
            and self.is_secret_key(item)
        )

    def _is_clean(self, value: Dict[str, Any], depth: int) -> bool:
        """Return whether nothing in a JSON object needs a change. A quick no sends it through the thorough walk."""
        if depth == 0 or len(value) > MAX_ITEMS or self.hides_value(value):
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
        before = None
        for item in items:
            if before in _USER_FLAGS or (before is not None and self.hides_next(before, item)):
                return False
            kind = type(item)
            before = item if kind is str else None
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
        names_secret = isinstance(value, Mapping) and self.redactor.hides_value(value)
        before: Any = None
        for key, item in items:
            if self.room <= MIN_ROOM or len(named) + len(listed) >= MAX_ITEMS:
                self.note(self.truncated, pointer)
                break
            if not isinstance(value, Mapping):
                hide = secret or self.redactor.hides_next(before, item)
                if type(before) is str and before in _USER_FLAGS and type(item) is str and not hide:
                    item, whole = self.redactor.text(f"-u {item}")[3:], item  # noqa: PLW2901
                    if item != whole:
                        self.note(self.redacted, f"{pointer}/{key}")
                listed.append(self.value(item, f"{pointer}/{key}", depth - 1, hide))
                before = item
                continue
            name = as_text(key)
            safe = self.text(name, pointer, MAX_ID)
            if safe in named:  # two keys that differed in what was replaced
                safe = f"{safe} {len(named)}"
            hide = secret or (self.redactor.is_secret_key(name) and not _is_count(name, item))
            hide = hide or (names_secret and name in ("value", "Value"))
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
        """Note `pointer` once, as long as there is room; as text that another pass leaves as it is."""
        pointer = self.redactor.text(pointer)
        size = _size(pointer)
        if pointer not in pointers and size <= self.pointer_room:
            pointers.append(pointer)
            self.pointer_room -= size


def _is_count(name: str, value: Any) -> bool:
    return type(value) in (int, float) and ("token" in name.lower() or name.lower() == "pass")


def _replaced(text: str, spans: List[Tuple[int, int]]) -> str:
    parts, done = [], 0
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[done:start], REDACTED]
        done = max(done, end)
    return "".join(parts) + text[done:]


def _is_no_secret(name: str, value: str) -> bool:
    """Return whether the value of a name that is secret is a constant, a count, or the name of the variable to look in.

    In text, that is, where a number looks like a string of digits.
    """
    plain = value.strip(" .)")
    return (
        not plain
        or value.startswith("[REDACTED")
        or plain.lower() in _NO_SECRETS
        or ("tokens" in name.lower() and plain.replace(",", "").replace(".", "").isdigit())
        or (re.fullmatch("[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", plain) is not None and _is_secret_variable(plain))
    )


def _credentials(text: str, at: int) -> Optional[Tuple[int, int]]:
    """Return where the credentials stand that follow the word Bearer or Basic, or None."""
    found = _BEARER.match(text, at)
    if found is None:
        found = _BASIC.match(text, at)
        if found is not None:
            try:
                decoded = a2b_base64(found.group(1) + "==").decode()
            except ValueError:
                return None
            if ":" not in decoded or not decoded.isprintable():
                return None  # a basic idea
    return None if found is None else found.span(1)


def _passwords_of_users(text: str) -> Iterator[Tuple[int, int]]:
    """Yield where the passwords are in `-u user:password`; `-u 1000:1000` is a user and a group."""
    for found in _USER.finditer(text):
        before = text[max(found.start() - 7, 0) : found.start()]
        stands_alone = not before.rstrip("-") or not (before.rstrip("-")[-1].isalnum() or before.rstrip("-")[-1] == "_")
        if (stands_alone or before == "--proxy") and not (found.group(1).isdigit() and found.group(2).isdigit()):
            yield found.span(2)


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

    Paths of existing files are left out: the name of a key file is not a secret.
    """
    wanted = set(names)
    return [
        value
        for name, value in environment.items()
        if name in wanted
        or (_is_secret_variable(name.upper()) and not (value.startswith("/") and os.path.exists(value)))
    ]


def redactor_of(
    environment: Mapping[str, str], names: Optional[Iterable[str]] = None, patterns: Optional[Iterable[str]] = None
) -> Redactor:
    """Return a redactor of the environment's secrets.

    Args:
        names: further variables with secret values; by default those in AIMGENTIX_REDACT_ENV, separated by commas.
        patterns: what else to replace; by default the lines of AIMGENTIX_REDACT_PATTERNS.

    Raises:
        ValueError: a pattern is not a regular expression, or matches the empty string.
    """
    if names is None:
        names = _parts(environment.get("AIMGENTIX_REDACT_ENV", ""), ",")
    if patterns is None:
        patterns = _parts(environment.get("AIMGENTIX_REDACT_PATTERNS", ""), "\n")
    return Redactor(environment_secrets(environment, names), patterns)


def _parts(text: str, separator: str) -> List[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]


def _is_secret_variable(name: str) -> bool:
    return name.endswith(_SECRET_ENDS) or not _SECRET_VARIABLES.isdisjoint(name.split("_"))


def _custom(pattern: str) -> Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"redaction pattern {pattern!r} is not a regular expression: {error}") from None
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
