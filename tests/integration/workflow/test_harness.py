"""The harness itself does what GitHub's documentation and the runner's sources say, on small workflows."""

from __future__ import annotations

import base64
import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime.github.outputs import format_outputs
from support.github import FullGitHub
from support.harness.commands import CommandFileError, LogReader, parse_pairs
from support.harness.engine import Bypass, Cancel, Click, Refused, Run, approve_as
from support.harness.model import Unsupported, load_workflow
from support.harness.node import ActionsError, ActionsService
from support.private_sigstore import Sigstore
from support.small_workflows import DOWNLOAD, PATH, UPLOAD, Host, run, workflow
from support.world import wait_for

# ------------------------------------------------------------------------------------------------ expressions, outputs


def test_values_flow_from_steps_to_jobs_to_other_jobs(host: Host) -> None:
    done = run(
        host,
        """
        first:
          runs-on: ubuntu-latest
          outputs:
            word: ${{ steps.say.outputs.word }}
            nothing: ${{ steps.say.outputs.missing }}
          steps:
            - id: say
              env:
                RESOURCE: ${{ inputs.resource || 'none' }}
              run: |
                echo "word<<END" >> "$GITHUB_OUTPUT"
                printf 'a %s\\nb=c\\n' "$RESOURCE" >> "$GITHUB_OUTPUT"
                echo "END" >> "$GITHUB_OUTPUT"
        second:
          name: Use ${{ needs.first.outputs.word }}
          needs: first
          runs-on: ubuntu-latest
          steps:
            - env:
                NEEDS: ${{ toJSON(needs) }}
              run: printf '%s' "$NEEDS" > "$GITHUB_STEP_SUMMARY"
        """,
        on="workflow_dispatch: {inputs: {resource: {type: string, default: db}}}",
    )
    assert done.result == "success", done.log
    assert done.jobs["second"].name == "Use a db\nb=c"
    # Empty outputs are left out, as GitHub does.
    assert json.loads(done.jobs["second"].summary) == {"first": {"result": "success", "outputs": {"word": "a db\nb=c"}}}


def test_runner_variables_describe_the_run_and_win_over_the_workflow(host: Host, github: FullGitHub) -> None:
    done = run(
        host,
        """
        show:
          runs-on: ubuntu-latest
          env: {GITHUB_API_URL: "http://evil.invalid", MINE: 1}
          steps:
            - run: env
              env: {GITHUB_SHA: "0", TOKEN_GIVEN: "${{ github.token }}"}
        """,
    )
    log = done.jobs["show"].log
    assert f"GITHUB_API_URL={github.url}\n" in log
    assert f"GITHUB_SHA={done.github['sha']}\n" in log
    assert "GITHUB_ACTOR=alice\n" in log and "GITHUB_RUN_ATTEMPT=1\n" in log and "MINE=1\n" in log
    assert "GITHUB_EVENT_NAME=workflow_dispatch\n" in log and "GITHUB_WORKFLOW=Test\n" in log
    # The token is not a variable unless it is handed over, and it is masked.
    assert "GITHUB_TOKEN" not in log and "TOKEN_GIVEN=***\n" in log
    # Nothing of the surrounding process leaks in.
    assert "PYTEST" not in log


def test_steps_share_variables_and_paths_through_files_only(host: Host) -> None:
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - run: |
                mkdir bin && printf '#!/bin/sh\\necho from my program\\n' > bin/mine && chmod +x bin/mine
                echo "$PWD/bin" >> "$GITHUB_PATH"
                echo "COLOUR=green" >> "$GITHUB_ENV"
                export LOST=1
            - run: mine; echo "$COLOUR [$LOST] ${{ env.COLOUR }}"
        two:
          needs: one
          runs-on: ubuntu-latest
          steps:
            - run: echo "[$COLOUR] $(ls -A | wc -l)"
        """,
    )
    assert "from my program\ngreen [] green\n" in done.jobs["one"].log
    assert "[] 0\n" in done.jobs["two"].log, "each job starts with nothing"


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("inputs.none || 'default'", "default"),
        ("github.actor == 'ALICE' && 'same' || 'other'", "same"),
        ("format('{0} ''{1}'' ''{{0}}''', 'it''s', 1.50)", "it's '1.5' '{0}'"),
        ("toJSON(fromJSON('{\"a\": [1, true, null]}').a[1])", "true"),
        ("github.missing.deeper", ""),
        ("success() && !cancelled() && failure()", "false"),
        ("hashFiles('*.txt')", "e5a01fee14e0ed5c48714f22180f25ad8365b53f9779f79dc4a3d7e93963f94a"),
        ("hashFiles('*.none')", ""),
    ],
)
def test_expressions_are_evaluated_by_github(
    service: ActionsService, tmp_path: Path, expression: str, text: str
) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    contexts = {"github": {"actor": "alice"}, "inputs": {}}
    answer = service.evaluate(expression, contexts, {"success": True, "failure": False}, tmp_path)
    assert answer["text"] == text


def test_expressions_that_github_refuses(service: ActionsService) -> None:
    for expression in ("nothing.here", "unknown()", "'open", "1 ==", "fromJSON('{')"):
        with pytest.raises(ActionsError):
            service.evaluate(expression, {"github": {}}, {})


# --------------------------------------------------------------------------------------------------- conditions, order


CONDITIONS = """
first:
  runs-on: ubuntu-latest
  steps: [{run: "exit %s"}]
after:
  needs: first
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
cleanup:
  needs: after
  if: failure()
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
last:
  needs: [first, after]
  if: always()
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
asks:
  needs: [first, last]
  if: needs.last.result == 'success'
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
"""


@pytest.mark.parametrize(
    ("code", "results"),
    [
        (0, {"first": "success", "after": "success", "cleanup": "skipped", "last": "success", "asks": "success"}),
        (1, {"first": "failure", "after": "skipped", "cleanup": "success", "last": "success", "asks": "skipped"}),
    ],
)
def test_jobs_run_when_their_condition_and_their_needs_allow(host: Host, code: int, results: dict[str, str]) -> None:
    done = run(host, CONDITIONS % code)
    assert {id: job.result for id, job in done.jobs.items()} == results


def test_steps_run_when_their_condition_allows(host: Host) -> None:
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          outputs: {late: "${{ steps.late.outputs.x }}"}
          steps:
            - {id: soft, run: "exit 3", continue-on-error: true}
            - {id: hard, run: "false | true; exit 4", if: steps.soft.outcome == 'failure'}
            - {id: skipped, run: "true"}
            - {id: late, if: always(), run: 'echo "x=${{ job.status }}" >> "$GITHUB_OUTPUT"'}
            - {id: on-failure, if: "failure() && steps.skipped.conclusion == 'skipped'", run: "true"}
        """,
    )
    steps = {step.id: (step.outcome, step.conclusion) for step in done.jobs["one"].steps}
    assert steps == {
        "soft": ("failure", "success"),
        "hard": ("failure", "failure"),
        "skipped": ("skipped", "skipped"),
        "late": ("success", "success"),
        "on-failure": ("success", "success"),
    }
    assert done.jobs["one"].result == "failure"
    assert done.jobs["one"].outputs == {"late": "failure"}


def test_default_shell_stops_at_errors_and_bash_also_in_pipes(host: Host) -> None:
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - {name: default, run: "false | true; echo reached"}
            - {name: strict, run: "false | true; echo not reached", shell: bash}
        """,
    )
    assert [step.conclusion for step in done.jobs["one"].steps] == ["success", "failure"]
    assert "not reached" not in done.jobs["one"].log


# -------------------------------------------------------------------------------------------------- actions, artifacts


def test_checkout_is_fresh_for_each_job_and_at_the_commit_of_the_run(host: Host) -> None:
    step = """
          - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
            with: {ref: "${{ github.sha }}", persist-credentials: %s}
"""
    done = run(
        host,
        f"""
        one:
          runs-on: ubuntu-latest
          steps:{step % "false"}
          - run: cat data; echo changed > data; git config --list --local
        two:
          needs: one
          runs-on: ubuntu-latest
          steps:{step % "true"}
          - run: cat data; git rev-parse HEAD; git config --list --local
        """,
        files={"data": "original\n"},
    )
    assert done.result == "success", done.log
    assert "original\n" in done.jobs["one"].log and "extraheader" not in done.jobs["one"].log
    assert "original\n" in done.jobs["two"].log and done.github["sha"] in done.jobs["two"].log
    assert "extraheader=AUTHORIZATION: basic ***" in done.jobs["two"].log


COMPOSITE = """
name: Greet
description: x
inputs:
  who: {default: world}
  how: {description: x}
outputs:
  said: {value: "${{ steps.say.outputs.said }}"}
runs:
  using: composite
  steps:
    - id: say
      shell: bash
      env: {WHO: "${{ inputs.who }}", HOW: "${{ inputs.how }}"}
      run: |
        echo "said=$HOW $WHO from $(basename "$GITHUB_ACTION_PATH") $OUTER" >> "$GITHUB_OUTPUT"
        echo "LATER=yes" >> "$GITHUB_ENV"
    - {shell: bash, run: "test '${{ steps.say.outcome }}' = success; exit ${{ inputs.how == 'fail' && 1 || 0 }}"}
    - {shell: bash, run: echo never after a failure}
"""


def test_local_composite_actions_run_step_by_step(host: Host) -> None:
    files = {".github/actions/greet/action.yml": COMPOSITE}
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1
            - {id: greet, uses: ./.github/actions/greet, with: {how: hello}, env: {OUTER: now}}
            - {id: said, run: 'echo "${{ steps.greet.outputs.said }} $LATER [$OUTER]"'}
            - {id: bad, uses: ./.github/actions/greet, with: {how: fail}}
        """,
        files=files,
    )
    assert "hello world from greet now yes []\n" in done.jobs["one"].step("said").log, done.log
    assert done.jobs["one"].step("bad").conclusion == "failure"
    assert "never after a failure\n" not in done.jobs["one"].step("bad").log


PASS_ON = f"""
make:
  runs-on: ubuntu-latest
  outputs: {{id: "${{{{ steps.up.outputs.artifact-id }}}}", none: "${{{{ steps.none.outputs.artifact-id }}}}"}}
  steps:
    - run: mkdir -p out/deep; echo one > out/a; echo two > out/deep/b; echo hidden > out/.c
    - {{id: up, uses: {UPLOAD}, with: {{name: parts, path: out/, retention-days: 90}}}}
    - {{id: none, uses: {UPLOAD}, with: {{name: nothing, path: absent/}}}}
use:
  needs: make
  runs-on: ubuntu-latest
  steps:
    - {{uses: {DOWNLOAD}, with: {{artifact-ids: "${{{{ needs.make.outputs.id }}}}", path: in, digest-mismatch: error}}}}
    - run: find in -type f | sort; cat in/a in/deep/b
"""


def test_artifacts_pass_between_jobs_by_id(host: Host) -> None:
    done = run(host, PASS_ON)
    assert "in/a\nin/deep/b\none\ntwo\n" in done.jobs["use"].log, done.log
    artifact = done.artifacts.named("parts")
    assert done.jobs["make"].outputs == {"id": str(artifact.id)}
    assert artifact.files() == {"a": b"one\n", "deep/b": b"two\n"}
    assert artifact.retention_days == 90
    assert "No files were found" in done.jobs["make"].step("none").log


def test_a_changed_artifact_is_refused_by_its_digest(host: Host) -> None:
    done = run(host, PASS_ON, hooks={"use": lambda run: run.artifacts.tamper("parts", "a", b"evil\n")})
    assert done.jobs["use"].result == "failure"
    assert "Digest validation failed for artifact(s): parts" in done.jobs["use"].log


def test_a_name_is_taken_once_in_an_attempt_and_again_in_the_next(host: Host) -> None:
    twice = f"""
    one:
      runs-on: ubuntu-latest
      steps:
        - run: echo "$GITHUB_RUN_ATTEMPT" > a
        - {{uses: {UPLOAD}, with: {{path: a}}}}
        - {{id: again, if: github.run_attempt == '1', uses: {UPLOAD}, with: {{path: a}}}}
    """
    started = host(workflow(twice))
    done = started.dispatch(PATH, {}, actor="alice")
    assert "already exists on the workflow run" in done.jobs["one"].step("again").log

    started.rerun(done, "one", triggering_actor="bob")
    assert (done.attempt, done.result) == (2, "success")
    assert done.artifacts.names() == ["artifact", "artifact"]
    assert done.artifacts.named("artifact").files() == {"a": b"2\n"}


# ---------------------------------------------------------------------------------------------- environments, secrets

GATED = """
before:
  runs-on: ubuntu-latest
  steps: [{run: "echo '# Plan' >> \\"$GITHUB_STEP_SUMMARY\\""}]
gate:
  name: Approve ${{ github.event_name }}
  needs: before
  environment: agent-approval
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
after:
  needs: gate
  environment: agent-act
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
end:
  needs: [gate, after]
  if: always()
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
"""


def results(done: Run) -> list[str]:
    return [job.result for job in done.jobs.values()]


def test_a_protected_environment_waits_for_a_reviewer(host: Host, github: FullGitHub) -> None:
    github.protect("agent-approval", reviewers=("bob",))
    github.protect("agent-act")
    seen = []

    def bob(waiting: Any) -> Click:
        seen.append(waiting)
        return Click("bob", comment="fine")

    done = run(host, GATED, reviewer=bob)

    assert results(done) == ["success"] * 4
    (waiting,) = seen
    assert (waiting.job, waiting.environment, waiting.summary) == (
        "Approve workflow_dispatch",
        "agent-approval",
        "# Plan\n",
    )
    (record,) = github.approvals[done.id]
    assert (record["state"], record["user"]["login"], record["comment"]) == ("approved", "bob", "fine")


@pytest.mark.parametrize(
    ("answer", "expected", "records"),
    [
        pytest.param(Click("bob", "rejected"), ["success", "failure", "skipped", "success"], 1, id="rejected"),
        pytest.param(Click("alice"), ["success", "failure", "skipped", "success"], 0, id="own run"),
        pytest.param(Click("mallory"), ["success", "failure", "skipped", "success"], 0, id="no reviewer"),
        pytest.param(Bypass(), ["success", "failure", "skipped", "success"], 0, id="bypass forbidden"),
        pytest.param(Cancel(), ["success", "cancelled", "skipped", "success"], 0, id="cancelled"),
    ],
)
def test_without_an_approval_nothing_behind_the_gate_runs(
    host: Host, github: FullGitHub, answer: Any, expected: list[str], records: int
) -> None:
    github.protect("agent-approval", reviewers=("alice", "bob"))
    github.protect("agent-act")
    done = run(host, GATED, reviewer=lambda waiting: answer)
    assert results(done) == expected
    assert len(github.approvals.get(done.id, [])) == records


def test_an_unknown_environment_is_created_without_protection(host: Host, github: FullGitHub) -> None:
    done = run(host, GATED)
    assert results(done) == ["success"] * 4
    assert github.environments["agent-approval"]["protection_rules"] == []


def test_an_environment_keeps_other_branches_out(host: Host, github: FullGitHub) -> None:
    github.protect("agent-approval", reviewers=("bob",))
    github.branch_policies["agent-approval"] = ["release/*"]
    done = run(host, GATED, reviewer=approve_as("bob"))
    assert (results(done)[1], done.clicks) == ("failure", [])


@pytest.mark.threat("T26")
def test_secrets_reach_only_their_environment_and_are_masked_everywhere(host: Host) -> None:
    show = """
          runs-on: ubuntu-latest
          outputs: {reported: "${{ steps.show.outputs.reported }}"}
          steps:
            - id: show
              env: {ALL: "${{ secrets.ALL }}", ONE: "${{ secrets.ONE }}"}
              run: |
                echo "all=$ALL one=${ONE:-none} length=${#ONE}" | tee -a "$GITHUB_STEP_SUMMARY"
                echo "reported=$ONE!" >> "$GITHUB_OUTPUT"
"""
    done = run(
        host,
        f"""
        plain:{show}
        inside:
          environment: agent-act{show}
        """,
        secrets={"ALL": "alpha-secret"},
        environment_secrets={"agent-act": {"ONE": "omega-secret"}},
    )
    assert "all=*** one=none length=0\n" in done.jobs["plain"].log
    assert "all=*** one=*** length=12\n" in done.jobs["inside"].log
    assert "secret" not in done.jobs["inside"].log + done.jobs["inside"].summary
    assert done.jobs["plain"].outputs == {"reported": "!"}
    assert done.jobs["inside"].outputs == {}, "an output that holds a secret is dropped"


def test_concurrency_groups_are_evaluated(host: Host) -> None:
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          concurrency: {group: "lock-${{ inputs.resource }}", cancel-in-progress: false}
          steps: [{run: "true"}]
        """,
        on="workflow_dispatch: {inputs: {resource: {type: string}}}",
        inputs={"resource": "db"},
    )
    assert done.jobs["one"].concurrency == "lock-db"


LOCKED = """
one:
  runs-on: ubuntu-latest
  concurrency: {group: Lock, cancel-in-progress: false%s}
  steps: [{run: "true"}]
two:
  needs: one
  if: always()
  runs-on: ubuntu-latest
  steps: [{run: "true"}]
"""


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ("", [("cancelled", "success"), ("cancelled", "success"), ("success", "success")]),
        (", queue: single", [("cancelled", "success"), ("cancelled", "success"), ("success", "success")]),
        (", queue: max", [("success", "success")] * 3),
    ],
)
def test_a_busy_group_keeps_one_waiting_job_or_all_of_them(host: Host, queue: str, expected: list[Any]) -> None:
    repository = host(workflow(LOCKED % queue))
    with ThreadPoolExecutor(3) as pool:
        with repository.groups.turn("lock", {}):
            started = []
            for number in range(1, 4):
                started.append(pool.submit(repository.dispatch, PATH, {}, actor="alice"))
                wait_for("its arrival", lambda: repository.groups.arrived("LOCK") == 1 + number)  # noqa: B023
        runs = [run.result(60) for run in started]

    assert [tuple(job.result for job in run.jobs.values()) for run in runs] == expected


def test_a_job_that_would_cancel_another_is_refused(host: Host) -> None:
    with pytest.raises(Unsupported, match="cancel-in-progress"):
        run(host, LOCKED.replace("false%s", "true"))


# ------------------------------------------------------------------------------------------------------------ triggers

TRIGGERED = """
one:
  runs-on: ubuntu-latest
  steps:
    - env:
        WHAT: ${{ inputs.resource || github.event.client_payload.resource || github.event.schedule }}
        CONTEXT: ${{ toJSON(github.event.client_payload || fromJSON('{}')) }}
      run: echo "$GITHUB_EVENT_NAME $WHAT $CONTEXT"
"""
ON = """
workflow_dispatch:
  inputs:
    resource: {type: string, required: true}
    source: {type: choice, options: [manual, alert], default: manual}
repository_dispatch:
  types: [alert-triggered]
schedule:
  - cron: "17 */6 * * *"
"""


def test_every_trigger_brings_its_own_event(host: Host) -> None:
    started = host(workflow(TRIGGERED, ON))
    assert "workflow_dispatch db {}\n" in started.dispatch(PATH, {"resource": "db"}, actor="a").log
    alert = started.repository_dispatch(PATH, "alert-triggered", {"resource": "web", "n": 1}, actor="bot")
    assert 'repository_dispatch web {\n  "resource": "web",\n  "n": 1\n}\n' in alert.log
    assert "schedule 17 */6 * * * {}\n" in started.schedule(PATH).log


def test_github_refuses_what_no_trigger_takes(host: Host) -> None:
    started = host(workflow(TRIGGERED, ON))
    for inputs in ({}, {"resource": "db", "other": "x"}, {"resource": "db", "source": "cron"}):
        with pytest.raises(Refused):
            started.dispatch(PATH, inputs, actor="a")
    with pytest.raises(Refused):
        started.dispatch(PATH, {"resource": "db"}, actor="a", ref="nowhere")
    with pytest.raises(Refused):
        started.repository_dispatch(PATH, "another-type", {}, actor="a")
    with pytest.raises(Refused):
        started.repository_dispatch(PATH, "alert-triggered", {str(n): n for n in range(11)}, actor="a")


def test_a_rerun_keeps_the_other_jobs_and_their_outputs(host: Host) -> None:
    jobs = """
    first:
      runs-on: ubuntu-latest
      outputs: {at: "${{ steps.at.outputs.at }}"}
      steps: [{id: at, run: 'echo "at=$GITHUB_RUN_ATTEMPT" >> "$GITHUB_OUTPUT"'}]
    second:
      needs: first
      runs-on: ubuntu-latest
      steps: [{run: 'echo "${{ needs.first.outputs.at }}/$GITHUB_RUN_ATTEMPT by $GITHUB_TRIGGERING_ACTOR"'}]
    third:
      needs: second
      runs-on: ubuntu-latest
      steps: [{run: "true"}]
    """
    started = host(workflow(jobs))
    done = started.dispatch(PATH, {}, actor="alice")
    started.rerun(done, "second", triggering_actor="bob")
    assert "1/2 by bob\n" in done.jobs["second"].log
    assert [job.attempt for job in done.jobs.values()] == [1, 2, 2]


CALLED = """
on: {workflow_call: {inputs: {word: {type: string, required: true}}}}
permissions: {}
jobs:
  inner:
    runs-on: ubuntu-latest
    permissions: {id-token: write}
    continue-on-error: true
    steps:
      - run: echo "[${{ inputs.word }}]"
      - run: 'curl -sS -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" "$ACTIONS_ID_TOKEN_REQUEST_URL"'
      - run: exit 1
"""
CALLS = """
one:
  needs: zero
  permissions: {id-token: LEVEL}
  uses: ./.github/workflows/called.yml
  with: {word: "${{ needs.zero.outputs.word }}"}
zero:
  runs-on: ubuntu-latest
  outputs: {word: "${{ steps.a.outputs.word }}"}
  steps: [{id: a, run: 'echo word=x >> "$GITHUB_OUTPUT"'}]
"""


def test_a_called_workflow_has_the_callers_run_and_a_token_that_names_both(host: Host) -> None:
    files = {".github/workflows/called.yml": CALLED}
    done = run(host, CALLS.replace("LEVEL", "write"), files=files, sigstore=Sigstore())
    assert (done.jobs["one"].name, done.jobs["one"].result, done.result) == ("one / inner", "failure", "success")
    assert "[x]\n" in done.jobs["one"].log
    (token,) = re.findall(r'"value": "[^".]+\.([^".]+)\.', done.jobs["one"].log)
    claims = json.loads(base64.urlsafe_b64decode(token + "=="))
    assert claims["workflow_ref"] == f"acme/widgets/{PATH}@refs/heads/main"
    assert claims["job_workflow_ref"] == "acme/widgets/.github/workflows/called.yml@refs/heads/main"


def test_a_called_workflow_gets_no_more_than_its_caller_and_needs_its_inputs(host: Host) -> None:
    files = {".github/workflows/called.yml": CALLED}
    with pytest.raises(ActionsError, match="is only allowed 'id-token: none'"):
        run(host, CALLS.replace("id-token: LEVEL", ""), files=files)
    for old, new in (
        ("workflow_call: {", "push: {branches: [x]}, workflow_dispatch: {"),
        ("word: {type", "other: {type"),
    ):
        with pytest.raises(ActionsError, match="error parsing called workflow"):
            other = {".github/workflows/called.yml": CALLED.replace(old, new)}
            run(host, CALLS.replace("LEVEL", "write"), files=other)


# -------------------------------------------------------------------------------------------------- what is not there


@pytest.mark.parametrize(
    "jobs",
    [
        "one: {runs-on: x}",
        "one: {runs-on: x, strategy: {matrix: {a: [1]}}, steps: [{run: x}]}",
        "one: {runs-on: x, container: {image: debian, options: --privileged}, steps: [{run: x}]}",
        "one: {runs-on: {group: mine}, steps: [{run: x}]}",
        "one: {runs-on: x, cache-mode: read, steps: [{run: x}]}",
        "one: {runs-on: x, steps: [{run: x, working-directory: y}]}",
        "one: {runs-on: x, environment: {name: x, url: y}, steps: [{run: x}]}",
    ],
)
def test_what_is_not_emulated_is_refused(service: ActionsService, jobs: str) -> None:
    with pytest.raises(Unsupported):
        load_workflow(service, PATH, workflow(jobs)[PATH])


@pytest.mark.parametrize("uses", ["actions/cache@v4", "actions/upload-artifact@v7"])
def test_unknown_actions_and_inputs_are_refused(host: Host, uses: str) -> None:
    with pytest.raises(Unsupported):
        run(host, f"one: {{runs-on: x, steps: [{{uses: {uses}, with: {{unheard-of: 1}}}}]}}")


@pytest.mark.parametrize(
    "jobs",
    [
        "one: {runs-on: x, steps: [{run: '${{ nothing.here }}'}]}",
        "one: {runs-on: x, needs: two, steps: [{run: x}]}",
        "one: {runs-on: x, steps: [{run: x}], environment: {name: '${{ secrets.X }}'}}",
        "one: {runs-on: x, steps: [{run: x, cache-mode: none}]}",
    ],
)
def test_what_github_refuses_is_refused(service: ActionsService, jobs: str) -> None:
    with pytest.raises(ActionsError):
        load_workflow(service, PATH, workflow(jobs)[PATH])


# ---------------------------------------------------------------------------------------------- command files and logs


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("", []),
        ("a=b\n", [("a", "b")]),
        ("a=b", [("a", "b")]),
        ("a=b=c<<d\n", [("a", "b=c<<d")]),
        ("\n\na<<E\nx\n\ny\nE\nb=1\n", [("a", "x\n\ny"), ("b", "1")]),
        ("a<<E\nE\n", [("a", "")]),
        ("a<<E\nx\nE", [("a", "x")]),
        ("a<<E\nx\r\nE\n", [("a", "x\r")]),
    ],
)
def test_command_files_are_read_as_the_runner_does(text: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_pairs(text) == pairs


@pytest.mark.parametrize("text", ["a\n", "<<E\nE\n", "a<<\n\n", "a<<E\nx\n", "a<<E\nx"])
def test_command_files_that_the_runner_refuses(text: str) -> None:
    with pytest.raises(CommandFileError):
        parse_pairs(text)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True),
        st.text(st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)),
    )
)
def test_outputs_of_the_runtime_arrive_as_they_were_written(values: dict[str, str]) -> None:
    assert dict(parse_pairs(format_outputs(values))) == values


@pytest.mark.parametrize(
    ("lines", "commands"),
    [
        (["plain", "a ::error::not at the start", "::unknown::x"], []),
        (["::error file=a,line=1::boom"], [("error", "boom")]),
        (["   ::warning::spaces before"], [("warning", "spaces before")]),
        (["text ##[error]old style anywhere"], [("error", "old style anywhere")]),
        (["::set-output name=a::b"], [("set-output", "b")]),
        (["::Error::its name in any case"], [("error", "its name in any case")]),
        (["::error::50%25%0Atwo lines"], [("error", "50%\ntwo lines")]),
        (["::error no end"], []),
        (
            ["::stop-commands::t0k", "::error::hidden", "::t0k::", "::error::seen"],
            [("stop-commands", "t0k"), ("error", "seen")],
        ),
    ],
)
def test_commands_in_a_log_are_found_as_the_runner_does(lines: list[str], commands: list[tuple[str, str]]) -> None:
    reader = LogReader()
    for line in lines:
        reader.read(line)
    assert reader.commands == commands


def test_masks_of_a_step_hold_for_the_steps_after_it(host: Host) -> None:
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps: [{run: 'echo "::add-mask::hunter2"'}, {run: echo hunter2}]
        """,
    )
    assert "hunter2" not in done.jobs["one"].steps[1].log
