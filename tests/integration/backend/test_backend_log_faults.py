"""Proofs, checkpoints, tiles and requests that aren't what they say: each is refused with its own code."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from app.cli import main
from app.log.checkpoint import Checkpoint, Proof, parse_checkpoint, parse_proof
from app.log.cosigning import Request, origin_hash
from app.log.entries import BUNDLE, STREAM, Entry
from app.log.faults import KINDS, Fault
from app.log.mirror import check_mirror, write_mirror
from app.log.note import LOG, WITNESS, Note, Signature, SignerKey, parse_note, signatures_of
from app.log.policy import parse_policy, read_policy
from app.log.tree import leaf_hash, prove_consistency, prove_inclusion, range_hash, root_of
from app.log.verify import check_checkpoint
from app.log.witness import OtherSize, Witness, application
from backend_log import digest_of

LOG_KEY = SignerKey("log.example/1", LOG, bytes([1]) * 32)
OTHER_KEY = SignerKey("log.example/2", LOG, bytes([2]) * 32)
IMPOSTOR = SignerKey("log.example/1", LOG, bytes([3]) * 32)
WITNESS_KEY = SignerKey("witness.example/1", WITNESS, bytes([4]) * 32)
SUBJECT = "acme/x/runs/1"
ENTRIES = [Entry(BUNDLE, SUBJECT, digest_of(str(number)), 1_000_000 * number).encode() for number in range(300)]
ENTRIES[7] = Entry(STREAM, "s", digest_of("7"), 0).encode()
NOW = 1_796_000_000


def subtree_of(entries: list[bytes]) -> Callable[[int, int], bytes]:
    leaves = [leaf_hash(entry) for entry in entries]
    return lambda level, index: root_of(leaves[index << level : (index + 1) << level])


def head(size: int, key: SignerKey = LOG_KEY, entries: list[bytes] = ENTRIES, witnessed: int | None = NOW) -> Note:
    """A checkpoint, signed and cosigned."""
    text = Checkpoint(key.name, size, range_hash(0, size, subtree_of(entries))).text
    signatures = [key.sign(text)] + ([] if witnessed is None else [WITNESS_KEY.sign(text, witnessed)])
    return Note(text, tuple(signatures))


def proof(index: int = 5, size: int = 20, note: Note | None = None) -> Proof:
    return Proof(index, tuple(prove_inclusion(index, size, subtree_of(ENTRIES))), note or head(size), ENTRIES[index])


def with_signature(note: Note, at: int, change: Callable[[bytes], bytes]) -> Note:
    signatures = list(note.signatures)
    signatures[at] = signatures[at]._replace(value=change(signatures[at].value))
    return Note(note.text, tuple(signatures))


def flip(value: bytes) -> bytes:
    return value[:-1] + bytes([value[-1] ^ 1])


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy"
    path.write_text(f"log {LOG_KEY.verifier}\nwitness w {WITNESS_KEY.verifier}\nquorum w\n", encoding="utf-8")
    return path


def said_of(
    capsys: pytest.CaptureFixture[str], folder: Path, policy: Path, data: bytes, *more: str, digest: str = ""
) -> str:
    """The code with which `verify` refuses a proof; `verified` when it doesn't."""
    path = folder / "proof"
    path.write_bytes(data)
    words = ["verify", str(path), "--policy", str(policy), "--digest", digest or digest_of("5"), "--json", *more]
    code = main(words)
    said = json.loads(capsys.readouterr().out)
    assert (code == 0) == said["verified"]
    return "verified" if said["verified"] else str(said["code"])


FORGED_HEAD = Note(head(20).text, (IMPOSTOR.sign(head(20).text), *head(20).signatures[1:]))
AS_IF_SIGNED = Note(
    head(20).text, (Signature(LOG_KEY.name, LOG_KEY.verifier.key_id, bytes(64)), *head(20).signatures[1:])
)
OTHER_TREE = [b"another entry", *ENTRIES[1:]]
RENAMED = Note(head(20).text, (head(20).signatures[0]._replace(name="log.example/9"), *head(20).signatures[1:]))
TWICE = head(20).signatures[1]
PROOFS: dict[str, tuple[Proof | str, str]] = {
    "good": (proof(), "verified"),
    "good, first": (proof(5, 6), "verified"),
    "good, far": (proof(5, 300), "verified"),
    "empty": ("", "malformed"),
    "cut off in the hashes": (str(proof())[:90], "malformed"),
    "cut off in the signature": (str(proof())[:-20], "malformed"),
    "without its last line's end": (str(proof())[:-1], "malformed"),
    "no entry in it": (Proof(5, proof().hashes, head(20)), "malformed"),
    "a number with a zero before it": (str(proof()).replace("index 5", "index 05"), "malformed"),
    "a hash of 31 bytes": (Proof(5, (bytes(31), *proof().hashes[1:]), head(20), ENTRIES[5]), "malformed"),
    "larger than a proof may be": (f"{proof()}— x {'A' * 400_000}\n", "malformed"),
    "100 hashes": (Proof(5, proof().hashes * 20, head(20), ENTRIES[5]), "malformed"),
    "another log's": (proof(note=head(20, OTHER_KEY)), "other-log"),
    "signed with another key of that name": (proof(note=FORGED_HEAD), "other-log"),
    "signed under another name": (proof(note=RENAMED), "other-log"),
    "unsigned": (proof(note=Note(head(20).text, head(20).signatures[1:])), "other-log"),
    "a signature of nothing": (proof(note=AS_IF_SIGNED), "log-signature"),
    "the log's signature altered": (proof(note=with_signature(head(20), 0, flip)), "log-signature"),
    "the log's signature cut off": (proof(note=with_signature(head(20), 0, lambda one: one[:9])), "log-signature"),
    "the size altered": (str(proof()).replace("\n20\n", "\n21\n"), "log-signature"),
    "the witness's signature altered": (proof(note=with_signature(head(20), 1, flip)), "witness-signature"),
    "the witness's time altered": (
        proof(note=with_signature(head(20), 1, lambda one: one[:7] + b"\1" + one[8:])),
        "witness-signature",
    ),
    "a time that is none": (
        proof(note=with_signature(head(20), 1, lambda one: b"\xff" * 8 + one[8:])),
        "witness-signature",
    ),
    "a time beyond all times": (proof(note=head(20, witnessed=2**63)), "witness-signature"),
    "cosigned, and forged once more": (
        proof(note=Note(head(20).text, (*head(20).signatures, TWICE._replace(value=flip(TWICE.value))))),
        "witness-signature",
    ),
    "no witness": (proof(note=head(20, witnessed=None)), "too-few-witnesses"),
    "cosigned in the year 2100": (proof(note=head(20, witnessed=4_102_444_800)), "future"),
    "another leaf": (Proof(6, proof(6).hashes, head(20), ENTRIES[5]), "not-included"),
    "an altered entry": (Proof(5, proof().hashes, head(20), Entry(BUNDLE, SUBJECT, digest_of("5"), 9).encode()),
                         "not-included"),
    "an altered hash": (Proof(5, (flip(proof().hashes[0]), *proof().hashes[1:]), head(20), ENTRIES[5]), "not-included"),
    "another tree's": (proof(note=head(20, entries=OTHER_TREE)), "not-included"),
    "a larger tree's": (proof(note=head(21)), "not-included"),
    "a much larger tree's": (proof(note=head(70)), "other-size"),
    "a smaller tree's": (proof(note=head(3)), "other-size"),
    "for another bundle": (proof(6), "other-entry"),
    "for a stream": (proof(7), "other-entry"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROOFS)
def test_proofs(capsys: pytest.CaptureFixture[str], tmp_path: Path, policy: Path, name: str) -> None:
    given, code = PROOFS[name]
    assert said_of(capsys, tmp_path, policy, str(given).encode()) == code


def test_proofs_beside_what_an_auditor_knows(capsys: pytest.CaptureFixture[str], tmp_path: Path, policy: Path) -> None:
    good = str(proof()).encode()
    seen = tmp_path / "seen"
    seen.write_text(str(head(20)))
    assert said_of(capsys, tmp_path, policy, good, "--seen", str(seen), "--subject", SUBJECT) == "verified"
    seen.write_text(str(head(20, entries=OTHER_TREE, witnessed=None)))
    assert said_of(capsys, tmp_path, policy, good, "--seen", str(seen)) == "two-roots"
    seen.write_text(str(head(20, OTHER_KEY)))
    assert said_of(capsys, tmp_path, policy, good, "--seen", str(seen)) == "other-log"
    assert said_of(capsys, tmp_path, policy, good, "--subject", "acme/y") == "other-entry"
    fresh = str(proof(note=head(20, witnessed=int(time.time())))).encode()
    assert said_of(capsys, tmp_path, policy, fresh, "--max-age", "3600") == "verified"
    old = str(proof(note=head(20, witnessed=NOW - 10**6))).encode()
    assert said_of(capsys, tmp_path, policy, old, "--max-age", "9") == "too-old"
    assert said_of(capsys, tmp_path, policy, str(proof(7)).encode(), digest=digest_of("7")) == "other-entry"
    assert said_of(capsys, tmp_path, policy, good, digest="nonsense") == "unreadable"
    assert said_of(capsys, tmp_path, tmp_path / "nowhere", good) == "bad-policy"
    assert main(["verify", str(tmp_path / "nowhere"), "--policy", str(policy), "--digest", digest_of("5")]) == 1
    assert "unreadable" in capsys.readouterr().out


def test_a_refusal_says_who_lied(capsys: pytest.CaptureFixture[str], tmp_path: Path, policy: Path) -> None:
    seen, path = tmp_path / "seen", tmp_path / "proof"
    seen.write_text(str(head(20, entries=OTHER_TREE, witnessed=None)))
    path.write_text(str(proof()))
    assert main(["verify", str(path), "--policy", str(policy), "--digest", digest_of("5"), "--seen", str(seen)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("NOT VERIFIED: two-roots: of size 20 the log signed ")
    assert said.endswith("Who lied, as far as this shows: the log.\n")


Spoil = Callable[[Path], None]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def alter(path: Path) -> None:
    path.write_bytes(flip(path.read_bytes()))


FILES = "tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "checkpoint"


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror"
    folder.mkdir()
    write_mirror(folder, head(300), 300, iter(ENTRIES))
    return folder


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spoil", [cut, alter, Path.unlink])
def test_files_of_a_mirror(mirror: Path, policy: Path, name: str, spoil: Spoil) -> None:
    check_mirror(mirror, read_policy(policy), NOW)
    spoil(mirror / name)
    with pytest.raises(Fault) as caught:
        check_mirror(mirror, read_policy(policy), NOW)
    assert caught.value.code in ({"damaged-tile", "malformed"} if name == "checkpoint" else {"damaged-tile"})
    # Which of two files is the wrong one can't be known where they only don't belong together.
    assert name == "checkpoint" or name.replace("entries", "0") in str(caught.value).replace("entries", "0")


def test_a_mirror_beside_what_was_seen(mirror: Path, policy: Path, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    for note, code in [
        (head(20), ""),
        (head(20, entries=OTHER_TREE, witnessed=None), "not-consistent"),
        (head(300, entries=OTHER_TREE, witnessed=None), "two-roots"),
        (Note(Checkpoint(LOG_KEY.name, 301, bytes(32)).text,
              (LOG_KEY.sign(Checkpoint(LOG_KEY.name, 301, bytes(32)).text),)), "rolled-back"),
    ]:  # fmt: skip
        seen.write_text(str(note))
        if not code:
            check_mirror(mirror, read_policy(policy), NOW, seen)
            continue
        with pytest.raises(Fault, match=code):
            check_mirror(mirror, read_policy(policy), NOW, seen)
    # A whole other history, with every hash right, below the checkpoint that the log signed.
    forged = tmp_path / "forged"
    forged.mkdir()
    write_mirror(forged, head(300), 300, iter(OTHER_TREE))
    with pytest.raises(Fault, match="damaged-tile: all 300 entries together"):
        check_mirror(forged, read_policy(policy), NOW)
    # The same, signed by the log: only what was seen shows it.
    other = tmp_path / "other"
    other.mkdir()
    write_mirror(other, head(300, entries=OTHER_TREE), 300, iter(OTHER_TREE))
    check_mirror(other, read_policy(policy), NOW)
    seen.write_text(str(head(20)))
    with pytest.raises(Fault, match="not-consistent") as caught:
        check_mirror(other, read_policy(policy), NOW, seen)
    assert str(caught.value.kind.party) == "the log"


def test_a_mirror_is_worth_what_its_checkpoint_is(tmp_path: Path, policy: Path) -> None:
    for number, (note, code) in enumerate(
        [(head(300, IMPOSTOR), "other-log"), (head(300, witnessed=None), "too-few-witnesses")]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_mirror(folder, note, 300, iter(ENTRIES))
        with pytest.raises(Fault, match=code):
            check_mirror(folder, read_policy(policy), NOW)


def test_a_copy_that_is_cut_off_leaves_the_one_before(tmp_path: Path, policy: Path) -> None:
    """The store has more entries than are signed, and the second copy ends in the middle."""
    write_mirror(tmp_path, head(20), 20, iter(ENTRIES))

    def cut_off() -> Iterator[bytes]:
        yield from ENTRIES[:270]
        raise OSError

    for entries in (cut_off(), None):
        assert check_mirror(tmp_path, read_policy(policy), NOW).checkpoint.size == 20
        if entries:
            with pytest.raises(OSError):
                write_mirror(tmp_path, head(300), 300, entries)
    write_mirror(tmp_path, head(300), 300, iter(ENTRIES))
    assert check_mirror(tmp_path, read_policy(policy), NOW).checkpoint.size == 300


def request(old: int, new: int, note: Note | None = None, entries: list[bytes] = ENTRIES) -> bytes:
    hashes = prove_consistency(old, new, subtree_of(entries))
    return str(Request(old, tuple(hashes), note or head(new, witnessed=None))).encode()


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[Witness]:
    made = Witness([WITNESS_KEY], [LOG_KEY.verifier], tmp_path / "witness.db")
    yield made
    made.close()


def test_a_witness_cosigns_what_continues(witness: Witness, tmp_path: Path) -> None:
    for old, new in ((0, 5), (5, 5), (5, 20), (20, 300)):
        lines = witness.cosign(request(old, new), NOW)
        note = parse_note(f"{head(new, witnessed=None)}{lines}".encode())
        assert signatures_of(note, [WITNESS_KEY.verifier]) == {WITNESS_KEY.verifier: NOW}
        last = witness.last(origin_hash(LOG_KEY.name))
        assert last is not None
        assert set(parse_note(last.encode()).signatures) == set(note.signatures)
    again = Witness([WITNESS_KEY], [LOG_KEY.verifier], tmp_path / "witness.db")  # as after a crash
    assert again.last(origin_hash(LOG_KEY.name)) == last
    again.close()
    assert (tmp_path / "witness.db").stat().st_mode & 0o777 == 0o600


REQUESTS: dict[str, tuple[bytes, str]] = {
    "another size": (request(5, 300), "20"),
    "a smaller tree": (request(5, 10), "20"),
    "replayed": (request(0, 20), "20"),
    "two roots": (request(20, 20, head(20, entries=OTHER_TREE)), "two-roots"),
    "another history": (request(20, 300, head(300, entries=OTHER_TREE), OTHER_TREE), "wrong-proof"),
    "a proof cut off": (str(Request(20, (), head(300))).encode(), "wrong-proof"),
    "forged": (request(20, 300, Note(head(300).text, (IMPOSTOR.sign(head(300).text),))), "other-log"),
    "altered": (request(20, 300).replace(b"\n300\n", b"\n301\n"), "log-signature"),
    "another log": (request(20, 300, head(300, OTHER_KEY)), "other-log"),
    "beyond its own size": (b"old 400\n\n" + str(head(300)).encode(), "malformed"),
    "cut off": (request(20, 300)[:100], "malformed"),
    "no request": (b"nonsense", "malformed"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_witness_refuses(witness: Witness, tmp_path: Path, name: str) -> None:
    witness.cosign(request(0, 20), NOW)
    last = witness.last(origin_hash(LOG_KEY.name))
    body, said = REQUESTS[name]
    answer = ""
    try:
        witness.cosign(body, NOW)
    except Fault as fault:
        answer = fault.code
    except OtherSize as other:
        answer = str(other.size)
    assert answer == said
    assert witness.last(origin_hash(LOG_KEY.name)) == last
    with closing(sqlite3.connect(tmp_path / "witness.db")) as state:
        evidence = state.execute("SELECT code, had, got FROM evidence").fetchall()
    if said in ("two-roots", "wrong-proof"):  # what may convict the log is kept: both are signed by it
        ((code, had, got),) = evidence
        assert code == said
        for note in (had, got):
            assert LOG_KEY.verifier in signatures_of(parse_note(note.encode()), [LOG_KEY.verifier])
    else:
        assert evidence == []


def test_wrong_proofs_take_no_room_from_what_convicts_a_log(witness: Witness, tmp_path: Path) -> None:
    """Whoever saw one checkpoint of the log could fill the table: with further signatures it is another text."""
    witness.cosign(request(0, 20), NOW)
    note = head(300, witnessed=None)
    for number in range(3):
        junk = Signature("junk.example", number.to_bytes(4, "big"), b"x")
        flood = Note(note.text, (*note.signatures, *note.signatures, junk))
        with pytest.raises(Fault, match="wrong-proof"):
            witness.cosign(str(Request(20, (), flood)).encode(), NOW)
    with closing(sqlite3.connect(tmp_path / "witness.db")) as state:
        assert state.execute("SELECT got FROM evidence").fetchall() == [(str(note),)]
        rows = [("wrong-proof", str(number), "") for number in range(2000)]
        state.executemany("INSERT INTO evidence (code, had, got) VALUES (?, ?, ?)", rows)
        state.commit()
        for body, code, held in (
            (request(20, 30, None, OTHER_TREE), "wrong-proof", 2001),
            (REQUESTS["two roots"][0], "two-roots", 1),
        ):
            with pytest.raises(Fault, match=code):
                witness.cosign(body, NOW)
            assert state.execute("SELECT count(*) FROM evidence WHERE code = ?", (code,)).fetchone() == (held,)


def test_a_witness_over_http(witness: Witness) -> None:
    """The statuses of C2SP tlog-witness."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(application(witness), log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            port = listener.getsockname()[1]
            assert ask(port, "POST", "/add-checkpoint", request(0, 20))[0] == 200
            for name, (body, said) in REQUESTS.items():
                expected = {"malformed": 400, "two-roots": 422, "wrong-proof": 422, "20": 409}.get(said, 403)
                status, kind, text = ask(port, "POST", "/add-checkpoint", body)
                assert status == (404 if name == "another log" else expected), name
                assert text.startswith(said)
                assert (kind == "text/x.tlog.size") == (status == 409)
            assert ask(port, "POST", "/add-checkpoint", b"x" * 200_000)[0] == 400
            status, _, text = ask(port, "GET", f"/{origin_hash(LOG_KEY.name)}/checkpoint")
            assert (status, parse_checkpoint(parse_note(text.encode()).text).size) == (200, 20)
            assert ask(port, "GET", f"/{origin_hash('x')}/checkpoint")[0] == 404
        finally:
            server.should_exit = True
            thread.join(60)


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, str, str]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read().decode()


def test_a_policy_needs_its_quorum() -> None:
    """Whoever has the log's key and one witness's can't write history alone where two witnesses are needed."""
    second = SignerKey("witness.example/2", WITNESS, bytes([5]) * 32)
    lines = [f"log {LOG_KEY.verifier}", f"witness a {WITNESS_KEY.verifier}", f"witness b {second.verifier}"]
    both = parse_policy("\n".join([*lines, "group both all a b", "quorum both"]).encode())
    note = head(20)
    with pytest.raises(Fault, match="too-few-witnesses: cosigned by a; the policy wants both"):
        check_checkpoint(note, both, NOW)
    signed = Note(note.text, (*note.signatures, second.sign(note.text, NOW)))
    assert check_checkpoint(signed, both, NOW).witnesses == {"a": NOW, "b": NOW}
    assert parse_proof(str(proof(note=signed)).encode()) == proof(note=signed)
    # As many of them have to be recent, too; and where none is needed, one has to be all the same.
    stale = Note(note.text, (*note.signatures, second.sign(note.text, NOW - 100)))
    with pytest.raises(Fault, match="too-old"):
        check_checkpoint(stale, both, NOW, max_age=50)
    again = Note(note.text, (*stale.signatures, second.sign(note.text, NOW), second.sign(note.text, NOW - 200)))
    assert check_checkpoint(again, both, NOW, max_age=50).witnesses == {"a": NOW, "b": NOW}
    nobody = parse_policy("\n".join([lines[0], "quorum none"]).encode())
    assert check_checkpoint(note, nobody, NOW).witnesses == {}
    with pytest.raises(Fault, match="too-old"):
        check_checkpoint(note, nobody, NOW, max_age=50)


def test_a_log_signs_for_itself_alone() -> None:
    """Of two logs that a policy names, one can't sign a checkpoint of the other."""
    two = parse_policy(f"log {LOG_KEY.verifier}\nlog {OTHER_KEY.verifier}\nquorum none".encode())
    assert check_checkpoint(head(20, OTHER_KEY), two, NOW).checkpoint.origin == OTHER_KEY.name
    text = head(20).text
    with pytest.raises(Fault, match="other-log"):
        check_checkpoint(Note(text, (OTHER_KEY.sign(text),)), two, NOW)


def test_every_code_is_met() -> None:
    """The codes that other tests of the log here meet are all that there are."""
    met = {code for _, code in PROOFS.values()} | {code for _, code in REQUESTS.values() if not code.isdecimal()}
    elsewhere = {"too-old", "unreadable", "bad-policy", "bad-key", "damaged-tile", "damaged-tree", "damaged-entry"}
    elsewhere |= {"row-altered", "row-missing", "rolled-back", "not-consistent"}
    assert met - {"verified"} | elsewhere == set(KINDS)
