"""`drift`: one edited byte in what the template owns is found, and in a fresh repository there is nothing to find."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_runtime.local.update import drift, files
from support import engines, updates
from support.engines import Render

WORKFLOW = ".github/workflows/agent-investigate-act.yml"
# The rest of what only the template changes is in its folders, or in its manifest.
RENDERED = (".copier-answers.yml", ".github/agent-config.yml", WORKFLOW)
TEAM_OR_BOTH = (
    "agent_runner.py",
    "README.md",
    "pyproject.toml",
    ".github/actions/prepare-act/action.yml",
    "services.yml",
)


def _owned(project: Path) -> set[str]:
    manifest = json.loads((project / "agent_runtime/manifest.json").read_text(encoding="utf-8"))
    return {name for name in manifest["files"] if (project / name).is_file()} | {
        "agent_runtime/manifest.json",
        *RENDERED,
    }


@pytest.mark.parametrize(
    "given_answers", [{}, engines.ADVANCED, {"repository_plan": "private-free", "triggers": "manual"}]
)
@pytest.mark.parametrize("engine", ["copier", "cookiecutter"])
def test_a_fresh_repository_has_none(
    engine: str, given_answers: dict[str, str], render: Render, bake_once: Render, tmp_path: Path
) -> None:
    made = render(**given_answers) if engine == "copier" else bake_once(**given_answers)
    project = updates.committed(made, tmp_path / "project")

    done = updates.command(project, "drift")

    assert (done.returncode, done.stdout, done.stderr) == (0, "drift: none from v1.0.0\n", "")


def test_one_more_byte_in_every_file_is_found(render: Render, tmp_path: Path) -> None:
    project = updates.committed(render(), tmp_path / "project")
    owned = _owned(project)
    for name in [*owned, *TEAM_OR_BOTH]:
        path = project / name
        path.write_bytes(path.read_bytes() + b"\n")

    done = updates.command(project, "drift", "--json")

    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert (document["version"], document["compared"], document["note"]) == ("v1.0.0", "rendering", "")
    assert {each["path"] for each in document["differences"]} == owned
    assert {(each["status"], each["owner"]) for each in document["differences"]} == {("edited", "template")}
    assert len(owned) > 150


@pytest.fixture(scope="module")
def edited(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendering whose files are changed and put back."""
    return Path(shutil.copytree(render(), tmp_path_factory.mktemp("edited") / "project"))


@settings(max_examples=300)
@given(data=st.data())
def test_one_byte_anywhere_is_found(edited: Path, data: st.DataObject) -> None:
    rendered = files.below(edited)
    assert drift.compare(edited, rendered) == []
    name = data.draw(st.sampled_from(sorted(_owned(edited))))
    before = (edited / name).read_bytes()
    at = data.draw(st.integers(0, max(len(before) - 1, 0)))
    byte = bytes([data.draw(st.integers(0, 255))])
    after = data.draw(
        st.sampled_from(
            [before[:at] + byte + before[at:], before[:at] + byte + before[at + 1 :], before[:at] + before[at + 1 :]]
        )
    )
    origin = name == ".copier-answers.yml" and re.sub(rb"(?m)^_(commit|src_path):.*\n", b"", after) == re.sub(
        rb"(?m)^_(commit|src_path):.*\n", b"", before
    )
    (edited / name).write_bytes(after)
    try:
        found = drift.compare(edited, rendered)
    finally:
        (edited / name).write_bytes(before)

    expected = [] if after == before or origin else [drift.Difference(name, "edited", "template")]
    assert found == expected


def test_more_than_bytes_is_compared(edited: Path, tmp_path: Path) -> None:
    """A program that was none, a renewed pin in one, line endings, and a folder that is a link to the same files."""
    rendered, name = files.below(edited), "agent_runtime/gate/checks.py"
    path, workflow = edited / name, edited / WORKFLOW
    before, text = path.read_bytes(), workflow.read_bytes()
    pin = re.search(rb"(actions/checkout@)[0-9a-f]{40} # v[0-9.]+", text)
    assert pin
    path.chmod(0o755)
    workflow.write_bytes(text.replace(pin.group(), pin.group(1) + b"a" * 40 + b" # v99.0.0"))
    workflow.chmod(0o755)
    try:
        found = {each.path: each.status for each in drift.compare(edited, rendered)}
        assert found == {name: "edited", WORKFLOW: "edited"}
        workflow.write_bytes(text)
        for place in (path, workflow):
            place.chmod(0o644)
        path.write_bytes(before.replace(b"\n", b"\r\n"))
        assert drift.compare(edited, rendered) == [drift.Difference(name, "edited", "template")]
        path.write_bytes(before)
        for folder in ("agent_runtime", "sdk/aimgentix", ".github/workflows"):
            (edited / folder).rename(tmp_path / "elsewhere")
            (edited / folder).symlink_to(tmp_path / "elsewhere")
            assert (folder, "edited") in {(each.path, each.status) for each in drift.compare(edited, rendered)}
            (edited / folder).unlink()
            (tmp_path / "elsewhere").rename(edited / folder)
    finally:
        path.write_bytes(before)
        workflow.write_bytes(text)
    assert drift.compare(edited, rendered) == []


def test_files_that_are_missing_new_or_links_are_found(render: Render, tmp_path: Path) -> None:
    project = updates.committed(render(), tmp_path / "project")
    (project / "sdk/aimgentix/chain.py").unlink()
    (project / "agent_runtime/gate/extra.py").write_text("", encoding="utf-8")
    (project / "agent_runtime/gate/\x1b[2J.py").write_text("", encoding="utf-8")
    (project / "agent_runtime/more").symlink_to(project / "docs")
    (project / "agent_runtime/__pycache__").mkdir(exist_ok=True)
    (project / "agent_runtime/__pycache__/cli.cpython-313.pyc").write_bytes(b"")
    moved = project / "agent_runtime/cli.py"
    moved.rename(project / "elsewhere.py")
    moved.symlink_to(project / "elsewhere.py")

    done = updates.command(project, "drift")

    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        "edited   agent_runtime/cli.py",
        "unknown  agent_runtime/gate/\\u{1b}[2J.py",
        "unknown  agent_runtime/gate/extra.py",
        "unknown  agent_runtime/more",
        "missing  sdk/aimgentix/chain.py",
    ]


def test_a_pin_that_dependabot_renewed_is_listed_and_does_not_count(render: Render, tmp_path: Path) -> None:
    project = updates.committed(render(), tmp_path / "project")
    path = project / WORKFLOW
    text = path.read_text(encoding="utf-8")
    pin = re.search(r"(actions/checkout@)([0-9a-f]{40}) # (v[0-9.]+)", text)
    assert pin
    path.write_text(text.replace(pin.group(), f"{pin.group(1)}{'a' * 40} # v99.0.0"), encoding="utf-8")
    done = updates.command(project, "drift")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, f"renewed  {WORKFLOW}")

    path.write_text(text.replace(pin.group(2), "a" * 40), encoding="utf-8")
    done = updates.command(project, "drift")
    assert (done.returncode, done.stdout) == (3, f"edited   {WORKFLOW}\n")


def test_explain_shows_the_difference_and_the_owner(render: Render, tmp_path: Path) -> None:
    project = updates.committed(render(), tmp_path / "project")
    for name, old, new in (
        (WORKFLOW, "environment: agent-approval\n", "environment: production\n"),
        (WORKFLOW, "\njobs:", "\n# \x1b[2K\x1b[1Anothing differs \u202e\njobs:"),
        ("pyproject.toml", "line-length = 120", "line-length = 100"),
        ("agent_runner.py", "\nimport ", "\nimport os\nimport "),
    ):
        path = project / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")

    (project / WORKFLOW).chmod(0o755)
    (project / "agent_runtime/extra.py").write_text("print()\n", encoding="utf-8")
    done = updates.command(project, "drift", "--explain", WORKFLOW)
    assert done.returncode == 3
    assert done.stdout.endswith("\nmode: 100644 in the template, 100755 here\n")
    assert done.stdout.startswith(f"{WORKFLOW}: the template's; an update replaces it\n")
    assert "\n-    environment: agent-approval\n+    environment: production\n" in done.stdout
    assert "nothing differs" in done.stdout and not {"\x1b", "\u202e"} & set(done.stdout), "no line hides another one"

    done = updates.command(project, "drift", "--explain", "pyproject.toml")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "pyproject.toml: both change it; an update merges")
    assert "+line-length = 100" in done.stdout

    done = updates.command(project, "drift", "--explain", "./agent_runner.py")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "agent_runner.py: the team's; no update touches it")

    done = updates.command(project, "drift", "--explain", "agent_runtime/extra.py")
    assert (done.returncode, "\n+print()\nmode: missing in the template, 100644 here\n" in done.stdout) == (3, True)

    done = updates.command(project, "drift", "--explain", "nowhere.py")
    assert (done.returncode, done.stderr.split(". ")[0]) == (2, "error: INP006: the template renders no nowhere.py")


def test_without_the_template_the_runtime_is_still_compared(template: Path, render: Render, tmp_path: Path) -> None:
    project = updates.committed(render(), tmp_path / "project")
    answers = project / ".copier-answers.yml"
    answers.write_text(
        answers.read_text(encoding="utf-8").replace(str(template), str(tmp_path / "gone")), encoding="utf-8"
    )

    done = updates.command(project, "drift")
    assert done.returncode == 0
    assert done.stderr.startswith(f"UPD03: {tmp_path / 'gone'}: git: ")
    assert "not compared: rendered workflows, configuration" in done.stderr

    done = updates.command(project, "drift", "--explain", WORKFLOW)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"error: UPD03: nothing to compare {WORKFLOW} with (UPD03: {tmp_path / 'gone'}: git: "
    )

    (project / "agent_runtime/extra.py").write_text("", encoding="utf-8")
    assert updates.command(project, "drift").returncode == 3, "a file more is enough"
    (project / "agent_runtime/extra.py").unlink()
    (project / "sdk/aimgentix/chain.py").unlink()
    assert updates.command(project, "drift").returncode == 3, "a file less is enough"

    (project / "sdk/README.md").write_text("", encoding="utf-8")
    (project / "agent_runtime/extra.py").write_text("", encoding="utf-8")
    (project / ".github/actions/setup-agent/action.yml").unlink()
    updates.append(project / ".github/actions/setup-gate/action.yml", "# Ours\n")
    done = updates.command(project, "drift", "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["compared"]) == (3, "manifest")
    assert document["note"].startswith("UPD03: ")
    assert {(each["path"], each["status"]) for each in document["differences"]} == {
        ("sdk/README.md", "edited"),
        ("sdk/aimgentix/chain.py", "missing"),
        ("agent_runtime/extra.py", "unknown"),
        (".github/actions/setup-agent/action.yml", "missing"),
        (".github/actions/setup-gate/action.yml", "edited"),
    }


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("_commit: v1.0.0\n", "_commit: v1.0.1\n", "UPD04"),
        ("_commit: v1.0.0\n", "_commit: --upload-pack=x\n", "UPD04"),
        ("_commit: v1.0.0\n", "", "UPD02"),
        ("_src_path:", "# _src_path:", "UPD02"),
        ("approvers: ", "approvers: '-'\n# ", "ANS006"),
    ],
)
def test_what_the_answers_must_say(old: str, new: str, code: str, render: Render, tmp_path: Path) -> None:
    project = updates.committed(render(), tmp_path / "project")
    answers = project / ".copier-answers.yml"
    answers.write_text(answers.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")

    done = updates.command(project, "drift")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {code}: ")
    assert done.stderr.count("\n") == 1


def test_without_copier_it_says_what_to_install(render: Render, tmp_path: Path) -> None:
    project = updates.committed(render(), tmp_path / "project")
    only_git = tmp_path / "bin"
    only_git.mkdir()
    (only_git / "git").symlink_to(str(shutil.which("git")))

    done = updates.command(project, "drift", environment={"PATH": str(only_git)})

    assert done.returncode == 2
    assert done.stderr.startswith("error: UPD01: there is no copier on PATH. Install it once")
    assert "pipx install 'copier>=9.18'" in done.stderr
