"""Redaction: no secret reaches the encoded event, what was replaced is said, and nothing makes it fail."""

from __future__ import annotations

import base64
import html
import json
import re
import sys
import time
import urllib.parse
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Callable

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aimgentix import AuditEvent
from aimgentix.redact import MAX_EVENT_BYTES, REDACTED, TRUNCATED, Redactor, environment_secrets
from support.sdk.helpers import SPECS, event

HEX = "0123456789abcdef" * 4
MIX = "aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW0xYzAbCdEfGhIjKlMnOpQrStUv"

# Made-up tokens of real shapes, put together here so that no scanner takes this file for a leak.
TOKENS = {
    "github classic": "ghp_" + MIX[:36],
    "github oauth": "gho_" + MIX[:36],
    "github app": "ghs_" + MIX[:36],
    "github refresh": "ghr_" + MIX[:36],
    "github fine-grained": "github_pat_" + MIX[:22] + "_" + MIX,
    "gitlab": "glpat-" + MIX[:20],
    "aws key id": "AKIA" + "ABCDEFGH23456789",
    "aws session key id": "ASIA" + "ABCDEFGH23456789",
    "openai": "sk-" + MIX[:48],
    "openai project": "sk-proj-" + MIX,
    "anthropic": "sk-ant-api03-" + MIX,
    "slack bot": "xoxb-" + "123456789012-123456789012-" + MIX[:24],
    "slack app": "xapp-1-" + "A0123456789-" + HEX[:32],
    "slack hook": "https://hooks.slack.com/services/" + "T00000000/B00000000/" + MIX[:24],
    "google api key": "AIza" + MIX[:35],
    "google oauth": "ya29." + MIX,
    "google client secret": "GOCSPX-" + MIX[:28],
    "stripe": "sk_live_" + MIX[:24],
    "stripe restricted": "rk_test_" + MIX[:24],
    "stripe webhook": "whsec_" + MIX[:32],
    "npm": "npm_" + MIX[:36],
    "pypi": "pypi-AgEIcHlwaS5vcmc" + MIX,
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + MIX[:43],
    "sendgrid": "SG." + MIX[:22] + "." + MIX[:43],
    "twilio": "SK" + HEX[:32],
    "hugging face": "hf_" + MIX[:34],
    "digitalocean": "dop_v1_" + HEX,
    "databricks": "dapi" + HEX[:32],
    "shopify": "shpat_" + HEX[:32],
    "atlassian": "ATATT3xFfGF0" + MIX,
    "vault": "hvs." + MIX[:30],
    "terraform": MIX[:14] + ".atlasv1." + MIX,
    "docker": "dckr_pat_" + MIX[:27],
    "grafana": "glsa_" + MIX[:32] + "_" + HEX[:8],
    "telegram": "1234567890" + ":AA" + MIX[:33],
    "age": "AGE-SECRET-KEY-1" + MIX.upper()[:58].replace("1", "2"),
    "aimgentix": "aim_" + MIX[:32],
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nMIIE" + MIX + "\n" + MIX + "\n-----END RSA PRIVATE KEY-----",
    "openssh": "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl" + MIX + "\n-----END OPENSSH PRIVATE KEY-----",
    "pem cut off": "-----BEGIN PRIVATE KEY-----\nMIIE" + MIX,
}
# Text that holds the secret s3cr3t-v4lue where a rule for shapes must find it.
SHAPES = [
    "postgres://bob:s3cr3t-v4lue@db.example.com/app",
    "https://bob:s3cr3t-v4lue@example.com:8443/path?x=1",
    "amqps://:s3cr3t-v4lue@mq/",
    "connect redis://default:s3cr3t-v4lue@cache:6379 failed",
    "git clone https://s3cr3t-v4lue-s3cr3t-v4lue@github.com/o/r",
    "Authorization: Bearer s3cr3t-v4lue-s3cr3t",
    "authorization: basic s3cr3t-v4lue".replace("-", "A"),
    "curl -u bob:s3cr3t-v4lue https://example.com",
    "curl --user bob:s3cr3t-v4lue https://example.com",
    "mysql --password=s3cr3t-v4lue -h db",
    "mysql --password s3cr3t-v4lue -h db",
    "tool --api-key 's3cr3t-v4lue' run",
    "tool --client-secret s3cr3t-v4lue",
    "PGPASSWORD=s3cr3t-v4lue psql",
    "DB_PASS=s3cr3t-v4lue ./migrate",
    "SSHPASS=s3cr3t-v4lue sshpass -e ssh db",
    "export AWS_SECRET_ACCESS_KEY=s3cr3t-v4lue",
    "DB_PASSWORD: s3cr3t-v4lue",
    'config {"password": "s3cr3t-v4lue", "user": "bob"}',
    'escaped {\\"api_key\\": \\"s3cr3t-v4lue\\"}',
    "client_secret='s3cr3t-v4lue'",
    "https://example.com/?access_token=s3cr3t-v4lue&x=1",
    "https://blob.example.com/c?sv=1&sig=s3cr3t-v4lue&se=2",
    "https://s3.example.com/k?X-Amz-Signature=s3cr3t-v4lue",
    "DefaultEndpointsProtocol=https;AccountKey=s3cr3t-v4lue;EndpointSuffix=x",
    "Server=db;User=sa;Password=s3cr3t-v4lue;Encrypt=yes",
]
SECRET_KEYS = """
    password Password user_password passwd pwd secret client_secret clientSecret SECRET_KEY token access_token
    accessToken refresh-token id_token api_key apiKey api-key X-API-Key apikey x-apikey authorization Authorization auth
    proxy-authorization cookie Set-Cookie private_key privateKey ssh_key signing_key credentials aws_secret_access_key
    DB_PASS dbPass pass MYSQL_PWD SSHPASS PGPASSWORD passphrase bearer jwt csrf_token xsrf otp deploy_key
    encryption_key github_pat NPM_TOKEN tokens
""".split()
HARMLESS = {
    "author": "bob",
    "authority": "root",
    "key": "value",
    "pass": 12,
    "pass_rate": 0.98,
    "passed": "all",
    "first pass: 3 of 4": "they pass: good",
    "primary_key": 12,
    "keyboard": "qwerty",
    "prompt_tokens": 512,
    "completion_tokens": 64,
    "max_tokens": 4096,
    "usage": {"total_tokens": 576, "input_tokens": 1, "output_tokens": 2},
    "token_count": 9,
    "token_type": "bearer",
    "secret_name": "payments/db",
    "secret_version": "7",
    "auth_method": "oidc",
    "password_policy": "strict",
    "token_expires_at": "2026-11-22T11:00:00Z",
    "path": "/var/lib/agent/passwords-and-tokens",
    "commit": HEX[:40],
    "digest": "sha256:" + HEX,
    "uuid": "0192e4a0-7b1c-7d3e-9a4b-2f6c8d1e0a57",
    "url": "https://payments.example.com:8080/api/v1/restart?force=true#top",
    "mail": "mailto:bob@example.com",
    "ssh": "ssh://git@github.com/o/r.git",
    "sentence": "the keyboard of the secretary, a tokenizer and basic needs",
    "image": "registry.example.com/team/app@sha256:" + HEX,
    "time": "12:30:00",
    "ratio": 0.25,
    "none": None,
    "flag": True,
    "text": "日本語 ünïcode — “quotes” \t and \n lines",
    "list": ["a", 1, None, {"b": [2.5, "c"]}],
}


def redact(metadata, redactor=None, **changes):
    data = (redactor or Redactor()).encode(event(metadata=metadata, **changes))
    return data.decode(), json.loads(data.decode())


# Where a token stands; one test goes through them, because a test costs ten times what a redaction does.
AROUND = [
    "{}",
    "found {} in the log",
    "x={};y",
    '{{"value":"{}"}}',
    "({})",
    "a\n{}\nb",
    "a\\n{}",
    "\\u000a{}",
    "%0A{}",
    "\0{}",
]


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_tokens_of_providers_are_replaced_wherever_they_stand(token):
    secret = max(token.replace("\n", " ").split(" "), key=len)
    for template in AROUND:
        _, found = redact({"output": template.format(token), "deep": [{"list": [template.format(token)]}]})
        assert secret[-20:] not in json.dumps(found), template
        assert REDACTED in found["metadata"]["output"], template
        assert found["metadata"]["redacted"] == ["/metadata/output", "/metadata/deep/0/list/0"], template


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
def test_tokens_are_replaced_in_every_text_field_and_in_keys(token):
    short = token[:200]
    text, found = redact({short: 1}, agent_instance_id=short, trace_id=short, resource=short)
    assert max(token.split("\n"), key=len)[-20:] not in text
    assert found["metadata"]["redacted"][:4] == ["/resource", "/agent_instance_id", "/trace_id", "/metadata"]
    AuditEvent.from_dict(found)


@pytest.mark.parametrize("text", SHAPES)
def test_secrets_in_urls_headers_and_command_lines_are_replaced_and_the_rest_stays(text):
    written, found = redact({"command": text})
    assert "s3cr3t" not in written
    kept = found["metadata"]["command"]
    assert REDACTED in kept
    assert kept[:4] == text[:4]
    assert found["metadata"]["redacted"] == ["/metadata/command"]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_values_of_secret_keys_are_replaced(key):
    for value in ("hunter2", 31337.5, ["hunter2"], {"user": "hunter2", "n": ["hunter2"]}, b"hunter2"):
        if isinstance(value, float) and ("token" in key.lower() or key == "pass"):
            continue  # a number under such a key counts the tokens of a language model, or the tests that pass
        written, found = redact({"request": {key: value}})
        assert "hunter2" not in written, value
        assert "31337.5" not in written
        assert all(pointer.startswith(f"/metadata/request/{key}") for pointer in found["metadata"]["redacted"]), value


@pytest.mark.parametrize("key", HARMLESS)
def test_harmless_values_are_left_alone(key):
    _, found = redact({key: HARMLESS[key]})
    assert found["metadata"] == {key: HARMLESS[key]}


def test_empty_and_absent_secrets_are_no_secrets():
    _, found = redact({"password": None, "token": True})
    assert found["metadata"] == {"password": None, "token": True}


def test_values_of_secret_environment_variables_are_replaced_in_every_form():
    value = 'p@ss "word"/+ü'
    redactor = Redactor(environment_secrets({"DB_PASSWORD": value, "PLAIN": "visible", "SHORT_TOKEN": "abc"}))
    forms = [value, urllib.parse.quote(value, safe=""), base64.b64encode(value.encode()).decode(), f"<{value}>"]
    written, found = redact({"all": forms, "plain": "visible", "abc": "abc"}, redactor, resource=f"db/{value}")
    assert "word" not in written
    assert base64.b64encode(value.encode()).decode() not in written
    assert found["resource"] == f"db/{REDACTED}"
    assert (found["metadata"]["plain"], found["metadata"]["abc"]) == ("visible", "abc")


WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "json": json.dumps,
    "json, unicode": lambda text: json.dumps(text, ensure_ascii=False),
    "json, slash": lambda text: json.dumps(text).replace("/", "\\/"),
    "repr": repr,
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode()),
    "quote": urllib.parse.quote,
    "quote all": lambda text: urllib.parse.quote(text, safe=""),
    "quote, lower": lambda text: re.sub("%..", lambda found: found.group().lower(), urllib.parse.quote(text, safe="")),
    "form": urllib.parse.quote_plus,
    "form, lower": lambda text: re.sub("%..", lambda found: found.group().lower(), urllib.parse.quote_plus(text)),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "basic 1": lambda text: base64.b64encode(b"u:" + text.encode()).decode(),
    "basic 2": lambda text: base64.b64encode(b"me:" + text.encode() + b"\n").decode(),
    "basic 3": lambda text: base64.urlsafe_b64encode(b"bob:" + text.encode() + b"!!").decode(),
    "hex": lambda text: text.encode().hex(),
    "hex, upper": lambda text: text.encode().hex().upper(),
    "html": html.escape,
    "html, text": lambda text: html.escape(text, quote=False),
    "html, attribute": lambda text: text.replace('"', "&quot;"),
    "xml": lambda text: html.escape(text).replace("&#x27;", "&apos;"),
}


@pytest.mark.threat("T33")
@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize(
    "secret", ["opaqueToken20Letters", 'p"a/ss\\wo+rd 9\u00e9', "<x'7#k&Q9%!m>", "s3cr3t\tline\nsecond'line\""]
)
def test_a_known_secret_is_replaced_in_the_form_in_which_a_program_writes_it(form, secret):
    redactor = Redactor([secret])
    shown = WRITTEN[form](secret)
    _, found = redact({"said": f"<<{shown}>>", "list": [shown]}, redactor)
    assert found["metadata"]["redacted"] == ["/metadata/said", "/metadata/list/0"]
    # Of base64 a character on each side is half somebody else's, and a quoted text keeps its quotes.
    inner = shown.strip("'\"=")[8:-8] or shown[3:-3]
    assert inner not in found["metadata"]["said"] and inner not in found["metadata"]["list"][0]


@given(st.text(min_size=6, max_size=40), st.binary(max_size=7), st.binary(max_size=7), st.sampled_from(sorted(WRITTEN)))
def test_whatever_the_secret_is_no_form_of_it_passes(secret, before, after, form):
    assume(len(secret.strip()) >= 6)
    redactor = Redactor([secret])
    assert REDACTED in redactor.text(WRITTEN[form](secret))
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    assert REDACTED in redactor.text(encoded)
    for text in (WRITTEN[form](secret), encoded):
        assert REDACTED in redact({"said": text}, redactor)[1]["metadata"]["said"]


def test_a_part_of_a_secret_is_not_a_secret():
    redactor = Redactor(["deployment/9#x"])
    _, found = redact({"said": "the deployment is done"}, redactor)
    assert found["metadata"] == {"said": "the deployment is done"}


def test_every_line_of_a_secret_of_many_lines_is_replaced():
    redactor = Redactor(["first-secret-line\nsecond-secret-line\n"])
    written, _ = redact({"a": "echo first-secret-line", "b": "echo second-secret-line"}, redactor)
    assert "secret-line" not in written


def test_which_environment_variables_are_secret(tmp_path):
    key_file = tmp_path / "key.pem"
    key_file.write_text("x")
    environment = {
        "GITHUB_TOKEN": "v1-github",
        "AGENT_ACT_TOKEN": "v1-act",
        "OPENAI_API_KEY": "v1-openai",
        "DB_PASSWORD": "v1-db",
        "DEPLOY_PAT": "v1-pat",
        "npm_config_secret": "v1-npm",
        "SIGNING_KEY": str(key_file),
        "DB_PASS": "v1-pass",
        "MYSQL_PWD": "v1-pwd",
        "SSHPASS": "v1-ssh",
        "SESSION_JWT": "v1-jwt",
        "MYSQLPASSWORD": "v1-mysql",
        "LDAP_BIND_PW": "v1-ldap",
        "PWD": "C:\\\\work",
        "OLDPWD": "/home/runner",
        "GIT_ASKPASS": "askpass-program",
        "AIMGENTIX_AUTH": "required",
        "PATH": "/usr/bin",
        "MONKEY": "banana",
        "VENDOR_LICENCE": "v1-licence",
    }
    found = environment_secrets(environment, ["VENDOR_LICENCE"])
    assert sorted(found) == sorted(value for value in environment.values() if value.startswith("v1-"))


def test_secrets_can_be_added_later_although_the_text_was_known_to_be_clean():
    redactor = Redactor()
    assert "new-secret" in redact({"a": "new-secret"}, redactor)[0]
    redactor.add_secret("new-secret")
    assert "new-secret" not in redact({"a": "new-secret"}, redactor)[0]


def test_custom_patterns():
    redactor = Redactor(patterns=[r"cust-\d+", r"(?i)iban [A-Z0-9 ]+"])
    _, found = redact({"a": "refund cust-4711 now", "b": "IBAN DE00 1234"}, redactor)
    assert found["metadata"]["a"] == f"refund {REDACTED} now"
    assert found["metadata"]["b"] == REDACTED


@pytest.mark.parametrize("pattern", ["(", "x*", "", "a|"])
def test_patterns_that_can_not_work_are_refused(pattern):
    with pytest.raises(ValueError, match="redaction pattern"):
        Redactor(patterns=[pattern])


def test_values_that_json_can_not_hold_become_text():
    class Odd:
        def __str__(self):
            raise RuntimeError("no")

    _, found = redact(
        {
            "time": datetime(2026, 11, 22, tzinfo=timezone.utc),
            "path": PurePosixPath("/a"),
            "number": Decimal("1.10"),
            "bytes": b"\xffabc",
            "nan": float("nan"),
            "huge": 2**200,
            "set": {1},
            "tuple": (1, 2),
            "odd": Odd(),
            "surrogate \udc80": "\udcff",
            "nul": "a\0b",
            3: "three",
            None: "none",
        }
    )
    assert found["metadata"] == {
        "time": "2026-11-22 00:00:00+00:00",
        "path": "/a",
        "number": "1.10",
        "bytes": "\\xffabc",
        "nan": "nan",
        "huge": str(2**200),
        "set": [1],
        "tuple": [1, 2],
        "odd": "<Odd>",
        "surrogate \\udc80": "\\udcff",
        "nul": "a\\u0000b",
        "3": "three",
        "None": "none",
    }


def test_depth_is_bounded_and_said():
    value: Any = {"password": "hunter2"}
    for _ in range(50):
        value = {"a": value}
    written, found = redact(value)
    assert "hunter2" not in written
    assert found["metadata"]["truncated"] == ["/metadata" + "/a" * 8]


def test_a_structure_that_holds_itself_ends():
    value: Any = {"name": "x"}
    value["self"] = value
    value["list"] = [value]
    _, found = redact(value)
    assert found["metadata"]["truncated"]


def test_long_text_is_cut_and_said():
    _, found = redact({"output": "x" * 1_000_000})
    assert found["metadata"]["output"].endswith(TRUNCATED)
    assert len(found["metadata"]["output"]) == 8192
    assert found["metadata"]["truncated"] == ["/metadata/output"]


def test_a_secret_at_the_place_of_the_cut_does_not_show():
    token = TOKENS["github classic"]
    for offset in range(8192 - 60, 8192 + 5):
        written, _ = redact({"output": " " * offset + token + " " * 5000})
        assert token[:12] not in written
    for offset in range(9216 - 60, 9216 + 5):  # where text is cut before patterns look at it
        many = ("password=" + "y" * 60 + " ") * (offset // 70)
        written, _ = redact({"output": many + " " * (offset - len(many)) + token + " " * 5000})
        assert token[:12] not in written


def test_many_members_are_cut_and_said():
    _, found = redact({"items": list(range(100_000)), "after": 1})
    assert len(found["metadata"]["items"]) == 1000
    assert found["metadata"]["truncated"] == ["/metadata/items"]
    assert found["metadata"]["after"] == 1


def test_keys_that_differ_only_in_what_is_secret_are_both_kept():
    _, found = redact({TOKENS["npm"]: 1, TOKENS["openai"]: 2})
    assert sorted(value for key, value in found["metadata"].items() if key != "redacted") == [1, 2]


def test_earlier_notes_are_kept_and_a_foreign_member_of_that_name_is_not_lost():
    _, found = redact({"password": "hunter2", "redacted": ["/metadata/earlier"]})
    assert found["metadata"]["redacted"] == ["/metadata/earlier", "/metadata/password"]
    _, found = redact({"password": "hunter2", "redacted": "yes"})
    assert found["metadata"]["redacted"] == ["/metadata/password"]
    assert "yes" in found["metadata"].values()


def test_pointers_are_escaped_as_json_pointers_are():
    _, found = redact({"a/b~c": {"password": "hunter2"}})
    assert found["metadata"]["redacted"] == ["/metadata/a~1b~0c/password"]


ADVERSARIAL = [
    "a" * 8192 + "@",
    "eyJ" * 2730,
    "-----BEGIN " * 740,
    "-----BEGIN PRIVATE KEY-----" * 300,
    "--" * 4096,
    "--password " * 740,
    "password=" * 900,
    "password\\" * 900,
    "password" + " " * 8000,
    "://" * 2700 + "@",
    ("a" * 30 + "://") * 240 + ":@",
    "SG." * 2700,
    "1" * 8000 + ".atlasv1.",
    "?" + "a" * 8000 + "sig=",
    "bearer " * 1100,
    " -u " * 2000 + ":",
    "ghp_" * 2000,
    "token:" * 1300,
]


@pytest.mark.parametrize("text", ADVERSARIAL, ids=lambda text: text[:14])
def test_no_text_takes_long(text):
    started = time.process_time()
    redact({"output": text, "again": [text + "x"]})
    assert time.process_time() - started < 0.5


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=30,
)


@given(st.dictionaries(st.text(max_size=20), json_values, max_size=8))
@example({"0Pass=": [0]})
@settings(max_examples=60, deadline=None)
def test_any_metadata_becomes_a_valid_event_and_a_second_pass_changes_nothing(metadata):
    redactor = Redactor()
    data = redactor.encode(event(metadata=metadata))
    assert b"\n" not in data
    assert len(data) <= MAX_EVENT_BYTES
    once = AuditEvent.from_dict(json.loads(data.decode(), parse_constant=pytest.fail))
    assert json.loads(redactor.encode(once).decode()) == json.loads(data.decode())


@pytest.mark.threat("T33")
@given(
    st.sampled_from(sorted(TOKENS)),
    st.text(max_size=30),
    st.text(max_size=30),
    st.lists(st.sampled_from(["a", "b", 0, 1]), max_size=6),
)
def test_a_planted_token_never_survives(name, before, after, path):
    token = TOKENS[name]
    assume(not before[-1:].isalnum() and not after[:1].isalnum())
    value = before + token + after
    for step in path:
        value = {step: value} if isinstance(step, str) else [None] * step + [value]
    written, _ = redact({"value": value})
    assert max(token.split("\n"), key=len)[-20:] not in written


@given(st.lists(st.sampled_from(["x" * 300, "ü" * 300, "\x01" * 300, "password=" + "p" * 300]), max_size=400))
def test_no_event_exceeds_its_size(texts):
    data = Redactor().encode(event(metadata={str(n): [text] for n, text in enumerate(texts)}, resource="\x01" * 1024))
    assert len(data) <= MAX_EVENT_BYTES
    found = json.loads(data.decode())
    AuditEvent.from_dict(found)
    if sum(map(len, texts)) > MAX_EVENT_BYTES:
        assert found["metadata"]["truncated"]


@given(st.dictionaries(st.text(min_size=1, max_size=300), st.just("password=hunter2hunter2"), max_size=300))
def test_notes_do_not_outgrow_the_event_either(metadata):
    data = Redactor().encode(event(metadata=metadata))
    assert len(data) <= MAX_EVENT_BYTES
    assert b"hunter2" not in data


VECTORS = json.loads((SPECS / "redaction.vectors.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", VECTORS["texts"], ids=lambda vector: vector["form"])
def test_every_form_of_the_table_in_text(vector):
    redactor = Redactor()
    text = "".join(vector["text"])
    assert redactor.text(text) == vector["expect"]
    assert redactor.text(vector["expect"]) == vector["expect"]
    _, found = redact({"said": text})
    assert found["metadata"]["said"] == vector["expect"]
    assert ("redacted" in found["metadata"]) == (text != vector["expect"])


@pytest.mark.parametrize("vector", VECTORS["texts"], ids=lambda vector: vector["form"])
def test_every_form_of_the_table_amid_four_kilobytes_and_other_scripts(vector):
    text = "".join(vector["text"])
    for filler in ("k1=v1 key2=value2 ", "ü — 日本語 İ "):
        whole = filler * 120 + "\n" + text
        assert Redactor().text(whole) == filler * 120 + "\n" + vector["expect"]


@pytest.mark.parametrize("vector", VECTORS["metadata"], ids=lambda vector: vector["form"])
def test_every_form_of_the_table_in_metadata(vector):
    _, found = redact(vector["metadata"])
    assert found["metadata"].pop("redacted", []) == vector["redacted"]
    assert found["metadata"] == vector["expect"]


def test_expressions_run_only_where_a_text_has_what_they_need():
    """Four kilobytes of assignments take no step that grows with their number: they are searched, never matched."""
    steps: list[str] = []

    def count(frame, kind, argument):
        if kind in ("call", "c_call"):
            steps.append(kind)

    redactor = Redactor()
    few, many = ("".join(f"key{n}=value{n} unit{n}=kg " for n in range(count)) for count in (3, 200))
    counts = []
    for text in (few, many):
        steps.clear()
        sys.setprofile(count)
        try:
            assert redactor.text(text) == text
        finally:
            sys.setprofile(None)
        counts.append(len(steps))
    assert len(many) > 4096
    assert counts[0] == counts[1]
