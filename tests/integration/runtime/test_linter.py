"""The linter: what it expects, what it lets pass, and what it asks of workflows beside the gate's."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.local.linter import Violation, __main__, elsewhere, expected, lint, rules
from agent_runtime.local.linter.compare import NEUTRAL, compare
from agent_runtime.local.linter.values import NOTHING, Unreadable, Value, expressions, pieces, plain, read
from agent_runtime.model import names
from support.rendering import APPROVAL_WORKFLOW, ATTEST_WORKFLOW, WORKFLOW, configuration, product, write_repository

DEFAULT: dict[str, str] = {}
PRIVATE_FREE = {"repository_plan": "private-free", "act_secrets": "AGENT_ACT_TOKEN,OTHER_KEY"}


def data(value: Value) -> Any:
    """A value without lines."""
    if value.fields is not None:
        return {key: data(item) for key, item in value.fields.items()}
    return [data(item) for item in value.items] if value.items is not None else value.text


EXPECTED = data(expected.workflows(configuration({"auto_approval": "yes"}))["agent-investigate-act.yml"])


# ------------------------------------------------------------------------------------------------ what is expected


def unpinned(tree: Any) -> Any:
    """A workflow without the commits of its actions."""
    if isinstance(tree, dict):
        return {key: item.split("@")[0] if key == "uses" else unpinned(item) for key, item in tree.items()}
    return [unpinned(item) for item in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("number", range(len(product())))
def test_every_rendering_is_what_the_linter_expects(tmp_path: Path, number: int) -> None:
    root, config = write_repository(tmp_path, product()[number])

    gate = {name: data(value) for name, value in expected.workflows(config).items()}
    for name, workflow in gate.items():
        rendered = (root / ".github" / "workflows" / name).read_text(encoding="utf-8")
        assert workflow == unpinned(yaml.load(rendered, Loader=yaml.BaseLoader))
    assert (APPROVAL_WORKFLOW.split("/")[-1] in gate) == (root / APPROVAL_WORKFLOW).exists()
    assert lint(root, config) == []


def test_what_an_answer_says_is_never_read_as_a_block() -> None:
    config = configuration({"agent_python": "<act>", "act_variables": "X"})
    act = expected.workflows(config)["agent-investigate-act.yml"].get("jobs", "act")
    (setup,) = [step for step in act.get("steps").items or () if step.get("name").text == "Set up the agent"]
    assert setup.get("with", "python-version").text == "<act>"


# ------------------------------------------------------------------------------------------------------- comparing


def edit(tree: Any, *path: Any, to: Any = None) -> Any:
    """A copy with the value at a path replaced, or removed."""
    copied = copy.deepcopy(tree)
    place = copied
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return copied


def differences(found: Any) -> list[tuple[str, str]]:
    """Where another workflow differs, and what that means."""
    return [(each.path, each.kind) for each in compare(plain(EXPECTED), plain(found))]


@pytest.mark.parametrize(
    ("path", "to", "where"),
    [
        (("on", "workflow_dispatch", "inputs", "resource", "description"), "Which service", ""),
        (("jobs", "seal", "steps", 2, "name"), "Seal it", "jobs.seal.steps[3].name"),
        (("jobs", "seal", "timeout-minutes"), "60", ""),
        (("jobs", "investigate", "timeout-minutes"), "360", ""),
    ],
)
def test_neutral_edits(path: tuple[Any, ...], to: str, where: str) -> None:
    assert differences(edit(EXPECTED, *path, to=to)) == [(where or ".".join(path), "neutral")]


def test_a_renewed_pin_is_neutral_between_two_trees() -> None:
    pinned = edit(EXPECTED, "jobs", "seal", "steps", 0, "uses", to="actions/checkout@" + "a" * 40)
    renewed = edit(EXPECTED, "jobs", "seal", "steps", 0, "uses", to="actions/checkout@" + "b" * 40)
    (found,) = compare(plain(pinned), plain(renewed))
    assert (found.path, found.kind, found.code) == ("jobs.seal.steps[1].uses", "neutral", "")
    unpinned_again = edit(EXPECTED, "jobs", "seal", "steps", 0, "uses", to="actions/checkout@v7")
    assert [each.code for each in compare(plain(pinned), plain(unpinned_again))] == ["CON10"]


def test_every_neutral_row_says_why() -> None:
    assert len(NEUTRAL) == 4
    assert all(why for _, _, why in NEUTRAL)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        (("jobs", "act", "needs"), ["approve-second", "approve", "seal"]),
        (("jobs", "seal", "needs"), ["investigate"]),
        (("jobs", "seal", "runs-on"), ["ubuntu-latest"]),
        (("jobs", "seal", "if"), "!cancelled()"),
        (("jobs", "approve", "if"), "${{ needs.seal.outputs.decision  ==  'review' }}"),
        (("jobs", "seal", "steps", 1, "uses"), "$/.github/actions/setup-gate"),
        (("jobs", "seal", "steps", 0, "uses"), "actions/checkout@" + "a" * 40),
        (("jobs", "seal", "steps", 2, "run"), "python -I -S agent_runtime/__main__.py seal\n"),
        (("jobs",), dict(reversed(EXPECTED["jobs"].items()))),
    ],
)
def test_what_is_not_a_difference(path: tuple[Any, ...], to: Any) -> None:
    assert differences(edit(EXPECTED, *path, to=to)) == []


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path of a tree but its root."""
    pairs = list(tree.items()) if isinstance(tree, dict) else list(enumerate(tree)) if isinstance(tree, list) else []
    return [found for key, item in pairs for found in [(*path, key), *places(item, (*path, key))]]


PLACES = places(EXPECTED)
NO_STEP_NAMES = [path for path in PLACES if not (path[-1] == "name" and "steps" in path) and path[-1] != "description"]


def inside(tree: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for key in path:
        tree = tree[key]
    return tree


def is_found(found: Any) -> bool:
    """Whether a workflow is reported to be weaker than the expected one."""
    return any(each.kind != "neutral" and each.code for each in compare(plain(EXPECTED), plain(found)))


def test_whatever_is_removed_is_found() -> None:
    assert [path for path in PLACES if not is_found(edit(EXPECTED, *path))] == []


@given(path=st.sampled_from(NO_STEP_NAMES), to=st.text("abc:/{}$'. ", min_size=1, max_size=12))
def test_whatever_is_changed_is_found(path: tuple[Any, ...], to: str) -> None:
    assert is_found(edit(EXPECTED, *path, to=to))


@given(path=st.sampled_from(PLACES), key=st.sampled_from(["if", "env", "name", "x", "uses", "a/b", "timeout-minutes"]))
def test_whatever_is_added_is_found(path: tuple[Any, ...], key: str) -> None:
    place = inside(EXPECTED, path)
    if isinstance(place, dict) and key not in place:
        edited = edit(EXPECTED, *path, to={**place, key: "10"})
    else:
        edited = edit(EXPECTED, *path, to=[*place, place[0]] if isinstance(place, list) else {key: "10"})
    repeated = isinstance(place, list) and path[-1] in ("needs", "runs-on", "types")  # one thing named twice
    assert repeated or is_found(edited)


@given(job=st.sampled_from([id for id, job in EXPECTED["jobs"].items() if "steps" in job]), seed=st.integers())
def test_steps_in_another_order_are_found(job: str, seed: int) -> None:
    steps = list(EXPECTED["jobs"][job]["steps"])
    random.Random(seed).shuffle(steps)
    assert steps == EXPECTED["jobs"][job]["steps"] or is_found(edit(EXPECTED, "jobs", job, "steps", to=steps))


def test_a_job_cannot_hide_behind_a_neutral_path() -> None:
    for id in ("seal/timeout-minutes", "seal/steps/0/name", "*", "jobs/*/steps/*/name"):
        assert differences(edit(EXPECTED, "jobs", id, to="10")) == [(f"jobs.{id}", "weaker")]


def test_messages_name_place_value_and_line() -> None:
    text = "on: {}\njobs:\n  deploy:\n    needs: [seal, approve]\n    steps: []\n"
    found = {
        each.path: each for each in compare(plain({"on": {}, "jobs": {"act": {"name": "Act"}}}), read(text.encode()))
    }
    assert found["jobs.deploy"].message == "jobs.deploy is not the template's, and needs seal, approve"
    assert (found["jobs.deploy"].line, found["jobs.deploy"].code) == (3, "CON31")
    assert found["jobs.act"].message == "jobs.act is missing: Act"


# --------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [", 1),
        ("", 1),
        ("- a\n", 1),
        ("a: 1\n---\nb: 2\n", 2),
        ("%YAML 1.1\n---\na: 1\n", 1),
        ("a: 1\na: 2\n", 2),
        ("x:\n  ? [a]\n  : 1\n", 2),
        ("a: !!str 1\n", 1),
        ("a: !x 1\n", 1),
        ("a:\n  <<: {b: c}\n", 2),
        ("a:\n  ${{ insert }}: x\n", 2),
        ("a: *b\n", 1),
        ("a: &a [*a]\n", 1),
        ("a: x\x85\n", 1),
        ('a: "\\U99999999"\n', 1),
        ("a: " + "[" * 3000, 1),
        ("x0: &x0 [1, 1]\n" + "".join(f"x{n}: &x{n} [*x{n - 1}, *x{n - 1}]\n" for n in range(1, 60)), 16),
        ("a: " + "x" * 600_000, 1),
    ],
)
def test_what_reads_differently_is_not_read(text: str, line: int) -> None:
    with pytest.raises(Unreadable) as caught:
        read(text.encode("utf-8"))
    assert caught.value.line == line


def test_bytes_that_are_no_text_are_not_read() -> None:
    with pytest.raises(Unreadable, match="not UTF-8"):
        read(b"a: 1\nb: \xff\n")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        read(content)
    except Unreadable as unreadable:
        assert unreadable.line >= 1 and "\n" not in unreadable.message


def test_aliases_are_written_out() -> None:
    value = read(b"a: &x {b: 1}\nc: *x\nd: [*x]\n")
    assert data(value) == {"a": {"b": "1"}, "c": {"b": "1"}, "d": [{"b": "1"}]}
    assert value.get("c").line == 2


def test_an_expression_ends_where_github_ends_it() -> None:
    assert expressions("a ${{ 'x}}' }} b ${{ y }}${{ open") == ["'x}}'", "y", "open"]


# ---------------------------------------------------------------------------------------------- workflows elsewhere


def call(secrets: str, of: str = "acme/w/.github/workflows/x.yml@v1") -> str:
    """A workflow that calls another one."""
    return f"on: push\njobs:\n  a:\n    uses: {of}\n    secrets: {secrets}\n"


def checkout(on: str, chosen: str) -> str:
    """A workflow that checks something else out than what started it."""
    return workflow(on=on).replace("run: make", f"uses: actions/checkout@v7, with: {{{chosen}}}")


JOB = "    runs-on: ubuntu-latest\n    steps: [{run: make}]\n"


def beside(tmp_path: Path, text: str, given: dict[str, str], **more: str) -> list[Violation]:
    """What the linter says of workflows beside the gate's."""
    root, config = write_repository(tmp_path, given)
    for name, content in {"ours": text, **more}.items():
        (root / ".github" / "workflows" / f"{name}.yml").write_text(content, encoding="utf-8")
    return lint(root, config)


def workflow(job: str = "", on: str = "push", top: str = "", id: str = "build") -> str:
    """A workflow of the team's own."""
    return f"on: {on}\n{top}jobs:\n  {id}:\n{job}{JOB}"


CHOICE = "{workflow_dispatch: {inputs: {environment: {type: choice, options: [staging, production]}}}}"
BAD_CHOICE = "{workflow_dispatch: {inputs: {environment: {type: choice, options: [staging, Agent-Act]}}}}"
FREE = "{workflow_dispatch: {inputs: {environment: {type: environment}}}}"
WORDS = "'echo ${{ github.event.comment.body }}'"
CALLED = "{workflow_call: {inputs: {environment: {type: string}}}}"
INPUT = "    environment: ${{ inputs.environment }}\n"
MATRIX = "    strategy: {matrix: {where: [staging, production]}}\n    environment: ${{ matrix.where }}\n"
TERNARY = "    environment: ${{ github.ref == 'refs/heads/main' && 'production' || 'staging' }}\n"
PASSED = {
    "nothing of the gate's": workflow(),
    "anchors": "on: push\nx-env: &env {A: b}\njobs:\n  a:\n    env: *env\n" + JOB + "  b:\n    env: *env\n" + JOB,
    "contents read on top": workflow(top="permissions: {contents: read}\n"),
    "a tagged action": workflow().replace("run: make", "uses: actions/checkout@v7"),
    "an expression in a script": workflow().replace("run: make", "run: 'make ${{ inputs.x }}'"),
    "an environment": workflow("    environment: production\n"),
    "an environment by choice": workflow(INPUT, CHOICE),
    "an environment by the old name": workflow(INPUT.replace("inputs", "github.event.inputs"), CHOICE),
    "an environment with its word": workflow("    environment: preview-${{ github.head_ref }}\n"),
    "an environment by branch": workflow(TERNARY),
    "an environment by matrix": workflow(MATRIX),
    "a usual group": workflow(top="name: CI\nconcurrency: {group: '${{ github.workflow }}-${{ github.head_ref }}'}\n"),
    "a group by ref": workflow(top="concurrency: {group: '${{ github.ref }}', cancel-in-progress: true}\n"),
    "a group in parentheses": workflow(top="concurrency: deploy-${{ (github.head_ref || github.run_id) }}\n"),
    "a message when a plan waits": workflow(
        "    env: {HOOK: '${{ secrets.CHAT_HOOK }}'}\n", "{workflow_run: {workflows: [x], types: [requested]}}"
    ),
    "a label on pull requests": workflow("    permissions: {pull-requests: write}\n", "pull_request_target"),
    "an outsider's commit without permissions": checkout("pull_request", "ref: '${{ github.head_ref }}'"),
    "a called workflow": call("{K: '${{ secrets.K }}'}"),
    "inherited here": call("inherit", "./.github/workflows/x.yml"),
    "an act of another kind": workflow(id="act-on-labels"),
    "computed names": workflow("    name: ${{ matrix.target }}\n"),
    "a file of agents": workflow(top="name: Agents\n"),
    "a group by number": workflow(top="concurrency: 'agent-${{ github.event.number }}'\n"),
    "an environment by number": workflow(INPUT, FREE.replace("type: environment", "type: number")),
    "an environment by a box": workflow(INPUT, FREE.replace("type: environment", "type: boolean")),
}
REFUSED = {
    "its name": (workflow("    environment: agent-act\n"), "CON05"),
    "its name in capitals": (workflow("    environment: {name: ' Agent-APPROVAL '}\n"), "CON05"),
    "what reads": (workflow("    environment: agent-investigate\n"), "CON05"),
    "a free input": (workflow(INPUT, FREE), "CON05"),
    "a choice with its name": (workflow(INPUT, BAD_CHOICE), "CON05"),
    "a variable": (workflow("    environment: ${{ vars.WHERE }}\n"), "CON05"),
    "half its name": (workflow("    environment: agent-${{ vars.WHAT }}\n"), "CON05"),
    "behind and": (workflow("    environment: agent-act${{ inputs.x && '-x' }}\n"), "CON05"),
    "behind or": (workflow("    environment: ${{ github.actor || 'production' }}\n"), "CON05"),
    "in a matrix": (workflow(MATRIX.replace("staging", "agent-act")), "CON05"),
    "a computed matrix": (workflow(MATRIX.replace("[staging, production]", "'${{ fromJSON(vars.X) }}'")), "CON05"),
    "an included row": (
        workflow(MATRIX.replace("production]", "production], include: [{where: agent-auto}]")),
        "CON05",
    ),
    "a computed row": (
        workflow(MATRIX.replace("production]", "production], include: ['${{ fromJSON(vars.X) }}']")),
        "CON05",
    ),
    "its group": (workflow(top="concurrency: {group: AGENT-ACT-example, cancel-in-progress: true}\n"), "CON21"),
    "its group as a text": (workflow("    concurrency: agent-run-17\n"), "CON21"),
    "any group": (workflow(top="concurrency: {group: '${{ github.head_ref }}'}\n"), "CON21"),
    "a computed group": (workflow("    concurrency: ${{ fromJSON(vars.GROUP) }}\n"), "CON21"),
    "half a group": (workflow("    concurrency: 'agent-${{ vars.X }}-${{ github.run_id }}'\n"), "CON21"),
    "a workflow's name": (workflow(top="name: Agent Act\nconcurrency: '${{ github.workflow }}'\n"), ""),
    "a workflow's name as a group": (
        workflow(top="name: agent-act-x\nconcurrency: '${{ github.workflow }}'\n"),
        "CON21",
    ),
    "called Act": (workflow("    name: Act\n"), "CON36"),
    "called act": (workflow(id="act"), "CON36"),
    "full width": (workflow("    name: \uff21ct\n"), "CON36"),
    "called after a plan": (workflow("    name: 'Approve plan ${{ inputs.x }}: restart on shop'\n"), "CON36"),
    "called Seal": (workflow("    name: SEAL\n"), "CON36"),
    "without asking": (workflow("    name: Act  without asking on plan 0123456789ab\n"), "CON36"),
    "the workflow's name": (workflow(top="name: Agent Runtime - Investigate & Act\n"), "CON35"),
    "secrets inherited elsewhere": (
        call("inherit"),
        "CON07",
    ),
    "its secret mapped": (
        call("{AGENT_ACT_TOKEN: '${{ secrets.K }}'}"),
        "CON07",
    ),
    "its secret under another name": (
        call("{K: \"${{ secrets['AIMGENTIX_API_KEY'] }}\"}"),
        "CON07",
    ),
    "an outsider's commit": (
        checkout("pull_request_target", "ref: '${{ github.event.pull_request.head.sha }}'"),
        "CON15",
    ),
    "an outsider's repository": (
        checkout("{workflow_run: {workflows: [CI]}}", "repository: '${{ github.event.workflow_run.x }}'"),
        "CON15",
    ),
    "an outsider's commit in capitals": (
        checkout("pull_request_target", "ref: '${{ github.head_ref }}'").replace("actions/", "Actions/"),
        "CON15",
    ),
    "a commit by git": (
        workflow(on="pull_request_target").replace("run: make", "run: git fetch origin pull/1/head"),
        "CON15",
    ),
    "a commit by the shell": (
        workflow(on="[push, issue_comment]").replace("run: make", "run: gh pr checkout 1"),
        "CON15",
    ),
    "an outsider's words": (
        workflow(on="issue_comment").replace("run: make", "run: 'echo ${{ github.event.comment.body }}'"),
        "CON11",
    ),
    "an outsider's words for GitHub's script": (
        workflow(on="issue_comment").replace("run: make", f"uses: actions/github-script@v8, with: {{script: {WORDS}}}"),
        "CON11",
    ),
    "an outsider's words for a container": (
        workflow(on="issue_comment").replace("run: make", f"uses: 'docker://alpine', with: {{args: {WORDS}}}"),
        "CON11",
    ),
    "an outsider's words as its program": (
        workflow(on="issue_comment").replace("run: make", f"uses: 'docker://alpine', with: {{entrypoint: {WORDS}}}"),
        "CON11",
    ),
    "its name by default": (workflow(INPUT, CALLED.replace("string", "string, default: agent-act")), "CON05"),
    "the caller's name as a group": (
        workflow(on="[push, workflow_call]", top="name: CI\nconcurrency: '${{ github.workflow }}'\n"),
        "CON21",
    ),
    "its secret in small letters": (call("{agent_act_token: '${{ secrets.K }}'}"), "CON07"),
    "not YAML": ("on: [", "CON01"),
}


@pytest.mark.parametrize("name", PASSED)
def test_workflows_that_leave_the_gate_alone_pass(tmp_path: Path, name: str) -> None:
    assert beside(tmp_path, PASSED[name], DEFAULT) == []


@pytest.mark.threat("T1", "T13", "T17", "T24", "T26", "T29")
@pytest.mark.parametrize("name", REFUSED)
def test_workflows_that_touch_the_gate_are_refused(tmp_path: Path, name: str) -> None:
    text, code = REFUSED[name]
    found = beside(tmp_path, text, DEFAULT)
    assert [each.code for each in found] == ([code] if code else [])
    assert all(each.path == ".github/workflows/ours.yml" and each.line >= 1 for each in found)


def test_what_a_called_workflow_gets_counts(tmp_path: Path) -> None:
    caller = "on: push\njobs:\n  a:\n    uses: ./.github/workflows/ours.yml\n    with: {environment: %s}\n"
    literal = beside(tmp_path / "1", workflow(INPUT, CALLED), DEFAULT, caller=caller % "production")
    gate = beside(tmp_path / "2", workflow(INPUT, CALLED), DEFAULT, caller=caller % "agent-act")
    free = beside(tmp_path / "3", workflow(INPUT, CALLED), DEFAULT, caller=caller % "'${{ vars.WHERE }}'")
    passed_on = caller.replace("on: push", f"on: {CHOICE}") % "'${{ inputs.environment }}'"
    chosen = beside(tmp_path / "4", workflow(INPUT, CALLED), DEFAULT, caller=passed_on)
    assert [[each.code for each in found] for found in (literal, gate, free, chosen)] == [[], ["CON05"], ["CON05"], []]
    near = beside(tmp_path / "5", workflow(INPUT, CALLED), DEFAULT, caller=(caller % "agent-act").replace("./", "$/"))
    itself = caller.replace("on: push", f"on: {CALLED}") % "'${{ inputs.environment }}'" + INPUT
    assert [[each.code for each in found] for found in (near, beside(tmp_path / "6", itself, DEFAULT))] == [
        ["CON05"],
        ["CON05"],
    ]


@pytest.mark.threat("T13", "T24", "T25")
def test_what_the_gates_workflows_name_is_taken() -> None:
    """Every environment and group that stands in them, and each name that a reviewer or the history goes by."""
    taken = {("CON36", title) for title in (f"{names.APPROVED_JOB_NAME}x", "Approve by comment", "Claim")}
    taken |= {("CON05", value) for name, value in vars(names).items() if name.endswith("_ENVIRONMENT")}
    for answers in ({"auto_approval": "yes"}, {"repository_plan": "private-team"}):
        gates = expected.workflows(configuration(answers))
        for gate in (gates.get(file, NOTHING) for file in (names.WORKFLOW_FILE, names.APPROVAL_WORKFLOW_FILE)):
            for holder in (gate, *gate.get("jobs").below().values()):
                group = holder.get("concurrency", "group").text or ""
                taken.add(("CON21", "".join("x" if computed else piece for piece, computed in pieces(group))))
    taken.discard(("CON21", ""))
    assert {code for code, _ in taken} == {"CON05", "CON21", "CON36"} and len(taken) >= 12
    config = configuration(DEFAULT)
    for code, text in taken:
        key = {"CON05": "environment", "CON21": "concurrency", "CON36": "name"}[code]
        files = {"ours.yml": read(workflow(f"    {key}: '{text}'\n").encode())}
        found = [each[0] for each in elsewhere.problems("ours.yml", elsewhere.Repository(files, config))]
        assert found == [code], text


@pytest.mark.threat("T26")
def test_what_the_agent_reads_with_is_handed_to_nobody_else(tmp_path: Path) -> None:
    given = {"advanced": "yes", "investigate_secrets": "METRICS_TOKEN"}
    found = beside(tmp_path, call("{K: '${{ secrets.METRICS_TOKEN }}'}"), given)
    assert [each.code for each in found] == ["CON07"]


@pytest.mark.threat("T26")
@pytest.mark.parametrize("secret", ["secrets.other_key", "secrets['OTHER_KEY']", "toJSON(secrets)", "secrets[vars.X]"])
def test_no_other_workflow_reads_the_token_where_no_environment_keeps_it(tmp_path: Path, secret: str) -> None:
    text = workflow(f'    env: {{K: "${{{{ {secret} }}}}"}}\n')
    assert [each.code for each in beside(tmp_path / "1", text, PRIVATE_FREE)] == ["CON07"]
    assert beside(tmp_path / "2", text, DEFAULT) == []
    allowed = workflow("    env: {K: '${{ secrets.CHAT }}'}\n    environment: ${{ inputs.environment }}\n", FREE)
    assert beside(tmp_path / "3", allowed, PRIVATE_FREE) == []


@given(st.text("a*b", max_size=6), st.text("a*b", max_size=6))
def test_two_patterns_meet_where_a_text_fits_both(one: str, other: str) -> None:
    def fits(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return fits(pattern[1:], text) or bool(text and fits(pattern, text[1:]))
        return bool(text) and pattern[0] == text[0] and fits(pattern[1:], text[1:])

    texts = [""]
    for _ in range(6):
        texts += [text + sign for text in texts[-(2**6) :] for sign in "ab"]
    assert not any(fits(one, text) and fits(other, text) for text in set(texts)) or elsewhere.meets(one, other)
    if "*" not in one + other:
        assert elsewhere.meets(one, other) == (one == other)


EXPRESSION = st.text("${}()'|&.* a", max_size=40) | st.lists(
    st.sampled_from(["${{", "}}", "(", ")", "||", "&&", "'x'", "inputs.a", "matrix.b", "github.ref", "x", "["]),
    max_size=30,
).map(" ".join)


@given(text=EXPRESSION)
def test_no_expression_is_too_much(text: str) -> None:
    config, name = configuration(DEFAULT), "ours.yml"
    held = {"environment": text, "concurrency": {"group": text}, "name": text, "uses": text, "secrets": {"K": text}}
    tree = {"name": text, "on": {"workflow_dispatch": {"inputs": {"a": {"type": text}}}}, "jobs": {"a": held}}
    assert all(
        each[0].startswith("CON")
        for each in elsewhere.problems(name, elsewhere.Repository({name: plain(tree)}, config))
    )


@pytest.mark.parametrize(
    "text", ["${{ " + "(" * 900 + ")" * 900 + " }}", "agent-act" + "x" * 400_000, "${{ 'a' }}" * 500]
)
def test_what_is_too_long_could_be_anything(tmp_path: Path, text: str) -> None:
    assert [each.code for each in beside(tmp_path, workflow(f'    concurrency: "{text}"\n'), DEFAULT)] == ["CON21"]


def test_messages_show_what_cannot_be_seen(tmp_path: Path) -> None:
    (found,) = beside(tmp_path, workflow("    environment: agent-act\n", id='"\\e[2K\\u202e\\n"'), DEFAULT)
    assert found.code == "CON05" and not set(found.message) & set("\x1b\u202e\n")


# ------------------------------------------------------------------------------------------------ files of the gate


def test_the_workflows_are_those_of_the_chosen_gate(tmp_path: Path) -> None:
    asking, by_issue = write_repository(tmp_path / "issue", {"repository_plan": "private-team"})
    root, config = write_repository(tmp_path / "environments", DEFAULT)
    (root / APPROVAL_WORKFLOW).write_bytes((asking / APPROVAL_WORKFLOW).read_bytes())
    (asking / APPROVAL_WORKFLOW).unlink()
    (asking / ATTEST_WORKFLOW).write_bytes((root / ATTEST_WORKFLOW).read_bytes())
    (root / ATTEST_WORKFLOW).unlink()

    for folder, chosen, foreign, missing in (
        (root, config, APPROVAL_WORKFLOW, ATTEST_WORKFLOW),
        (asking, by_issue, ATTEST_WORKFLOW, APPROVAL_WORKFLOW),
    ):
        found = lint(folder, chosen)
        assert Violation("CON02", missing, 1, "it is missing") in found
        assert ("CON32", foreign) in {(each.code, each.path) for each in found}


@pytest.mark.parametrize("name", ["agent-investigate-act.yaml", "Agent-Investigate-Act.yml", "agent-attest.yaml"])
def test_no_second_file_looks_like_the_gates(tmp_path: Path, name: str) -> None:
    root, config = write_repository(tmp_path, DEFAULT)
    (root / ".github" / "workflows" / name).write_text(workflow(), encoding="utf-8")
    assert [each.code for each in lint(root, config)] == ["CON35"]


def test_an_empty_repository_lacks_everything(tmp_path: Path) -> None:
    found = lint(tmp_path, configuration(DEFAULT))
    assert {each.code for each in found} == {"CON02"}
    assert len(found) == 7


def test_a_folder_that_is_called_like_a_workflow_is_reported(tmp_path: Path) -> None:
    root, config = write_repository(tmp_path, DEFAULT)
    (root / ".github" / "workflows" / "x.yml").mkdir()
    assert [str(each) for each in lint(root, config)] == [
        ".github/workflows/x.yml:1: CON01 can't be read: IsADirectoryError"
    ]


# ---------------------------------------------------------------------------------------------------- command line


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, _ = write_repository(tmp_path, DEFAULT)
    assert __main__.main([str(root)]) == 0
    path = root / WORKFLOW
    path.write_text(
        path.read_text(encoding="utf-8").replace("environment: agent-act", "environment: x"), encoding="utf-8"
    )
    assert __main__.main([str(root)]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(f"{WORKFLOW}:") and "CON04 jobs.act.environment must be agent-act, and is x" in out
    assert "--explain CODE" in err
    (root / ".github" / "agent-config.yml").unlink()
    assert __main__.main([str(root)]) == 2
    assert capsys.readouterr().err.startswith("INP007: ")


def test_every_rule_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for code in rules.WHY:
        assert __main__.main(["--explain", code.lower()]) == 0
        assert codes.describe(code).title in capsys.readouterr().out
    assert __main__.main(["--explain", "CON99"]) == 2
    assert "there is no rule CON99" in capsys.readouterr().err


def test_it_needs_yaml_and_nothing_else(tmp_path: Path) -> None:
    write_repository(tmp_path, DEFAULT)
    script = (
        "import sys; from agent_runtime.local.linter import __main__; __main__.main(['.']); "
        "print(*sorted({'requests', 'rfc8785', 'jinja2'} & set(sys.modules)))"
    )
    path = str(Path(rules.__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {script}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""
