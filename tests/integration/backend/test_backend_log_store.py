"""The transparency log in a store: what is signed, what proofs come with, what an audit finds; and files with keys."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from app.events.decode import Limits, decode_one
from app.log.checkpoint import Checkpoint, parse_checkpoint
from app.log.entries import BUNDLE, Entry
from app.log.faults import Fault
from app.log.guard import Guard, open_guard
from app.log.keys import read_keys, read_public_keys
from app.log.note import LOG, WITNESS, Note, new_signer, signatures_of
from app.metrics import Metrics
from app.settings import Settings
from app.store import sequencer
from app.store.audit import audit
from app.store.base import StoreUnavailable
from app.store.groups import commit_group
from app.store.log import (
    Heads,
    add_entries,
    add_heads,
    latest,
    prove,
    read_heads,
    size_of,
    store_cosigned,
)
from app.store.schema import prepare
from app.store.sqlite import SqliteDatabase
from app.store.store import Store
from backend_client import administer, event
from backend_log import (
    ORIGIN,
    Parties,
    cosigned,
    digest_of,
    run,
)


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE log_tiles SET hashes = zeroblob(64) WHERE level = 0", "not-consistent"),
        ("DELETE FROM log_tiles", "damaged-tree"),
        ("DELETE FROM log_entries WHERE position = 1", "rolled-back"),
    ],
    ids=["altered", "tiles gone", "tail gone"],
)
def test_an_altered_store_is_not_signed(tmp_path: Path, both: Parties, statement: str, code: str) -> None:
    database = SqliteDatabase(tmp_path / "audit.db", 5)
    prepare(database, migrate=True)
    guard, store = open_guard(both.key), database.connect_writer()
    add_entries(store, guard, [Entry(BUNDLE, "x", digest_of(text), 0) for text in ("one", "two")])
    signed = latest(store)
    administer(f"sqlite:///{database.path}", statement)
    with pytest.raises(Fault, match=code):
        add_entries(store, guard, [Entry(BUNDLE, "x", digest_of("three"), 0)])
    store.rollback()
    assert latest(store) == signed
    with closing(database.connect_reader()) as reader, pytest.raises(Fault, match="damaged-"):
        prove(reader, 0) and prove(reader, 1)
    # Without what was remembered beside the key, the checkpoint in the store is compared.
    guard.path.unlink()
    with pytest.raises(Fault, match=code):
        add_entries(store, guard, [Entry(BUNDLE, "x", digest_of("three"), 0)])
    store.close()


def test_a_proof_has_the_newest_checkpoint_that_all_witnesses_signed(tmp_path: Path, both: Parties) -> None:
    """Their signatures come one after the other, and none is lost when an entry comes between."""
    database = SqliteDatabase(tmp_path / "audit.db", 5)
    prepare(database, migrate=True)
    guard, store = open_guard(both.key), database.connect_writer()
    other = new_signer("witness.example.org/2", WITNESS)
    needed = {both.witness.verifier, other.verifier}

    def is_met(note: Note) -> bool:
        return set(signatures_of(note, needed)) == needed

    with closing(store), closing(database.connect_reader()) as reader:
        for index, text in enumerate(("one", "two")):
            add_entries(store, guard, [Entry(BUNDLE, "x", digest_of(text), 0)])
            published = latest(store)
            assert published and published.checkpoint.size == index + 1
            for witness in (both.witness, other):
                first, newest = prove(reader, 0), prove(reader, index)
                assert first and newest
                assert parse_checkpoint(first.checkpoint.text).size == 1
                assert is_met(first.checkpoint) is (index == 1)
                assert parse_checkpoint(newest.checkpoint.text).size == index + 1
                assert not is_met(newest.checkpoint)
                store_cosigned(store, cosigned(published.note, witness), is_met)
            for each in range(index + 1):
                proof = prove(reader, each)
                assert proof and is_met(proof.checkpoint)
                assert parse_checkpoint(proof.checkpoint.text).size == index + 1


def test_two_that_sign_with_one_file_sign_one_history(both: Parties) -> None:
    """A store and a copy of it, each behind a backend, on one machine: the second one is refused."""
    refused: list[str] = []

    def sign(leaf: bytes) -> None:
        def slowly(level: int, index: int) -> bytes:
            time.sleep(0.1)
            return leaf

        try:
            open_guard(both.key).sign(1, slowly)
        except Fault as fault:
            refused.append(fault.code)

    threads = [threading.Thread(target=sign, args=(bytes([number]) * 32,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == ["not-consistent"]
    elsewhere = Guard(open_guard(both.key).path, [new_signer("other.example/log", LOG)])
    with pytest.raises(Fault, match="other-log"):
        elsewhere.last()


def test_only_so_many_entries_wait(tmp_path: Path, both: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored makes room; and a start signs what was stored when the last process ended."""
    monkeypatch.setattr(sequencer, "MAX_WAITING", 3)
    url = f"sqlite:///{tmp_path / 'audit.db'}"
    store = Store(Settings(database_url=url), Metrics())
    store.start()
    asyncio.run(_fill(store, url, both.key))


async def _fill(store: Store, url: str, key: Path) -> None:
    def two() -> list[Entry]:
        return [Entry(BUNDLE, "x", digest_of(uuid4().hex), 0) for _ in range(2)]

    log = sequencer.open_sequencer(store, key, None, 3600)
    await log.start()
    for _ in range(3):
        await log.add(two())
    given = await asyncio.gather(*(log.add(two()) for _ in range(3)), return_exceptions=True)
    assert [isinstance(one, StoreUnavailable) for one in given] == [False, True, True]
    await log.stop()
    signed = await store.read(latest)
    assert signed and signed.checkpoint.size == 8

    administer(url, "DELETE FROM log_checkpoints")
    await log.start()
    assert await store.read(latest) == signed
    await log.stop()
    await asyncio.to_thread(store.stop)


def filled(path: Path, guard: Guard, *texts: str) -> SqliteDatabase:
    """A store whose log has entries."""
    database = SqliteDatabase(path, 5)
    prepare(database, migrate=True)
    with closing(database.connect_writer()) as store:
        add_entries(store, guard, [Entry(BUNDLE, "x", digest_of(text), 0) for text in texts])
    return database


def test_what_an_audit_finds(tmp_path: Path, both: Parties) -> None:
    guard = open_guard(both.key)
    good = filled(tmp_path / "good.db", guard, "one", "two", "three")
    signed = guard.last()
    with closing(good.connect_reader()) as reader:
        published = latest(reader)
    assert published

    def found(database: SqliteDatabase, *, kept: Checkpoint | None = None) -> set[str]:
        with closing(database.connect_reader()) as reader:
            return {fault.code for fault in audit(reader, [both.log.verifier], kept).faults}

    assert found(good, kept=signed) == set()
    for number, (statement, codes) in enumerate(
        [
            ("UPDATE log_tiles SET hashes = zeroblob(96)", {"damaged-tree"}),
            ("UPDATE log_entries SET entry = x'00' WHERE position = 1", {"damaged-tree", "damaged-entry"}),
            ("DELETE FROM log_entries WHERE position = 1", {"damaged-entry"}),
            ("DELETE FROM log_entries WHERE position = 2", {"damaged-tree", "rolled-back"}),
        ]
    ):
        spoiled = tmp_path / f"{number}.db"
        good.copy_to(spoiled)
        administer(f"sqlite:///{spoiled}", statement)
        assert found(SqliteDatabase(spoiled, 5)) == codes
    # Another history, in which everything is right but whose signature it has, then with the real one in its place.
    impostor = Guard(tmp_path / "impostor.signed", [new_signer(ORIGIN, LOG)])
    other = filled(tmp_path / "other.db", impostor, "one", "two", "another")
    assert found(other) == {"other-log"}
    with closing(other.connect_writer()) as store:
        store.execute("UPDATE log_checkpoints SET note = ?", (str(published.note),))
    assert found(other) == {"damaged-entry"}
    # An older state, in which everything is right: only what is beside the key shows it.
    old = filled(tmp_path / "old.db", Guard(tmp_path / "old.signed", guard.keys), "one", "two")
    assert found(old) == set()
    assert found(old, kept=signed) == {"rolled-back"}


def test_two_processes_bring_the_same_events_into_the_log_once(tmp_path: Path, both: Parties) -> None:
    """Both have read what is new; the second one has read an event more, which waits for the next time."""
    database = SqliteDatabase(tmp_path / "audit.db", 5)
    prepare(database, migrate=True)
    guard, store = open_guard(both.key), database.connect_writer()
    with closing(store), closing(database.connect_reader()) as reader:

        def arrive() -> None:
            commit_group(store, [[decode_one(json.dumps(event()).encode(), 1, Limits(10_000, 1))]])

        def found() -> Heads:
            heads = read_heads(reader, store.last_position(), 0)
            assert heads
            return heads

        arrive()
        first = found()
        arrive()
        for heads in (first, found()):
            add_heads(store, guard, heads)
        assert size_of(reader) == 1
        add_heads(store, guard, found())
        assert read_heads(reader, store.last_position(), 0) is None
        report = audit(reader, [both.log.verifier], guard.last())
        assert (report.entries, report.events, report.faults) == (2, 2, [])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("", "holds others or none"),
        ("PRIVATE+KEY+x", "is not a key"),
        ("{witness}", "holds others or none"),
        ("{log}\n{other}", "of one name"),
        ("{log}", ""),
    ],
)
def test_files_with_keys(both: Parties, content: str | None, said: str) -> None:
    other = new_signer("other.example/log", LOG)
    both.key.unlink()
    if content is not None:
        text = content.format(witness=both.witness.encode(), log=both.log.encode(), other=other.encode())
        both.key.touch(0o600)
        both.key.write_text(text)
    if not said:
        assert read_keys(both.key, LOG) == [both.log]
        return
    with pytest.raises(Fault, match=said) as caught:
        read_keys(both.key, LOG)
    assert caught.value.code == "bad-key"
    assert both.log.encode().split("+", 4)[4] not in str(caught.value)


def test_a_key_file_is_its_owners_and_is_not_lost(both: Parties, capsys: pytest.CaptureFixture[str]) -> None:
    before = both.key.read_bytes()
    assert both.key.stat().st_mode & 0o777 == 0o600
    only = both.log.verifier.key_id.hex()
    for words, said in (
        (["create", both.key, "--name", "x"], "File exists"),
        (["retire", both.key, only], "is the only key of"),
        (["retire", both.key, "00000000"], "holds no key 00000000"),
        (["show", both.key, "--witness"], "holds others or none"),
    ):
        code, printed = run(capsys, "log-key", *words)
        assert (code, said in printed, both.key.read_bytes()) == (1, True, before), printed
    left = both.key.with_name("log.key.new")
    left.touch(0o666)
    left.chmod(0o666)
    assert run(capsys, "log-key", "rotate", both.key)[0] == 0
    assert both.key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Fault, match="public keys of a witness"):
        read_public_keys(Path(f"{both.key}.pub"), WITNESS)
