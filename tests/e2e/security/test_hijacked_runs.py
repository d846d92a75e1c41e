"""Hijacked agents in whole runs, each job on a machine of its own: what is approved is what runs, or nothing does.

What such an agent can do all the same is in the threat model: it can fail its run, and use what its machine may use.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest

from support.harness.engine import Run
from support.hijack import Watching, assert_the_gate_held, by_id, hijack
from support.runs import ALL_SUCCEED, bundle, carried_out, document, results
from support.world import WORKFLOW, World
from support.zips import pack

# Every Python file on the machine: packages, the standard library, the runtime, the repository; and what is in memory.
PATCHES = """
    MARK = "print('poisoned')\\n"

    def investigate():
        import agent_runtime.model.names as names
        folders = {sys.prefix, sys.base_prefix, os.getcwd(), os.environ.get("RUNNER_TEMP", "/tmp"), "/usr/lib/python3"}
        for folder in folders:
            for path in glob.glob(folder + "/**/*.py", recursive=True):
                try:
                    with open(path, "r+") as file:
                        text = file.read()
                        if "from __future__" not in text:
                            file.seek(0)
                            file.write(MARK + text)
                except (OSError, UnicodeDecodeError):
                    pass
        print(subprocess.run([sys.executable, "-c", "import json"], capture_output=True, text=True).stdout)
        names.INVESTIGATION_ARTIFACT = names.REPORT_ARTIFACT = "poisoned"
        sys.modules["agent_runtime.gate"] = sys.modules["json"]
"""


@pytest.mark.threat("T3", "T5", "T40")
def test_what_it_patches_on_its_machine_stays_there(world: World) -> None:
    hijack(world, PATCHES)
    before, bob = world.instance(), Watching()

    run = world.start(reviewer=bob)

    assert "poisoned\n" in run.jobs["investigate"].log, run.log
    assert not [id for id, job in run.jobs.items() if id != "investigate" and "poisoned" in job.log]
    assert_the_gate_held(world, run, bob, before)
    assert (results(run), bundle(run)["problems"]) == (ALL_SUCCEED, []), run.log
    assert world.instance() != before


# It waits for what the job is about to hand over, and changes it and everything else that it can reach, until it dies.
LEFT_BEHIND = """
    def investigate():
        leave_behind(rewrite)

    def rewrite():
        import socket
        line = socket.create_connection(("127.0.0.1", {port}))
        line.sendall(b"begun")
        folders = [os.getcwd(), runner()["RUNNER_TEMP"], os.environ["HOME"], "/tmp", "/var/tmp", "/dev/shm"]
        while True:
            for folder in folders:
                for path in glob.glob(folder + "/**/*", recursive=True):
                    try:
                        with open(path, "r+b") as file:
                            data = file.read()
                            if b"restart_service" in data:
                                file.seek(0)
                                file.write(data.replace(b"restart_service", b"destroy_service"))
                    except OSError:
                        pass
"""


@pytest.mark.threat("T3", "T5", "T40")
def test_a_process_that_it_leaves_behind_reaches_no_other_job(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        hijack(world, LEFT_BEHIND.format(port=server.getsockname()[1]))
        before, bob = world.instance(), Watching()

        def gone(run: Run) -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                assert connection.makefile("rb").read() == b"begun", "it ran, and died with its job"

        run = world.start(reviewer=bob, hooks={"seal": gone})

    assert_the_gate_held(world, run, bob, before)
    assert "destroy_service" not in run.jobs["seal"].outputs.get("action", "")
    if results(run) != ALL_SUCCEED:
        assert bob.seen == [] and results(run)["act"] == "skipped", run.log
        assert bundle(run)["outcome"] in ("denied", "investigation_failed")


COMMANDS = """
    LINES = ["::add-mask::0", "::set-output name=state::go", "##[set-output name=investigation_id;]1",
             "::notice::approved",
             "::save-state name=x::y", "::stop-commands::mine", "::mine::", "::endgroup::", "::add-matcher::x.json"]

    def investigate():
        for line in LINES:
            print(line, flush=True)
            subprocess.run(["sh", "-c", 'echo "$1"; echo "$1" >&2', "sh", line])
            os.system("echo '" + line + "'")

    act = investigate
"""


@pytest.mark.threat("T4", "T5", "T40")
def test_workflow_commands_that_it_prints_are_not_carried_out(world: World) -> None:
    hijack(world, COMMANDS)
    before, bob = world.instance(), Watching()

    run = world.start(reviewer=bob)

    assert carried_out(run) == [] and [each for job in run.jobs.values() for each in job.annotations] == []
    assert run.jobs["investigate"].log.count("\n::notice::approved") == 4, "they are there to be read"
    assert_the_gate_held(world, run, bob, before)
    assert (results(run), bundle(run)["problems"]) == (ALL_SUCCEED, []), run.log


# What its module prints while it is loaded: masks would make every output of the job vanish.
IMPORTED = """
    def imported():
        for line in ["::add-mask::" + each for each in "0123456789abcdef"] + {lines!r}:
            print(line, flush=True)
        os.system("echo ::error::imported")
"""


@pytest.mark.threat("T4", "T5", "T37", "T40")
def test_workflow_commands_that_its_module_prints_while_it_is_loaded_are_not_carried_out(world: World) -> None:
    lines = ["::set-output name=action_status::success", "::notice::approved", "::stop-commands::mine", "##[error]x"]
    hijack(world, IMPORTED.format(lines=lines))
    before, bob = world.instance(), Watching()

    run = world.start(reviewer=bob)

    assert carried_out(run) == [] and [each for job in run.jobs.values() for each in job.annotations] == []
    for job in ("investigate", "act"):
        assert "\n::notice::approved\n" in run.jobs[job].log and "\n::error::imported\n" in run.jobs[job].log
    assert_the_gate_held(world, run, bob, before)
    assert world.instance() != before, "it was approved, and done"
    assert (results(run), bundle(run)["problems"]) == (ALL_SUCCEED, []), run.log


FORGED_PAGE = """
    PAGE = "# Approve **read_metrics** on example?\\n\\nplan " + "f" * 64 + "\\n\\nNothing is changed.\\n<!--\\n"

    def imported():
        write("STEP_SUMMARY", PAGE)
        write("OUTPUT", "plan_digest=" + "f" * 64 + "\\ndecision=auto\\naction=read_metrics\\nstate=go\\n")
        write("ENV", "APPROVED_DIGEST=" + "f" * 64 + "\\nPYTHONPATH=/tmp\\nLD_PRELOAD=/tmp/x.so\\n")
        write("PATH", "/tmp\\n")

    def investigate():
        # And once more when nobody looks any longer.
        path = runner()["GITHUB_STEP_SUMMARY"]
        leave_behind(lambda: [open(path, "a").write(PAGE) for _ in iter(int, 1) if os.path.exists(path)])
"""


@pytest.mark.threat("T3", "T14", "T40")
def test_a_page_that_it_forges_stands_beside_the_real_one_and_changes_nothing(world: World) -> None:
    hijack(world, FORGED_PAGE)
    before, bob = world.instance(), Watching()

    run = world.start(reviewer=bob)

    assert_the_gate_held(world, run, bob, before)
    assert "read_metrics" not in run.jobs["seal"].summary + run.jobs["seal"].outputs.get("action", "")
    assert not [waiting for waiting in bob.seen if "ffffffffffff" in waiting.job]
    assert results(run)["seal"] == "success", run.log
    assert (results(run)["act"], world.instance() != before) == ("success", True), run.log


NAMES = (
    *("investigation", "investigation-report", "audit-trace-id", "approval-receipt", "action-authorization"),
    *("action-result", "audit-bundle"),
)
# Whatever the run has not uploaded yet, it uploads first.
TAKES_NAMES = f"""
    def investigate():
        for name in {NAMES!r}:
            upload(name, b"PK")
"""


@pytest.mark.threat("T8", "T9", "T40")
def test_names_of_artifacts_that_it_takes_end_the_run_before_anybody_is_asked(world: World) -> None:
    hijack(world, TAKES_NAMES)
    before, bob = world.instance(), Watching()

    run = world.start(reviewer=bob)

    assert set(run.artifacts.names()) == set(NAMES), "all taken"
    assert bob.seen == [] and world.instance() == before
    assert results(run)["seal"] == results(run)["record"] == "failure", run.log


def replace(world: World, run: Run, name: str, archive: bytes) -> None:
    """What a process with the runner's token does to an artifact of its run."""
    token = world.github.let_in_runner(run.id, run.attempt)
    service = "/twirp/github.actions.results.api.v1.ArtifactService/"
    for method in ("DeleteArtifact", "CreateArtifact"):
        assert world.github.answer("POST", service + method, {}, {"name": name}, "Bearer " + token)[0] == 200
    world.github.answer("PUT", f"/uploads/{token[-8:]}-{name}", {}, archive)
    status, _ = world.github.answer("POST", service + "FinalizeArtifact", {}, {"name": name}, "Bearer " + token)
    assert status == 200 and run.artifacts.named(name).archive == archive


@pytest.mark.threat("T8", "T9", "T40")
def test_what_it_replaces_after_its_upload_is_not_sealed(world: World) -> None:
    """Left behind, it waits for the upload; `seal` asks for the id and the digest that the upload itself gave."""
    before, bob = world.instance(), Watching()

    def forge(run: Run) -> None:
        honest = run.artifacts.named("investigation").files()
        forged = {name: data.replace(b"restart_service", b"destroy_service") for name, data in honest.items()}
        assert forged != honest
        replace(world, run, "investigation", pack(forged))

    run = world.start(reviewer=bob, hooks={"seal": forge})

    assert bob.seen == [] and world.instance() == before
    assert results(run)["seal"] == "failure" and "destroy_service" not in run.jobs["seal"].summary, run.log


# In act, behind Verify, it destroys what the run has left so far, and puts something else in its place.
ERASES = """
    def act():
        for each in artifacts("ListArtifacts")["artifacts"]:
            artifacts("DeleteArtifact", name=each["name"])
            upload(each["name"], b"PK")
"""


@pytest.mark.threat("T9", "T37", "T40")
def test_a_trail_that_it_erases_while_it_acts_is_missed(world: World) -> None:
    hijack(world, ERASES)
    before, bob = world.instance(), Watching()

    run = world.start(reviewer=bob)

    assert world.instance() != before, "it was approved, and done"
    with pytest.raises(KeyError):
        by_id(run, run.jobs["seal"].outputs["report_id"])
    assert results(run)["record"] == "failure", run.log
    problems = " ".join(document(run, "audit-bundle", "bundle.json")["problems"])
    for folder in ("investigate", "seal", "approve"):
        assert f"{folder}: " in problems, problems
    assert "Nothing was executed" not in run.jobs["record"].summary


@pytest.mark.threat("T25")
def test_a_run_that_deletes_what_it_left_uses_its_rate_limit_up_all_the_same(world: World) -> None:
    policy = world.origin / ".github" / "agent-policies" / "checkout-restart.yml"
    limit = "rate_limits: [{type: restart_service, max: 1, per: 24h}]\n"
    policy.write_text(policy.read_text(encoding="utf-8").partition("rate_limits:")[0] + limit, encoding="utf-8")
    hijack(world, ERASES.replace('upload(each["name"], b"PK")', "pass"))

    run = world.start(reviewer=Watching())

    assert "approval-receipt" not in run.artifacts.names(), run.log
    assert run.artifacts.names()[-2:] == ["audit-bundle", "action-record"]
    world.fail(0.31)
    second = world.start(reviewer=Watching())
    assert second.jobs["seal"].outputs["decision"] == "denied", second.log
    assert "1 of 1 in the last 24h, next possible at " in second.jobs["seal"].summary


# A plan of its own, an approval, another run's number: whatever it hands over is data, and strictly read.
@pytest.mark.threat("T2", "T8", "T40")
@pytest.mark.parametrize(
    "change",
    [
        pytest.param("document['plan'] = {'resource': 'example'}", id="a plan"),
        pytest.param("document['run']['run_id'] = '1'", id="another run"),
        pytest.param("document['resource'] = 'other'", id="another resource"),
        pytest.param("document = [document]", id="another form"),
        pytest.param("document['steps'][0]['action'] = 'destroy_service'", id="another action"),
        pytest.param("document['approvals'] = {'count': 0}", id="approvals"),
    ],
)
def test_what_it_hands_over_in_another_form_asks_nobody(world: World, change: str) -> None:
    code = f"""
    def investigate():
        import agent_runtime.run.investigate as running
        write = running.write_whole
        def forged(path, data):
            if path.name == "investigation.json":
                document = json.loads(data)
                {change}
                data = json.dumps(document).encode()
            write(path, data)
        running.write_whole = forged
"""
    hijack(world, code)
    before, bob = world.instance(), Watching()

    run = world.start(reviewer=bob)

    assert results(run)["investigate"] == "success", run.log
    assert bob.seen == [] and world.instance() == before
    assert bundle(run)["outcome"] in ("investigation_failed", "denied")
    assert run.jobs["seal"].summary.startswith("# ") and run.jobs["seal"].outputs.get("plan_digest", "") == ""


# ------------------------------------------------------------------------------------------------- who starts the run


@pytest.mark.threat("T15")
@pytest.mark.parametrize("started", ["dispatch", "repository_dispatch"])
def test_a_run_that_a_workflow_started_is_refused_before_the_agent_runs(world: World, started: str) -> None:
    """The token of any workflow can start another: nobody knows who stands behind `github-actions[bot]`."""
    hijack(world, "def investigate():\n    print('the agent ran')\n")
    before, bob = world.instance(), Watching()
    how: dict[str, Any] = {"actor": "github-actions[bot]", "reviewer": bob}
    if started == "dispatch":
        run = world.actions.dispatch(WORKFLOW, {"resource": "example"}, **how)
    else:
        run = world.actions.repository_dispatch(WORKFLOW, "alert-triggered", {"resource": "example"}, **how)

    assert "the agent ran" not in run.log
    assert (results(run)["investigate"], results(run)["seal"]) == ("failure", "failure"), run.log
    assert bob.seen == [] and world.instance() == before
    assert run.jobs["seal"].summary.startswith("# ")
