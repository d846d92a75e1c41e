"""A private Sigstore: a certificate authority, two logs and a clock that signs, as `actions/attest` meets them.

It makes both forms of GitHub's attestations.  In a public repository a certificate has an SCT of a certificate log, and
the signature an entry in Rekor; in a private one there is neither, and a timestamp (RFC 3161) says when it was signed.
What is in the certificate comes from the claims of the job's identity token, as Fulcio maps them:
https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent_runtime.gate import attest
from agent_runtime.model import names
from support import small_log
from support.small_log import encode

ISSUER = "https://token.actions.githubusercontent.com"
SIGNER = ".github/workflows/agent-attest.yml"
MAIN = ".github/workflows/agent-investigate-act.yml"

_MINUTES = timedelta(minutes=10)  # as long as a certificate of Fulcio is valid
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_TSA = """\
[tsa]
default_policy = 1.2.3.4
digests = sha256
signer_digest = sha256
ess_cert_id_alg = sha256
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
"""


def claims(run: Mapping[str, Any], *, signer: str = SIGNER, workflow: str = MAIN, **other: str) -> dict[str, str]:
    """The claims of a token that GitHub gives to a job of a run, as far as they come into the certificate.

    Arguments:
        run: as `bundle.json` describes it.
        signer: the file with the job: the workflow itself, or the one that it calls.
    """
    at = f"{run['repository']}/{{}}@{run['ref']}"
    return {
        "iss": ISSUER,
        "repository": run["repository"],
        "ref": run["ref"],
        "sha": run["sha"],
        "event_name": run["event"],
        "workflow_ref": at.format(workflow),
        "workflow_sha": run["sha"],
        "job_workflow_ref": at.format(signer),
        "job_workflow_sha": run["sha"],
        "runner_environment": "github-hosted",
        "run_id": str(run["run_id"]),
        "run_attempt": str(run["run_attempt"]),
        **other,
    }


def _extensions(token: Mapping[str, str]) -> dict[int, str]:
    """The extensions below 1.3.6.1.4.1.57264.1, by their last number."""
    server = "https://github.com/"
    return {
        8: token["iss"],
        9: server + token["job_workflow_ref"],
        10: token["job_workflow_sha"],
        11: token["runner_environment"],
        12: server + token["repository"],
        13: token["sha"],
        14: token["ref"],
        18: server + token["workflow_ref"],
        19: token["workflow_sha"],
        20: token["event_name"],
        21: f"{server}{token['repository']}/actions/runs/{token['run_id']}/attempts/{token['run_attempt']}",
    }


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _der(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False),
        encipher_only=False,
        decipher_only=False,
    )


@dataclass
class Authority:
    """A certificate authority with a root, and nothing between it and what it signs."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=_key)

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(self.name))
            .issuer_name(_name(self.name))
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1000))
            .not_valid_after(now + timedelta(days=1000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def leaf(self, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime) -> x509.CertificateBuilder:
        """A certificate of this authority that is not signed yet, without its purpose."""
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]) if end - begin == _MINUTES else _name("clock"))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )

    def chain(self, *before: x509.Certificate) -> dict[str, Any]:
        """The authority as a trusted root lists it."""
        certificates = [
            {"rawBytes": encode(one.public_bytes(serialization.Encoding.DER))} for one in (*before, self.certificate)
        ]
        return {
            "subject": {"organization": "example.com", "commonName": self.name},
            "uri": f"https://{self.name}.example.com",
            "certChain": {"certificates": certificates},
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        }


def _log(name: str, key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
    return {
        "baseUrl": f"https://{name}.example.com",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": encode(_der(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": "2020-01-01T00:00:00Z"},
        },
        "logId": {"keyId": encode(hashlib.sha256(_der(key)).digest())},
    }


@dataclass
class Sigstore:
    """An instance.

    Arguments:
        public: whether it is like the one for public repositories, or like GitHub's own for the others.
        purpose: what its certificates are for.
    """

    public: bool = True
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING
    fulcio: Authority = field(default_factory=lambda: Authority("fulcio"))
    clock: Authority = field(default_factory=lambda: Authority("tsa"))
    ct: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    rekor: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    clock_key: ec.EllipticCurvePrivateKey = field(default_factory=_key)

    def __post_init__(self) -> None:
        now = datetime.now(UTC)
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        leaf = self.clock.leaf(self.clock_key, now - timedelta(days=9), now + timedelta(days=9))
        self.clock_certificate = leaf.add_extension(usage, critical=True).sign(self.clock.key, hashes.SHA256())

    def root(self) -> bytes:
        """The trusted root, on one line."""
        found: dict[str, Any] = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "certificateAuthorities": [self.fulcio.chain()],
        }
        if self.public:
            found |= {"tlogs": [_log("rekor", self.rekor)], "ctlogs": [_log("ct", self.ct)]}
        else:
            found["timestampAuthorities"] = [self.clock_entry()]
        return json.dumps(found).encode() + b"\n"

    def clock_entry(self) -> dict[str, Any]:
        """The clock as a trusted root lists it."""
        return self.clock.chain(self.clock_certificate)

    def attest(
        self,
        token: Mapping[str, str],
        digest: str,
        kind: str,
        predicate: Mapping[str, Any],
        *,
        name: str = "bundle.json",
        late: timedelta = -_MINUTES / 2,
    ) -> bytes:
        """What `actions/attest` writes.

        Arguments:
            digest: of the subject, SHA-256.
            kind: the type of the predicate.
            late: how long ago the certificate ended when it was used; by default it is still valid.
        """
        statement = {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": name, "digest": {"sha256": digest}}],
            "predicateType": kind,
            "predicate": predicate,
        }
        return self.sign(token, json.dumps(statement).encode(), late=late)

    def sign(self, token: Mapping[str, str], payload: bytes, *, late: timedelta = -_MINUTES / 2) -> bytes:
        """A bundle of Sigstore with this payload in its envelope."""
        key = _key()
        now = datetime.now(UTC).replace(microsecond=0)
        certificate = self._certificate(token, key, now - late)
        kind = "application/vnd.in-toto+json"
        signature = _sign(key, b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload))
        envelope = {"payload": encode(payload), "payloadType": kind, "signatures": [{"sig": encode(signature)}]}
        material: dict[str, Any] = {
            "certificate": {"rawBytes": encode(certificate.public_bytes(serialization.Encoding.DER))}
        }
        if self.public:
            material["tlogEntries"] = [self._entry(envelope, payload, certificate, now)]
        else:
            material["timestampVerificationData"] = {
                "rfc3161Timestamps": [{"signedTimestamp": self.timestamp(signature)}]
            }
        return (
            json.dumps(
                {
                    "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
                    "verificationMaterial": material,
                    "dsseEnvelope": envelope,
                }
            ).encode()
            + b"\n"
        )

    def _certificate(
        self, token: Mapping[str, str], key: ec.EllipticCurvePrivateKey, end: datetime
    ) -> x509.Certificate:
        found = _extensions(token)
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(found[9])])
        leaf = self.fulcio.leaf(key, end - _MINUTES, end).add_extension(san, critical=True)
        leaf = leaf.add_extension(x509.ExtendedKeyUsage([self.purpose]), critical=False)
        for number, text in found.items():
            data = text.encode()
            size = bytes([len(data)]) if len(data) < 128 else b"\x81" + bytes([len(data)])
            oid = x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}")
            leaf = leaf.add_extension(x509.UnrecognizedExtension(oid, b"\x0c" + size + data), critical=False)
        if self.public:
            before = leaf.sign(self.fulcio.key, hashes.SHA256()).tbs_certificate_bytes
            leaf = leaf.add_extension(x509.UnrecognizedExtension(_SCTS, self._sct(before)), critical=False)
        return leaf.sign(self.fulcio.key, hashes.SHA256())

    def _sct(self, certificate: bytes) -> bytes:
        """A list with one SCT over what of a certificate is signed (RFC 6962, 3.2 and 3.3)."""
        millis = int(datetime.now(UTC).timestamp() * 1000)
        issuer = hashlib.sha256(_der(self.fulcio.key)).digest()
        entry = issuer + len(certificate).to_bytes(3, "big") + certificate
        signature = _sign(self.ct, struct.pack("!BBQH", 0, 0, millis, 1) + entry + b"\0\0")
        log = hashlib.sha256(_der(self.ct)).digest()
        sct = b"\0" + log + struct.pack("!Q", millis) + b"\0\0\4\3" + struct.pack("!H", len(signature)) + signature
        found = struct.pack("!HH", len(sct) + 2, len(sct)) + sct
        return b"\x04" + (bytes([len(found)]) if len(found) < 128 else b"\x81" + bytes([len(found)])) + found

    def _entry(
        self, envelope: Mapping[str, Any], payload: bytes, certificate: x509.Certificate, now: datetime
    ) -> dict[str, Any]:
        """An entry of Rekor with its promise, its proof and a checkpoint."""

        def digest(data: bytes) -> dict[str, str]:
            return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}

        pem = certificate.public_bytes(serialization.Encoding.PEM)
        spec = {
            "envelopeHash": digest(json.dumps(envelope).encode()),
            "payloadHash": digest(payload),
            "signatures": [{"signature": envelope["signatures"][0]["sig"], "verifier": encode(pem)}],
        }
        body = _canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        log, seconds, index = hashlib.sha256(_der(self.rekor)).digest(), int(now.timestamp()), 1
        entries = [b"before", body, b"after"]
        promised = {"body": encode(body), "integratedTime": seconds, "logID": log.hex(), "logIndex": index}
        note = f"rekor.example.com\n{len(entries)}\n{encode(small_log.root(entries))}\n"
        signed = f"{note}\n\u2014 rekor.example.com {encode(log[:4] + _sign(self.rekor, note.encode()))}\n"
        return {
            "logIndex": str(index),
            "logId": {"keyId": encode(log)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(seconds),
            "inclusionPromise": {"signedEntryTimestamp": encode(_sign(self.rekor, _canonical(promised)))},
            "inclusionProof": {
                "logIndex": str(index),
                "rootHash": encode(small_log.root(entries)),
                "treeSize": str(len(entries)),
                "hashes": [encode(one) for one in small_log.path(index, entries)],
                "checkpoint": {"envelope": signed},
            },
            "canonicalizedBody": encode(body),
        }

    def timestamp(self, data: bytes) -> str:
        """The clock's answer over some data, made by OpenSSL, in Base64."""
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            (folder / "serial").write_text("01\n")
            (folder / "data").write_bytes(data)
            (folder / "tsa.cnf").write_text(_TSA.format(folder=folder))
            (folder / "tsa.pem").write_bytes(self.clock_certificate.public_bytes(serialization.Encoding.PEM))
            (folder / "tsa.key").write_bytes(
                self.clock_key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            for words in (
                "-query -data data -sha256 -cert -out query",
                "-reply -queryfile query -section tsa -out reply",
            ):
                command = ["openssl", "ts", *words.split(), "-config", "tsa.cnf"]
                subprocess.run(command, cwd=folder, check=True, capture_output=True)
            return encode((folder / "reply").read_bytes())


def attest_bundle(sigstore: Sigstore, bundle: Path, **other: str) -> bytes:
    """The attestation of a bundle in a folder, as `agent-attest.yml` makes it.

    Arguments:
        other: claims that are to be others.
    """
    data = (bundle / names.MANIFEST_NAME).read_bytes()
    manifest = json.loads(data)
    token, digest = claims(manifest["run"], **other), hashlib.sha256(data).hexdigest()
    return sigstore.attest(token, digest, names.PREDICATE_TYPE, attest.predicate(manifest))


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def decode(text: str) -> bytes:
    """Base64 as Sigstore's files have it."""
    return base64.b64decode(text)
