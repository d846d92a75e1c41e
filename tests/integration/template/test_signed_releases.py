"""`update` to a release that somebody signed whose signature counts here, and to none that is revoked."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_runtime.local.update.releases import SIGNERS
from support import engines, signatures, updates
from support.engines import Render

MANIFEST = "agent_runtime/manifest.json"
PLAN = "template/agent_runtime/model/plan.py"
NOBODY = f"{SIGNERS} names nobody: signatures of releases are not checked"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Keys by the name of their owner."""
    folder, made = tmp_path_factory.mktemp("keys"), dict[str, Path]()

    def find(name: str) -> Path:
        if name not in made:
            made[name] = signatures.key(folder, name)
        return made[name]

    return find


@pytest.fixture
def later(template: Path, keys: Callable[[str], Path], tmp_path: Path) -> Path:
    """The template with three releases that Ann signed: 1.0.1 lets Ann sign, and 1.1.0 lets Eve, too."""
    later = tmp_path / "later" / "gated-agents"
    updates.release_after(template, later, lambda folder: signatures.allow(folder, keys("ann")), "v1.0.1")
    signatures.sign(later, "v1.0.0", keys("ann"), "v1.0.0^{commit}")
    signatures.sign(later, "v1.0.1", keys("ann"))
    signatures.allow(later / "template", keys("ann"), keys("eve"))
    updates.append(later / PLAN, "\n# Release 1.1.0\n")
    engines.release(later, "v1.1.0")
    signatures.sign(later, "v1.1.0", keys("ann"))
    return later


@pytest.fixture
def project(template: Path, later: Path, keys: Callable[[str], Path], render: Render, tmp_path: Path) -> Path:
    """A repository of release 1.0.1, in which Ann's signature counts."""
    project = updates.born(render(), tmp_path / "project", template, later)
    updates.replace(project / ".copier-answers.yml", "_commit: v1.0.0", "_commit: v1.0.1")
    for name in (SIGNERS, MANIFEST):
        (project / name).write_text(engines.git(later, "show", f"v1.0.1:template/{name}"), encoding="utf-8")
    engines.commit_all(project, "Update from the template")
    return project


def _refused(project: Path, *words: str) -> str:
    """The line that refuses an update, which changed nothing."""
    before = updates.snapshot(project)
    done = updates.command(project, "update", "--json", *words)
    assert (done.returncode, json.loads(done.stdout)["result"]) == (3, "refused"), done.stderr
    assert updates.snapshot(project) == before
    return done.stderr


def test_a_release_with_an_allowed_signature_comes(project: Path, keys: Callable[[str], Path]) -> None:
    done = updates.command(project, "update")

    assert (done.returncode, NOBODY in done.stderr) == (0, False), done.stderr
    assert (project / SIGNERS).read_text(encoding="utf-8").endswith(signatures.line(keys("eve")))
    assert updates.command(project, "update").stdout == "nothing: this is v1.1.0; the template has nothing newer\n"


def test_a_signer_counts_for_as_long_as_the_line_says(project: Path, keys: Callable[[str], Path]) -> None:
    (project / SIGNERS).write_text(signatures.line(keys("ann"), 'valid-before="20200101"'), encoding="utf-8")
    engines.commit_all(project, "End Ann's time")

    assert _refused(project, "--accept", "UPD18").startswith("error: UPD18: v1.0.1: ")


def _unsigned(later: Path, _: Callable[[str], Path]) -> None:
    engines.git(later, "tag", "--force", "--annotate", "--message", "Release", "v1.1.0", "v1.1.0^{commit}")


def _light(later: Path, _: Callable[[str], Path]) -> None:
    engines.git(later, "tag", "--force", "v1.1.0", "v1.1.0^{commit}")


def _by_eve(later: Path, keys: Callable[[str], Path]) -> None:
    signatures.sign(later, "v1.1.0", keys("eve"), "v1.1.0^{commit}")


def _another_tag(later: Path, _: Callable[[str], Path]) -> None:
    engines.git(later, "update-ref", "refs/tags/v1.1.0", "refs/tags/v1.0.1")


def _another_commit(later: Path, _: Callable[[str], Path]) -> None:
    tag = engines.git(later, "cat-file", "tag", "v1.1.0")
    old, new = (engines.git(later, "rev-parse", name).strip() for name in ("v1.1.0^{commit}", "v1.0.1^{commit}"))
    (later / ".git/forged").write_text(tag.replace(old, new), encoding="utf-8")
    forged = engines.git(later, "hash-object", "-t", "tag", "-w", ".git/forged").strip()
    engines.git(later, "update-ref", "refs/tags/v1.1.0", forged)


def _moved_base(later: Path, _: Callable[[str], Path]) -> None:
    """What the repository came from is another state, so that a merge would keep what the release repairs."""
    engines.git(later, "tag", "--force", "v1.0.1", "v1.1.0^{commit}")


@pytest.mark.parametrize("spoil", [_unsigned, _light, _by_eve, _another_tag, _another_commit, _moved_base])
def test_a_release_without_an_allowed_signature_is_refused(
    spoil: Callable[[Path, Callable[[str], Path]], None], project: Path, later: Path, keys: Callable[[str], Path]
) -> None:
    spoil(later, keys)

    named = "v1.0.1" if spoil is _moved_base else "v1.1.0"
    assert _refused(project).startswith(f"error: UPD18: {named}: ")


def test_only_a_tag_is_a_release_where_signatures_count(project: Path, later: Path) -> None:
    commit = engines.git(later, "rev-parse", "v1.1.0^{commit}").strip()
    for version in ("main", commit):
        assert f"UPD18: {version} is not a version" in _refused(project, "--to", version)
    (project / SIGNERS).unlink()
    engines.commit_all(project, "Remove the signers")
    assert f"UPD18: {SIGNERS} is missing here" in _refused(project)


def test_keys_and_programs_of_a_person_are_not_asked(
    project: Path, later: Path, keys: Callable[[str], Path], tmp_path: Path
) -> None:
    """Whatever git calls well signed with the settings of whoever updates."""
    yes = tmp_path / "yes"
    yes.write_text(
        "#!/bin/sh\ncat > /dev/null\necho\necho '[GNUPG:] GOODSIG 0 eve'\necho '[GNUPG:] TRUST_ULTIMATE 0'\n",
        encoding="utf-8",
    )
    yes.chmod(0o755)
    everybody = tmp_path / "everybody"
    everybody.write_text(signatures.line(keys("eve")), encoding="utf-8")
    settings = tmp_path / "settings"
    settings.write_text(
        f'[gpg]\nprogram = {yes}\n[gpg "openpgp"]\nprogram = {yes}\n[gpg "x509"]\nprogram = {yes}\n'
        f'[gpg "ssh"]\nprogram = {yes}\nallowedSignersFile = {everybody}\n',
        encoding="utf-8",
    )
    commit = engines.git(later, "rev-parse", "v1.1.0^{commit}").strip()
    for kind in ("PGP SIGNATURE", "SIGNED MESSAGE", "SSH SIGNATURE"):
        text = f"object {commit}\ntype commit\ntag v1.1.0\ntagger Eve <eve@example.com> 1800000000 +0000\n\nRelease\n"
        (later / ".git/forged").write_text(f"{text}-----BEGIN {kind}-----\n\nAAAA\n-----END {kind}-----\n")
        forged = engines.git(later, "hash-object", "-t", "tag", "-w", ".git/forged").strip()
        engines.git(later, "update-ref", "refs/tags/v1.1.0", forged)
        verify = ["git", "verify-tag", "v1.1.0"]
        environment = {**updates.NOBODY, "GIT_CONFIG_GLOBAL": str(settings)}
        if kind != "SSH SIGNATURE":
            assert engines.run(verify, later, environment).returncode == 0
        done = updates.command(project, "update", environment=environment)
        assert (done.returncode, "UPD18: v1.1.0: " in done.stderr) == (3, True), done.stderr


def test_a_template_without_signers_says_so_once_and_goes_on(
    template: Path, later: Path, render: Render, tmp_path: Path, keys: Callable[[str], Path]
) -> None:
    project = updates.born(render(), tmp_path / "anybody", template, later)
    _by_eve(later, keys)

    done = updates.command(project, "update")

    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines().count(NOBODY) == 1
    assert "ann@example.com" in (project / SIGNERS).read_text(encoding="utf-8")


def test_a_revoked_release_is_refused_and_who_has_it_is_warned(
    template: Path, later: Path, render: Render, tmp_path: Path
) -> None:
    why, shown = "its gate can be bypassed", "its gate can be bypassed\\u{1b}[2J"
    project = updates.born(render(), tmp_path / "anybody", template, later)
    assert updates.command(project, "update", "--branch", "made").returncode == 0
    signatures.list_releases(
        later, signatures.entry(later, "v1.0.0") + signatures.entry(later, "v1.1.0", f"{why}\x1b[2J")
    )

    assert _refused(project).startswith(f"error: UPD19: v1.1.0: {shown}. ")
    commit = engines.git(later, "rev-parse", "v1.1.0^{commit}").strip()
    assert "UPD19" in _refused(project, "--to", commit)

    engines.git(project, "checkout", "--quiet", "made")
    warning = f"v1.1.0 is revoked: {shown}"
    done = updates.command(project, "drift")
    assert (done.returncode, warning in done.stderr) == (0, True)
    assert json.loads(updates.command(project, "drift", "--json").stdout)["revoked"] == f"{why}\x1b[2J"
    done = updates.command(project, "update")
    assert (done.returncode, done.stderr.splitlines()[1]) == (0, warning.replace(" is", ", which is here, is"))
    done = updates.command(project, "update", "--json", "--to", "v1.0.0")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["notes"] == [warning.replace(" is", ", which is here, is").replace(shown, f"{why}\x1b[2J")]


def test_a_list_that_cannot_be_read_ends_the_update(project: Path, later: Path) -> None:
    signatures.list_releases(later, signatures.entry(later, "v1.1.0") + "revoked = true\n")

    done = updates.command(project, "update", "--json")

    assert (done.returncode, done.stderr[:13]) == (2, "error: UPD20:")
    assert os.linesep not in done.stderr.strip()
