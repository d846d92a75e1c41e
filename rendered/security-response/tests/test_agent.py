"""The agent against the example service: keys that are really refused afterwards, and secrets that stay secret."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest

import agent_runner
from agent_runner import SecurityResponseAgent
from agent_runtime import ActionStatus, ProposedAction, RiskLevel, Severity
from agent_runtime.testing import evaluate, parse_policy
from agent_runtime.toolkit.errors import ToolError
from agent_runtime.toolkit.keys import Use

EXAMPLE = Path(__file__).with_name("example_service.py")
POLICIES = Path(agent_runner.__file__).resolve().parent / ".github" / "agent-policies"
TOKEN = "token-for-tests"
USUAL, THIEF = "198.51.100.7", "203.0.113.9"
KEY, USER = "example/key/k-1", "example/user/alice"


class Example:
    """A running example service and a catalogue with it."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = [sys.executable, str(EXAMPLE), "serve", f"--token={TOKEN}", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.url: str = json.loads(self.process.stdout.readline())["url"]
        entry = {"identity": self.url + "/identity", "secrets": self.url + "/secrets"}
        (folder / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")

    def ask(self, path: str, bearer: str = TOKEN, address: str = USUAL, method: str = "GET") -> Any:
        """Ask and return status and answer."""
        headers = {"Authorization": f"Bearer {bearer}", "X-Forwarded-For": address}
        request = urllib.request.Request(self.url + path, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as answer:
            with answer:
                return answer.code, json.loads(answer.read())

    def value(self, name: str = "shop/k-1") -> str:
        """What the secret store has."""
        return str(self.ask(f"/secrets/{name}")[1]["value"])

    def put(self, value: str, name: str = "shop/k-1") -> None:
        """Let the secret store have another value."""
        body = json.dumps({"value": value}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        request = urllib.request.Request(f"{self.url}/secrets/{name}", data=body, headers=headers, method="PUT")
        urllib.request.urlopen(request, timeout=10).close()

    def use(self, value: str, address: str, times: int = 1) -> int:
        """Use a key, and return the status of the last answer."""
        statuses = [self.ask("/identity/whoami", value, address)[0] for _ in range(times)]
        return int(statuses[-1])

    def status(self, key: str = "k-1") -> str:
        """What the identity service says of a key."""
        return str(self.ask(f"/identity/keys/{key}")[1]["status"])

    def stop(self) -> None:
        """End the process and wait for it."""
        self.process.terminate()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Example]]:
    """Start the example service with command line options; the agent finds it, and a short deadline."""
    running: List[Example] = []
    monkeypatch.setattr(agent_runner, "REFUSE_SECONDS", 0.5)
    monkeypatch.setenv("AGENT_ACT_TOKEN", TOKEN)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))

    def started(*options: str) -> Example:
        running.append(Example(tmp_path, *options))
        return running[-1]

    yield started
    for example in running:
        example.stop()


def proposal(resource: str = KEY) -> Optional[ProposedAction]:
    """What the agent proposes when it looks now."""
    return SecurityResponseAgent().investigate(resource).proposed_action


def act(resource: str = KEY, *keys: str) -> Any:
    """Do what would be approved."""
    return SecurityResponseAgent().act(resource, "disable_and_rotate", {"keys": list(keys or ["k-1"])})


def test_a_key_without_a_sign_of_misuse_is_left_alone(start: Callable[..., Example]) -> None:
    example = start()
    example.use(example.value(), USUAL, 3)
    for resource in (KEY, USER):
        result = SecurityResponseAgent().investigate(resource)
        assert (result.recommendation, result.proposed_action) == ("nothing to do: no sign of misuse", None)


def test_use_from_a_new_address_is_a_sign_with_its_evidence(start: Callable[..., Example]) -> None:
    example = start()
    example.use(example.value(), THIEF, 5)
    result = SecurityResponseAgent().investigate(KEY)
    assert result.risk_level is RiskLevel.HIGH
    assert result.findings[0].evidence == {"new": [THIEF], "usual": [USUAL], "uses": 5}
    assert result.proposed_action is not None
    assert result.proposed_action.parameters == {"keys": ["k-1"], "count": 1, "signs": 1}
    assert result.proposed_action.reversible is False


def test_an_address_that_was_only_refused_before_is_not_usual() -> None:
    now = time.time()
    known, tried = Use(0, USUAL, 200), Use(0, THIEF, 401)
    (sign,) = agent_runner.look_at_uses("k-1", [known, tried, Use(now, THIEF, 200), Use(now, USUAL, 200)])
    assert sign.evidence == {"new": [THIEF], "usual": [USUAL], "uses": 1}


@pytest.mark.parametrize(
    ("accepted", "refused", "sign"),
    [(10, 10, False), (9, 11, True), (8, 11, False), (0, agent_runner.MIN_USES, True)],
)
def test_many_refused_uses_are_a_sign(accepted: int, refused: int, sign: bool) -> None:
    statuses = [200] * accepted + [401] * refused
    uses = [Use(time.time() - 60, USUAL, status) for status in statuses]
    findings = agent_runner.look_at_uses("k-1", [*uses, Use(0, USUAL, 200)])
    assert [finding.evidence for finding in findings] == [{"refused": refused, "uses": accepted + refused}] * sign


def test_an_owner_who_is_not_known_is_a_sign(start: Callable[..., Example]) -> None:
    start()
    result = SecurityResponseAgent().investigate("example/key/k-3")
    assert "owner of k-3 is not known" in result.findings[0].message
    assert result.proposed_action is not None


def test_age_is_reported_and_is_not_a_sign(start: Callable[..., Example]) -> None:
    start()
    result = SecurityResponseAgent().investigate("example/key/k-2")
    assert result.proposed_action is None
    assert {"days": 200} in [finding.evidence for finding in result.findings]


def test_a_new_key_that_is_used_is_reported_and_is_not_a_sign(start: Callable[..., Example]) -> None:
    example = start()
    assert act().status is ActionStatus.SUCCESS
    example.use(example.value(), THIEF)
    result = SecurityResponseAgent().investigate("example/key/k-4")
    assert (result.recommendation, result.proposed_action) == ("nothing to do: no sign of misuse", None)
    assert "k-4 was accepted nowhere before the last 24 hours" in result.findings[0].message
    assert (result.findings[0].severity, THIEF in result.findings[0].evidence["addresses"]) == (Severity.LOW, True)


def test_a_user_without_keys_is_reported(start: Callable[..., Example]) -> None:
    start()
    result = SecurityResponseAgent().investigate("example/user/dave")
    assert result.recommendation == "nothing to do: the user has no keys"
    assert [finding.message for finding in result.findings] == ["example/user/dave has no keys"]


def test_of_a_user_only_the_keys_with_signs_are_proposed(start: Callable[..., Example]) -> None:
    example = start()
    example.use(example.value("shop/k-2"), THIEF)
    proposed = proposal(USER)
    assert proposed is not None
    assert proposed.parameters["keys"] == ["k-2"]


def test_the_old_key_is_refused_and_the_new_one_is_in_the_store(
    start: Callable[..., Example], capfd: pytest.CaptureFixture[str]
) -> None:
    example = start()
    old = example.value()
    before = SecurityResponseAgent().observe(KEY)
    result = act()
    assert result.status is ActionStatus.SUCCESS, result
    new = example.value()
    assert new != old
    assert (example.use(old, THIEF), example.use(new, USUAL)) == (401, 200)
    assert result.changes == ("disabled k-1", "made k-4 in place of k-1", "stored k-4 as shop/k-1")
    assert result.verification == {
        "k-1": {"disabled": True, "old_refused": True, "replaced_by": "k-4", "new_accepted": True}
    }
    assert SecurityResponseAgent().observe(KEY) != before, "the gate must see that the key is disabled"
    assert SecurityResponseAgent().investigate(KEY).proposed_action is None
    said = repr(result) + "".join(capfd.readouterr())
    assert not [secret for secret in (old, new, TOKEN) if secret in said]


def test_a_service_that_goes_on_to_accept_the_key_is_found_out(start: Callable[..., Example]) -> None:
    example = start("--lying")
    old = example.value()
    result = act()
    assert result.status is ActionStatus.FAILED
    assert "still accepted: treat it as open" in result.details["error"]
    assert result.changes == ("disabled k-1",)
    assert example.value() == old, "nothing replaced a key that still works"


@pytest.mark.parametrize("lying", [[], ["--lying"]], ids=["honest", "lying"])
@pytest.mark.parametrize(
    ("held", "why"),
    [
        ("something-else", "was refused before"),
        ("", "was refused before"),
        ("no header holds this", "does not say"),
        ("k-2's", "another key's"),
    ],
)
def test_a_stored_value_that_is_not_the_key_proves_nothing(
    start: Callable[..., Example], lying: List[str], held: str, why: str
) -> None:
    example = start(*lying)
    example.put(example.value("shop/k-2") if held == "k-2's" else held)
    result = act()
    assert (result.status, result.changes) == (ActionStatus.FAILED, ("disabled k-1",))
    assert result.verification == {"k-1": {"disabled": True, "old_refused": None}}
    assert "k-1 is disabled by the service's word; nobody could check that it is refused" in result.details["error"]
    assert why in result.details["error"]
    assert (example.status("k-1"), example.status("k-2")) == ("disabled", "active")


@pytest.mark.parametrize(
    ("fails", "changes"),
    [
        ("k-1/disable", ()),
        ("k-1/rotate", ("disabled k-1",)),
        ("shop/k-1", ("disabled k-1", "made k-4 in place of k-1")),
        ("k-2/disable", ("disabled k-1", "made k-4 in place of k-1", "stored k-4 as shop/k-1")),
    ],
)
def test_a_failure_in_the_middle_is_reported_with_what_was_done_before(
    start: Callable[..., Example], fails: str, changes: Any
) -> None:
    example = start(f"--fails={fails}")
    old = example.value()
    result = act(USER, "k-1", "k-2")
    assert (result.status, result.changes) == (ActionStatus.FAILED, changes)
    assert "HTTP 403" in result.details["error"]
    assert example.use(old, THIEF) == (401 if changes else 200)
    assert example.status("k-2") == "active"


def test_a_store_that_can_not_be_read_stops_it_before_anything_is_done(
    start: Callable[..., Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = start()
    monkeypatch.setenv("AGENT_ACT_TOKEN", json.dumps({"identity": TOKEN, "secrets": "another-token"}))
    result = act()
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert example.status() == "active"


def test_what_is_down_is_an_error_and_not_nothing_to_do(start: Callable[..., Example]) -> None:
    start().stop()
    with pytest.raises(ToolError, match="connection refused"):
        SecurityResponseAgent().investigate(KEY)
    assert act().status is ActionStatus.FAILED


@pytest.mark.parametrize(
    "resource",
    ["example", "example/key/", "example/key/k-1/disable", "example/key/..", "example/admin/k-1", "shop/key/k-1"],
)
def test_only_keys_and_users_of_the_catalogue(start: Callable[..., Example], resource: str) -> None:
    start()
    with pytest.raises(ToolError):
        SecurityResponseAgent().investigate(resource)
    assert act(resource).status is ActionStatus.FAILED


def test_other_actions_and_other_keys_are_not_touched(start: Callable[..., Example]) -> None:
    example = start()
    assert SecurityResponseAgent().act(KEY, "delete_key", {"keys": ["k-1"]}).status is ActionStatus.FAILED
    result = act(KEY, "k-2")
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert (example.status("k-1"), example.status("k-2")) == ("active", "active")


def test_the_policy_lets_a_reviewer_decide_on_what_the_agent_proposes(start: Callable[..., Example]) -> None:
    (file,) = POLICIES.glob("*.yml")
    policy = parse_policy(file.read_bytes(), file.name)
    example = start()
    example.use(example.value(), THIEF)
    proposed = proposal()
    assert proposed is not None

    def decision(resource: str, **changed: Any) -> str:
        parameters: Dict[str, Any] = dict(proposed.parameters, **changed)
        verdict = evaluate(
            policy,
            action=proposed.action,
            resource=resource,
            parameters=parameters,
            risk_level=proposed.risk_level,
        )
        return verdict.decision

    assert decision(KEY) == "review"
    assert decision(KEY, signs=0) == "denied"
    assert decision(KEY, count=6) == "denied"
    assert decision("example/user/root") == "denied"
    assert decision("shop/key/k-1") == "denied"


def test_the_catalogue_can_be_read() -> None:
    assert agent_runner.catalogue().services
