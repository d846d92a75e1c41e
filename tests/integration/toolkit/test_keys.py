"""The agent of security-response before identity services that answer otherwise than they should, or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from agent_runtime import ActionResult, ActionStatus, Severity
from agent_runtime.toolkit.errors import ToolError
from support.toolkit import Answers, load_agent

OLD, NEW = "old-value-of-the-key", "new-value-of-the-key"
RESOURCE = "example/key/k-1"


class Identity:
    """An identity service and a secret store with one key; what they answer can be changed."""

    def __init__(self) -> None:
        self.accepted = {OLD}
        self.stored = OLD
        self.status = "active"
        self.disabled = "disabled"  # what the status becomes
        self.gone = False  # no word of the key any more
        self.refuses = True  # what is disabled
        self.whoami: Callable[[], int | None] = lambda: None  # another status
        self.rotated: tuple[int, Any] = (201, {"id": "k-2", "value": NEW})
        self.reported: Any = {}  # by whoami
        self.asked = 0
        self.reading: set[str] = set()  # what is presented to read with
        self.uses: list[Any] = []

    def answer(self, method: str, path: str, bearer: str) -> tuple[int, Any]:
        """Answer one request."""
        verb, _, body = method.partition(" ")
        if path == "/secrets/shop/k-1":
            if verb == "PUT":
                self.stored = json.loads(body)["value"]
            return 200, {"value": self.stored}
        if path == "/identity/whoami":
            self.asked += 1
            return self.whoami() or (200 if bearer in self.accepted else 401), self.reported
        if verb == "GET":
            self.reading.add(bearer)
        if path == "/identity/keys/k-1/disable":
            self.status = self.disabled
            self.accepted -= {OLD} if self.refuses else set()
            return 200, {}
        if path == "/identity/keys/k-1/rotate":
            self.accepted.add(NEW)
            return self.rotated
        if path == "/identity/keys/k-1/uses":
            return 200, {"uses": self.uses}
        if path == "/identity/users/bob":
            return 200, {"active": True, "keys": ["k-1"]}
        if path == "/identity/keys/k-1" and not (self.gone and self.status != "active"):
            created = "2026-11-01T00:00:00Z"
            return 200, {
                "id": "k-1",
                "owner": "bob",
                "status": self.status,
                "created": created,
                "stored_as": "shop/k-1",
            }
        return 500, {}


@pytest.fixture
def agent(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the use case, with a short deadline."""
    module = load_agent("security-response")
    monkeypatch.setattr(module, "REFUSE_SECONDS", 0.2)
    monkeypatch.setenv("AGENT_ACT_TOKEN", "token-of-act")
    return module


@pytest.fixture
def act(
    agent: ModuleType, serve: Callable[[Answers], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Identity], ActionResult]:
    """Do what was approved, and see that no value reaches the result."""

    def done(identity: Identity) -> ActionResult:
        url = serve(identity.answer)
        entry = {"identity": url + "/identity", "secrets": url + "/secrets"}
        (tmp_path / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")
        monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
        result: ActionResult = agent.SecurityResponseAgent().act(RESOURCE, "disable_and_rotate", {"keys": ["k-1"]})
        assert not [secret for secret in (OLD, NEW, "token-of-act") if secret in repr(result)]
        return result

    return done


def test_what_is_as_it_should_be_is_a_success(
    act: Callable[[Identity], ActionResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity()
    monkeypatch.setenv("IDENTITY_TOKEN", "only-for-reading")
    monkeypatch.setenv("AGENT_ACT_TOKEN", '{"identity": "token-of-act"}')
    result = act(identity)
    assert identity.reading == {"only-for-reading"}
    assert result.status is ActionStatus.SUCCESS, result
    assert (identity.stored, identity.accepted) == (NEW, {NEW})
    assert result.verification["k-1"] == {
        "disabled": True,
        "old_refused": True,
        "replaced_by": "k-2",
        "new_accepted": True,
    }


@pytest.mark.parametrize(("status", "reported"), [(409, "HTTP 409"), (429, "HTTP 429, too many requests")])
def test_a_rotation_that_is_refused_is_reported_as_that(
    act: Callable[[Identity], ActionResult], status: int, reported: str
) -> None:
    identity = Identity()
    identity.rotated = (status, {"value": "s3cret"})
    result = act(identity)
    assert result.status is ActionStatus.FAILED
    assert f"refused with {reported}. Nothing was changed." in result.details["error"]
    for wrong in ("whether it runs", "token", "s3cret"):
        assert wrong not in result.details["error"]


@pytest.mark.parametrize("refuses", [True, False])
def test_a_key_that_was_never_seen_accepted_is_not_reported_as_refused(
    act: Callable[[Identity], ActionResult], refuses: bool
) -> None:
    identity = Identity()
    identity.stored, identity.refuses = "something-else", refuses
    result = act(identity)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ("disabled k-1",))
    assert result.verification["k-1"] == {"disabled": True, "old_refused": None}
    assert (
        "k-1 is disabled by the service's word; nobody could check that it is refused: the stored value was refused"
        in result.details["error"]
    )
    assert identity.stored == "something-else", "what it holds is not known, so it is left alone"


@pytest.mark.parametrize("reported", [{"key": "k-1"}, {"key": 7}, {"id": "bob"}, [], "k-9"])
def test_the_service_need_not_say_whose_a_value_is(act: Callable[[Identity], ActionResult], reported: Any) -> None:
    identity = Identity()
    identity.reported = reported
    assert act(identity).verification["k-1"]["old_refused"] is True


def test_the_value_of_another_key_proves_nothing(act: Callable[[Identity], ActionResult]) -> None:
    identity = Identity()
    identity.reported = {"key": "k-9"}
    result = act(identity)
    assert result.verification["k-1"] == {"disabled": True, "old_refused": None}
    assert "the stored value is another key's" in result.details["error"]


@pytest.mark.parametrize("first", [0, 1], ids=["from the start", "after the disable"])
def test_an_identity_service_that_breaks_down_is_not_one_that_accepts(
    act: Callable[[Identity], ActionResult], first: int
) -> None:
    identity = Identity()
    identity.whoami = lambda: 500 if identity.asked > first else None
    result = act(identity)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ("disabled k-1",))
    assert result.verification["k-1"] == {"disabled": True, "old_refused": None}
    assert "nobody could check that it is refused: the identity service does not say" in result.details["error"]
    assert "still accepted" not in result.details["error"]


def test_a_key_that_is_accepted_to_the_end_is_open(act: Callable[[Identity], ActionResult]) -> None:
    identity = Identity()
    identity.refuses = False
    result = act(identity)
    assert result.verification["k-1"] == {"disabled": True, "old_refused": False}
    assert "still accepted: treat it as open" in result.details["error"]


@pytest.mark.parametrize("refuses", [True, False])
def test_a_key_that_the_service_still_calls_active_is_not_disabled(
    act: Callable[[Identity], ActionResult], refuses: bool
) -> None:
    identity = Identity()
    identity.disabled, identity.refuses = "active", refuses
    result = act(identity)
    assert (result.status, result.changes) == (ActionStatus.FAILED, ("asked to disable k-1",))
    assert result.verification["k-1"] == {"disabled": False, "old_refused": refuses}
    assert "says that it is active: treat it as open" in result.details["error"]
    assert identity.stored == OLD, "nothing was put in its place"


def test_a_key_that_is_gone_and_refused_is_replaced(act: Callable[[Identity], ActionResult]) -> None:
    identity = Identity()
    identity.gone = True
    result = act(identity)
    assert (result.status, identity.stored) == (ActionStatus.SUCCESS, NEW)
    assert result.changes[0] == "asked to disable k-1"
    assert (result.verification["k-1"]["disabled"], result.verification["k-1"]["old_refused"]) == (None, True)


@pytest.mark.parametrize(
    "rotated",
    [
        (200, {"key_id": "k-2", "secret": NEW}),
        (200, {"id": "k-2", "value": ""}),
        (200, {"id": f"k-2 {NEW}", "value": NEW}),
        (200, [NEW]),
        (200, NEW),
        (204, ""),
    ],
)
def test_an_answer_without_the_new_key_hides_no_key(
    act: Callable[[Identity], ActionResult], rotated: tuple[int, Any]
) -> None:
    identity = Identity()
    identity.rotated = rotated
    result = act(identity)
    assert result.status is ActionStatus.UNKNOWN
    assert result.changes == ("disabled k-1", "asked for a new key in place of k-1")
    assert "there may be a new, valid key that nobody knows" in result.details["error"]
    assert (identity.stored, NEW in identity.accepted) == (OLD, True)


@pytest.mark.parametrize(("answers", "accepted"), [(500, None), (401, False)])
def test_a_new_key_that_nobody_could_check_is_distinguished_from_one_that_is_refused(
    act: Callable[[Identity], ActionResult], answers: int, accepted: bool | None
) -> None:
    identity = Identity()
    identity.whoami = lambda: answers if identity.stored == NEW else None
    result = act(identity)
    assert result.status is ActionStatus.FAILED
    assert result.changes[-1] == "stored k-2 as shop/k-1"
    assert result.verification["k-1"]["new_accepted"] is accepted
    assert ("nobody has access" in result.details["error"]) == (accepted is False)
    assert ("nobody could check that it is accepted" in result.details["error"]) == (accepted is None)


# Uses


def investigated(agent: ModuleType, act: Callable[[Identity], ActionResult], uses: list[Any]) -> Any:
    identity = Identity()
    act(identity)  # the catalogue has it then
    identity.status, identity.uses = "active", uses
    return agent.SecurityResponseAgent().investigate(RESOURCE)


def used(hours: float, address: str, status: Any = 200) -> dict[str, Any]:
    return {"time": time.time() - hours * 3600, "address": address, "status": status}


@pytest.mark.parametrize(
    ("uses", "severity"),
    [
        ([], None),
        ([used(1, "203.0.113.9")], Severity.LOW),
        ([used(25, "198.51.100.7"), used(1, "203.0.113.9")], Severity.HIGH),
        ([used(25, "198.51.100.7"), used(1, "198.51.100.7")], None),
    ],
)
def test_only_a_key_with_a_history_has_addresses_that_are_new(
    agent: ModuleType, act: Callable[[Identity], ActionResult], uses: list[Any], severity: Severity | None
) -> None:
    result = investigated(agent, act, uses)
    found = [finding for finding in result.findings if finding.severity is not Severity.INFO]
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    assert (result.proposed_action is not None) == (severity is Severity.HIGH)


@pytest.mark.parametrize(
    "use", [{}, [], used(1, "a", "401"), used(1, "a", True), {"time": 10**400, "address": "a", "status": 200}]
)
def test_a_use_that_can_not_be_read_is_one_clear_error(
    agent: ModuleType, act: Callable[[Identity], ActionResult], use: Any
) -> None:
    with pytest.raises(ToolError, match="of k-1"):
        investigated(agent, act, [use])
