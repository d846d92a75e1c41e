"""No action touches what decides about actions, however the path is written (T22)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.gate import policy, protected_paths
from agent_runtime.gate.policy import Policy, Rule, evaluate
from agent_runtime.results import RiskLevel
from support.strategies import hostile_text, json_objects

OPEN = Policy("p", 1, (Rule("*", max_risk=RiskLevel.CRITICAL, requires_approval=False),), (), "", (Rule("*"),))


def decision(parameters: dict[str, Any]) -> str:
    """What a policy that allows everything without asking says of these parameters."""
    return evaluate(
        OPEN, action="write", resource="r", parameters=parameters, risk_level=RiskLevel.LOW, reversible=True
    ).decision


PROTECTED = (
    ".github/workflows/agent-investigate-act.yml",
    ".github/agent-policies/checkout.yml",
    ".github/CODEOWNERS",
    "CODEOWNERS",
    "docs/CODEOWNERS",
    "agent_runner.py",
    "agent_runtime/gate/checks.py",
    "sdk/aimgentix/client.py",
    ".git/hooks/pre-push",
    "requirements.lock",
    "requirements.in",
    "rfc8785.py",
)
WRITTEN: dict[str, Any] = {
    "as it is": lambda path: path,
    "./": lambda path: "./" + path,
    "through another folder": lambda path: "docs/x/../../" + path,
    "with empty components": lambda path: path.replace("/", "//").replace("//", "/.//", 1),
    "with backslashes": lambda path: path.replace("/", "\\"),
    "in capitals": lambda path: path.upper(),
    "absolute": lambda path: "/srv/checkout/agent/" + path,
    "of a drive": lambda path: "C:\\work\\" + path.replace("/", "\\"),
    "from a home": lambda path: "~/agent/" + path,
    "from a variable": lambda path: "$GITHUB_WORKSPACE/" + path,
    "from above": lambda path: "../agent/" + path,
    "encoded": lambda path: quote(path, safe="").replace(".", "%2e"),
    "encoded twice": lambda path: quote(quote(path, safe=""), safe=""),
    "encoded forever": lambda path: quote(quote(quote(quote(quote(path, safe=""))))),
    "with spaces and dots": lambda path: path.replace("/", ". /") + " . ",
    "as an address": lambda path: "https://api.github.com/repos/acme/agent/contents/" + path,
    "as a revision": lambda path: "main:" + path,
    "as a stream": lambda path: path + "::$DATA",
    "with what nobody sees": lambda path: path[:2] + "\u200b" + path[2:],
    "in full width": lambda path: "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in path),
    "in a list": lambda path: "README.md, " + path,
    "on a line": lambda path: "README.md\n" + path + "\n",
    "as a pattern": lambda path: path[0] + "*" if "/" not in path or path.startswith("sdk") else path[:5] + "*",
}


@pytest.mark.threat("T22")
@pytest.mark.parametrize("way", WRITTEN)
def test_t22_a_protected_path_is_denied_in_every_spelling(way: str) -> None:
    for path in PROTECTED:
        if way == "as a pattern" and path.startswith("docs/"):
            continue  # a pattern below another folder than the protected one means something else
        assert decision({"path": WRITTEN[way](path)}) == policy.DENIED, WRITTEN[way](path)


@pytest.mark.threat("T22")
@pytest.mark.parametrize(
    "path", ["", ".", "./", "/", "..", "../..", "a/..", "*", "**", "**/*.yml", "{.github,docs}/x", "[.]github/x"]
)
def test_t22_what_holds_the_protected_paths_is_denied(path: str) -> None:
    assert decision({"path": path}) == policy.DENIED


@pytest.mark.threat("T22")
@pytest.mark.parametrize(
    "path",
    [
        *("helpers.py", "./typing.py", "x/../json.py", "yaml.PYC", "requests.so", "evil.pth", "*.py", "r*", "?.py"),
        *(
            "yaml/__init__.py",
            "yaml/__init__.*",
            "yaml/__init__.pyc",
            "./yaml/__INIT__.abi3.so",
            "__pycache__/x.cpython-313.pyc",
            "requirements-dev.lock",
            "requirements-x.in",
            "requirements.txt",
        ),
    ],
)
def test_t22_what_python_would_import_or_install_is_denied(path: str) -> None:
    assert decision({"path": path}) == policy.DENIED


@pytest.mark.threat("T22")
@pytest.mark.parametrize("path", ["GITHUB~1/workflows/x.yml", "agent_~2.py"])
def test_t22_short_names_are_denied(path: str) -> None:
    assert decision({"path": path}) == policy.DENIED


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "docs/guide.md",
        "deploy/values.yaml",
        "app/sdk/client.py",
        "src/agent_runtime_notes.md",
        "docs/github/workflows.md",
        "services/[id]/page.tsx",
        "charts/*/values.yaml",
        "a/b/../c.txt",
        "my file.txt",
        "50%.txt",
        "log/2026-11-24",
        "src/app.py",
        "src/yaml/__init__.py",
        "yaml/__init__py.txt",
        "yaml/deploy.yml",
        "/srv/app/settings.py",
        "docs/requirements.txt",
    ],
)
def test_other_paths_are_as_the_policy_says(path: str) -> None:
    assert decision({"path": path}) == policy.AUTO


SECRET = ".github/workflows/x.yml"


@pytest.mark.threat("T22")
@pytest.mark.parametrize(
    "parameters",
    [
        {"path": SECRET},
        {"file": SECRET},
        {"paths": ["README.md", SECRET]},
        {"files": [SECRET]},
        {"target_path": SECRET},
        {"filePath": SECRET},
        {"CONFIG_FILE": SECRET},
        {"path ": SECRET},
        {"ｐａｔｈ": SECRET},
        {"change": {"path": SECRET}},
        {"changes": [{"kind": "edit", "file": SECRET, "text": "x"}]},
        {"files": {SECRET: "contents"}},
        {"files": [{"name": SECRET, "text": "one\ntwo"}]},
        {"paths": [["README.md"], [[SECRET]]]},
    ],
)
def test_t22_wherever_the_path_stands(parameters: dict[str, Any]) -> None:
    verdict = evaluate(OPEN, action="write", resource="r", parameters=parameters, risk_level=RiskLevel.LOW)
    assert (verdict.decision, verdict.matched_rules) == (policy.DENIED, ("protected_paths",))
    assert verdict.reasons[0].startswith("protected_paths: the parameter ")
    assert "so write on r is denied" in verdict.reasons[0]


@pytest.mark.parametrize(
    "parameters",
    [
        {"note": SECRET},
        {"pathology": SECRET},
        {"files": {"README.md": "see\n.github/workflows\n"}},
        {"path": None, "file": 5, "files": [], "paths": {}},
    ],
)
def test_what_names_no_path_is_left_alone(parameters: dict[str, Any]) -> None:
    assert decision(parameters) == policy.AUTO


@pytest.mark.threat("T22")
@given(hostile_text, st.sampled_from(["path", "files", "x"]), json_objects)
def test_t22_no_text_crashes_it(text: str, name: str, others: dict[str, Any]) -> None:
    found = protected_paths.problem({name: text, "change": others})
    assert found is None or "\n" not in found
