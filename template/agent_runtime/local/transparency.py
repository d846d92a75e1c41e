"""Whether a transparency log has something, by a proof and a policy that lists keys.  Offline, pure but for the clock.

Evidence from outside: who made a bundle can't make this too, without the log's key and those of its witnesses.  The
formats are C2SP's: signed-note, tlog-checkpoint, tlog-proof, tlog-cosignature and tlog-policy; the tree is RFC 6962's.
Ed25519 is the package `cryptography`'s, which only this module needs.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Dict, List, Mapping, Optional, Set, Tuple

MAX_BYTES = 1024 * 1024
CLOCK_SECONDS = 300  # how far a witness's clock may be ahead of this one

_PROOF_HEAD = "c2sp.org/tlog-proof@v1"
_LOG, _WITNESS = 1, 4  # kinds of signatures: of a log, and of a witness, which signs a time, too
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_MOST_SECONDS = 253_402_300_800  # the beginning of the year 10000

SOURCE = "whoever handed it over"
LOG = "the log"
WITNESS = "a witness"
NOBODY = "nobody; a file or a setting is wrong here"
UNKNOWN = "not known"


class Unproven(Exception):
    """Something that the evidence doesn't show.

    Arguments:
        code: a word for it, the same as the audit backend's, stable.
        party: who lied, as far as that can be known.
    """

    def __init__(self, code: str, message: str, party: str = SOURCE) -> None:
        super().__init__(f"{code}: {message} (who lied, as far as this shows: {party})")
        self.code = code
        self.party = party


@dataclass(frozen=True)
class Key:
    """A public key and the name under which it signs."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes that signatures of this key begin with."""
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([self.kind]) + self.public).digest()[:4]


@dataclass
class Policy:
    """Whose signatures are needed: logs, witnesses by name, groups of so many of their members, and the quorum."""

    logs: List[Key] = field(default_factory=list)
    witnesses: Dict[str, Key] = field(default_factory=dict)
    groups: Dict[str, Tuple[int, List[str]]] = field(default_factory=dict)
    quorum: str = ""

    def is_met(self, cosigned: Set[str]) -> bool:
        """Return whether these witnesses are enough."""
        met = cosigned | {"none"}
        for name, (needed, members) in self.groups.items():  # a group's members stand before it
            if sum(member in met for member in members) >= needed:
                met.add(name)
        return self.quorum in met


@dataclass(frozen=True)
class Evidence:
    """What is proven.

    Arguments:
        logged_at: when the log took it, by the log's own clock.
        cosigned: when each witness signed that the log has it.
        since: from when on nobody could have changed it without the log and enough witnesses; None without witnesses.
    """

    log: str
    index: int
    size: int
    logged_at: datetime
    cosigned: Mapping[str, datetime]
    since: Optional[datetime]


def check(proof: bytes, policy: bytes, digest: str, subject: str, now: datetime) -> Evidence:
    """Return what a proof shows of the bundle with this digest, if all of it holds.

    Arguments:
        proof, policy: the contents of the files.
        subject: what the digest has to belong to.

    Raises:
        Unproven: it doesn't.
        ImportError: the package `cryptography` is missing.
    """
    rules = parse_policy(policy)
    entry, index, hashes, note = _parse_proof(proof)
    text, signatures = _parse_note(note)
    origin, size, root = _parse_checkpoint(text)
    if not any(key.name == origin and _times(key, text, signatures) for key in rules.logs):
        known = ", ".join(sorted({key.name for key in rules.logs})) or "none"
        raise Unproven("other-log", f"no log of the policy signed this checkpoint of {origin}; known: {known}", UNKNOWN)
    cosigned = {}
    for name, key in rules.witnesses.items():
        times = _times(key, text, signatures)
        if times:
            cosigned[name] = _moment(max(times))
            if (cosigned[name] - now).total_seconds() > CLOCK_SECONDS:
                raise Unproven("future", f"{name} signed at {cosigned[name]}, which has not come", WITNESS)
    if not rules.is_met(set(cosigned)):
        who = ", ".join(sorted(cosigned)) or "nobody"
        raise Unproven("too-few-witnesses", f"cosigned by {who}; the policy wants {rules.quorum}", UNKNOWN)
    if _root(hashlib.sha256(b"\0" + entry).digest(), index, size, hashes) != root:
        raise Unproven("not-included", f"the hashes don't lead from entry {index} to the root that the log signed")
    logged_at = _parse_entry(entry, digest, subject)
    return Evidence(origin, index, size, logged_at, cosigned, _since(rules, cosigned))


def parse_policy(data: bytes) -> Policy:
    """Return the policy that a file holds.

    Raises:
        Unproven: it holds none; the message names the line.
    """
    policy = Policy()
    for number, line in enumerate(data[:MAX_BYTES].decode("utf-8", "replace").split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        known = {*policy.witnesses, *policy.groups}
        try:
            if words[0] == "log" and len(words) in (2, 3):
                policy.logs.append(_key(words[1], _LOG))
            elif words[0] == "witness" and len(words) in (3, 4) and words[1] not in known | {"none"}:
                policy.witnesses[words[1]] = _key(words[2], _WITNESS)
            elif (
                words[0] == "group" and len(words) > 3 and words[1] not in known | {"none"} and known >= set(words[3:])
            ):
                policy.groups[words[1]] = (_needed(words[2], len(words) - 3), words[3:])
            elif words[0] == "quorum" and len(words) == 2 and not policy.quorum and words[1] in known | {"none"}:
                policy.quorum = words[1]
            else:
                raise ValueError
        except ValueError:
            raise Unproven("bad-policy", f"line {number} of the policy is invalid", NOBODY) from None
    publics = [key.public for key in (*policy.logs, *policy.witnesses.values())]
    members = [member for _, group in policy.groups.values() for member in group]
    if not policy.quorum or len(set(publics)) < len(publics) or len(set(members)) < len(members):
        message = "the policy has no line quorum, or a key or the member of a group twice"
        raise Unproven("bad-policy", message, NOBODY)
    return policy


def _since(policy: Policy, cosigned: Mapping[str, datetime]) -> Optional[datetime]:
    """The earliest moment at which those who had signed by then were enough; None if that takes no witness."""
    if policy.is_met(set()):
        return None
    return next(
        moment
        for moment in sorted(cosigned.values())
        if policy.is_met({name for name, signed in cosigned.items() if signed <= moment})
    )


def _needed(text: str, members: int) -> int:
    needed = {"any": 1, "all": members}.get(text) or int(text)
    if not 1 <= needed <= members:
        raise ValueError
    return needed


def _key(text: str, kind: int) -> Key:
    """Read name+id+base64."""
    name, _, rest = text.partition("+")
    id, _, encoded = rest.partition("+")
    material = base64.b64decode(encoded, validate=True)
    key = Key(name, material[0] if material else 0, material[1:])
    if not name or key.kind != kind or len(key.public) != 32 or key.id.hex() != id:
        raise ValueError
    return key


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or base64.b64encode(data).decode("ascii") != text:
        raise Unproven("malformed", "base64 is expected, and something else was found")
    return data


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) >= 2**63:
        raise Unproven("malformed", "a number is expected, and something else was found")
    return int(text)


def _parse_proof(data: bytes) -> Tuple[bytes, int, List[bytes], str]:
    """Return entry, index, hashes and checkpoint of a proof."""
    if len(data) > MAX_BYTES:
        raise Unproven("malformed", f"the proof is larger than {MAX_BYTES} bytes")
    head, separator, note = data.decode("utf-8", "replace").partition("\n\n")
    lines = head.split("\n")
    if (
        not separator
        or len(lines) < 3
        or lines[0] != _PROOF_HEAD
        or not lines[1].startswith("extra ")
        or not lines[2].startswith("index ")
    ):
        raise Unproven("malformed", "it is not a proof with an entry, index, hashes and a checkpoint")
    hashes = [_decode(line) for line in lines[3:]]
    if len(hashes) > 63 or any(len(one) != 32 for one in hashes):
        raise Unproven("malformed", "a hash of the proof has not 32 bytes, or there are too many")
    return _decode(lines[1][len("extra ") :]), _number(lines[2][len("index ") :]), hashes, note


def _parse_note(note: str) -> Tuple[str, List[Tuple[str, bytes]]]:
    """Return the text of a signed note, and name and value of each signature."""
    head, separator, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if not separator or lines.pop() or not lines or any(ord(sign) < 32 and sign != "\n" for sign in note):
        raise Unproven("malformed", "the checkpoint has no signatures, or its end is missing")
    signatures = []
    for line in lines:
        words = line.split(" ")
        if len(words) != 3 or words[0] != "\u2014":
            raise Unproven("malformed", "a signature line is not: dash, name, base64")
        signatures.append((words[1], _decode(words[2])))
    return head + "\n", signatures


def _parse_checkpoint(text: str) -> Tuple[str, int, bytes]:
    lines = text.split("\n")[:-1]
    if len(lines) < 3 or not all(lines):
        raise Unproven("malformed", "a checkpoint has three lines or more, and none is empty")
    return lines[0], _number(lines[1]), _decode(lines[2])


def _parse_entry(data: bytes, digest: str, subject: str) -> datetime:
    """Return when the log took this entry, if it is one for this bundle."""
    try:
        entry = json.loads(data.decode("utf-8"))
        kind, found, of, logged_at = (entry[name] for name in ("kind", "digest", "subject", "logged_at"))
        if type(logged_at) is not int or entry["v"] != 1:
            raise ValueError
        moment = _moment(logged_at // 1_000_000)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unproven("malformed", "the entry is not one of an audit backend's log") from None
    if (kind, found, of) != ("bundle", digest, subject):
        raise Unproven("other-entry", f"the proof is for the {kind} {found} of {of}, not for {digest} of {subject}")
    return moment


def _moment(seconds: int) -> datetime:
    if not 0 <= seconds < _MOST_SECONDS:
        raise Unproven("malformed", "a time is not one")
    return datetime.fromtimestamp(seconds, timezone.utc)


def _times(key: Key, text: str, signatures: List[Tuple[str, bytes]]) -> List[int]:
    """Return when this key signed the text; 0 for a log.  A false signature in its name spoils the whole."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  only who checks evidence needs it
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    found = []
    for name, value in signatures:
        if name != key.name or value[:4] != key.id:
            continue
        signature, message, seconds = value[4:], text, 0
        if key.kind == _WITNESS:
            seconds, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = f"cosignature/v1\ntime {seconds}\n{text}"
        try:
            Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message.encode("utf-8"))
        except (InvalidSignature, ValueError):
            code = "log-signature" if key.kind == _LOG else "witness-signature"
            raise Unproven(code, f"the signature of {name} is not one over this checkpoint") from None
        found.append(seconds)
    return found


def _root(leaf: bytes, index: int, size: int, hashes: List[bytes]) -> bytes:
    """Return the root to which the hashes lead from a leaf (RFC 9162, 2.1.3.2)."""
    if index >= size:
        raise Unproven("other-size", f"entry {index} is not in a tree of {size}")
    place, last, root = index, size - 1, leaf
    for sibling in hashes:
        if not last:
            raise Unproven("other-size", "the proof has more hashes than lead to the root")
        if place % 2 or place == last:
            root = hashlib.sha256(b"\1" + sibling + root).digest()
            while place and not place % 2:
                place, last = place >> 1, last >> 1
        else:
            root = hashlib.sha256(b"\1" + root + sibling).digest()
        place, last = place >> 1, last >> 1
    if last:
        raise Unproven("other-size", "the proof has fewer hashes than lead to the root")
    return root
