"""Secrets that only their neighbour gives away: a flag before the value, a name beside it."""

from __future__ import annotations

from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.model import redaction
from aimgentix import Redactor

PARAMETERS: dict[str, dict[str, Any]] = {
    "flag": {"command": ["deploy", "--password", "hunter2hunter2"]},
    "header": {"headers": ["X-Api-Key", "hunter2hunter2"]},
    "pair": {"environment": [{"name": "DB_PASSWORD", "value": "hunter2hunter2"}]},
}


@pytest.mark.threat("T33")
@pytest.mark.parametrize("parameters", PARAMETERS.values(), ids=PARAMETERS)
def test_a_secret_beside_its_name_refuses_a_plan_and_is_redacted_elsewhere(parameters: dict[str, Any]) -> None:
    with pytest.raises(codes.BadInput) as refused:
        redaction.refuse_secrets(Redactor(), parameters, "proposed_action.parameters")

    assert refused.value.code == codes.SECRET_IN_PLAN
    assert "hunter2" not in refused.value.message
    assert "hunter2" not in repr(redaction.of_json(Redactor(), parameters))


def test_flags_and_pairs_without_a_secret_stay() -> None:
    parameters = {"command": ["docker", "run", "-u", "1000:1000"], "labels": [{"name": "team", "value": "checkout"}]}

    redaction.refuse_secrets(Redactor(), parameters, "proposed_action.parameters")

    assert redaction.of_json(Redactor(), parameters) == parameters
