"""GitHub's attestation of a bundle: what counts is a signature of agent-attest.yml, in that run, and of that bundle."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime.gate import attest
from agent_runtime.local import attestation
from agent_runtime.local.transparency import MAX_BYTES, Unproven
from agent_runtime.model import names
from support.private_sigstore import MAIN, SIGNER, Authority, Sigstore, claims, decode
from support.small_log import encode

REPOSITORY, COMMIT, DIGEST = "acme/bumper", "a1" * 20, "0b" * 32
RUN = {
    "repository": REPOSITORY, "run_id": "17", "run_attempt": 1, "sha": COMMIT, "ref": "refs/heads/main",
    "actor": "alice", "triggering_actor": "alice",
    "workflow": "Agent Runtime - Investigate & Act", "event": "workflow_dispatch",
}  # fmt: skip
MANIFEST = {
    "run": RUN, "outcome": "acted", "plan_digest": "5f" * 32, "approvers": [{"login": "bob", "id": 7}],
    "rejected_by": None, "resource": "checkout", "release": "1.0.0", "files": {},
}  # fmt: skip
PUBLIC, PRIVATE = Sigstore(), Sigstore(public=False)
FORMS = pytest.mark.parametrize("instance", [PUBLIC, PRIVATE], ids=["public", "private"])


def made(instance: Sigstore, *, digest: str = DIGEST, kind: str = names.PREDICATE_TYPE, **how: Any) -> bytes:
    """An attestation of the bundle, but for what is given."""
    late = how.pop("late", None)
    said = attest.predicate({**MANIFEST, **how.pop("said", {})})
    token = claims({**RUN, **how.pop("run", {})}, **how)
    return instance.attest(token, digest, kind, said, **({} if late is None else {"late": late}))


def check(data: bytes, *instances: Sigstore, repository: str = "") -> attestation.Attested:
    roots = b"".join(instance.root() for instance in instances)
    return attestation.check(data, roots, DIGEST, MANIFEST, repository)


def refusal(data: bytes, *instances: Sigstore, repository: str = "") -> str:
    with pytest.raises(Unproven) as caught:
        check(data, *instances, repository=repository)
    return caught.value.code


@FORMS
def test_the_right_one_is_accepted_without_a_network(instance: Sigstore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    data = made(instance)
    with monkeypatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        found = check(data, Sigstore(), instance, Sigstore(public=False))
    assert abs(found.signed_at - datetime.now(UTC)) < timedelta(minutes=2)
    assert vars(found) == {
        "repository": REPOSITORY,
        "commit": COMMIT,
        "ref": "refs/heads/main",
        "run": f"https://github.com/{REPOSITORY}/actions/runs/17/attempts/1",
        "signed_at": found.signed_at,
        "public": instance.public,
        "runner": "github-hosted",
    }
    assert check(data, instance, repository=REPOSITORY) == found


# Whoever runs code in a job with an identity token gets a certificate: with these claims, and no others.
HIJACKED = {
    "investigate or act, in the main workflow": ({"signer": MAIN}, "other-signer"),
    "a workflow of the team's": (
        {"signer": ".github/workflows/team.yml", "workflow": ".github/workflows/team.yml"},
        "other-signer",
    ),
    "agent-attest.yml, called by another workflow": ({"workflow": ".github/workflows/team.yml"}, "other-workflow"),
    "agent-attest.yml, started by itself": ({"workflow": SIGNER}, "other-workflow"),
    "another repository's agent-attest.yml": (
        {"job_workflow_ref": f"mallory/x/{SIGNER}@refs/heads/main"},
        "other-signer",
    ),
    "agent-attest.yml of another branch": (
        {"job_workflow_ref": f"{REPOSITORY}/{SIGNER}@refs/heads/evil"},
        "other-signer",
    ),
    "the same workflows in another repository": ({"run": {"repository": "mallory/bumper"}}, "other-repository"),
    "the same workflows on another branch": ({"run": {"ref": "refs/heads/evil"}}, "other-signer"),
    "the same workflows at another commit": ({"run": {"sha": "b2" * 20}}, "other-commit"),
    "agent-attest.yml at another commit": ({"job_workflow_sha": "b2" * 20}, "other-commit"),
    "a run of another branch": ({"ref": "refs/heads/evil"}, "other-commit"),
    "a run of another commit": ({"sha": "b2" * 20}, "other-commit"),
    "the main workflow at another commit": ({"workflow_sha": "b2" * 20}, "other-commit"),
    "another run": ({"run": {"run_id": "18"}}, "other-run"),
    "another attempt": ({"run": {"run_attempt": 2}}, "other-run"),
    "another issuer": ({"iss": "https://token.example.com"}, "other-issuer"),
    "another bundle": ({"digest": "0c" * 32}, "other-bundle"),
    "another kind of statement": ({"kind": "https://slsa.dev/provenance/v1"}, "other-predicate"),
    "another approver": ({"said": {"approvers": [{"login": "mallory", "id": 8}]}}, "other-predicate"),
    "another plan": ({"said": {"plan_digest": "60" * 32}}, "other-predicate"),
    "another outcome": ({"said": {"outcome": "rejected"}}, "other-predicate"),
    "a certificate that had ended": ({"late": timedelta(minutes=1)}, "other-root"),
}


@pytest.mark.threat("T40")
@pytest.mark.parametrize(("how", "word"), HIJACKED.values(), ids=HIJACKED)
@FORMS
def test_what_somebody_else_signed_is_refused(instance: Sigstore, how: dict[str, Any], word: str) -> None:
    assert refusal(made(instance, **how), instance) == word


@FORMS
def test_who_asks_says_which_repository_counts(instance: Sigstore) -> None:
    assert refusal(made(instance), instance, repository="acme/other") == "other-repository"


@FORMS
def test_another_sigstore_is_not_trusted(instance: Sigstore) -> None:
    assert refusal(made(instance), Sigstore(), Sigstore(public=False)) == "other-root"
    assert refusal(made(instance), Sigstore(instance.public)) == "other-root"


def test_a_root_with_logs_wants_the_logs_and_one_without_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Sigstore(public=False, fulcio=PUBLIC.fulcio)  # its authority, and no entry in its logs
    assert refusal(made(quiet), PUBLIC) == "signature"
    loud = Sigstore(public=True, fulcio=PRIVATE.fulcio)
    assert refusal(made(loud), PRIVATE) == "signature"
    assert refusal(made(Sigstore(public=False, fulcio=PRIVATE.fulcio)), PRIVATE) == "other-root", "another clock"
    unlogged = Sigstore(fulcio=PUBLIC.fulcio, ct=PUBLIC.ct)
    assert refusal(made(unlogged), PUBLIC) == "signature", "another Rekor"
    unlogged = Sigstore(fulcio=PUBLIC.fulcio, rekor=PUBLIC.rekor)
    assert refusal(made(unlogged), PUBLIC) == "signature", "another certificate log"


def changed(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    said = json.loads(data)
    change(said)
    return json.dumps(said).encode()


@FORMS
def test_what_was_changed_after_it_was_signed_is_refused(instance: Sigstore) -> None:
    data, other = made(instance), made(instance)
    envelope = json.loads(other)["dsseEnvelope"]
    forged = decode(envelope["payload"]).replace(b"acted", b"acten")
    for change in (
        lambda said: said["dsseEnvelope"].update(payload=envelope["payload"][:-4]),
        lambda said: said["dsseEnvelope"].update(payload=encode(forged)),
        lambda said: said["dsseEnvelope"].update(signatures=envelope["signatures"]),
        lambda said: said["verificationMaterial"].update(
            certificate=json.loads(other)["verificationMaterial"]["certificate"]
        ),
    ):
        assert refusal(changed(data, change), instance) in ("signature", "other-root"), change
    for change in (
        lambda said: said.pop("dsseEnvelope"),
        lambda said: said["dsseEnvelope"].update(signatures=[]),
        lambda said: said["dsseEnvelope"].update(signatures=envelope["signatures"] * 2),
        lambda said: said["dsseEnvelope"].update(payloadType="text/plain"),
        lambda said: said["verificationMaterial"].pop("certificate"),
    ):
        assert refusal(changed(data, change), instance) == "malformed"
    material = "tlogEntries" if instance.public else "timestampVerificationData"
    assert refusal(changed(data, lambda said: said["verificationMaterial"].pop(material)), instance) == "signature"


@FORMS
def test_a_statement_of_several_bundles_is_refused(instance: Sigstore) -> None:
    statement: dict[str, Any] = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "bundle.json", "digest": {"sha256": digest}} for digest in (DIGEST, "0c" * 32)],
        "predicateType": names.PREDICATE_TYPE,
        "predicate": attest.predicate(MANIFEST),
    }
    assert refusal(instance.sign(claims(RUN), json.dumps(statement).encode()), instance) == "other-bundle"
    assert refusal(instance.sign(claims(RUN), b"[]"), instance) == "malformed"
    statement = {**statement, "subject": statement["subject"][:1], "_type": "https://in-toto.io/Statement/v0.1"}
    assert refusal(instance.sign(claims(RUN), json.dumps(statement).encode()), instance) == "malformed"


def test_a_certificate_for_another_purpose_signs_nothing() -> None:
    other = replace(PRIVATE, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    other.clock_certificate = PRIVATE.clock_certificate
    assert refusal(made(other), PRIVATE) == "signature"
    assert refusal(made(replace(PUBLIC, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)), PUBLIC) == "signature"


def test_a_time_that_nobody_signed_is_not_the_time() -> None:
    """Whoever takes the log's promise away can write any time; a clock of the root has to say it."""
    root = changed(PUBLIC.root(), lambda said: said.update(timestampAuthorities=[PRIVATE.clock_entry()]))
    said = json.loads(made(PUBLIC))
    (entry,) = said["verificationMaterial"]["tlogEntries"]
    seconds = int(entry["integratedTime"])
    entry.update(integratedTime=str(seconds - 60))
    assert refusal(json.dumps(said).encode(), PUBLIC) == "signature", "the promise is about the time, too"
    entry.update(integratedTime="1500000000")
    entry.pop("inclusionPromise")
    assert refusal(json.dumps(said).encode(), PUBLIC) == "signature", "nobody says when"
    stamp = PRIVATE.timestamp(decode(said["dsseEnvelope"]["signatures"][0]["sig"]))
    said["verificationMaterial"]["timestampVerificationData"] = {"rfc3161Timestamps": [{"signedTimestamp": stamp}]}
    found = attestation.check(json.dumps(said).encode(), root, DIGEST, MANIFEST)
    assert abs(found.signed_at - datetime.now(UTC)) < timedelta(minutes=2)


def test_an_attestation_has_a_bound() -> None:
    assert refusal(made(PUBLIC) + b" " * MAX_BYTES, PUBLIC) == "malformed"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null\n", b'{"certificateAuthorities": []}', b"\xff", b"[" * 9999]
)
def test_a_file_that_is_no_trusted_root_is_named(data: bytes) -> None:
    with pytest.raises(Unproven, match="bad-root"):
        attestation.check(made(PUBLIC), data, DIGEST, MANIFEST)


def test_a_root_that_is_not_whole_is_named() -> None:
    for change in (
        lambda root: root["certificateAuthorities"][0].pop("certChain"),
        lambda root: root["tlogs"][0].pop("publicKey"),
        lambda root: root.update(certificateAuthorities=["x"]),
    ):
        with pytest.raises(Unproven, match=r"bad-root|signature"):
            attestation.check(made(PUBLIC), changed(PUBLIC.root(), change), DIGEST, MANIFEST)


def test_an_authority_that_was_not_trusted_then_is_not() -> None:
    root = changed(
        PRIVATE.root(), lambda said: said["certificateAuthorities"][0].update(validFor={"end": "2021-01-01T00:00:00Z"})
    )
    with pytest.raises(Unproven, match="other-root"):
        attestation.check(made(PRIVATE), root, DIGEST, MANIFEST)
    root = changed(
        PRIVATE.root(), lambda said: said["timestampAuthorities"][0].update(validFor={"end": "2021-01-01T00:00:00Z"})
    )
    with pytest.raises(Unproven, match="other-root"):
        attestation.check(made(PRIVATE), root, DIGEST, MANIFEST)
    assert refusal(made(Sigstore(public=False, fulcio=Authority("fulcio"))), PRIVATE) == "other-root"


ATTESTATIONS = (made(PUBLIC), made(PRIVATE))


@settings(max_examples=60, deadline=None)
@given(
    which=st.sampled_from((0, 1)),
    place=st.integers(0, min(map(len, ATTESTATIONS)) - 1),
    piece=st.binary(max_size=3),
    length=st.integers(0, 3),
)
def test_damaged_bytes_are_refused_or_change_nothing(which: int, place: int, piece: bytes, length: int) -> None:
    data = ATTESTATIONS[which]
    damaged = data[:place] + piece + data[place + length :]
    try:
        found = check(damaged, PUBLIC, PRIVATE)
    except Unproven:
        return
    assert found == check(data, PUBLIC, PRIVATE)
