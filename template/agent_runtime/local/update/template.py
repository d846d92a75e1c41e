"""The template in its versions, and what it renders: Copier does that, as a program, in a temporary folder."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

import yaml

from agent_runtime import codes
from agent_runtime.local import answers
from agent_runtime.local.update import files, problems
from agent_runtime.local.update.files import File
from agent_runtime.local.update.git import GitFailed, environment, git, line
from agent_runtime.local.update.owners import ANSWERS_FILE

_ORIGIN = ("_commit:", "_src_path:")
_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)\Z")
_SHORT = {"gh:": "https://github.com/", "gl:": "https://gitlab.com/", "git+": ""}
_SECONDS = 600


class Recorded:
    """What `.copier-answers.yml` records.

    Raises:
        BadInput: it can't be read, an answer is invalid, or it does not say where the repository came from.
    """

    def __init__(self, text: Optional[bytes]) -> None:
        self.text = text or b""
        try:
            known: Any = yaml.safe_load(self.text.decode("utf-8"))
        except (UnicodeDecodeError, yaml.YAMLError):
            known = None
        if not isinstance(known, dict):
            raise codes.BadInput(problems.NO_ORIGIN, f"{ANSWERS_FILE} is missing or can't be read")
        self.known: Dict[str, Any] = known
        self.commit, self.source = str(known.get("_commit") or ""), str(known.get("_src_path") or "")
        if not self.commit or not self.source:
            missing = "_src_path" if self.commit else "_commit"
            raise codes.BadInput(problems.NO_ORIGIN, f"{ANSWERS_FILE} has no {missing}")
        for problem in answers.validate(known):
            raise codes.BadInput(problem.code, f"{ANSWERS_FILE}: {problem.question}: {problem.message}")


class Template:
    """A clone of the template, for as long as its folder is there."""

    def __init__(self, source: str, work: Path) -> None:
        self.source, self._work, self.clone = source, work, work / "template"
        (work / "copier.yml").write_text("{}\n", encoding="utf-8")

    def ask(self, *words: str) -> str:
        """What git prints about the clone.

        Raises:
            GitFailed: it ended with an error.
        """
        return line(self.clone, *words)

    def resolve(self, version: str) -> str:
        """The commit of a version.

        Raises:
            BadInput: there is none.
        """
        for name in (version, f"refs/remotes/origin/{version}"):
            try:
                return line(self.clone, "rev-parse", "--verify", "--quiet", "--end-of-options", name + "^{commit}")
            except GitFailed:
                continue
        raise codes.BadInput(problems.NO_VERSION, f"{self.source} has no version {version}")

    def newest(self) -> str:
        """The newest tag that is a version, no pre-release; where there is none, the default branch."""
        return next(iter(self.versions()), "") or self.name("HEAD")

    def versions(self) -> List[str]:
        """The tags that are versions, no pre-releases; the newest first."""
        tags = line(self.clone, "tag", "--list").split()
        return sorted(filter(_VERSION.match, tags), key=numbers, reverse=True)

    def before(self, version: str) -> List[str]:
        """The versions that are older than a recorded one; the newest first."""
        tag, _, more = version.partition("-")  # as git describes what came after a tag
        limit = numbers(tag)
        return [each for each in self.versions() if numbers(each) < limit or (more and numbers(each) == limit)]

    def name(self, version: str) -> str:
        """How a version is recorded: by its tag, or as git describes its commit."""
        if _VERSION.match(version):
            return version
        return line(
            self.clone, "describe", "--tags", "--match=v[0-9]*", "--match=[0-9]*", "--always", self.resolve(version)
        )

    def contains(self, older: str, newer: str) -> bool:
        """Whether one version came before another one, or is the same."""
        try:
            git(self.clone, "merge-base", "--is-ancestor", self.resolve(older), self.resolve(newer))
        except GitFailed:
            return False
        return True

    def render(self, version: str, recorded: Recorded, changed: Mapping[str, str] = {}) -> Dict[str, File]:
        """Every file that a version renders for the recorded answers, or other ones.

        Raises:
            BadInput: there is no such version, Copier is missing, or it refuses.
        """
        folder = Path(tempfile.mkdtemp(dir=str(self._work)))
        source, target = folder / "version", folder / "rendered"
        index = {"GIT_INDEX_FILE": str(folder / "index")}
        git(self.clone, "read-tree", self.resolve(version), more=index)
        git(self.clone, "checkout-index", "--all", f"--prefix={source}/", more=index)
        target.mkdir()
        (target / ANSWERS_FILE).write_bytes(recorded.text)
        self._copy(source, target, changed)
        rendered = files.below(target)
        made = rendered[ANSWERS_FILE]
        rendered[ANSWERS_FILE] = File(made.mode, _with_origin(made.data, self.name(version), recorded.source))
        return rendered

    def _copy(self, source: Path, target: Path, changed: Mapping[str, str]) -> None:
        copier = shutil.which("copier")
        if not copier:
            raise codes.BadInput(problems.NO_COPIER, "there is no copier on PATH")
        data = [word for name, value in changed.items() for word in ("--data", f"{name}={value}")]
        command = [copier, "copy", "--defaults", "--overwrite", "--quiet", *data, str(source), str(target)]
        settings = {"COPIER_SETTINGS_PATH": str(self._work / "copier.yml")}  # a person's own defaults change nothing
        try:
            done = subprocess.run(  # noqa: S603  an argument list without a shell
                command,
                cwd=str(self._work),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=environment(settings),
                timeout=_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise codes.BadInput(problems.RENDERING, f"Copier did not end within {_SECONDS} seconds") from None
        if done.returncode:
            said = [each for each in done.stderr.decode("utf-8", "replace").splitlines() if each.strip()]
            code = problems.NO_COPIER if "requires copier version" in " ".join(said) else problems.RENDERING
            raise codes.BadInput(code, "Copier: " + (said[-1].strip() if said else "it printed no reason"))


@contextmanager
def opened(recorded: Recorded, root: Path) -> Iterator[Template]:
    """The template that a repository came from, for a while.

    Raises:
        BadInput: it can't be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="agent-update-") as folder:
        address = recorded.source
        for short, full in _SHORT.items():
            if address.startswith(short):
                address = full + address[len(short) :]
        local = root / address
        if local.exists():
            address = str(local.resolve())
        if local.exists() and not (local / ".git").exists() and not (local / "HEAD").is_file():
            raise codes.BadInput(problems.UNREACHABLE, f"{recorded.source} is a folder without git history")
        try:
            git(Path(folder), "clone", "--quiet", "--no-checkout", "--", address, str(Path(folder) / "template"))
        except GitFailed as error:
            raise codes.BadInput(problems.UNREACHABLE, f"{recorded.source}: {error.message}") from None
        yield Template(recorded.source, Path(folder))


def is_version(name: str) -> bool:
    """Whether a name is one of a release."""
    return bool(_VERSION.match(name))


def without_origin(data: bytes) -> bytes:
    """The answers file without the lines that say where the repository came from."""
    return b"".join(each for each in data.splitlines(True) if not each.startswith(tuple(map(str.encode, _ORIGIN))))


def _with_origin(data: bytes, commit: str, source: str) -> bytes:
    lines = without_origin(data).splitlines(True)
    start = next((at for at, each in enumerate(lines) if not each.startswith(b"#")), len(lines))
    origin = yaml.safe_dump({"_commit": commit, "_src_path": source}, allow_unicode=True, width=10_000)
    return b"".join([*lines[:start], origin.encode("utf-8"), *lines[start:]])


def numbers(tag: str) -> Tuple[int, ...]:
    """The numbers of a version, to compare it with another one; none where it is not one."""
    found = _VERSION.match(tag)
    parts: List[int] = [int(part) for part in found.group(1).split(".")] if found else []
    while parts and not parts[-1]:
        parts.pop()
    return tuple(parts)
