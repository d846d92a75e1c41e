"""What a proof shows offline: honest ones are taken, and each lie has its own code and its party."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime.local import transparency
from agent_runtime.local.transparency import Unproven, check
from support.small_log import LOG, NAME, WITNESS, Parties, Signer, encode, entry, prove

DIGEST, OTHER = "a" * 64, "b" * 64
SUBJECT = "acme/shop/runs/42/attempts/1"
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
THEN = int(NOW.timestamp()) - 3600
PARTIES = Parties()
ENTRIES = [b"first", entry(DIGEST, SUBJECT, THEN), b"third"]


def proof_of(*cosigners: Signer, seconds: int = THEN + 5, log: Signer = PARTIES.log) -> bytes:
    return prove(1, ENTRIES, seconds, log, *cosigners)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1))), st.booleans())
def test_every_entry_of_every_tree_is_proven_and_nothing_else(place: tuple[int, int], late: bool) -> None:
    size, index = place
    entries = [entry(f"{number:064x}", SUBJECT, THEN) for number in range(size)]
    proof = prove(index, entries, THEN, PARTIES.log, PARTIES.first, *([PARTIES.second] if late else []))
    found = check(proof, PARTIES.policy(), f"{index:064x}", SUBJECT, NOW)
    assert (found.index, found.size, found.log) == (index, size, NAME)
    with pytest.raises(Unproven):
        check(proof, PARTIES.policy(), f"{index + 1:064x}", SUBJECT, NOW)
    if size > 1:
        wrong = re.sub(rb"index \d+", b"index %d" % ((index + 1) % size), proof)
        with pytest.raises(Unproven, match=r"not-included|other-size"):
            check(wrong, PARTIES.policy(), f"{index:064x}", SUBJECT, NOW)


def test_since_when_and_by_whom() -> None:
    text_signed_twice = proof_of(PARTIES.first)
    alone = check(text_signed_twice, PARTIES.policy(), DIGEST, SUBJECT, NOW)
    assert (alone.logged_at, list(alone.cosigned)) == (NOW - timedelta(hours=1), ["one"])
    assert alone.since == NOW - timedelta(hours=1) + timedelta(seconds=5)
    nobody = check(proof_of(), PARTIES.policy().replace(b"quorum both", b"quorum none"), DIGEST, SUBJECT, NOW)
    assert (nobody.since, nobody.cosigned) == (None, {})
    with pytest.raises(Unproven, match="too-few-witnesses"):
        check(text_signed_twice, PARTIES.policy("all"), DIGEST, SUBJECT, NOW)
    later = proof_of(PARTIES.second, seconds=THEN + 100).splitlines(keepends=True)[-1]
    for needed, seconds in (("any", 5), ("all", 100)):
        both = check(text_signed_twice + later, PARTIES.policy(needed), DIGEST, SUBJECT, NOW)
        assert both.since == NOW - timedelta(hours=1) + timedelta(seconds=seconds)


def cosigned_elsewhere() -> bytes:
    """A witness's line that is under another checkpoint."""
    other = prove(0, [b"x"], THEN, PARTIES.first).decode().splitlines()[-1]
    return proof_of() + other.encode() + b"\n"


def signed_elsewhere() -> bytes:
    forged = prove(0, [entry(DIGEST, SUBJECT, THEN)], THEN, PARTIES.first).decode()
    head, _, cosigned = forged.rpartition("\n\n")
    stolen = next(one for one in proof_of().decode().splitlines() if one.startswith("\u2014 log"))
    return f"{head}\n\n{stolen}\n{cosigned}".encode()


LIES: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "nothing": ("malformed", transparency.SOURCE, lambda: b""),
    "cut off": ("malformed", transparency.SOURCE, lambda: proof_of(PARTIES.first)[:-5]),
    "no checkpoint": ("malformed", transparency.SOURCE, lambda: proof_of(PARTIES.first).split(b"\n\n")[0]),
    "a megabyte": ("malformed", transparency.SOURCE, lambda: proof_of(PARTIES.first) + b"x" * 2**20),
    "other base64": ("malformed", transparency.SOURCE, lambda: proof_of(PARTIES.first).replace(b"=\n", b"\n")),
    "another log": ("other-log", transparency.UNKNOWN, lambda: proof_of(PARTIES.first, log=Signer(NAME, LOG))),
    "the log's signature, from another checkpoint": ("log-signature", transparency.SOURCE, signed_elsewhere),
    "a witness's signature, from another checkpoint": ("witness-signature", transparency.SOURCE, cosigned_elsewhere),
    "no witness": ("too-few-witnesses", transparency.UNKNOWN, proof_of),
    "a witness that nobody named": (
        "too-few-witnesses",
        transparency.UNKNOWN,
        lambda: proof_of(Signer("first.example.com", WITNESS)),
    ),
    "from the future": (
        "future",
        transparency.WITNESS,
        lambda: proof_of(PARTIES.first, seconds=int(NOW.timestamp()) + 301),
    ),
    "another entry in the same tree": (
        "not-included",
        transparency.SOURCE,
        lambda: proof_of(PARTIES.first).replace(encode(ENTRIES[1]).encode(), encode(entry(OTHER, SUBJECT, 1)).encode()),
    ),
    "another size": (
        "log-signature",
        transparency.SOURCE,
        lambda: proof_of(PARTIES.first).replace(b"/1\n3\n", b"/1\n4\n"),
    ),
    "a hash less": ("other-size", transparency.SOURCE, lambda: without_a_hash(proof_of(PARTIES.first))),
    "outside the tree": (
        "other-size",
        transparency.SOURCE,
        lambda: proof_of(PARTIES.first).replace(b"x 1\n", b"x 3\n"),
    ),
    "of another run": (
        "other-entry",
        transparency.SOURCE,
        lambda: prove(0, [entry(DIGEST, "acme/other/runs/1/attempts/1", THEN)], THEN, PARTIES.log, PARTIES.first),
    ),
    "of another bundle": (
        "other-entry",
        transparency.SOURCE,
        lambda: prove(0, [entry(OTHER, SUBJECT, THEN)], THEN, PARTIES.log, PARTIES.first),
    ),
}


def without_a_hash(proof: bytes) -> bytes:
    lines = proof.split(b"\n")
    return b"\n".join(lines[:3] + lines[4:])


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_refused_with_its_code_and_its_party(lie: str) -> None:
    code, party, make = LIES[lie]
    with pytest.raises(Unproven) as refused:
        check(make(), PARTIES.policy(), DIGEST, SUBJECT, NOW)
    assert (refused.value.code, refused.value.party) == (code, party)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("quorum both", ""),
        lambda text: text.replace("quorum both", "quorum three"),
        lambda text: text + "\nquorum one",
        lambda text: text.replace("any one two", "3 one two"),
        lambda text: text.replace("any one two", "any one one"),
        lambda text: text.replace("witness two", "witness one"),
        lambda text: text + f"\nlog {PARTIES.log.public}",
        lambda text: text.replace(f"log {PARTIES.log.public}", f"log {PARTIES.first.public}"),
        lambda text: text.replace("+", "-", 1),
        lambda text: "whatever\n" + text,
    ],
)
def test_a_policy_that_is_none_is_refused(change: Callable[[str], str]) -> None:
    with pytest.raises(Unproven) as refused:
        transparency.parse_policy(change(PARTIES.policy().decode()).encode())
    assert refused.value.code == "bad-policy"
