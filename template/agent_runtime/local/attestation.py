"""Whether GitHub attested a bundle: a signature of the workflow `agent-attest.yml`, checked offline.

A job of the agent's that has an identity token gets a certificate of Sigstore, too; but its certificate names the
workflow with that job.  So it counts only what a job of `agent-attest.yml` signed, which never runs team code, called
by the agent's own workflow, at the commit and in the run that the bundle names.

In a public repository the certificate and the signature are in Sigstore's public logs; that is checked by the package
`sigstore`, which only this module needs.  In a private one GitHub signs with an instance of its own, which has no log:
a timestamp says when, and that form `sigstore` does not know.  Which form it has to be, the trusted root says.
"""

from __future__ import annotations

import base64
import json
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from agent_runtime.gate import attest
from agent_runtime.local.transparency import MAX_BYTES, NOBODY, SOURCE, UNKNOWN, Unproven
from agent_runtime.model import names

_SERVER = "https://github.com"
_ISSUER = "https://token.actions.githubusercontent.com"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
# What the certificate has to say, by the last number of 1.3.6.1.4.1.57264.1: the word for another one, and what it is.
# https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
_ISSUED_TO = {
    8: ("other-issuer", "who vouches for the job"),
    12: ("other-repository", "the repository"),
    9: ("other-signer", "the workflow with the job that signed"),
    18: ("other-workflow", "the workflow that was started"),
    14: ("other-commit", "the branch"),
    13: ("other-commit", "the commit"),
    10: ("other-commit", "the commit of the workflow that signed"),
    19: ("other-commit", "the commit of the workflow that was started"),
    21: ("other-run", "the run"),
}
_RUNNER = 11


@dataclass(frozen=True)
class Attested:
    """What GitHub signed.

    Arguments:
        signed_at: by the log's clock, or by that of the timestamp.
        public: whether it is in Sigstore's public logs, too.
        runner: `github-hosted` or `self-hosted`: the machine that signed.
    """

    repository: str
    commit: str
    ref: str
    run: str
    signed_at: datetime
    public: bool
    runner: str


def check(attestation: bytes, roots: bytes, digest: str, manifest: Mapping[str, Any], repository: str = "") -> Attested:
    """Return what an attestation shows of the bundle with this digest and this manifest, if all of it holds.

    Arguments:
        attestation: a bundle of Sigstore, as `actions/attest` writes it, or several, one a line; one has to hold.
        roots: trusted roots, one a line, as `gh attestation trusted-root` writes them.
        repository: which one it has to be; by default that which the bundle names.

    Raises:
        Unproven: it doesn't.
        ImportError: the package `sigstore` is missing.
    """
    trusted, problems = parse_roots(roots), []
    for one in _documents(attestation):
        try:
            return _check(one, trusted, digest, manifest, repository)
        except Unproven as problem:
            problems.append(problem)
    raise problems[0]


def _check(
    attestation: bytes, roots: List[Dict[str, Any]], digest: str, manifest: Mapping[str, Any], repository: str
) -> Attested:
    payload, certificate, signed_at, public = _signed(attestation, roots)
    found = {number: _extension(certificate, number) for number in (*_ISSUED_TO, _RUNNER)}
    wanted = _wanted(manifest, repository)
    for number, (word, what) in _ISSUED_TO.items():
        if found[number] != wanted[number]:
            raise Unproven(
                word, f"{what} has to be {wanted[number]}, and the certificate says {found[number]}", UNKNOWN
            )
    _check_statement(payload, digest, manifest)
    run = manifest["run"]
    return Attested(run["repository"], run["sha"], run["ref"], found[21], signed_at, public, found[_RUNNER])


def parse_roots(data: bytes) -> List[Dict[str, Any]]:
    """Return the trusted roots that a file holds: one in JSON, or one a line.

    Raises:
        Unproven: it holds none.
    """
    try:
        found = [json.loads(one.decode("utf-8", "replace")) for one in _documents(data)]
        if not all(root["certificateAuthorities"] for root in found):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unproven("bad-root", "it holds no trusted root of Sigstore", NOBODY) from None
    return found


def _documents(data: bytes) -> List[bytes]:
    """What a file holds: one document in JSON, or one a line."""
    try:
        json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return [line for line in data.splitlines() if line.strip()] or [data]
    return [data]


def _wanted(manifest: Mapping[str, Any], repository: str) -> Dict[int, str]:
    """What the certificate of an attestation of this bundle says."""
    try:
        run = {name: str(manifest["run"][name]) for name in ("repository", "sha", "ref", "run_id", "run_attempt")}
    except (KeyError, TypeError):
        raise Unproven("malformed", "bundle.json names no run") from None
    at = f"{_SERVER}/{repository or run['repository']}"
    workflows = f"{at}/.github/workflows"
    return {
        8: _ISSUER,
        9: f"{workflows}/{names.ATTEST_FILE}@{run['ref']}",
        12: at,
        14: run["ref"],
        18: f"{workflows}/{names.WORKFLOW_FILE}@{run['ref']}",
        **dict.fromkeys((10, 13, 19), run["sha"]),
        21: f"{at}/actions/runs/{run['run_id']}/attempts/{run['run_attempt']}",
    }


def _check_statement(payload: bytes, digest: str, manifest: Mapping[str, Any]) -> None:
    """Whether what was signed is about this bundle."""
    try:
        statement = json.loads(payload.decode("utf-8"))
        kind, said = statement["predicateType"], statement["predicate"]
        subjects = [subject["digest"] for subject in statement["subject"]]
        if statement["_type"] != _STATEMENT:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unproven("malformed", "what was signed is not a statement") from None
    if subjects != [{"sha256": digest}]:
        raise Unproven("other-bundle", f"it is of {json.dumps(subjects)[:200]}, and not of {digest} alone", UNKNOWN)
    if kind != names.PREDICATE_TYPE or said != attest.predicate(manifest):
        raise Unproven("other-predicate", f"what it says of the run is not what the bundle says: {kind}", UNKNOWN)


def _signed(data: bytes, roots: List[Dict[str, Any]]) -> Tuple[bytes, Any, datetime, bool]:
    """Return what was signed, by which certificate, when, and whether it is in public logs."""
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415  only who checks an attestation needs it

    try:
        if len(data) > MAX_BYTES:
            raise ValueError
        said = json.loads(data.decode("utf-8"))
        material, envelope = said["verificationMaterial"], said["dsseEnvelope"]
        certificate = load_der_x509_certificate(_decode(material["certificate"]["rawBytes"]))
        (signature,) = (_decode(each["sig"]) for each in envelope["signatures"])
        payload = _decode(envelope["payload"])
        if envelope["payloadType"] != _PAYLOAD:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unproven("malformed", "it is not an attestation with one certificate and one signature") from None
    for root in roots:
        if not any(
            _issued(one, certificate) for authority in root["certificateAuthorities"] for one in _chain(authority)
        ):
            continue
        if root.get("tlogs"):
            return (*_by_log(data, material, root, signature), True)
        return payload, certificate, _by_timestamp(material, root, certificate, signature, payload), False
    raise Unproven("other-root", "no authority of the trusted root issued its certificate", UNKNOWN)


def _by_log(
    data: bytes, material: Mapping[str, Any], root: Mapping[str, Any], signature: bytes
) -> Tuple[bytes, Any, datetime]:
    """Check certificate, signature and both public logs, and return what of it was checked, and when it was there."""
    from sigstore.errors import CertValidationError, Error  # noqa: PLC0415
    from sigstore.models import Bundle, TrustedRoot  # noqa: PLC0415
    from sigstore.verify import Verifier  # noqa: PLC0415

    class _Anybody:
        def verify(self, cert: Any) -> None:
            """Accept: who it has to be is compared afterwards, so that each difference has a word of its own."""

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "trusted_root.json")
        path.write_text(json.dumps(root), encoding="utf-8")
        try:
            trusted = TrustedRoot.from_file(str(path))
        except (Error, ValueError) as problem:
            raise Unproven("bad-root", f"the trusted root is invalid: {problem}", NOBODY) from None
    try:
        signed = Bundle.from_json(data)
        _, payload = Verifier(trusted_root=trusted).verify_dsse(signed, _Anybody())
        entry = material["tlogEntries"][0]
        # The log signs its time with its promise; without one anybody may have written it, and a clock has to say.
        promised = bool(entry.get("inclusionPromise"))
        moment = _moment(int(entry["integratedTime"])) if promised else _timestamp(material, root, signature)
    except CertValidationError as problem:
        raise Unproven("other-root", f"no authority of the trusted root issued it then: {problem}", UNKNOWN) from None
    except (Error, ValueError, KeyError, TypeError, IndexError) as problem:
        raise Unproven("signature", f"it does not hold: {problem}", SOURCE) from None
    return payload, signed.signing_certificate, moment


def _by_timestamp(
    material: Mapping[str, Any], root: Mapping[str, Any], certificate: Any, signature: bytes, payload: bytes
) -> datetime:
    """Check certificate, signature and timestamp, and return the time."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.x509 import ExtendedKeyUsage  # noqa: PLC0415
    from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: PLC0415
    from cryptography.x509.verification import (  # noqa: PLC0415
        Criticality,
        ExtensionPolicy,
        PolicyBuilder,
        Store,
        VerificationError,
    )  # fmt: skip

    signed_at = _timestamp(material, root, signature)
    purposes = (ExtendedKeyUsage, Criticality.NON_CRITICAL, None)  # signing code, and not what a browser expects
    issuers = [one for authority in root["certificateAuthorities"] for one in _chain(authority, signed_at)]
    try:
        builder = (
            PolicyBuilder()
            .store(Store(issuers))
            .time(signed_at)
            .extension_policies(
                ca_policy=ExtensionPolicy.webpki_defaults_ca().may_be_present(*purposes),
                ee_policy=ExtensionPolicy.webpki_defaults_ee().may_be_present(*purposes),
            )
        )
        builder.build_client_verifier().verify(certificate, [])
    except (VerificationError, ValueError) as problem:
        raise Unproven("other-root", f"no authority of the trusted root issued it then: {problem}", UNKNOWN) from None
    try:
        if (
            ExtendedKeyUsageOID.CODE_SIGNING
            not in certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value
        ):
            raise ValueError
        signed = b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode("ascii"), len(payload), payload)
        certificate.public_key().verify(signature, signed, ECDSA(SHA256()))
    except (InvalidSignature, ValueError, TypeError):
        raise Unproven("signature", "the signature is not one over this statement by this certificate") from None
    return signed_at


def _timestamp(material: Mapping[str, Any], root: Mapping[str, Any], signature: bytes) -> datetime:
    """Return when the signature was there, by the word of a clock of the trusted root."""
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response  # noqa: PLC0415

    try:
        stamps = material["timestampVerificationData"]["rfc3161Timestamps"]
        (answer,) = (decode_timestamp_response(_decode(stamp["signedTimestamp"])) for stamp in stamps)
    except (ValueError, KeyError, TypeError):
        raise Unproven(
            "signature", "it has no timestamp, and without a log nothing else says when it was signed"
        ) from None
    moment: datetime = answer.tst_info.gen_time
    for authority in root.get("timestampAuthorities", []):
        chain = _chain(authority, moment)
        if len(chain) < 2:
            continue
        clock = VerifierBuilder().tsa_certificate(chain[0]).add_root_certificate(chain[-1])
        for between in chain[1:-1]:
            clock = clock.add_intermediate_certificate(between)
        try:
            clock.build().verify_message(answer, signature)
        except VerificationError:
            continue
        return moment.astimezone(timezone.utc)
    raise Unproven("other-root", "no clock of the trusted root made the timestamp", UNKNOWN)


def _issued(authority: Any, certificate: Any) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415

    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _chain(authority: Mapping[str, Any], moment: Optional[datetime] = None) -> List[Any]:
    """The certificates of an authority; none if it is not to be trusted for this moment."""
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

    try:
        begin, end = (authority["validFor"].get(name) for name in ("start", "end"))
        if moment and ((begin and moment < _time(begin)) or (end and moment > _time(end))):
            return []
        chain = authority["certChain"]["certificates"]
        return [load_der_x509_certificate(_decode(one["rawBytes"])) for one in chain]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise Unproven("bad-root", f"the trusted root is invalid: {problem}", NOBODY) from None


def _extension(certificate: Any, number: int) -> str:
    """Return the text of one of Fulcio's extensions: a UTF8String in DER; empty where there is none."""
    from cryptography.x509 import ExtensionNotFound, ObjectIdentifier  # noqa: PLC0415

    try:
        oid = ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
        data: bytes = certificate.extensions.get_extension_for_oid(oid).value.value
    except (ExtensionNotFound, ValueError):
        return ""
    begin = 2 if data[1] < 128 else 2 + data[1] - 128
    return data[begin:].decode("utf-8", "replace")


def _decode(text: Any) -> bytes:
    return base64.b64decode(text, validate=True)


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _time(text: str) -> datetime:
    return datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
