"""What a run keeps and shows holds no secrets: replaced in what the agent says, refused in what gets executed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.model import redaction
from aimgentix import Redactor
from aimgentix.redact import REDACTED

secret_keys = st.sampled_from(
    ["secret", "password", "db_pass", "apiKey", "client_secret", "password_valid", "tokenPaid"]
)


@pytest.mark.threat("T33")
@pytest.mark.parametrize(
    "parameters",
    [
        {"password": "hunter2x"},
        {"secret": 12345678},
        {"secret": 0.5},
        {"pass": "hunter2x"},
        {"pins": {"secret": [1234]}},
        {"password_valid": "hunter2hunter2"},
        {"tokenPaid": "hunter2hunter2"},
        {"token_void": "hunter2hunter2"},
        {"secret": {"value": "hunter2x"}},
        {"secrets": ["a", "b"]},
        {"note": "ghp_" + "a1" * 18},
    ],
)
def test_a_plan_with_a_secret_is_refused_and_the_message_does_not_hold_it(parameters: dict[str, Any]) -> None:
    with pytest.raises(codes.BadInput) as caught:
        redaction.refuse_secrets(Redactor(), parameters, "plan")
    assert caught.value.code == codes.SECRET_IN_PLAN
    assert not any(each in caught.value.line() for each in ("hunter2", "12345678", "1234", "ghp_"))


@pytest.mark.parametrize(
    "parameters",
    [
        {"secret_id": "db/credentials", "tokenId": "t-17", "key_ID": "k", "password.id": "p", "secretID": 4711},
        {"secret_name": "payments", "password_policy": "strict", "replicas": 3, "ratio": 0.5},
        {"secret": True, "password": None, "paid": "yes", "max_tokens": 4096},
        {"tokens": 512, "pass": 3, "secret_version": 7},
    ],
)
def test_what_only_names_or_describes_a_secret_is_not_a_secret(parameters: dict[str, Any]) -> None:
    redaction.refuse_secrets(Redactor(), parameters, "plan")


def test_a_number_that_is_a_known_secret_is_refused_wherever_it_stands() -> None:
    with pytest.raises(codes.BadInput):
        redaction.refuse_secrets(Redactor(["12345678"]), {"count": 12345678}, "plan")


@pytest.mark.threat("T33")
@given(
    secret_keys,
    st.recursive(
        st.sampled_from(["hunter2x", 31337]),
        lambda inner: st.lists(inner, min_size=1, max_size=2) | st.dictionaries(st.just("v"), inner, min_size=1),
    ),
)
def test_evidence_below_a_secret_key_is_replaced_at_any_depth(key: str, value: Any) -> None:
    kept = repr(redaction.of_json(Redactor(), {"found": {key: value}}))
    assert "hunter2x" not in kept
    assert "31337" not in kept or "token" in key.lower()
    assert REDACTED in kept or "token" in key.lower()


def test_evidence_that_is_not_a_secret_stays() -> None:
    evidence = {"tokens": 512, "secret": None, "password": True, "pass": "", "rate": 0.3, "hosts": ["a", 1]}
    assert redaction.of_json(Redactor(), evidence) == evidence
