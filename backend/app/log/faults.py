"""What can be wrong with a proof, a checkpoint or a tile, and who said something that isn't so."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Party(StrEnum):
    """Who is at fault, as far as what was found can show."""

    LOG = "the log"
    """Its own signature is under two things that can't both be so."""
    WITNESS = "the witness"
    SOURCE = "whoever handed it over"
    """It was altered or damaged after it was signed, or belongs to something else; no signature shows by whom."""
    STORE = "whoever may write to the backend's store"
    OPERATOR = "the operator of this machine"
    """A setting or a file is wrong; nobody lied."""
    UNKNOWN = "not known"


@dataclass(frozen=True)
class Kind:
    """One kind of fault.

    Attributes:
        party: who lied, as far as that can be known.
        meaning: what it means, for people.
    """

    party: Party
    meaning: str


KINDS = {
    "malformed": Kind(Party.SOURCE, "the text is not what its format demands: cut off, or no proof at all"),
    "unreadable": Kind(Party.OPERATOR, "a file or an option can't be read, so nothing can be said"),
    "bad-policy": Kind(Party.OPERATOR, "the policy file can't be read, so nothing can be said"),
    "bad-key": Kind(Party.OPERATOR, "the key can't be read"),
    "other-log": Kind(Party.UNKNOWN, "no log of the policy signed this: another log's, or forged"),
    "log-signature": Kind(
        Party.SOURCE, "it carries the log's name and key id, but not its signature: forged or altered"
    ),
    "witness-signature": Kind(Party.SOURCE, "it carries a witness's name and key id, but not its signature"),
    "too-few-witnesses": Kind(Party.UNKNOWN, "signed by the log, but not by the witnesses that the policy needs"),
    "future": Kind(Party.WITNESS, "cosigned at a time that has not come: the witness's clock is wrong, or this one"),
    "too-old": Kind(
        Party.SOURCE, "an old checkpoint where a recent one was asked for: replayed, or the log stands still"
    ),
    "other-entry": Kind(Party.SOURCE, "the proof is for something else than what was given"),
    "other-size": Kind(Party.SOURCE, "the index lies outside the tree that the checkpoint is of"),
    "not-included": Kind(Party.SOURCE, "the hashes don't lead to the root that the log signed"),
    "two-roots": Kind(Party.LOG, "the log signed two different trees of one size; both checkpoints together prove it"),
    "not-consistent": Kind(Party.LOG, "the log signed a tree that doesn't continue one that it signed before"),
    "wrong-proof": Kind(
        Party.UNKNOWN,
        "the proof doesn't lead from one tree to the other: the log forked, or somebody sent a wrong proof",
    ),
    "rolled-back": Kind(Party.LOG, "the log shows a smaller tree than it has signed: a restored backup, or a fork"),
    "damaged-tree": Kind(Party.STORE, "stored hashes don't lead to the root that the log signed"),
    "damaged-entry": Kind(Party.STORE, "a stored entry is not the one that was logged"),
    "row-altered": Kind(Party.STORE, "events are not the ones that were stored when the log took their digest"),
    "row-missing": Kind(Party.STORE, "events that the log has the digest of are gone"),
    "damaged-tile": Kind(Party.SOURCE, "a tile or a bundle of entries is cut off, or not of this log's tree"),
}


class Fault(Exception):
    """Something that isn't as it says.

    Attributes:
        code: its kind, stable; a key of `KINDS`.
        detail: what it is about, for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail

    @property
    def kind(self) -> Kind:
        """What the code means."""
        return KINDS[self.code]

    def describe(self) -> dict[str, str]:
        """Return it for programs."""
        return {"code": self.code, "detail": self.detail, "party": str(self.kind.party), "meaning": self.kind.meaning}
