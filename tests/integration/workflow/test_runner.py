"""What the runner makes of what a step prints and writes, and of the keys of a job, as its sources and GitHub's
documentation say."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from support.github import FullGitHub
from support.harness.commands import LogReader, Masks
from support.harness.engine import Click
from support.harness.results import Annotation
from support.small_workflows import DOWNLOAD, PATH, UPLOAD, Host, run, workflow
from support.zips import pack

CHECKOUT = "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1"


# ----------------------------------------------------------------------------------------------------------- commands
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands


def test_a_mask_hides_its_value_in_logs_and_summaries_and_drops_outputs_that_hold_it(host: Host) -> None:
    """`JobExtension.cs`: "Skip output since it may contain secret"; `FileCommandManager.cs` scrubs summaries."""
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          outputs: {digest: "${{ steps.report.outputs.digest }}", other: "${{ steps.report.outputs.other }}"}
          steps:
            - run: echo seen cafe; echo '::add-mask::cafe'
            - id: report
              run: |
                echo digest=0cafe1 >> "$GITHUB_OUTPUT"; echo other=beef >> "$GITHUB_OUTPUT"
                printf 'a plan 0cafe1\\nend' >> "$GITHUB_STEP_SUMMARY"; echo 0cafe1
        two:
          name: Approve ${{ needs.one.outputs.digest || 'nothing' }}
          needs: one
          runs-on: ubuntu-latest
          steps: [{run: "echo 0cafe1"}]
        """,
    )
    one = done.jobs["one"]
    assert one.steps[0].log == "seen cafe\n", "a mask holds from then on, and add-mask itself is not shown"
    assert (one.summary, one.steps[1].log) == ("a plan 0***1\nend\n", "0***1\n")
    assert one.outputs == {"other": "beef"}
    assert done.jobs["two"].name == "Approve nothing"
    assert done.jobs["two"].log.endswith("0cafe1\n"), "and for its job only"


def test_masks_hide_each_line_and_what_overlaps() -> None:
    masks = Masks(["first\nsecond", "abc", "bcd"])
    assert masks.hide("a first, a second, xabcdx, ab") == "a ***, a ***, x***x, ab"


def test_stopped_commands_are_shown_and_not_carried_out_until_the_step_ends(host: Host) -> None:
    """Every step has a command manager of its own (`Handler.cs`), so nothing stays stopped behind it."""
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - id: first
              run: |
                echo '::stop-commands::some-random-word'
                echo '::add-mask::visible'; echo '::set-output name=a::forged'; echo '::warning::x'
                echo '##[error]y'; echo visible
            - {id: second, run: "echo '::notice title=T,file=f::reported'; echo '::stop-commands::w'; echo '::w::'"}
        """,
    )
    first, second = done.jobs["one"].steps
    assert first.commands == (("stop-commands", "some-random-word"),)
    assert first.annotations == () and first.outputs == {} and first.conclusion == "success"
    assert first.log.splitlines()[1:] == [
        "::add-mask::visible",
        "::set-output name=a::forged",
        "::warning::x",
        "##[error]y",
        "visible",
    ]
    assert "some-random-word" not in first.log, "the token is masked, where it has seven characters"
    assert second.annotations == (Annotation("notice", "reported", {"title": "T", "file": "f"}),)
    assert second.log == "##[notice]reported\n::stop-commands::w\n::w::\n"


def test_deprecated_commands_still_work_and_disabled_ones_fail_the_step(host: Host) -> None:
    """set-output and save-state: https://github.blog/changelog/2023-07-24-github-actions-update-on-save-state-and-set-output-commands/;
    set-env and add-path: disabled since 2020 (`ActionCommandManager.cs`)."""
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - id: old
              run: echo '::set-output name=word::old'; echo '::save-state name=s::kept'; echo '##[set-output name=b;]b'
            - id: both
              run: echo '::set-output name=word::old'; echo word=new >> "$GITHUB_OUTPUT"; echo s=t >> "$GITHUB_STATE"
            - {id: env, continue-on-error: true, run: "echo '::set-env name=A::b'"}
            - {id: path, continue-on-error: true, run: "echo '::add-path::/evil'"}
            - {id: nameless, continue-on-error: true, run: "echo '::set-output::x'"}
            - {id: token, continue-on-error: true, run: "echo '::stop-commands::add-mask'"}
            - {run: 'echo "[$A] $PATH"'}
        """,
    )
    one = done.jobs["one"]
    assert one.step("old").outputs == {"word": "old", "b": "b"} and one.step("old").state == {"s": "kept"}
    assert one.step("both").outputs == {"word": "new"} and one.step("both").state == {"s": "t"}
    assert [one.step(id).outcome for id in ("env", "path", "nameless", "token")] == ["failure"] * 4
    assert "The `set-env` command is disabled" in one.step("env").log
    assert "[] " in one.steps[-1].log and "/evil" not in one.steps[-1].log


@pytest.mark.parametrize("line", ["::add-mask::  ", "::echo::on", "::debug::x", "::remove-matcher owner=x::"])
def test_commands_without_an_effect_here_leave_no_line(line: str) -> None:
    reader = LogReader()
    assert (reader.read(line), reader.failures) == ("", [])


def test_files_of_a_step_lie_where_every_process_of_the_job_can_write(host: Host) -> None:
    """`FileCommandManager.cs`: one folder, a new name for each step; a process left behind can write to later ones."""
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - run: |
                (while sleep 0.01; do for each in "$RUNNER_TEMP"/_runner_file_commands/set_output_*; do
                  test "$each" = "$GITHUB_OUTPUT" || echo forged=yes >> "$each"; done; done) > /dev/null 2>&1 &
            - id: later
              run: while ! test -s "$GITHUB_OUTPUT"; do sleep 0.05; done
        two:
          needs: one
          runs-on: ubuntu-latest
          steps: [{id: own, run: 'sleep 0.2; ls "$RUNNER_TEMP/_runner_file_commands" | wc -l'}]
        """,
    )
    assert done.jobs["one"].step("later").outputs == {"forged": "yes"}
    assert done.jobs["two"].step("own").outputs == {} and done.jobs["two"].log.endswith("5\n")


def test_what_is_put_in_place_of_a_file_is_not_read(host: Host) -> None:
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - {id: gone, run: 'rm "$GITHUB_OUTPUT"'}
            - {id: folder, run: 'rm "$GITHUB_OUTPUT"; mkdir "$GITHUB_OUTPUT"'}
            - {id: pipe, run: 'rm "$GITHUB_STEP_SUMMARY"; mkfifo "$GITHUB_STEP_SUMMARY"'}
            - {id: large, run: 'head -c 1048577 /dev/zero > "$GITHUB_STEP_SUMMARY"'}
        """,
    )
    assert done.result == "success" and done.jobs["one"].summary == ""


# --------------------------------------------------------------------------------------------------- composite actions
# https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax#runs-for-composite-actions

OUTER = """
name: Outer
description: x
inputs: {word: {default: "${{ github.actor }}"}}
outputs: {said: {value: "${{ steps.inner.outputs.said }}"}}
runs:
  using: composite
  steps:
    - {id: skipped, if: "inputs.word == 'no'", shell: bash, run: "exit 1"}
    - {id: inner, uses: ./.github/actions/inner, with: {word: "${{ inputs.word }}!"}, env: {OWN: own}}
    - {shell: bash, run: 'echo "outer [$OUTER] [$OWN] [$EARLIER]"'}
    - {id: soft, shell: bash, run: "exit 3", continue-on-error: true}
    - {if: "steps.soft.outcome == 'failure' && steps.skipped.conclusion == 'skipped'", shell: bash, run: echo seen}
    - {if: failure(), shell: bash, run: echo never}
"""
INNER = """
name: Inner
description: x
inputs: {word: {required: true}}
outputs: {said: {value: "${{ steps.say.outputs.said }}"}}
runs:
  using: composite
  steps:
    - id: say
      shell: bash
      run: |
        echo "said=$WORD [$OUTER] [$OWN]" >> "$GITHUB_OUTPUT"; echo "::notice::from inside"
        echo EARLIER=set >> "$GITHUB_ENV"
      env: {WORD: "${{ inputs.word }}"}
"""
FILES = {".github/actions/outer/action.yml": OUTER, ".github/actions/inner/action.yml": INNER}


def test_an_action_inside_another_gets_the_variables_of_both_steps_and_no_secrets(host: Host) -> None:
    """`CompositeActionHandler.cs`: "Merge composite-step env"."""
    done = run(
        host,
        f"""
        one:
          runs-on: ubuntu-latest
          steps:
            - uses: {CHECKOUT}
            - id: outer
              uses: ./.github/actions/outer
              env: {{OUTER: "${{{{ secrets.TOKEN }}}}"}}
            - run: 'echo "${{{{ steps.outer.outputs.said }}}}"; echo "[$OUTER]"'
        """,
        files=FILES,
        secrets={"TOKEN": "tok-en"},
    )
    one = done.jobs["one"]
    assert done.result == "success", done.log
    assert "\nouter [***] [] [set]\n" in one.step("outer").log
    assert "\nseen\n" in one.step("outer").log and "\nnever\n" not in one.step("outer").log
    assert one.step("outer").outputs["said"] == "alice! [tok-en] [own]"
    assert one.steps[-1].log == "alice! [***] [own]\n[]\n"
    assert one.annotations == [Annotation("notice", "from inside")]


@pytest.mark.parametrize("context", ["secrets.TOKEN", "vars.REGION", "needs.one"])
def test_an_action_that_names_secrets_variables_or_needs_is_refused(host: Host, context: str) -> None:
    """action-v1.0.json of @actions/workflow-parser: these contexts don't exist there."""
    inner = INNER.replace("${{ inputs.word }}", "${{ " + context + " }}")
    step = "{id: inner, uses: ./.github/actions/inner, with: {word: x}}"
    done = run(
        host,
        f"one: {{runs-on: x, steps: [{{uses: {CHECKOUT}}}, {step}]}}",
        files={".github/actions/inner/action.yml": inner},
        secrets={"TOKEN": "x"},
        variables={"REGION": "x"},
    )
    assert done.jobs["one"].step("inner").conclusion == "failure"
    assert f"Unrecognized named-value: '{context.partition('.')[0]}'" in done.log


def test_an_action_is_read_when_its_step_runs(host: Host) -> None:
    """A step before can rewrite a local action; one of another job can't."""
    changed = INNER.replace("said=$WORD", "said=rewritten")
    use = "{id: inner, uses: ./.github/actions/inner, with: {word: x}}"
    done = run(
        host,
        f"""
        one:
          runs-on: x
          steps: [{{uses: {CHECKOUT}}}, {{run: cp changed.yml .github/actions/inner/action.yml}}, {use}]
        two:
          needs: one
          runs-on: x
          steps: [{{uses: {CHECKOUT}}}, {use}]
        """,
        files={**FILES, "changed.yml": changed},
    )
    assert done.jobs["one"].step("inner").outputs["said"].startswith("rewritten")
    assert done.jobs["two"].step("inner").outputs["said"].startswith("x ")


# ------------------------------------------------------------------------------------------------------- keys of a job
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax


def test_a_job_in_a_container_runs_in_that_image(host: Host) -> None:
    """`ContainerInfo.cs` maps the folders; `ScriptHandler.cs` takes sh, because it does not look for bash there."""
    digest = "sha256:" + "0" * 64
    done = run(
        host,
        f"""
        one:
          runs-on: ubuntu-latest
          container: ghcr.io/acme/tools@{digest}
          steps:
            - run: 'echo "$HOME $PWD $RUNNER_TEMP $RUNNER_TOOL_CACHE $0"; ps -p $$ -o comm='
            - run: echo "[$pythonLocation] ${{GITHUB_PATH##*/}}"
        two:
          runs-on: ubuntu-latest
          container: {{image: "debian:${{{{ github.run_attempt }}}}"}}
          steps: [{{run: "true"}}]
        """,
    )
    one = done.jobs["one"]
    assert (one.image, done.jobs["two"].image) == (f"ghcr.io/acme/tools@{digest}", "debian:1")
    assert one.steps[0].log.startswith("/github/home /__w/widgets/widgets /__w/_temp /__t /__w/_temp/")
    assert one.steps[0].log.endswith("\nsh\n") and one.steps[1].log.startswith("[] ")


def test_labels_are_a_word_a_list_or_a_mapping(host: Host, github: FullGitHub) -> None:
    done = run(
        host,
        """
        one: {runs-on: ubuntu-latest, steps: [{run: "true"}]}
        two: {runs-on: [self-hosted, linux, "${{ github.ref_name }}"], cache-mode: none, steps: [{run: "true"}]}
        three: {runs-on: {labels: [a]}, steps: [{run: "true"}]}
        """,
    )
    assert [job.labels for job in done.jobs.values()] == [("ubuntu-latest",), ("self-hosted", "linux", "main"), ("a",)]
    assert [job.caches for job in done.jobs.values()] == [True, False, True]
    assert [job["labels"] for job in github.jobs[done.id]][1] == ["self-hosted", "linux", "main"]


def test_an_environment_without_a_deployment_gives_its_secrets(host: Host, github: FullGitHub) -> None:
    """https://docs.github.com/en/actions/how-tos/deploy/configure-and-manage-deployments/control-deployments"""
    github.protect("agent-investigate")
    github.protect("agent-act")
    jobs = """
    one:
      runs-on: ubuntu-latest
      environment: {name: agent-investigate, deployment: false}
      steps: [{run: 'echo "${#TOKEN} $REGION"', env: {TOKEN: "${{ secrets.TOKEN }}", REGION: "${{ vars.REGION }}"}}]
    two:
      needs: one
      runs-on: ubuntu-latest
      environment: {name: agent-act}
      steps: [{run: 'echo "${#TOKEN} $REGION"', env: {TOKEN: "${{ secrets.TOKEN }}", REGION: "${{ vars.REGION }}"}}]
    """
    settings: dict[str, Any] = {
        "environment_secrets": {"agent-investigate": {"TOKEN": "four"}},
        "environment_variables": {"agent-investigate": {"REGION": "eu"}},
        "variables": {"REGION": "us"},
    }
    done = run(host, jobs, **settings)
    assert [job.log.splitlines()[1] for job in done.jobs.values()] == ["4 eu", "0 us"]
    assert github.deployments == [(done.id, "agent-act")] and done.clicks == []


def test_an_environment_without_a_deployment_still_waits_for_its_reviewers(host: Host, github: FullGitHub) -> None:
    github.protect("agent-investigate", reviewers=("bob",))
    done = run(
        host,
        "one: {runs-on: x, environment: {name: agent-investigate, deployment: false}, steps: [{run: x}]}",
        reviewer=lambda waiting: Click("bob", "rejected"),
    )
    assert (done.result, github.deployments) == ("failure", [])


def test_a_name_with_an_expression_is_cut_and_a_literal_one_is_not(host: Host, github: FullGitHub) -> None:
    done = run(
        host,
        f"""
        one: {{name: "{"l" * 120}", runs-on: x, steps: [{{run: "true"}}]}}
        two: {{name: "{"e" * 120} ${{{{ github.run_id }}}}", runs-on: x, steps: [{{run: "true"}}]}}
        three: {{name: "{"e" * 90}${{{{ github.run_id }}}}", runs-on: x, steps: [{{run: "true"}}]}}
        """,
    )
    names = [job.name for job in done.jobs.values()]
    assert names == ["l" * 120, "e" * 97 + "...", "e" * 90 + done.id]
    assert [job["name"] for job in github.jobs[done.id]] == names


def test_a_job_that_takes_too_long_is_cancelled_and_its_last_steps_run(host: Host) -> None:
    """timeout-minutes: "the maximum number of minutes to let a job run before GitHub automatically cancels it"."""
    jobs = """
    one:
      runs-on: ubuntu-latest
      timeout-minutes: 1
      steps:
        - {id: slow, run: sleep 1000}
        - {id: next, run: "true"}
        - {id: last, if: cancelled(), run: 'echo "${{ job.status }}"'}
    two: {needs: one, runs-on: x, steps: [{run: "true"}]}
    three: {needs: [one, two], if: "!cancelled()", runs-on: x, steps: [{run: "echo ${{ needs.one.result }}"}]}
    """
    started = host(workflow(jobs), minute=1)
    done = started.dispatch(PATH, {}, actor="alice")
    assert [job.result for job in done.jobs.values()] == ["cancelled", "skipped", "success"]
    assert [step.conclusion for step in done.jobs["one"].steps] == ["cancelled", "skipped", "success"]
    assert done.jobs["one"].step("last").log == "cancelled\n"
    assert done.jobs["three"].log.endswith("]\ncancelled\n"), "the run itself was not cancelled"


@pytest.mark.parametrize(
    ("fails", "answer", "expected"),
    [
        (False, Click("bob"), ["success", "success", "success", "success"]),
        (True, Click("bob"), ["failure", "success", "success", "success"]),
        (False, Click("bob", "rejected"), ["success", "success", "failure", "skipped"]),
    ],
)
def test_a_job_can_run_whatever_became_of_those_before_it(
    host: Host, github: FullGitHub, fails: bool, answer: Click, expected: list[str]
) -> None:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/expressions#status-check-functions"""
    github.protect("agent-approval", reviewers=("bob",))
    jobs = f"""
    investigate: {{runs-on: x, steps: [{{run: "exit {int(fails)}"}}]}}
    seal: {{needs: investigate, if: "${{{{ !cancelled() }}}}", runs-on: x, steps: [{{run: "true"}}]}}
    approve: {{needs: seal, if: "!cancelled()", environment: agent-approval, runs-on: x, steps: [{{run: "true"}}]}}
    act:
      needs: [seal, approve]
      if: "!cancelled() && needs.seal.result == 'success' && needs.approve.result == 'success'"
      runs-on: x
      steps: [{{run: "true"}}]
    """
    done = run(host, jobs, reviewer=lambda waiting: answer)
    assert [job.result for job in done.jobs.values()] == expected


# ------------------------------------------------------------------------------------------------------------- the API
# https://docs.github.com/en/rest/actions/workflow-jobs, https://docs.github.com/en/rest/actions/artifacts


def ask(github: FullGitHub, path: str, token: str | None = None, method: str = "GET", body: Any = None) -> Any:
    """Ask the API or a service beside it, without following a redirect."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any) -> None:
            return None

    url = path if path.startswith("http") else github.url + path
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data, headers, method=method), timeout=30) as answer:
            content = answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return json.loads(content) if is_json and content else content
    except urllib.error.HTTPError as problem:
        return problem.headers["Location"] if problem.code == 302 else problem.code


def test_the_api_lists_each_step_of_a_job(host: Host, github: FullGitHub) -> None:
    seen: list[Any] = []

    def look(done: Any) -> None:
        seen.append(ask(github, f"/repos/acme/widgets/actions/runs/{done.id}/jobs")["jobs"])

    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps: [{name: Verify, run: "exit 1"}, {name: Execute, run: "true"}, {if: always(), run: "echo a\\necho b"}]
        two: {needs: one, runs-on: x, steps: [{run: "true"}]}
        """,
        hooks={"two": look},
    )
    ((one,),) = seen
    assert (one["status"], one["conclusion"], one["runner_name"], one["labels"]) == (
        "completed",
        "failure",
        "GitHub Actions 21",
        ["ubuntu-latest"],
    )
    reported = [(step["number"], step["name"], step["status"], step["conclusion"]) for step in one["steps"]]
    assert reported == [
        (1, "Set up job", "completed", "success"),
        (2, "Verify", "completed", "failure"),
        (3, "Execute", "completed", "skipped"),
        (4, "Run echo a", "completed", "success"),
    ]
    assert all(step["started_at"] <= step["completed_at"] for step in one["steps"])
    skipped = ask(github, f"/repos/acme/widgets/actions/runs/{done.id}/jobs")["jobs"][1]
    assert (skipped["conclusion"], skipped["steps"], skipped["runner_id"]) == ("skipped", [], 0)


def test_a_job_that_ran_again_is_listed_once_unless_all_are_asked_for(host: Host, github: FullGitHub) -> None:
    """https://docs.github.com/en/rest/actions/workflow-jobs: `filter`."""
    started = host(
        workflow("one: {runs-on: x, steps: [{run: 'true'}]}\ntwo: {needs: one, runs-on: x, steps: [{run: x}]}")
    )
    done = started.dispatch(PATH, {}, actor="alice")
    started.rerun(done, "two", triggering_actor="bob")
    path = f"/repos/acme/widgets/actions/runs/{done.id}/jobs"
    latest, every = (ask(github, path + query)["jobs"] for query in ("", "?filter=all"))
    assert [(job["name"], job["run_attempt"]) for job in latest] == [("one", 1), ("two", 2)]
    assert [(job["name"], job["run_attempt"]) for job in every] == [("one", 1), ("two", 1), ("two", 2)]


def test_steps_that_never_began_have_no_times(host: Host, github: FullGitHub) -> None:
    started = host(workflow("one: {runs-on: x, steps: [{id: a, run: 'true'}, {name: Execute, run: 'true'}]}"))
    done = started.dispatch(PATH, {}, actor="alice", cancels={"one": "a"})
    (one,) = ask(github, f"/repos/acme/widgets/actions/runs/{done.id}/jobs")["jobs"]
    execute = one["steps"][-1]
    assert (one["conclusion"], execute["name"]) == ("cancelled", "Execute")
    assert (execute["status"], execute["started_at"], execute["conclusion"]) == ("queued", None, None)


def test_an_artifact_is_fetched_by_its_id_from_elsewhere_without_the_token(host: Host, github: FullGitHub) -> None:
    done = run(
        host, f"one: {{runs-on: x, steps: [{{run: echo a > a}}, {{uses: {UPLOAD}, with: {{name: n, path: a}}}}]}}"
    )
    kept = done.artifacts.named("n")
    path = f"/repos/acme/widgets/actions/artifacts/{kept.id}"
    reported = ask(github, path)
    assert (reported["name"], reported["digest"], reported["expired"]) == ("n", "sha256:" + kept.digest, False)
    elsewhere = ask(github, path + "/zip", "token")
    assert not elsewhere.startswith(github.url + "/repos")
    assert ask(github, elsewhere) == kept.archive
    assert ask(github, elsewhere, "token") != kept.archive, "as the storage, which knows no token"
    listed = ask(github, f"/repos/acme/widgets/actions/runs/{done.id}/artifacts?name=n")
    assert [each["id"] for each in listed["artifacts"]] == [kept.id]


@pytest.mark.parametrize(
    ("permissions", "expected"),
    [
        ("{}", "403 403 403 403"),
        ("{actions: read}", "200 200 200 403"),
        ("{actions: write}", "200 200 200 204"),
        ("{contents: write, issues: write}", "403 403 403 403"),
    ],
)
def test_a_jobs_token_reaches_what_its_permissions_cover(
    host: Host, github: FullGitHub, permissions: str, expected: str
) -> None:
    github.protect("agent-act")
    done = run(
        host,
        f"""
        one:
          runs-on: x
          permissions: {permissions}
          steps:
            - run: echo a > a
            - {{id: up, uses: {UPLOAD}, with: {{name: n, path: a}}}}
            - env: {{TOKEN: "${{{{ github.token }}}}", ID: "${{{{ steps.up.outputs.artifact-id }}}}"}}
              run: |
                ask() {{ curl -sS -o /dev/null -w '%{{http_code}} ' -H "Authorization: Bearer $TOKEN" "$@"; }}
                at=$GITHUB_API_URL/repos/$GITHUB_REPOSITORY
                ask $at/actions/runs/$GITHUB_RUN_ID/jobs; ask $at/environments/agent-act
                ask $at/actions/artifacts/$ID; ask -X DELETE $at/actions/artifacts/$ID
        """,
    )
    assert done.jobs["one"].steps[-1].log.strip() == expected
    assert done.artifacts.names() == ([] if expected.endswith("204") else ["n"])


def test_the_runners_token_replaces_artifacts_of_its_own_run_only(host: Host, github: FullGitHub) -> None:
    """actions/toolkit, packages/artifact: an upload-artifact with `overwrite: true` does this with no permission."""
    started = host(
        workflow(
            f"""
            one:
              runs-on: x
              outputs: {{id: "${{{{ steps.up.outputs.artifact-id }}}}"}}
              steps: [{{run: echo honest > a}}, {{id: up, uses: {UPLOAD}, with: {{name: n, path: a}}}}]
            two:
              needs: one
              if: always()
              runs-on: x
              steps:
                - id: by-id
                  continue-on-error: true
                  uses: {DOWNLOAD}
                  with: {{artifact-ids: "${{{{ needs.one.outputs.id }}}}", path: in}}
                - {{id: by-name, uses: {DOWNLOAD}, with: {{name: n, path: named}}}}
                - run: cat named/a
            """
        )
    )
    other = started.dispatch(PATH, {}, actor="alice")

    def attack(done: Any) -> None:
        token = github.let_in_runner(done.id, 1)
        service = "/twirp/github.actions.results.api.v1.ArtifactService/"
        assert (
            ask(github, service + "DeleteArtifact", token, "POST", {"workflow_run_backend_id": other.id, "name": "n"})
            == 403
        )
        assert ask(github, service + "DeleteArtifact", "else", "POST", {"name": "n"}) == 403
        assert ask(github, service + "CreateArtifact", token, "POST", {"name": "n"}) == 409
        assert ask(github, service + "DeleteArtifact", token, "POST", {"name": "n"})["ok"]
        url = ask(github, service + "CreateArtifact", token, "POST", {"name": "n"})["signed_upload_url"]
        ask(github, url, None, "PUT", pack({"a": b"forged\n"}))
        assert int(ask(github, service + "FinalizeArtifact", token, "POST", {"name": "n"})["artifact_id"]) > 0
        (listed,) = ask(github, service + "ListArtifacts", token, "POST", {})["artifacts"]
        assert listed["name"] == "n"

    done = started.dispatch(PATH, {}, actor="alice", hooks={"two": attack})

    assert done.jobs["two"].step("by-id").outcome == "failure", "ids are never used twice"
    assert done.jobs["two"].log.endswith("forged\n") and other.artifacts.named("n").files() == {"a": b"honest\n"}
    assert other.artifacts.names() == done.artifacts.names() == ["n"]


def test_a_reviewer_of_another_environment_counts_for_that_one(host: Host, github: FullGitHub) -> None:
    github.protect("agent-approval", reviewers=("bob",))
    github.protect("agent-approval-second", reviewers=("carol",))
    jobs = """
    one: {runs-on: x, environment: agent-approval, steps: [{run: "true"}]}
    two: {needs: one, runs-on: x, environment: agent-approval-second, steps: [{run: "true"}]}
    """
    done = run(
        host, jobs, reviewer=lambda waiting: Click("bob" if waiting.environment == "agent-approval" else "carol")
    )
    assert done.result == "success"
    reported = [(each["user"]["login"], each["environments"][0]["name"]) for each in github.approvals[done.id]]
    assert reported == [("bob", "agent-approval"), ("carol", "agent-approval-second")]
