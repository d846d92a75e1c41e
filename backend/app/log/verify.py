"""Whether a proof shows what it is given for. Pure functions: no network, no store, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.log.checkpoint import Checkpoint, Proof, parse_checkpoint
from app.log.faults import Fault
from app.log.note import Note, VerifierKey, signatures_of
from app.log.policy import Policy
from app.log.tree import InvalidProof, leaf_hash, root_by_inclusion

CLOCK_SECONDS = 300
"""How far a witness's clock may be ahead of this one."""


@dataclass(frozen=True)
class Signed:
    """A checkpoint that the policy accepts.

    Attributes:
        witnesses: the names that the policy gives those who cosigned it, and when they did (seconds since 1970).
    """

    checkpoint: Checkpoint
    witnesses: dict[str, int]


def check_checkpoint(note: Note, policy: Policy, now: int, *, max_age: int | None = None) -> Signed:
    """Return the checkpoint if it is signed as the policy wants.

    Args:
        now: seconds since 1970.
        max_age: how many seconds ago the witnesses may have signed it.

    Raises:
        Fault: it isn't.
    """
    checkpoint, _ = checkpoint_of(note, policy.logs)
    by_key = {witness.key: witness.name for witness in policy.witnesses}
    times = signatures_of(note, by_key)
    for key, seconds in times.items():
        if seconds > now + CLOCK_SECONDS:
            raise Fault("future", f"{by_key[key]} signed {seconds - now} seconds from now")
    if not policy.is_met(set(times)):
        who = ", ".join(sorted(by_key[key] for key in times)) or "none"
        raise Fault("too-few-witnesses", f"cosigned by {who}; the policy wants {policy.quorum}")
    signed = Signed(checkpoint, {by_key[key]: seconds for key, seconds in times.items()})
    if max_age is not None:
        fresh = {key for key, seconds in times.items() if seconds >= now - max_age}
        if not fresh or not policy.is_met(fresh):
            raise Fault("too-old", f"the witnesses that are needed signed it more than {max_age} seconds ago")
    return signed


def checkpoint_of(note: Note, logs: Sequence[VerifierKey], origin: str | None = None) -> tuple[Checkpoint, VerifierKey]:
    """Return what a note says of a tree, and which of the logs signed it.

    Args:
        origin: the log's, where it isn't the name of its key.

    Raises:
        Fault: none of them did.
    """
    checkpoint = parse_checkpoint(note.text)
    signers = [log for log in signatures_of(note, logs) if checkpoint.origin == (origin or log.name)]
    if not signers:
        names = ", ".join(sorted({log.name for log in logs})) or "none"
        raise Fault("other-log", f"this is of the log {checkpoint.origin}, signed by none of its keys; known: {names}")
    return checkpoint, signers[0]


def check_inclusion(proof: Proof, checkpoint: Checkpoint, entry: bytes) -> None:
    """Do nothing if `proof` shows that `entry` is in the tree of `checkpoint`.

    Raises:
        Fault: it doesn't.
    """
    if proof.index >= checkpoint.size:
        raise Fault("other-size", f"entry {proof.index} is not in a tree of {checkpoint.size}")
    try:
        root = root_by_inclusion(leaf_hash(entry), proof.index, checkpoint.size, proof.hashes)
    except InvalidProof as error:
        raise Fault("other-size", str(error)) from None
    if root != checkpoint.root:
        raise Fault("not-included", f"entry {proof.index} of {checkpoint.size} is another one, or the proof is altered")


def check_against(seen: Checkpoint, checkpoint: Checkpoint) -> None:
    """Do nothing if two checkpoints that the same log signed don't contradict each other by themselves.

    Raises:
        Fault: they do. Of two sizes nothing is said: that takes a proof of consistency, which a witness asks for.
    """
    if seen.origin == checkpoint.origin and seen.size == checkpoint.size and seen.root != checkpoint.root:
        raise Fault("two-roots", f"of size {seen.size} the log signed {seen.root.hex()} and {checkpoint.root.hex()}")
