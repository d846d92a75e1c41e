"""Session policies: only values of the plan get in, and what can't be made refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent_runtime import codes
from agent_runtime.gate import session_policy
from agent_runtime.gate.policy_file import parse_policy
from agent_runtime.local import policy_lint
from support import examples

RULES = """
name: scale
version: 1
allowed_actions:
  - type: scale
    conditions:
      - {parameter: group, operator: format, value: service-name}
      - {parameter: size, operator: at_most, value: 8}
      - {parameter: keys, operator: max_items, value: 300}
      - {parameter: count(parts), operator: at_most, value: 300}
  - type: scale
    resources: [other]
    conditions:
      - {parameter: group, operator: in, value: [a, b]}
      - {parameter: size, operator: at_most, value: 8}
      - {parameter: keys, operator: max_items, value: 300}
      - {parameter: count(parts), operator: at_most, value: 300}
      - {parameter: region, operator: equals, value: eu-west-1}
"""
STATEMENT = "{Effect: Allow, Action: autoscaling:SetDesiredCapacity, Resource: 'arn:aws:a:eu:1:group/{group}'}"


def policies(statements: str, rules: str = RULES) -> Any:
    return parse_policy(f"{rules}session_policies:\n{statements}\n".encode(), "p.yml").session_policies


def made(statement: str, **parameters: Any) -> Any:
    """The statements of a plan's session policy."""
    step = examples.step(action="scale", parameters=parameters)
    text = session_policy.of_plan(policies(f"  scale: [{statement}]"), "checkout", [step])
    found = json.loads(text)
    assert found["Version"] == "2012-10-17" and "\n" not in text
    return found["Statement"]


def test_values_of_the_plan_take_their_places() -> None:
    (found,) = made(
        "{Effect: Deny, Action: [a:B, a:C], Resource: ['{group}/{size}/{resource}', x/*], "
        "Condition: {StringEquals: {'aws:RequestTag/size': '{size}', 'aws:PrincipalTag/x': ['${aws:userid}']}}}",
        group="web",
        size=3,
    )
    assert found == {
        "Effect": "Deny",
        "Action": ["a:B", "a:C"],
        "Resource": ["web/3/checkout", "x/*"],
        "Condition": {"StringEquals": {"aws:RequestTag/size": "3", "aws:PrincipalTag/x": ["${aws:userid}"]}},
    }


def test_a_list_becomes_one_resource_for_each_item() -> None:
    statement = "{Effect: Allow, Action: s3:DeleteObject, Resource: 'arn:aws:s3:::{group}/{keys[]}'}"
    (found,) = made(statement, group="logs", keys=['a"b', "c"])
    assert found["Resource"] == ['arn:aws:s3:::logs/a"b', "arn:aws:s3:::logs/c"]


def test_every_step_adds_its_statements_once() -> None:
    steps = [examples.step(action="scale", parameters={"group": group}) for group in ("a", "b", "a")]
    text = session_policy.of_plan(policies(f"  scale: [{STATEMENT}]"), "checkout", steps)
    assert [each["Resource"][-1] for each in json.loads(text)["Statement"]] == ["a", "b"]


def test_without_session_policies_there_is_none() -> None:
    assert session_policy.of_plan(parse_policy(RULES.encode(), "p.yml").session_policies, "x", [examples.step()]) == ""


@pytest.mark.threat("T26")
@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"group": "web*"}, "group has one of"),
        ({"group": "w?b"}, "group has one of"),
        ({"group": "${aws:username}"}, "group has one of"),
        ({"group": ""}, "not a plain text"),
        ({"group": "a\u202eb"}, "not a plain text"),
        ({"group": "a\nb"}, "not a plain text"),
        ({"group": True}, "not a plain text"),
        ({"group": 1.5}, "not a plain text"),
        ({"group": ["web"]}, "not a plain text"),
        ({}, "group is not a plain text"),
        ({"group": "x" * 2048}, "AWS takes 2048"),
    ],
)
def test_what_is_no_plain_value_refuses_the_plan(parameters: dict[str, Any], why: str) -> None:
    with pytest.raises(codes.BadInput) as refused:
        made(STATEMENT, **parameters)
    assert refused.value.code == codes.SESSION_POLICY and why in refused.value.message


@pytest.mark.parametrize("keys", [None, [], "a", ["a", "b*"], [["a"]]])
def test_a_list_that_is_none_refuses_the_plan(keys: Any) -> None:
    with pytest.raises(codes.BadInput, match="keys"):
        made("{Effect: Allow, Action: s3:DeleteObject, Resource: 'x/{keys[]}'}", keys=keys)


def test_as_many_characters_as_aws_takes_are_made() -> None:
    step = examples.step(action="scale", parameters={"group": "x"})
    one = len(session_policy.of_plan(policies(f"  scale: [{STATEMENT}]"), "checkout", [step]))
    (whole,) = made(STATEMENT, group="x" * (1 + session_policy.MAX_CHARACTERS - one))
    assert whole["Resource"].endswith("x")


def test_an_action_without_statements_refuses_the_plan() -> None:
    with pytest.raises(codes.BadInput, match="nothing for restart_service"):
        session_policy.of_plan(policies(f"  scale: [{STATEMENT}]"), "checkout", [examples.step()])


ALLOW = "Effect: Allow, Action: a:B"


@pytest.mark.parametrize(
    ("statements", "why"),
    [
        ("  scale: []", "write at least one"),
        ("  scale: x", "not a list"),
        ("  {}", "has no scale"),
        ("  [scale]", "is not a mapping"),
        ("  scale: [{Effect: Allow, Action: [], Resource: x}]", "write texts"),
        ("  scale: [{Effect: Allow, Action: 'a:B', Resource: ''}]", "write texts"),
        ("  scale: [{Effect: Allow, Action: 'a:{', Resource: x}]", "nowhere else"),
        ("  scale: [{Effect: Allow, Action: 'a:}', Resource: x}]", "nowhere else"),
        (f"  scale: [{STATEMENT}]\n  drop: [{STATEMENT}]", "drop is an action that no rule allows"),
        ("  scale: [x]", "a statement has"),
        ("  scale: [{Effect: Allow, Action: a:B}]", "a statement has"),
        (f"  scale: [{{{ALLOW}, Resource: x, NotAction: 'a:C'}}]", "nothing else"),
        ("  scale: [{Effect: Maybe, Action: a:B, Resource: x}]", "Allow or Deny"),
        (f"  scale: [{{{ALLOW}, Resource: 7}}]", "write texts"),
        (f"  scale: [{{{ALLOW}, Resource: []}}]", "write texts"),
        (f"  scale: [{{{ALLOW}, Resource: x, Condition: [a]}}]", "Condition has operators"),
        (f"  scale: [{{{ALLOW}, Resource: x, Condition: {{Bool: x}}}}]", "Condition has operators"),
        ("  scale: [{Effect: Allow, Action: 'a:{group}', Resource: x}]", "nowhere else"),
        (f"  scale: [{{{ALLOW}, Resource: x, Condition: {{Bool: {{'{{group}}': x}}}}}}]", "nowhere else"),
        (f"  scale: [{{{ALLOW}, Resource: '{{gruop}}'}}]", "{gruop} is not a parameter that a condition"),
        (f"  scale: [{{{ALLOW}, Resource: '{{parts[]}}'}}]", "{parts} is not a parameter that a condition"),
        (f"  scale: [{{{ALLOW}, Resource: '{{region}}'}}]", "{region} is not a parameter"),
        (f"  scale: [{{{ALLOW}, Resource: '{{group'}}]", "a brace"),
        (f"  scale: [{{{ALLOW}, Resource: '{{keys[]}}/{{group[]}}'}}]", "more than one list"),
    ],
)
def test_a_template_that_could_not_hold_is_an_error_of_the_policy(statements: str, why: str) -> None:
    with pytest.raises(codes.BadInput) as refused:
        policies(statements)
    assert refused.value.code == codes.POLICY_INVALID and why in refused.value.message
    assert "p.yml line " in refused.value.message


def test_an_action_with_a_wildcard_can_not_have_one() -> None:
    rules = RULES.replace("type: scale\n    resources", "type: scale*\n    resources")
    with pytest.raises(codes.BadInput, match=r"has no scale\*, which is allowed"):
        policies(f"  scale: [{STATEMENT}]", rules)


TYPED = """
name: scale
version: 1
allowed_actions:
  - type: scale
    conditions:
      - {parameter: group, operator: format, value: service-name}
      - {parameter: keys, operator: each_in, value: [a]}
      - {parameter: "files[].path", operator: starts_with, value: a}
      - {parameter: flag, operator: equals, value: true}
      - {parameter: rate, operator: in, value: [0.5, 1.5]}
      - {parameter: glob, operator: in, value: ["a*", "b?"]}
      - {parameter: globs, operator: each_in, value: ["a*"]}
      - {parameter: some, operator: in, value: ["a*", "b"]}
"""
ARN = "arn:aws:s3:::"


def never_of(statement: str) -> list[tuple[str, str]]:
    text = f"{TYPED}session_policies:\n  scale: [{{Effect: Allow, {statement}}}]\n"
    return list(policy_lint.never(parse_policy(text.encode(), "p.yml")))


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("Action: DeleteObject, Resource: '*'", "AWS has no action DeleteObject: write service:Action"),
        ("Action: 'a:B', Resource: ['*', x/*]", "nothing in AWS is called x/*: write an ARN"),
        ("Action: 'a:B', Resource: '*', Condition: {StringEqual: {'aws:x': z}}", "AWS has no operator StringEqual "),
        ("Action: 'a:B', Resource: '*', Condition: {Bool: {SourceIp: z}}", "AWS has no condition key SourceIp"),
        (f"Action: 'a:B', Resource: '{ARN}{{keys}}'", "can fill in {keys}: keys can't be a list and a single value"),
        (f"Action: 'a:B', Resource: '{ARN}{{group[]}}'", "can fill in {group[]}: group can't be a single value and a"),
        (f"Action: 'a:B', Resource: '{ARN}{{files}}'", "can fill in {files}: files can't be a list and a single value"),
        (f"Action: 'a:B', Resource: '{ARN}{{files[]}}'", "{files[]}: files[] can't be an object and a single value"),
        (f"Action: 'a:B', Resource: '{ARN}{{resource[]}}'", "{resource[]}: the resource is one name"),
        (f"Action: 'a:B', Resource: '{ARN}{{flag}}'", "{flag}: what flag can be is not a plain text or a whole number"),
        (f"Action: 'a:B', Resource: '{ARN}{{rate}}'", "{rate}: what rate can be is not a plain text"),
        (f"Action: 'a:B', Resource: '{ARN}{{glob}}'", "{glob}: what glob can be has one of * ? $"),
        (f"Action: 'a:B', Resource: '{ARN}{{globs[]}}'", "{globs[]}: what globs[] can be has one of"),
        ("Action: 'a:B', Resource: '*', Condition: {StringLike: {'a:b': ['{flag}']}}", "can fill in {flag}"),
    ],
)
def test_a_statement_that_can_never_hold_is_said(statement: str, why: str) -> None:
    ((place, said),) = never_of(statement)
    assert place == "session_policies.scale" and why in said, said


@pytest.mark.parametrize(
    "statement",
    [
        f"Action: ['*', 's3:*', 'ec2-x:Get?'], Resource: ['{ARN}{{group}}/{{keys[]}}', '*', '{{some}}', 'a*']",
        "Action: 'a:B', Resource: ['{resource}', 'ar{group}', 'arn:aws:sqs', '${aws:username}']",
        "Action: 'a:B', Resource: '*', Condition: {'ForAllValues:StringLikeIfExists': {'aws:TagKeys': ['{group}']}, "
        "NumericLessThanEquals: {'s3:max-keys': '5'}, NotIpAddress: {'aws:SourceIp': '1.2.3.4/8'}, "
        "'Null': {'aws:TokenIssueTime': 'true'}, ArnNotLike: {'aws:SourceArn': 'x'}, DateGreaterThan: {'aws:t': 'x'}}",
    ],
)
def test_a_statement_that_can_hold_is_left_alone(statement: str) -> None:
    assert never_of(statement) == []
