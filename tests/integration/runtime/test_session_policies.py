"""A credential cut to the plan: what the reviewer saw is what the login gets, judged by an IAM evaluator of others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from moto.iam.access_control import IAMPolicy, PermissionResult

from agent_runtime import codes
from agent_runtime.local.simulate.run import tampered
from agent_runtime.model import documents, names
from support import examples
from support.environment import REPOSITORY
from support.gate_world import GateWorld
from support.samples import blocks

PAGE = (REPOSITORY / "docs" / "how-to" / "clouds.md").read_text(encoding="utf-8")
GROUP = "arn:aws:autoscaling:eu-west-1:123456789012:autoScalingGroup:{}:autoScalingGroupName/{}"
UUID = "0b7e2c4d-0000-4000-8000-000000000000"
SCALE = "autoscaling:SetDesiredCapacity"


def sample(language: str, beginning: str) -> str:
    """The one sample of the how-to page that begins like this."""
    (found,) = [content for info, content in blocks(PAGE) if info == language and content.startswith(beginning)]
    return found


@pytest.fixture
def world(world: GateWorld) -> GateWorld:
    """A repository with the policy of the page."""
    policy = sample("yaml", "name: checkout-capacity")
    (world.root / ".github" / "agent-policies" / "checkout-restart.yml").write_text(policy)
    return world


def step(**parameters: Any) -> documents.Step:
    return examples.step(action="set_capacity", parameters={"group": "checkout-web", "size": 6, **parameters})


def left(world: GateWorld) -> Path:
    return world.folder("act") / names.DEFAULT_OUT / names.SESSION_POLICY_NAME


def allowed(policy: str, action: str, resource: str) -> bool:
    return bool(IAMPolicy(policy).is_action_permitted(action, resource) == PermissionResult.PERMITTED)


def test_what_goes_beyond_the_plan_is_denied(world: GateWorld, capsys: pytest.CaptureFixture[str]) -> None:
    handover = world.sealed(step())[1]
    shown = world.page("seal")
    world.approved()
    world.authorize(handover)
    policy = left(world).read_text(encoding="ascii")

    asked = [
        (SCALE, GROUP.format(UUID, "checkout-web"), True),
        (SCALE, GROUP.format(UUID, "payments-web"), False),
        (SCALE, GROUP.format(UUID, "checkout-web-2"), False),
        ("autoscaling:DeleteAutoScalingGroup", GROUP.format(UUID, "checkout-web"), False),
        ("ec2:TerminateInstances", "arn:aws:ec2:eu-west-1:123456789012:instance/i-1", False),
        ("iam:CreateAccessKey", "arn:aws:iam::123456789012:user/root", False),
    ]
    found = [(action, resource, allowed(policy, action, resource)) for action, resource, _ in asked]
    with capsys.disabled():
        print("\n" + "\n".join(f"{'allowed' if may else 'denied '} {action} {of}" for action, of, may in found))
    assert found == asked
    (block,) = re.findall(r"## What the credential may do\n.*?```json\n(.*?)```", shown, flags=re.DOTALL)
    assert json.loads(block) == json.loads(policy), "the reviewer saw what the login gets"
    assert "cut to this plan" in shown


@pytest.mark.threat("T8", "T26")
def test_a_plan_that_is_edited_after_the_approval_never_reaches_the_login(world: GateWorld) -> None:
    handover = world.sealed(step())[1]
    world.approved()
    number = int(handover.report_id)
    run_id, name, data = world.github.archives[number]
    world.github.archives[number] = (run_id, name, tampered(data))

    with pytest.raises(codes.GateRefused):
        world.authorize(handover)

    assert not left(world).exists()


def test_a_value_that_would_be_a_pattern_is_refused_before_anybody_is_asked(world: GateWorld) -> None:
    investigation = examples.investigation(step(group="checkout-*"))
    policy = world.root / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text(
        policy.read_text().replace("operator: format, value: service-name", "operator: starts_with, value: c")
    )

    outcome = world.seal(world.hand_over(documents.encode(investigation)))

    assert outcome.problem is not None and outcome.problem.code == codes.SESSION_POLICY
    assert world.outputs("seal")["decision"] == "none"


def test_without_session_policies_nothing_is_left_for_the_login(world: GateWorld) -> None:
    policy = world.root / ".github" / "agent-policies" / "checkout-restart.yml"
    policy.write_text(policy.read_text().partition("session_policies:")[0])
    handover = world.sealed(step())[1]
    world.approved()

    assert world.authorize(handover).authorized
    assert not left(world).exists() and "What the credential may do" not in world.page("seal")


OIDC = "token.actions.githubusercontent.com:"
CLAIMS = {
    f"{OIDC}aud": "sts.amazonaws.com",
    f"{OIDC}sub": "repo:acme@1234/checkout-capacity@5678:environment:agent-act",
    f"{OIDC}repository_id": "5678",
    f"{OIDC}environment": "agent-act",
}


@pytest.mark.threat("T26", "T40")
@pytest.mark.parametrize(
    ("changed", "may"),
    [
        ({}, True),
        ({"environment": "agent-investigate"}, False),
        ({"repository_id": "9999"}, False),
        ({"sub": "repo:acme@1234/checkout-capacity@5678:ref:refs/heads/main"}, False),
        ({"aud": "https://github.com/acme"}, False),
    ],
)
def test_the_roles_trust_policy_of_the_page_takes_the_job_that_acts_and_no_other(
    changed: dict[str, str], may: bool
) -> None:
    claims = {**CLAIMS, **{OIDC + name: value for name, value in changed.items()}}
    trust = IAMPolicy(sample("json", '{\n  "Version"'))

    answer = trust.is_action_permitted("sts:AssumeRoleWithWebIdentity", incoming_condition_values=claims)

    assert (answer == PermissionResult.PERMITTED) is may
