"""Each job has a machine of its own, as on GitHub, where it is a fresh virtual one.

https://docs.github.com/en/actions/reference/runners/github-hosted-runners: "each job in a workflow executes in a fresh
instance"; what a step leaves behind ends with its job (actions/runner, `JobExtension.cs`, "orphan processes").
"""

from __future__ import annotations

import marshal
import os
import shutil
import socket
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from support import compiled
from support.environment import REPOSITORY, require_tool
from support.github import FullGitHub
from support.harness import machine
from support.harness.engine import ActionsHost, Repository
from support.harness.machine import HOSTED, Machine
from support.harness.node import ActionsService
from support.small_workflows import PATH, Host, run, workflow
from support.world import commit_all


def test_a_job_finds_nothing_that_another_wrote(host: Host) -> None:
    places = "$GITHUB_WORKSPACE $HOME $RUNNER_TEMP /tmp /var/tmp /dev/shm /run"
    done = run(
        host,
        f"""
        one:
          runs-on: ubuntu-latest
          steps:
            - run: for each in {places}; do echo mine > $each/mine; done
            - run: for each in {places}; do cat $each/mine; done
        two:
          needs: one
          runs-on: ubuntu-latest
          steps:
            - run: find / -xdev -name mine; find {places} -name mine
        """,
    )
    assert done.result == "success", done.log
    assert done.jobs["one"].log.count("\nmine") == 7
    assert "mine\n" not in done.jobs["two"].log.partition("\n")[2]


def test_a_job_sees_the_same_places_as_on_github(host: Host) -> None:
    """https://docs.github.com/en/actions/reference/workflows-and-actions/variables"""
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps: [{run: 'echo "$HOME $PWD $GITHUB_WORKSPACE $RUNNER_TEMP $RUNNER_TOOL_CACHE ${{ runner.temp }}"'}]
        """,
    )
    work = "/home/runner/work"
    reported = (
        f"/home/runner {work}/widgets/widgets {work}/widgets/widgets {work}/_temp /opt/hostedtoolcache {work}/_temp\n"
    )
    assert reported in done.jobs["one"].log


def test_a_job_sees_no_process_and_no_file_of_the_outside(host: Host, tmp_path: Path) -> None:
    done = run(
        host,
        f"""
        one:
          runs-on: ubuntu-latest
          steps:
            - run: |
                ls {tmp_path} {REPOSITORY} || echo neither is there
                echo "processes: $(ls -d /proc/[0-9]* | wc -l)"
                kill -9 {os.getpid()} || echo no such process
                touch /usr/mine || echo read-only
                mount -o remount,bind,rw /usr || umount -l /usr || echo and locked
        """,
    )
    log = done.jobs["one"].log
    for reported in ("neither is there", "no such process", "read-only", "and locked"):
        assert f"\n{reported}\n" in log, log
    (count,) = (line for line in log.splitlines() if line.startswith("processes: "))
    assert int(count.split()[1]) <= 5, "the machine's first, the shell, and what it starts"


def test_what_a_step_leaves_behind_goes_on_and_dies_with_its_job(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        done = run(
            host,
            f"""
            one:
              runs-on: ubuntu-latest
              steps:
                - run: |
                    (exec 3<>/dev/tcp/127.0.0.1/{server.getsockname()[1]}; trap '' TERM HUP
                     while ! test -e go; do sleep 0.05; done; echo still here > said; sleep 1000) > /dev/null 2>&1 &
                - run: touch go; while ! test -s said; do sleep 0.05; done; cat said
            """,
        )
        connection, _ = server.accept()
        with connection:
            connection.settimeout(60)
            assert "\nstill here\n" in done.jobs["one"].log
            assert connection.recv(1) == b"", "it died, and its connection with it"


def test_a_step_ends_although_a_child_holds_its_output(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner waits five seconds for the streams, and continues (actions/runner, `ProcessInvoker.cs`)."""
    monkeypatch.setattr(machine, "_STREAMS_SECONDS", 0.3)
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - run: |
                (while ! test -e go; do sleep 0.05; done; echo too late; echo "::add-mask::the step"; touch reported) &
                echo the step ended
            - run: touch go; while ! test -e reported; do sleep 0.05; done; echo the step ended, too
        """,
    )
    first, second = done.jobs["one"].steps
    assert (first.log, first.commands) == ("the step ended\n", ())
    assert second.log == "the step ended, too\n"


def test_a_job_changes_its_own_copy_of_python(service: ActionsService, github: FullGitHub, tmp_path: Path) -> None:
    python, origin = tmp_path / "python", tmp_path / "origin"
    venv.create(python, symlinks=True)
    (packages,) = python.glob("lib/python*/site-packages")
    (packages / "mine.py").write_text("print('as installed')\n")
    setup = "actions/setup-python@a309ff8b426b58ec0e2a45f0f869d46889d02405"
    use = f"{{uses: {setup}, with: {{python-version: '3.11'}}}}"
    jobs = f"""
    one:
      runs-on: ubuntu-latest
      steps:
        - {use}
        - run: |
            python -c "import mine, json; print(mine.__file__, json.__file__)"
            for each in mine json; do
              echo "print('patched')" > "$(python -c "import $each; print($each.__file__)" | tail -n 1)"
            done
            python -c "import mine, json"
    two:
      needs: one
      runs-on: ubuntu-latest
      steps: [{use}, {{run: 'python -c "import mine, json; print(json.dumps(1))"'}}]
    """
    for name, text in workflow(jobs).items():
        (origin / name).parent.mkdir(parents=True)
        (origin / name).write_text(text)
    commit_all(origin)
    host = ActionsHost(service, Repository(origin, "acme/widgets", github), python, tmp_path / "runs")

    done = host.dispatch(PATH, {}, actor="alice")

    assert done.jobs["one"].log.endswith("patched\npatched\n"), done.log
    assert done.jobs["two"].log.endswith("as installed\n1\n"), done.log
    assert "patched" not in (packages / "mine.py").read_text()


def test_a_job_finds_its_runners_token_in_the_runners_memory(host: Host) -> None:
    """No variable of a `run` step holds it, but root on the machine can read the runner (`ScriptHandler.cs`)."""
    done = run(
        host,
        """
        one:
          runs-on: ubuntu-latest
          steps:
            - run: env | grep ACTIONS_ || echo no variable
            - run: tr '\\0' '\\n' < /proc/1/environ
        """,
    )
    assert done.jobs["one"].steps[0].log == "no variable\n"
    assert "ACTIONS_RUNTIME_TOKEN=***\n" in done.jobs["one"].steps[1].log, "and its log masks it"


def test_with_an_identity_a_step_knows_where_to_ask_for_a_token(host: Host, github: FullGitHub) -> None:
    """https://docs.github.com/en/actions/reference/security/oidc#methods-for-requesting-the-oidc-token"""
    ask = (
        'curl -sS -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=x"'
    )
    done = run(
        host,
        f"""
        one:
          runs-on: ubuntu-latest
          permissions: {{id-token: write}}
          steps: [{{run: '{ask}'}}]
        two:
          runs-on: ubuntu-latest
          permissions: {{}}
          steps: [{{run: 'echo "[$ACTIONS_ID_TOKEN_REQUEST_URL]"'}}]
        """,
    )
    assert '"value": "ey' in done.jobs["one"].log, done.log
    assert github.identities == ["x"]
    assert done.jobs["two"].log.endswith("[]\n")


REFUSED = """
import sys
from pathlib import Path
from support.harness.machine import HOSTED, Machine
try:
    Machine(Path(sys.argv[1]), HOSTED)
except BaseException as problem:
    print(type(problem).__name__, problem)
"""


@pytest.mark.parametrize(("ci", "reported"), [("true", "Failed"), ("", "Skipped")])
def test_where_no_job_can_have_a_machine_ci_fails(tmp_path: Path, ci: str, reported: str) -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    command = [require_tool("unshare"), "--user", "--map-root-user", "sh", "-c", forbid, "sh"]
    command += [sys.executable, "-c", REFUSED, str(tmp_path)]
    path = os.pathsep.join(map(str, (REPOSITORY / "tests", REPOSITORY)))
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "CI": ci, "PYTHONPATH": path}
    )
    assert done.stdout.startswith(f"{reported} a job can't have a machine of its own: unshare: "), done.stderr


def test_a_machine_reads_and_writes_what_lies_in_it(tmp_path: Path) -> None:
    with Machine(tmp_path / "machine", HOSTED) as own:
        own.write({f"{HOSTED.work}/a/b": b"\0", "/tmp/c": b"c"})
        own.run(["/bin/sh", "-c", "ln -s /etc/passwd l; mkfifo f; mkdir .h; echo > .h/x"], {}, f"{HOSTED.work}/a", 60)
        assert own.read("/tmp/c", "/tmp/none", "/tmp", f"{HOSTED.work}/a/f") == [b"c", None, None, None]
        files = dict(own.collect(f"{HOSTED.work}/a"))
        assert files == {"b": b"\0", "l": Path("/etc/passwd").read_bytes()}, "neither hidden ones nor a pipe"
        assert own.outside(f"{HOSTED.work}/a/b").read_bytes() == b"\0"
        own.write({}, removed=["/tmp/c", "/tmp/none"])
        assert own.read("/tmp/c") == [None]


def test_a_program_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    sleep = shutil.which("sleep")
    assert sleep
    with Machine(tmp_path / "machine", HOSTED) as own:
        assert own.run([sleep, "1000"], {}, "/", 0.1).late
        assert not own.run([sleep, "0"], {}, "/", 60).late


def test_its_interpreter_looks_up_what_a_known_text_becomes_and_compiles_every_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.interpreter()  # kept where the other tests have it
    monkeypatch.setattr(compiled, "FOLDER", tmp_path / "kept")
    source = tmp_path / "sources" / "mine.py"
    source.parent.mkdir()
    source.write_text("print('known')\n")
    compiled.keep(source.parent)
    (kept,) = compiled.FOLDER.iterdir()
    kept.write_bytes(marshal.dumps(compile("print('as it is kept')", "elsewhere", "exec")))
    script = "import sys; sys.path.insert(0, '/tmp'); import mine"
    command = [f"{sys.base_prefix}/bin/python3", "-I", "-S", "-c", script]

    with Machine(tmp_path / "machine", HOSTED) as own:
        for text, said in ((source.read_bytes(), b"as it is kept\n"), (b"print('an edit')\n", b"an edit\n")):
            own.write({"/tmp/mine.py": text})
            assert own.run(command, {}, "/", 60).output == said
        assert own.run(["/bin/sh", "-c", f"touch {compiled.ON_MACHINES}/x"], {}, "/", 60).code != 0, "read-only"
