"""Whose signatures a checkpoint needs (C2SP tlog-policy)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.log.faults import Fault
from app.log.note import LOG, WITNESS, VerifierKey, parse_verifier

MAX_POLICY_BYTES = 1024 * 1024
_NONE = "none"


@dataclass(frozen=True)
class Witness:
    """A witness of the policy.

    Attributes:
        url: where it takes checkpoints; empty when the policy doesn't say.
    """

    name: str
    key: VerifierKey
    url: str


@dataclass(frozen=True)
class Group:
    """So many of these members, which are witnesses or groups."""

    name: str
    needed: int
    members: tuple[str, ...]


@dataclass(frozen=True)
class Policy:
    """The logs, the witnesses, and which of them are enough.

    Attributes:
        quorum: the name of a witness or a group, or `none`.
    """

    logs: tuple[VerifierKey, ...]
    witnesses: tuple[Witness, ...]
    groups: tuple[Group, ...]
    quorum: str

    def is_met(self, cosigners: set[VerifierKey]) -> bool:
        """Return whether these witnesses are enough."""
        met = {witness.name for witness in self.witnesses if witness.key in cosigners} | {_NONE}
        for group in self.groups:  # a group's members stand before it
            if sum(member in met for member in group.members) >= group.needed:
                met.add(group.name)
        return self.quorum in met


def parse_policy(data: bytes) -> Policy:
    """Return the policy that a file holds.

    Raises:
        Fault: it can't be one; the message names the line.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise Fault("bad-policy", f"the policy is larger than {MAX_POLICY_BYTES} bytes")
    reader = _Reader()
    # latin-1: the names are bytes, whatever they mean; a control character makes a line that is understood by nobody.
    for number, line in enumerate(data.decode("latin-1").split("\n"), 1):
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if any(ord(sign) < 0x20 or ord(sign) == 0x7F for word in words for sign in word):
            raise Fault("bad-policy", f"line {number} has control characters")
        if words and not words[0].startswith("#"):
            try:
                reader.take(words)
            except Fault as fault:
                raise Fault("bad-policy", f"line {number}: {fault.detail}") from None
    return reader.policy()


def read_policy(path: Path) -> Policy:
    """Return the policy in a file.

    Raises:
        Fault: there is none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise Fault("bad-policy", f"{path} can't be read: {error.strerror}") from None
    try:
        return parse_policy(data)
    except Fault as fault:
        raise Fault(fault.code, f"{path}: {fault.detail}") from None


class _Reader:
    def __init__(self) -> None:
        self._logs: list[VerifierKey] = []
        self._witnesses: list[Witness] = []
        self._groups: list[Group] = []
        self._members: set[str] = set()
        self._quorum: str | None = None

    def take(self, words: list[str]) -> None:
        match words:
            case ["log", key, *url] if len(url) <= 1:
                self._logs.append(self._key(key, LOG, "a log"))
            case ["witness", name, key, *url] if len(url) <= 1:
                self._require_new(name)
                self._witnesses.append(Witness(name, self._key(key, WITNESS, "a witness"), "".join(url)))
            case ["group", name, needed, *members] if members:
                self._require_new(name)
                self._groups.append(Group(name, self._needed(needed, members), tuple(members)))
            case ["quorum", name]:
                if self._quorum is not None:
                    raise Fault("bad-policy", "there is a second quorum")
                if name != _NONE and name not in self._names():
                    raise Fault("bad-policy", f"{name} is not defined above")
                self._quorum = name
            case _:
                raise Fault("bad-policy", "it is none of log KEY, witness NAME KEY, group NAME N MEMBER…, quorum NAME")

    def policy(self) -> Policy:
        if self._quorum is None:
            raise Fault("bad-policy", "there is no line quorum, which says whose signatures are needed")
        return Policy(tuple(self._logs), tuple(self._witnesses), tuple(self._groups), self._quorum)

    def _names(self) -> set[str]:
        return {witness.name for witness in self._witnesses} | {group.name for group in self._groups}

    def _require_new(self, name: str) -> None:
        if name == _NONE or name in self._names():
            raise Fault("bad-policy", f"the name {name} is taken")

    def _key(self, text: str, kind: int, owner: str) -> VerifierKey:
        key = parse_verifier(text.encode("latin-1").decode("utf-8", "replace"))
        if key.kind != kind:
            raise Fault("bad-policy", f"this is not the key of {owner}")
        if key.public in {one.public for one in (*self._logs, *(witness.key for witness in self._witnesses))}:
            raise Fault("bad-policy", "this key is there already")
        return key

    def _needed(self, text: str, members: list[str]) -> int:
        for member in members:
            if member not in self._names():
                raise Fault("bad-policy", f"{member} is not defined above")
            if member in self._members:
                raise Fault("bad-policy", f"{member} is a member of a group already")
            self._members.add(member)
        if text in ("any", "all"):
            return 1 if text == "any" else len(members)
        if not text.isdecimal() or not text.isascii() or not 1 <= int(text) <= len(members):
            raise Fault("bad-policy", f"{text} is none of any, all, 1 to {len(members)}")
        return int(text)
