"""The agent against real folders: what it names, what it deletes, and what it leaves alone.

The folder is the one of the example: six files of 36 000 bytes with a quota of 20 000, four of them old.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Dict, Set

import example_service
import pytest

import agent_runner
from agent_runner import DiskCleanupAgent
from agent_runtime import ActionResult, ActionStatus, ProposedAction
from agent_runtime.testing import evaluate, parse_policy
from agent_runtime.toolkit.errors import ToolError

POLICIES = Path(agent_runner.__file__).resolve().parent / ".github" / "agent-policies"
OLDEST = ["build-101.tar", "logs/build-101.log", "build-102.tar", "tools/cleanup.py"]
YOUNG = {"build-118.tar", "logs/build-118.log"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's folder; the agent finds it."""
    made = tmp_path / "cache"
    example_service.fill(made)
    monkeypatch.setenv("SERVICES_FILE", str(tmp_path / "services.yml"))
    write(tmp_path, folder=str(made))
    return made


def write(place: Path, **changes: Any) -> None:
    """Write the catalogue; JSON is YAML too."""
    entry = {"folder": str(place / "cache"), "quota_bytes": example_service.QUOTA_BYTES, **changes}
    (place / "services.yml").write_text(json.dumps({"services": {"example": entry}}), encoding="utf-8")


def proposal() -> ProposedAction:
    """What the agent proposes when it looks now."""
    proposed = DiskCleanupAgent().investigate("example").proposed_action
    assert proposed is not None
    return proposed


def carry_out(parameters: Dict[str, Any]) -> ActionResult:
    """Do what was approved."""
    return DiskCleanupAgent().act("example", "delete_files", parameters)


def below(folder: Path) -> Set[str]:
    """The files that are there."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def aged(path: Path, days: float = 100) -> None:
    """Make a file look old."""
    moment = time.time() - days * 24 * 3600
    os.utime(path, (moment, moment), follow_symlinks=False)


def test_the_oldest_files_are_named_and_deleted_and_no_other(folder: Path) -> None:
    proposed = proposal()
    assert [file["path"] for file in proposed.parameters["files"]] == OLDEST
    assert (proposed.parameters["used"], proposed.parameters["quota"]) == (36_000, 20_000)
    result = carry_out(proposed.parameters)
    assert (result.status, len(result.changes)) == (ActionStatus.SUCCESS, 4)
    assert result.verification == {"used_before": 36_000, "used_after": 18_000, "quota": 20_000}
    assert below(folder) == YOUNG
    assert DiskCleanupAgent().investigate("example").proposed_action is None
    assert carry_out(proposed.parameters).status is ActionStatus.ALREADY_DONE


def test_only_as_many_as_it_takes(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, quota_bytes=28_000)
    assert [file["path"] for file in proposal().parameters["files"]] == OLDEST[:2]
    write(tmp_path, quota_bytes=36_000)
    assert DiskCleanupAgent().investigate("example").recommendation == "nothing to do"


def test_three_of_four_are_deleted_and_the_one_that_changed_is_left(folder: Path) -> None:
    parameters = proposal().parameters
    (folder / "build-102.tar").write_bytes(b"new")
    result = carry_out(parameters)
    assert result.status is ActionStatus.PARTIAL
    assert [change.split(",")[0] for change in result.changes] == [
        "deleted build-101.tar",
        "deleted logs/build-101.log",
        "deleted tools/cleanup.py",
    ]
    assert result.details["error"] == (
        "1 of 4 files are still there; build-102.tar: it changed since the plan was made (bytes, modified)"
    )
    assert below(folder) == YOUNG | {"build-102.tar"}


def test_where_nothing_could_be_deleted_it_failed(folder: Path) -> None:
    parameters = proposal().parameters
    for name in OLDEST:
        os.utime(folder / name)
    result = carry_out(parameters)
    assert (result.status, result.changes, len(result.details["left"])) == (ActionStatus.FAILED, (), 4)
    assert len(below(folder)) == 6


def test_what_is_deleted_and_filled_again_meanwhile_is_no_success(folder: Path) -> None:
    parameters = proposal().parameters
    (folder / "core").write_bytes(b"x" * 5_000)
    result = carry_out(parameters)
    assert (result.status, len(result.changes)) == (ActionStatus.FAILED, 4)
    assert "23000 bytes are still over the quota" in result.details["error"]


def test_a_file_that_somebody_else_deleted_is_fine(folder: Path) -> None:
    parameters = proposal().parameters
    (folder / "build-101.tar").unlink()
    result = carry_out(parameters)
    assert (result.status, len(result.changes)) == (ActionStatus.SUCCESS, 3)


def test_links_are_neither_followed_nor_deleted(folder: Path, tmp_path: Path) -> None:
    parameters = proposal().parameters
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("build-101.log", "kept"):
        (outside / name).write_bytes(b"x" * 2_000)
    (folder / "logs").rename(folder / "moved")
    (folder / "logs").symlink_to(outside)
    (folder / "build-101.tar").unlink()
    (folder / "build-101.tar").symlink_to(outside / "kept")
    result = carry_out(parameters)
    assert result.status is ActionStatus.PARTIAL
    assert set(result.details["left"]) == {"logs/build-101.log", "build-101.tar"}
    assert (outside / "build-101.log").exists() and (outside / "kept").exists()
    assert (folder / "build-101.tar").is_symlink()


def test_another_file_of_the_same_name_size_and_time_is_another_one(folder: Path) -> None:
    parameters = proposal().parameters
    path = folder / "build-101.tar"
    known = path.stat()
    copy = folder / "copy"
    copy.write_bytes(path.read_bytes())
    copy.rename(path)
    os.utime(path, ns=(known.st_mtime_ns, known.st_mtime_ns))
    assert "inode" in carry_out(parameters).details["left"]["build-101.tar"]


@pytest.mark.parametrize("path", ["../outside", "logs/../../outside", "/outside", "", ".", "a\0b", "logs"])
def test_no_path_leads_out_of_the_folder(folder: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    file = dict(proposal().parameters["files"][0], path=path)
    result = carry_out(dict(proposal().parameters, files=[file]))
    assert (result.status, result.changes) == (ActionStatus.FAILED, ())
    assert (tmp_path / "outside").exists() and len(below(folder)) == 6


def test_names_that_a_plan_cannot_carry_are_left_out_and_said(folder: Path) -> None:
    names = [b"a\nb", b"\xff\xfe", b"100%25", b"~x", b"a\\b", b" x", "e\u0301".encode(), "\u202e".encode()]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b"x")
        aged(folder / os.fsdecode(name))
    (folder / "link").symlink_to("build-118.tar")
    os.link(folder / "build-118.tar", folder / "second-name")
    result = DiskCleanupAgent().investigate("example")
    assert result.proposed_action is not None
    assert not {"link", "second-name"} & {file["path"] for file in result.proposed_action.parameters["files"]}
    (left_out,) = [finding.evidence["left_out"] for finding in result.findings if "left_out" in finding.evidence]
    assert len(left_out) == len(names) + 3, left_out
    assert "a\\u{a}b: its name has characters that can't be seen" in left_out
    assert "\\u{dcff}\\u{dcfe}: its name is not UTF-8" in left_out
    assert "link: it is a link or a device" in left_out
    assert "second-name: it has several names" in left_out
    json.dumps(result.findings[-1].evidence).encode("utf-8")


@pytest.mark.parametrize("kind", ["link", "gone", "file"])
def test_a_folder_that_is_none_is_one_line(folder: Path, tmp_path: Path, kind: str) -> None:
    parameters = proposal().parameters
    folder.rename(tmp_path / "real")
    if kind == "link":
        folder.symlink_to(tmp_path / "real")
    elif kind == "file":
        folder.write_bytes(b"")
    said = {"link": "is a link", "gone": "is not there", "file": "is not a folder"}[kind]
    for look in (DiskCleanupAgent().investigate, DiskCleanupAgent().observe):
        with pytest.raises(ToolError) as caught:
            look("example")
        assert said in caught.value.message and "\n" not in caught.value.line()
    result = carry_out(parameters)
    assert (result.status, said in result.details["error"]) == (ActionStatus.FAILED, True)
    assert len(below(tmp_path / "real")) == 6


def test_another_folder_in_its_place_is_seen_before_anything_is_done(folder: Path, tmp_path: Path) -> None:
    before = DiskCleanupAgent().observe("example")
    assert DiskCleanupAgent().observe("example") == before
    folder.rename(tmp_path / "real")
    folder.mkdir()
    assert DiskCleanupAgent().observe("example") != before


def test_a_plan_for_another_folder_is_not_carried_out(folder: Path) -> None:
    result = carry_out(dict(proposal().parameters, folder=str(folder.parent)))
    assert (result.status, len(below(folder))) == (ActionStatus.FAILED, 6)
    assert "services.yml names" in result.details["error"]


@pytest.mark.parametrize("path", ["cache", "/", "/srv/../etc", "/srv/", "", 5])
def test_a_folder_of_the_catalogue_is_an_absolute_path(folder: Path, tmp_path: Path, path: Any) -> None:
    write(tmp_path, folder=path)
    with pytest.raises(ToolError, match="must be a"):
        DiskCleanupAgent().investigate("example")


def test_only_old_files_and_only_so_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_runner, "MAX_FILES", 2)
    result = DiskCleanupAgent().investigate("example")
    assert any("is not enough" in finding.message for finding in result.findings)
    assert result.proposed_action is not None and len(result.proposed_action.parameters["files"]) == 2
    for name in OLDEST:
        aged(folder / name, 6.9)
    result = DiskCleanupAgent().investigate("example")
    assert (result.recommendation, result.proposed_action) == ("nothing to do: no old files", None)


def test_other_actions_and_empty_plans_do_nothing(folder: Path) -> None:
    for action, parameters in (("delete_all", proposal().parameters), ("delete_files", {}), ("delete_files", None)):
        assert DiskCleanupAgent().act("example", action, parameters).status is ActionStatus.FAILED
    assert len(below(folder)) == 6


def test_the_policy_lets_a_reviewer_decide_on_what_the_agent_proposes(folder: Path) -> None:
    (file,) = POLICIES.glob("*.yml")
    policy = parse_policy(file.read_bytes(), file.name)
    proposed = proposal()

    def decision(moment: datetime, **changes: Any) -> str:
        return evaluate(
            policy,
            action=proposed.action,
            resource="example",
            parameters=dict(proposed.parameters, **changes),
            risk_level=proposed.risk_level,
            moment=moment,
        ).decision

    now = datetime.now(timezone.utc)
    assert decision(now) == "review"
    assert decision(now - timedelta(days=25)) == "denied"
    assert decision(now, files=proposed.parameters["files"] * 13) == "denied"
    assert decision(now, files=[dict(proposed.parameters["files"][0], bytes=20_000_000_001)]) == "denied"
    assert decision(now, used=20_000) == "denied"
    assert decision(now, files=[dict(proposed.parameters["files"][0], path="../x")]) == "denied"


def test_the_catalogue_can_be_read() -> None:
    assert agent_runner.catalogue().services
