"""The transparency log's tree and texts: published vectors, and properties against RFC 6962's own definition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from app.log.checkpoint import parse_checkpoint, parse_proof
from app.log.cosigning import parse_request
from app.log.entries import BUNDLE, Entry, parse_entry
from app.log.faults import Fault
from app.log.note import (
    LOG,
    WITNESS,
    Note,
    SignerKey,
    VerifierKey,
    new_signer,
    parse_note,
    parse_signer,
    parse_verifier,
    signatures_of,
)
from app.log.policy import parse_policy
from app.log.tiles import ENTRIES, Tile, levels_of, pack_entries, parse_path, subtree_from, tiles_of, unpack_entries
from app.log.tree import (
    InvalidProof,
    Subtree,
    check_consistency,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
    range_hash,
    root_by_inclusion,
    root_of,
)
from app.log.verify import checkpoint_of
from hypothesis import given, settings
from hypothesis import strategies as st

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("log.vectors.json").read_text(encoding="utf-8"))
LEAVES = [leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(root) for root in VECTORS["roots"]]
MANY = [leaf_hash(str(number).encode()) for number in range(1100)]


def by_definition(leaves: list[bytes]) -> bytes:
    """The root as RFC 6962, section 2.1, defines it."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + by_definition(leaves[:split]) + by_definition(leaves[split:])).digest()


def subtree_of(leaves: list[bytes]) -> Subtree:
    """Complete subtrees, by the definition."""
    return lambda level, index: by_definition(leaves[index << level : (index + 1) << level])


def hashes(proof: list[str]) -> list[bytes]:
    return [bytes.fromhex(one) for one in proof]


def test_published_roots() -> None:
    assert [root_of(LEAVES[:size]) for size in range(9)] == ROOTS
    assert [range_hash(0, size, subtree_of(LEAVES)) for size in range(9)] == ROOTS


@pytest.mark.parametrize("vector", VECTORS["inclusion"])
def test_published_inclusion_proofs(vector: dict[str, Any]) -> None:
    index, size, proof = vector["index"], vector["size"], hashes(vector["proof"])
    assert prove_inclusion(index, size, subtree_of(LEAVES)) == proof
    assert root_by_inclusion(LEAVES[index], index, size, proof) == ROOTS[size]


@pytest.mark.parametrize("vector", VECTORS["consistency"])
def test_published_consistency_proofs(vector: dict[str, Any]) -> None:
    old, new, proof = vector["old"], vector["new"], hashes(vector["proof"])
    assert prove_consistency(old, new, subtree_of(LEAVES)) == proof
    check_consistency(old, ROOTS[old], new, ROOTS[new], proof)


@pytest.mark.parametrize("vector", VECTORS["notes"])
def test_published_note(vector: dict[str, str]) -> None:
    key, note = parse_verifier(vector["key"]), parse_note(vector["note"].encode())
    assert signatures_of(note, [key]) == {key: 0}
    assert (str(key), str(note)) == (vector["key"], vector["note"])


@pytest.mark.parametrize("vector", VECTORS["checkpoints"])
def test_checkpoints_of_a_public_log(vector: dict[str, Any]) -> None:
    key = parse_verifier(vector["key"])
    checkpoint, _ = checkpoint_of(parse_note(vector["note"].encode()), [key], vector["origin"])
    assert checkpoint.size == vector["size"]
    altered = vector["note"].replace(str(vector["size"]), str(vector["size"] + 1))
    with pytest.raises(Fault, match="log-signature"):
        checkpoint_of(parse_note(altered.encode()), [key], vector["origin"])


trees = st.integers(1, 90).flatmap(lambda size: st.tuples(st.integers(0, size - 1), st.just(size)))


@given(trees)
@settings(max_examples=40)
def test_a_proof_of_inclusion_shows_one_leaf_at_one_place(place: tuple[int, int]) -> None:
    index, size = place
    leaves = MANY[:size]
    root = by_definition(leaves)
    proof = prove_inclusion(index, size, subtree_of(leaves))
    assert root_by_inclusion(leaves[index], index, size, proof) == root
    for other in range(size):
        if other != index:
            assert not leads(lambda: root_by_inclusion(leaves[index], other, size, proof), root)  # noqa: B023
            assert not leads(lambda: root_by_inclusion(leaves[other], index, size, proof), root)  # noqa: B023
    for wrong in spoiled(proof):
        assert not leads(lambda: root_by_inclusion(leaves[index], index, size, wrong), root)  # noqa: B023


@given(st.integers(1, 90), st.integers(0, 90))
def test_a_proof_of_consistency_shows_one_beginning(old: int, more: int) -> None:
    new = old + more
    leaves = MANY[:new]
    older, newer = by_definition(leaves[:old]), by_definition(leaves)
    proof = prove_consistency(old, new, subtree_of(leaves))
    check_consistency(old, older, new, newer, proof)
    forked = by_definition([*leaves[: old - 1], MANY[-1]])
    tries = [
        (old, forked, new, newer, proof),
        (old, older, new, by_definition([MANY[-1], *leaves[1:]]), proof),
        *((old, older, new, newer, wrong) for wrong in spoiled(proof)),
    ]
    tries.append((0, older, new, newer, []))
    if more:
        tries += [(new, newer, old, older, proof), (old, older, new + new, newer, proof)]
    for one in tries:
        with pytest.raises(InvalidProof):
            check_consistency(*one)


def spoiled(proof: list[bytes]) -> list[list[bytes]]:
    """The proof with one thing wrong with it."""
    flipped = [[*proof[:at], bytes([one[0] ^ 1]) + one[1:], *proof[at + 1 :]] for at, one in enumerate(proof)]
    return [*flipped, proof[:-1], [*proof, MANY[-1]], [MANY[-1], *proof]] if proof else [[MANY[-1]]]


def leads(climb: Callable[[], bytes], root: bytes) -> bool:
    try:
        return climb() == root
    except InvalidProof:
        return False


@given(st.integers(1, 1100), st.data())
@settings(max_examples=30)
def test_tiles_hold_what_proofs_need(size: int, data: st.DataObject) -> None:
    """Tiles are made here by the specification's definition, and proofs from them are those of the whole tree."""
    stored: dict[tuple[int, int], bytes] = {}
    row, level = MANY[:size], 0
    while row:
        for tile in tiles_of(size, level):
            stored[level, tile.number] = b"".join(row[tile.number * 256 :][: tile.width])
        row = [root_of(row[at : at + 256]) for at in range(0, len(row) - 255, 256)]
        level += 1
    assert level == levels_of(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    subtree = subtree_from(lambda level, number: stored[level, number])
    root = root_of(MANY[:size])
    assert range_hash(0, size, subtree) == root
    assert root_by_inclusion(MANY[index], index, size, prove_inclusion(index, size, subtree)) == root
    check_consistency(old, root_of(MANY[:old]), size, root, prove_consistency(old, size, subtree))


@given(st.integers(0, 63) | st.just(ENTRIES), st.integers(0, 10**15), st.integers(1, 256))
def test_paths_of_tiles_are_read_as_they_are_written(level: int, number: int, width: int) -> None:
    tile = Tile(level, number, width)
    assert parse_path(tile.path.removeprefix("tile/")) == tile


def test_the_specifications_path() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    assert [len(list(tiles_of(70_000, level))) for level in range(4)] == [274, 2, 1, 0]
    assert [list(tiles_of(70_000, level))[-1].width for level in range(3)] == [112, 17, 1]


@pytest.mark.parametrize(
    "path",
    ["0/0", "0/0000", "00/000", "64/000", "0/000.p/0", "0/000.p/256", "0/000.p/01", "0/x000/001", "0/001/x234",
     "-1/000", "0/000/", "0/../0/000", "entries/", "0/" + "x999/" * 9 + "999", "0/٠٠٠"],
)  # fmt: skip
def test_what_is_no_path_of_a_tile(path: str) -> None:
    assert parse_path(path) is None


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_bundles_of_entries_are_read_as_they_are_written(entries: list[bytes]) -> None:
    packed = pack_entries(entries)
    assert unpack_entries(packed) == entries
    if entries:
        with pytest.raises(ValueError, match="cut off"):
            unpack_entries(packed[:-1])


@given(st.text(max_size=30), st.integers(0, 10**15))
def test_entries_are_read_as_they_are_written(subject: str, logged_at: int) -> None:
    entry = Entry(BUNDLE, subject, "0" * 64, logged_at)
    assert parse_entry(entry.encode()) == entry
    with pytest.raises(Fault, match="malformed"):
        parse_entry(entry.encode() + b" ")


@pytest.mark.parametrize(
    "entry",
    [
        Entry("other", "x", "0" * 64, 0),
        Entry(BUNDLE, "x", "0" * 63, 0),
        Entry(BUNDLE, "x", "0" * 64, -1),
        Entry(BUNDLE, "x", "0" * 64, 253_402_300_800_000_000),
        Entry(BUNDLE, 7, "0" * 64, 0),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_entry(entry: Entry) -> None:
    with pytest.raises(Fault, match="malformed"):
        parse_entry(entry.encode())


LOG_KEY = SignerKey("log.example/1", LOG, bytes(range(32)))
WITNESS_KEY = SignerKey("witness.example/1", WITNESS, bytes(range(1, 33)))
GOOD_NOTE = f"log.example/1\n1\n{'A' * 43}=\n"


def test_keys_are_read_as_they_are_written() -> None:
    for key in (LOG_KEY, WITNESS_KEY):
        assert parse_signer(key.encode()) == key
        assert parse_verifier(str(key.verifier)) == key.verifier
        assert key.private.hex() not in repr(key)


NOTE = str(Note("text\n", (LOG_KEY.sign("text\n"),)))


@pytest.mark.parametrize(
    ("note", "said"),
    [
        (NOTE, ""),
        ("x" * 70_000 + NOTE, "larger than"),
        (NOTE.replace("text", "te\rxt"), "control characters"),
        (NOTE + NOTE.splitlines(keepends=True)[-1] * 64, "more than 64"),
        (NOTE[:-1], "its end is missing"),
        (NOTE.replace("—", "-"), "dash, name, base64"),
        (NOTE.replace("log.example", "log+example"), "dash, name, base64"),
        (NOTE.replace(" log", "  log"), "dash, name, base64"),
        ("text\n\n— log.example/1 AAAAAA==\n", "cut off"),
        (NOTE.replace("=", "\u00e9").encode("latin-1", "replace"), "not UTF-8"),
    ],
)
def test_what_is_no_note(note: str | bytes, said: str) -> None:
    data = note if isinstance(note, bytes) else note.encode()
    if not said:
        assert signatures_of(parse_note(data), [LOG_KEY.verifier]) == {LOG_KEY.verifier: 0}
        return
    with pytest.raises(Fault, match=said) as caught:
        parse_note(data)
    assert caught.value.code == "malformed"


def named(key: SignerKey, name: str) -> str:
    """The public half, as if the id went with any name."""
    other = VerifierKey(name, key.kind, key.verifier.public)
    return f"{name}+{other.key_id.hex()}+{str(other).rpartition('+')[2]}"


@pytest.mark.parametrize(
    "text",
    [
        str(LOG_KEY.verifier).replace(LOG_KEY.verifier.key_id.hex(), "00000000"),
        str(LOG_KEY.verifier).replace("log.example/1", "log.example/2"),
        named(LOG_KEY, "a name"),
        str(VerifierKey("x", LOG, bytes(31))),
        str(VerifierKey("x", 2, bytes(32))),
    ],
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(Fault, match="bad-key"):
        parse_verifier(text)


def test_a_key_is_bound_to_its_name() -> None:
    for text in (
        LOG_KEY.encode().replace("log.example/1", "log.example/2"),
        SignerKey("x", 9, bytes(32)).encode(),
    ):
        with pytest.raises(Fault, match="bad-key"):
            parse_signer(text)
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(Fault, match="can't be a name"):
            new_signer(name, LOG)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_nothing_but_a_fault_comes_of_any_bytes(data: bytes) -> None:
    for parse in (parse_note, parse_proof, parse_request, parse_policy, parse_entry):
        for whole in (
            data,
            b"old 0\n\n" + data,
            b"c2sp.org/tlog-proof@v1\nindex 0\n\n" + data,
            GOOD_NOTE.encode() + data,
        ):
            try:
                parse(whole)  # type: ignore[operator]
            except Fault as fault:
                assert fault.kind


@pytest.mark.parametrize(
    "text",
    ["", "origin\n1\n", f"\n1\n{'A' * 43}=\n", f"o\n01\n{'A' * 43}=\n", f"o\n-1\n{'A' * 43}=\n",
     f"o\n{2**63}\n{'A' * 43}=\n",
     "o\n1\nAAAA\n", f"o\n1\n{'A' * 42}B=\n", f"o\n1\n{'A' * 43}=\n\n"],
)  # fmt: skip
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(Fault, match="malformed"):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("quorum none", ""),
        ("witness a {w}\nquorum a", ""),
        ("# all\n\n\twitness a {w} https://w.example/\ngroup g all a\ngroup h 1 g\nquorum h\n", ""),
        ("log {l} https://l.example/\nquorum none", ""),
        ("witness a {w}", "no line quorum"),
        ("quorum a\nwitness a {w}", "line 1: a is not defined"),
        ("quorum none\nquorum none", "second quorum"),
        ("witness a {l}\nquorum a", "line 1: this is not the key of a witness"),
        ("log {w}\nquorum none", "not the key of a log"),
        ("witness a {w}\nwitness b {w}\nquorum a", "this key is there already"),
        ("witness none {w}\nquorum none", "the name none is taken"),
        ("witness a {w}\ngroup g 2 a\nquorum g", "2 is none of"),
        ("witness a {w}\ngroup g 0 a\nquorum g", "0 is none of"),
        ("witness a {w}\ngroup g any a a\nquorum g", "a is a member"),
        ("witness a {w}\ngroup g any a\ngroup h any a\nquorum h", "a is a member"),
        ("group g any g\nquorum g", "g is not defined"),
        ("witness a key\nquorum a", "not a verifier key"),
        ("witness a {w}\nqu\u0001orum a", "line 2 has control characters"),
        ("nonsense", "line 1: it is none of"),
    ],
)
def test_policies(lines: str, said: str) -> None:
    data = lines.format(w=WITNESS_KEY.verifier, l=LOG_KEY.verifier).encode()
    if not said:
        parse_policy(data)
        return
    with pytest.raises(Fault, match=said):
        parse_policy(data)


def test_a_quorum_of_groups() -> None:
    keys = [SignerKey(f"w.example/{at}", WITNESS, bytes([at]) * 32).verifier for at in range(5)]
    lines = [f"witness w{at} {key}" for at, key in enumerate(keys)]
    policy = parse_policy(
        "\n".join([*lines, "group x 2 w0 w1 w2", "group y any w3 w4", "group both all x y", "quorum both"]).encode()
    )
    assert policy.is_met({keys[0], keys[2], keys[4]})
    assert not policy.is_met({keys[0], keys[1], keys[2]})
    assert not policy.is_met({keys[0], keys[3], keys[4]})
