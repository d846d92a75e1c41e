"""An auditor's questions over many bundles: what was done on a resource, who approved it, what is missing."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent_runtime.local import auditor
from support import interpreter, simulated
from support.forging import forge
from support.private_sigstore import MAIN, Sigstore, attest_bundle
from support.simulated import Clone
from support.small_log import Parties, log_bundle


def another(bundle: Path, target: Path, number: int, resource: str, login: str) -> Path:
    """The bundle as that of another run on GitHub."""
    shutil.copytree(bundle, target)
    for path in (target / "bundle.json", *target.rglob("record/journal/*.jsonl")):
        text = re.sub(r'"run_number": ?\d+', f'"run_number":{number}', path.read_text(encoding="utf-8"))
        path.write_text(re.sub(r'"simulated": ?true', '"simulated":false', text), encoding="utf-8")
    forge(target, checkout=resource, reviewer=login, go="=1+1")
    return target


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = simulated.make(tmp_path_factory.mktemp("auditor") / "repository")
    code, said, bundle = made.simulate("--approve")
    assert code == 0, said
    shutil.copytree(bundle, made.root / "simulated")
    return made


@pytest.fixture(scope="module")
def runs(clone: Clone) -> Path:
    """Bundles of the runs 3, 4, 7 and 9, two of them logged; that of 9 was edited."""
    folder = clone.root / "bundles"
    made = [
        another(clone.root / "simulated", folder / name / "audit-bundle", number, resource, login)
        for name, number, resource, login in (
            ("a", 3, "checkout", "bob"),
            ("b", 4, "payments", "bob"),
            ("c", 7, "payments", "carol"),
            ("d", 9, "payments", "bob"),
        )
    ]
    parties = Parties()
    (clone.root / "policy").write_bytes(parties.policy())
    for bundle in made[:2]:
        log_bundle(bundle, parties, 1_500_000_000)
    (made[3] / "act" / "action-result.json").write_text("{}")
    return folder


def ask(clone: Clone, *words: object) -> subprocess.CompletedProcess[str]:
    command = [interpreter.python(), "agent_runner.py", *map(str, words)]
    return subprocess.run(command, cwd=clone.root, env=clone.environ(), capture_output=True, text=True, check=False)


def test_all_actions_on_a_resource_that_somebody_approved(clone: Clone, runs: Path) -> None:
    done = ask(clone, "list", runs, "--resource", "payments", "--approver", "Bob", "--since", "2026-01-01", "--csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["run"], row["resource"], row["approved by"], row["holds"][:3]) for row in rows] == [
        ("4/1", "payments", "bob", "yes"),
        ("9/1", "payments", "bob", "no:"),
    ]
    assert rows[0]["comment"] == "'=1+1", "no formula"
    assert (rows[0]["action"], rows[0]["what ran"], rows[0]["requested by"]) == (
        "bump", "bump: success", "initiator (workflow_dispatch)"
    )  # fmt: skip
    assert "2 of 4 bundles in this time; 1 don't hold" in done.stderr
    assert "acme/bumper: no bundle of Agent Runtime - Investigate & Act number 5 to 6" in done.stderr
    assert "number 8" in done.stderr and done.returncode == 6
    empty = ask(clone, "list", runs, "--until", "2020-01-01")
    assert (empty.returncode, empty.stdout) == (0, "0 of 0 bundles in this time; 0 don't hold\n")
    shown = ask(clone, "list", runs, "--policy", clone.root / "policy", "--outcome", "acted")
    assert "authenticated: yes" in shown.stdout and "TRAIL08" in shown.stdout


def test_a_sample_has_what_is_asked_of_each_change(clone: Clone, runs: Path) -> None:
    assert ask(clone, "verify", runs, "--sample", 2).stdout.count("== sample") == 2
    done = ask(clone, "verify", runs, "--sample", 9, "--since", "2026-01-01")
    assert done.stdout.count("== sample") == 4
    assert "population: 4 runs, of which 4 acted" in done.stdout
    for column in ("requested by", "action", "approved by", "approved at", "back-out"):
        assert done.stdout.count(f"\n{column}:") == 4, column
    for column in ("what ran", "tested"):  # the result of one was edited away
        assert done.stdout.count(f"\n{column}:") == 3, column
    assert (done.returncode, done.stdout.count("does not hold: ")) == (6, 1)
    assert ask(clone, "verify", runs, "--sample", "0").returncode == 2
    assert ask(clone, "verify", runs, "--since", "yesterday").returncode == 2


def test_a_folder_of_bundles_and_a_simulated_one(clone: Clone, runs: Path) -> None:
    done = ask(clone, "verify", runs, "--json")
    found = json.loads(done.stdout)
    assert [one["holds"] for one in found["bundles"]] == [True, True, True, False]
    assert [one["simulated"] for one in found["bundles"]] == [False] * 4
    assert len(found["gaps"]) == 2
    of_one = json.loads(
        ask(clone, "verify", runs / "a" / "audit-bundle", "--policy", clone.root / "policy", "--json").stdout
    )
    assert of_one["authenticated"] is True
    assert "BEFORE the run says that it ended" in of_one["authentic"], "it was logged years before this test"
    late, policy = clone.root / "bundles" / "c" / "audit-bundle", Parties()
    log_bundle(late, policy, 4_000_000_000)
    finding = auditor.examine(late, policy.policy(), now=datetime(2100, 1, 1, tzinfo=UTC))
    assert re.search(r", \d{3,5} days after the run ended; ", finding.authentic)
    late.with_name("audit-bundle.tlog-proof").unlink()
    (whole, *_, effect) = of_one["properties"]
    assert whole["unchangeable_since"] == "2017-07-14T02:40:00Z"
    assert "the log log.example.com/1 together with one" in whole["would_have_to_conspire"][0]
    assert "the agent's own machine" in effect["would_have_to_conspire"][1]
    assert "acme/bumper (simulated)" in ask(clone, "verify", clone.root / "simulated").stdout
    edited = shutil.copytree(clone.root / "simulated", clone.root / "edited")
    manifest = (edited / "bundle.json").read_text(encoding="utf-8")
    (edited / "bundle.json").write_text(manifest.replace('"simulated": true', '"simulated": false'), encoding="utf-8")
    assert "bundle.json says simulated False, the record journal True" in ask(clone, "verify", edited).stderr
    two = ask(clone, "verify", runs, "--digest", "0" * 64)
    assert (two.returncode, "has 4 bundles" in two.stderr) == (2, True)


def test_github_attested_a_bundle_or_says_nothing(clone: Clone, runs: Path) -> None:
    sigstore, bundle = Sigstore(public=False), runs / "b" / "audit-bundle"
    root, beside = clone.root / "trusted_root.jsonl", bundle.with_name("audit-bundle.sigstore.json")
    root.write_bytes(Sigstore().root() + sigstore.root())
    beside.write_bytes(attest_bundle(sigstore, bundle))
    unasked = ask(clone, "verify", bundle).stdout
    assert "authentic:   NOT AUTHENTICATED" in unasked and "is not checked without --trusted-root" in unasked
    none = ask(clone, "verify", runs / "c" / "audit-bundle").stdout
    assert "github:      none is here. In public repositories and on Enterprise Cloud" in none
    assert "elsewhere none exists, and what holds instead is a proof of the backend's log (--policy)" in none
    done = ask(clone, "verify", bundle, "--trusted-root", root, "--repo", "acme/bumper")
    commit = json.loads((bundle / "bundle.json").read_bytes())["run"]["sha"]
    assert done.returncode == 0 and "AUTHENTICATED by GitHub, attested at " in done.stdout, done
    assert f"agent-attest.yml of acme/bumper signed it on a github-hosted machine, at commit {commit}" in done.stdout
    assert f"or whoever forged the workflows in commit {commit}, where it shows" in done.stdout
    both = ask(clone, "verify", bundle, "--trusted-root", root, "--policy", clone.root / "policy", "--json")
    said = json.loads(both.stdout)
    assert said["authenticated"] and said["attestation"]["public"] is False
    assert said["properties"][0]["unchangeable_since"] == "2017-07-14T02:40:00Z", "the earlier one"
    assert said["properties"][0]["would_have_to_conspire"][0].endswith("together with one, and GitHub")
    forged = clone.root / "hijacked.json"
    forged.write_bytes(attest_bundle(sigstore, bundle, job_workflow_ref=f"acme/bumper/{MAIN}@refs/heads/main"))
    done = ask(clone, "verify", bundle, "--trusted-root", root, "--attestation", forged)
    assert (done.returncode, "TRAIL10: other-signer: " in done.stderr) == (6, True), done
    shown = ask(clone, "list", runs, "--trusted-root", root)
    assert shown.stdout.count("authenticated: yes") == 1 and shown.stdout.count("TRAIL10: ") == 2
    edited, attested = runs / "d" / "audit-bundle", clone.root / "edited.json"
    attested.write_bytes(attest_bundle(sigstore, edited))  # of bundle.json, which is as it was
    finding = auditor.examine(edited, now=datetime.now(UTC), roots=sigstore.root(), signed=attested)
    assert finding.attested is not None and finding.problems
    assert finding.described()["authenticated"] is False and finding.authentic.startswith("NOT AUTHENTICATED: ")
    assert not any(each["holds"] for each in finding.properties)
    for words, said in (
        (("--attestation", beside), "need --trusted-root"),
        (("--trusted-root", beside), "TRAIL09: "),
        (("--trusted-root", clone.root / "missing"), "TRAIL09: "),
    ):
        done = ask(clone, "verify", bundle, *words)
        assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (2, True, False), done
    beside.unlink()


def test_what_checks_an_attestation_is_named_where_it_is_missing(clone: Clone, tmp_path: Path) -> None:
    sigstore, bundle = Sigstore(), clone.root / "simulated"
    (tmp_path / "root").write_bytes(sigstore.root())
    (tmp_path / "attestation").write_bytes(attest_bundle(sigstore, bundle))
    (tmp_path / "sigstore").mkdir()
    (tmp_path / "sigstore" / "__init__.py").write_text("raise ImportError(__name__)")
    environ = {**clone.environ(), "PYTHONPATH": str(tmp_path)}
    words = ("--trusted-root", str(tmp_path / "root"), "--attestation", str(tmp_path / "attestation"))
    command = [interpreter.python(), "agent_runner.py", "verify", str(bundle), *words]
    done = subprocess.run(command, cwd=clone.root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "TRAIL09: the Python package sigstore is not installed" in done.stderr, done
    assert "pip install cryptography sigstore" in done.stderr


def test_the_page_to_print_shows_what_was_found_and_runs_nothing(clone: Clone, runs: Path, tmp_path: Path) -> None:
    hostile = another(clone.root / "simulated", tmp_path / "audit-bundle", 9, "<script>alert(1)</script>", "b\u202eob")
    done = ask(clone, "verify", hostile, "--page", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in page and "b\\u{202e}ob" in page and "NOT AUTHENTICATED" in page, done
    done = ask(clone, "verify", runs, "--policy", clone.root / "policy", "--page", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "4 bundles, of which 2 hold and 2 don't" in page
    assert (
        "Does not hold:" in page
        and page.count("<section>") == 4
        and "AUTHENTICATED by the log log.example.com/1" in page
    )
    missing = ask(clone, "verify", runs, "--page", tmp_path / "no" / "page.html")
    assert missing.returncode != 0 and "Traceback" not in missing.stderr
