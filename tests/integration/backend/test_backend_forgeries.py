"""Who can forge what, and which evidence finds it: every variant is done, and `build/forgeries.md` gets the table.

A run's bundle is archived, logged and cosigned. Then the operator of the repository, that of the backend, or both
together make another story of it: another approver, with every digest and chain made anew.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from app.cli import main
from app.log.checkpoint import Checkpoint, Proof, parse_proof
from app.log.cosigning import Request, ask_cosignature
from app.log.note import LOG, WITNESS, Note, Signature, SignerKey, new_signer
from backend_client import Client, administer
from backend_log import ORIGIN, Parties, parties
from bench.servers import HOST, Backend

from agent_runtime.gate import deliver
from agent_runtime.local import auditor
from support import simulated, small_log
from support.environment import REPOSITORY
from support.forging import forge
from support.private_sigstore import Sigstore, attest_bundle

NOBODY = "nothing"


@dataclass
class Case:
    """What there is after an honest run.

    Attributes:
        bundle: as GitHub has it, with the proof beside it.
        place: a new folder for each forgery.
    """

    bundle: Path
    keys: Parties
    backend: Backend
    tmp: Path
    places: int = 0

    @property
    def proof(self) -> Path:
        return self.bundle.with_name(f"{self.bundle.name}.tlog-proof")

    @property
    def true(self) -> Proof:
        return parse_proof(self.proof.read_bytes())

    def forged(self, **changes: str) -> Path:
        """A copy that says that the ciso approved, or something else, with the true proof beside it."""
        self.places += 1
        copy = self.tmp / str(self.places) / "audit-bundle"
        shutil.copytree(self.bundle, copy)
        forge(copy, **(changes or {"reviewer": "ciso"}))
        copy.with_name("audit-bundle.tlog-proof").write_bytes(self.proof.read_bytes())
        return copy

    def verify(self, bundle: Path, policy: Path | None = None) -> str:
        """What an auditor's `verify` finds."""
        rules = (policy or self.keys.policy).read_bytes()
        finding = auditor.examine(bundle, rules, now=datetime.now(UTC))
        if finding.problems:
            first = finding.problems[0]
            word = "no proof" if "can't be read" in first.message else first.message.partition(":")[0]
            return f"`verify`: {first.code}" + (f", {word}" if first.code == "TRAIL08" else "")
        assert finding.evidence is not None
        return NOBODY

    def put(self, bundle: Path) -> bytes:
        """Deliver a bundle with the repository's key; return the proof."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in bundle.rglob("*"):
                archive.write(path, path.relative_to(bundle).as_posix())
        address = f"/v1/bundles/{digest_of(bundle)}?wait=20"
        answer = Client(self.backend.port).ask("PUT", address, packed.getvalue(), content_type="application/zip")
        assert answer.json["witnessed"] is True, answer
        return str(answer.json["proof"]).encode()

    def tree(
        self, bundle: Path, *signers: SignerKey, lines: tuple[Signature, ...] = (), size: int | None = None
    ) -> bytes:
        """Another history of the log, of the same size or of this one, that has this bundle."""
        true = self.true
        size = size or int(true.checkpoint.text.split("\n")[1])
        assert true.extra is not None
        other = small_log.entry(digest_of(bundle), json.loads(true.extra)["subject"], 1_700_000_000)
        entries = [other if index == true.index else b"%d" % index for index in range(size)]
        text = Checkpoint(ORIGIN, size, small_log.root(entries)).text
        signatures = tuple(signer.sign(text, 1_700_000_001) for signer in signers)
        note = Note(text, (*signatures, *lines))
        return str(Proof(true.index, tuple(small_log.path(true.index, entries)), note, other)).encode()

    def findings(self, *arguments: str) -> list[str]:
        """What a command finds that somebody runs on the backend's machine."""
        with pytest.MonkeyPatch.context() as patch, io.StringIO() as said:
            patch.setenv("DATABASE_URL", self.backend.database_url)
            patch.setenv("AIMGENTIX_LOG_KEY", str(self.keys.key))
            patch.setattr("sys.stdout", said)
            code = main(list(arguments))
            lines = said.getvalue().splitlines()[1:]
        assert bool(lines) == bool(code)
        return lines

    def operator(self, *arguments: str) -> str:
        """The first of these, for the table."""
        found = self.findings(*arguments)
        return f"`{' '.join(arguments)}`: {found[0]}" if found else NOBODY

    def kept(self) -> Path:
        """The bundle's file in the archive."""
        folder = Path(self.backend.database_url.removeprefix("sqlite:///") + ".bundles")
        (found,) = folder.rglob(f"{digest_of(self.bundle)}.zip")
        return found


def digest_of(bundle: Path) -> str:
    return hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    tmp_path = tmp_path_factory.mktemp("case")
    code, said, bundle = simulated.make(tmp_path / "repository").simulate("--approve")
    assert code == 0, said
    (tmp_path / "backend").mkdir()
    with parties(tmp_path / "keys") as keys, keys.witnessing():
        settings = {**keys.settings, "AIMGENTIX_LOG_SEAL_SECONDS": "3600"}
        made = Case(bundle, keys, Backend(tmp_path / "backend", None, settings), tmp_path)
        with made.backend.start():
            made.proof.write_bytes(made.put(bundle))
            assert made.verify(bundle) == NOBODY
            yield made


def test_github_s_signature_outlives_github(case: Case, tmp_path: Path) -> None:
    """Delivered by a person from the artifact's file; exported with the bundle; `verify` finds it there, offline."""
    github, roots = Sigstore(), Sigstore().root()
    bundle = Path(shutil.copytree(case.bundle, tmp_path / "audit-bundle"))
    beside = tmp_path / "audit-bundle.sigstore.json"
    environ = {"AIMGENTIX_API_URL": case.backend.url}
    for signed in (attest_bundle(Sigstore(), bundle), attest_bundle(github, bundle)):  # who forges one may come first
        beside.write_bytes(signed)
        delivery = deliver.run_job(bundle, environ, timeout=20)
        assert delivery.archived and delivery.bundle.endswith("; attestation: kept"), delivery
    beside.write_bytes(b"{}")
    delivery = deliver.run_job(bundle, environ, timeout=20)
    assert not delivery.archived and "; attestation: 400 Invalid attestation: " in delivery.problem, delivery
    assert delivery.problem.startswith("the backend did not take the attestation: kept"), delivery

    case.operator("archive", "export", str(tmp_path / "export"))
    (exported,) = (path.parent for path in (tmp_path / "export").rglob("bundle.json"))
    assert exported.with_name(f"{exported.name}.sigstore.json").read_bytes().count(b"\n") == 2

    def found(roots: bytes) -> auditor.Finding:
        return auditor.examine(exported, now=datetime.now(UTC), roots=roots)

    assert found(github.root()).authentic.startswith("AUTHENTICATED by GitHub"), found(github.root())
    assert found(roots).attested is None and "other-root" in found(roots).unattested


def edited(case: Case) -> str:
    copy = case.forged(**{"no such text": ""})
    receipt = copy / "approve" / "approval-receipt.json"
    receipt.write_text(receipt.read_text().replace("reviewer", "ciso"))
    return case.verify(copy)


def made_anew(case: Case) -> str:
    return case.verify(case.forged())


def without_a_proof(case: Case) -> str:
    copy = case.forged()
    copy.with_name("audit-bundle.tlog-proof").unlink()
    unasked = auditor.examine(copy, now=datetime.now(UTC))
    assert not unasked.problems and unasked.authentic.startswith("NOT AUTHENTICATED")
    return case.verify(copy)


def logged_anew(case: Case) -> str:
    copy = case.forged()
    copy.with_name("audit-bundle.tlog-proof").write_bytes(case.put(copy))
    assert case.verify(copy) == NOBODY, "each of the two entries is true"
    return case.operator("archive", "check")


def before_it_was_logged(case: Case) -> str:
    run_id = json.loads((case.bundle / "bundle.json").read_text())["run"]["run_id"]
    copy = case.forged(**{"reviewer": "ciso", run_id: "4711"})
    copy.with_name("audit-bundle.tlog-proof").write_bytes(case.put(copy))
    assert case.findings("log-check") == []
    assert not [line for line in case.findings("archive", "check") if "4711" in line]
    return case.verify(copy)


def replaced_in_the_archive(case: Case) -> str:
    copy = case.forged()
    kept, before = case.kept(), case.kept().read_bytes()
    with zipfile.ZipFile(kept, "w") as archive:
        for path in copy.rglob("*"):
            archive.write(path, path.relative_to(copy).as_posix())
    assert case.verify(copy) == "`verify`: TRAIL08, other-entry"
    found = case.operator("archive", "check")
    kept.write_bytes(before)
    return found.replace(digest_of(copy), "…").replace(digest_of(case.bundle), "…")


def replaced_in_the_log(case: Case) -> str:
    other = hashlib.sha256(b"other").hexdigest()
    entry = small_log.entry(other, "acme/bumper/runs/1/attempts/1", 1_700_000_000)
    digest = digest_of(case.bundle).encode()
    rows = administer(case.backend.database_url, "SELECT position, entry FROM log_entries ORDER BY position")
    ((position, before),) = [(at, data) for at, data in rows if digest in data]
    administer(
        case.backend.database_url, f"UPDATE log_entries SET entry = X'{entry.hex()}' WHERE position = {position}"
    )
    found = case.operator("log-check")
    administer(
        case.backend.database_url, f"UPDATE log_entries SET entry = X'{before.hex()}' WHERE position = {position}"
    )
    return found


def removed(case: Case) -> str:
    kept, before = case.kept(), case.kept().read_bytes()
    digest = digest_of(case.bundle)
    rows = administer(case.backend.database_url, f"SELECT * FROM bundles WHERE digest = '{digest}'")
    administer(case.backend.database_url, f"DELETE FROM bundles WHERE digest = '{digest}'")
    kept.unlink()
    found = case.operator("archive", "check")
    values = ", ".join("NULL" if value is None else f"'{value}'" for value in rows[0])
    administer(case.backend.database_url, f"INSERT INTO bundles VALUES ({values})")
    kept.write_bytes(before)
    return found.replace(digest, "…")


def signed_by_the_log_alone(case: Case) -> str:
    copy = case.forged()
    copy.with_name("audit-bundle.tlog-proof").write_bytes(case.tree(copy, case.keys.log))
    return case.verify(copy)


def with_a_borrowed(case: Case) -> str:
    copy = case.forged()
    borrowed = tuple(one for one in case.true.checkpoint.signatures if one.name != ORIGIN)
    copy.with_name("audit-bundle.tlog-proof").write_bytes(case.tree(copy, case.keys.log, lines=borrowed))
    return case.verify(copy)


def by_a_log_of_ones_own(case: Case) -> str:
    copy = case.forged()
    own, witness = new_signer(ORIGIN, LOG), new_signer("witness.example.com/1", WITNESS)
    copy.with_name("audit-bundle.tlog-proof").write_bytes(case.tree(copy, own, witness))
    return case.verify(copy)


def asking_the_witness(case: Case) -> str:
    copy = case.forged()
    cosigned = case.keys.witnessed()
    assert cosigned is not None
    answers = []
    for more in (0, 1):
        note = parse_proof(case.tree(copy, case.keys.log, size=cosigned.size + more)).checkpoint
        answers.append(ask_cosignature(f"http://{HOST}:{case.keys.port}", Request(cosigned.size, (), note)))
    assert [answer.signatures for answer in answers] == [(), ()]
    return f"the witness: refuses with {' and '.join(str(answer.status) for answer in answers)}"


def with_the_witness(case: Case) -> str:
    copy = case.forged()
    proof = copy.with_name("audit-bundle.tlog-proof")
    proof.write_bytes(case.tree(copy, case.keys.log, case.keys.witness))
    assert case.verify(copy) == NOBODY, "whoever kept nothing sees nothing"
    seen = case.tmp / "seen"
    seen.write_text(str(case.true.checkpoint))
    options = ("--digest", digest_of(copy), "--policy", str(case.keys.policy), "--seen", str(seen), "--json")
    with io.StringIO() as said, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", said)
        main(["verify", str(proof), *options])
        return f"a checkpoint that somebody kept: {json.loads(said.getvalue())['code']}"


REPOSITORY_S, BACKEND_S, BOTH = "the repository's", "the backend's", "both"
REFUTED = "`verify`: TRAIL08, "

# Who, what they do, what finds it; … stands for anything.
VARIANTS: list[tuple[str, str, Callable[[Case], str], str]] = [
    (REPOSITORY_S, "edits a file of the bundle", edited, "`verify`: TRAIL04"),
    (REPOSITORY_S, "makes the whole bundle anew", made_anew, f"{REFUTED}other-entry"),
    (REPOSITORY_S, "… and withholds the proof", without_a_proof, f"{REFUTED}no proof"),
    (REPOSITORY_S, "… and has it logged, too", logged_anew, "`archive check`: … 2 bundles of one run"),
    (BACKEND_S, "replaces the file in the archive", replaced_in_the_archive, "`archive check`: …bundle-other-digest"),
    (BACKEND_S, "removes the bundle", removed, "`archive check`: …: in the log, and gone"),
    (BACKEND_S, "replaces the log's entry", replaced_in_the_log, "`log-check`: damaged-"),
    (BACKEND_S, "signs another history of the log", signed_by_the_log_alone, f"{REFUTED}too-few-witnesses"),
    (BACKEND_S, "… with the witness's signature from another one", with_a_borrowed, f"{REFUTED}witness-signature"),
    (BACKEND_S, "… and asks the witness to cosign it", asking_the_witness, "the witness: refuses with 4"),
    (BACKEND_S, "signs it with keys of their own", by_a_log_of_ones_own, f"{REFUTED}other-log"),
    (BOTH, "make bundle and log anew", signed_by_the_log_alone, f"{REFUTED}too-few-witnesses"),
    (BOTH, "… with the witness's key, too", with_the_witness, "a checkpoint that somebody kept: two-roots"),
    (BOTH, "forge the run before its bundle is logged", before_it_was_logged, NOBODY),
]


@pytest.mark.threat("T36")
def test_which_evidence_finds_which_forgery(case: Case) -> None:
    rows = [(who, what, attempt(case), expected) for who, what, attempt, expected in VARIANTS]

    table = "".join(f"| {who} | {what} | {found} |\n" for who, what, found, _ in rows)
    target = REPOSITORY / "build" / "forgeries.md"
    target.parent.mkdir(exist_ok=True)
    target.write_text(f"| operator | what they do | what finds it |\n| --- | --- | --- |\n{table}", encoding="utf-8")
    wrong = [(what, found) for _, what, found, expected in rows if not fits(found, expected)]
    assert wrong == []


def fits(found: str, expected: str) -> bool:
    """Whether a finding is the expected one, in which … stands for anything."""
    parts = expected.split("…")
    return found.startswith(parts[0]) and all(part in found for part in parts)
