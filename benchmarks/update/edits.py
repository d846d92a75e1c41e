"""What teams do to their repositories: each edit at random, and how to see that it is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from agent_runtime.local.update import owners

README = "README.md"
GATE = ".github/workflows/agent-investigate-act.yml"
# What a team can delete and still has an agent.
SEEDS = tuple(name for name in owners.SEEDS if name != "agent_runner.py" and not name.endswith("/"))

_TICKED = re.compile(r"^- \[x\](.*)$", re.MULTILINE)
_PIN = re.compile(r"(uses: actions/checkout@)([0-9a-f]{40}) # v[0-9.]+")


@dataclass(frozen=True)
class Edit:
    """One edit of a team's.

    Arguments:
        is_lost: whether it is not in the repository at this folder any more.
        opens: whether it is an edit by hand of what keeps the gate closed.
    """

    what: str
    path: str
    is_lost: Callable[[Path], bool]
    opens: bool = False


class Team:
    """A team that works in a repository.

    Arguments:
        root: the repository.
        random: decides everything.
    """

    def __init__(self, root: Path, random: Random) -> None:
        self.root, self.random = root, random
        self.number = random.randrange(100, 1000)

    def work(self) -> Iterator[Edit]:
        """Make some edits of different kinds."""
        for make in self.random.sample(KINDS, self.random.randint(3, 8)):
            yield from make(self)

    def text(self, path: str) -> str:
        """A file's text; empty where there is none."""
        try:
            return (self.root / path).read_bytes().decode("utf-8").replace("\r\n", "\n")
        except FileNotFoundError:
            return ""

    def write(self, path: str, text: str) -> None:
        """Write a file, and the folders above it."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(text.encode("utf-8"))

    def owns(self, what: str, path: str, text: str) -> Iterator[Edit]:
        """Write a file that must stay exactly so."""
        if text:
            self.write(path, text)
            yield Edit(what, path, lambda root: _read(root / path) != text)

    def adds(self, what: str, path: str, at: int, *lines: str) -> Iterator[Edit]:
        """Insert lines, the first of them before the line with this index."""
        before = self.text(path).split("\n")
        self.write(path, "\n".join([*before[:at], *lines, *before[at:]]))
        yield Edit(what, path, lambda root: not {*filter(None, lines)} <= {*_read(root / path).split("\n")})

    def appends(self, what: str, path: str, *lines: str) -> Iterator[Edit]:
        """Add lines at the end of a file."""
        if self.text(path):
            yield from self.adds(what, path, self.text(path).count("\n"), *lines)

    def rewrites(self, what: str, path: str, at: int, line: str, *, opens: bool = False) -> Iterator[Edit]:
        """Replace the line with this index."""
        before = self.text(path).split("\n")
        old = before[at]
        count = before.count(old)

        def is_lost(root: Path) -> bool:
            after = _read(root / path).split("\n")
            return line not in after or after.count(old) >= count

        self.write(path, "\n".join([*before[:at], line, *before[at + 1 :]]))
        yield Edit(what, path, is_lost, opens)

    def one(self, path: str, pattern: str) -> int | None:
        """The index of a random line that a pattern is found in; None where there is none."""
        found = [at for at, line in enumerate(self.text(path).split("\n")) if re.search(pattern, line)]
        return self.random.choice(found) if found else None

    def between(self, path: str) -> int | None:
        """The index of a random empty line between two paragraphs."""
        fenced, found = False, []
        for at, line in enumerate(self.text(path).split("\n")[:-1]):
            fenced ^= line.startswith("```")
            if not line and not fenced:
                found.append(at)
        return self.random.choice(found) if found else None


def _read(path: Path) -> str:
    """A file's text with the line endings that git keeps; empty where there is none."""
    try:
        return path.read_bytes().decode("utf-8", "replace").replace("\r\n", "\n")
    except OSError:
        return ""


def _method(team: Team) -> Iterator[Edit]:
    pattern = r'(    def investigate\(.*?\n        """.*?"""\n)'
    ours = f'\\1        if resource == "ours-{team.number}":\n            context = {{"ours": True}}\n'
    text = re.sub(pattern, ours, team.text("agent_runner.py"), count=1, flags=re.DOTALL)
    yield from team.owns("rewritten method", "agent_runner.py", text)


def _rule(team: Team) -> Iterator[Edit]:
    for path in sorted((team.root / ".github/agent-policies").glob("*.yml")):
        name = path.relative_to(team.root).as_posix()
        rule = (
            f"allowed_actions:\n  - type: drain_{team.number}\n    resources: [node-{team.number}]\n    max_risk: low\n"
        )
        yield from team.owns("own policy rule", name, team.text(name).replace("allowed_actions:\n", rule, 1))


def _readme_top(team: Team) -> Iterator[Edit]:
    yield from team.adds("README, top", README, 1, "", f"> Team {team.number} owns this agent.")


def _readme_middle(team: Team) -> Iterator[Edit]:
    at = team.between(README)
    if at:
        yield from team.adds("README, middle", README, at, "", f"Ask in #team-{team.number} before you start it.")


def _readme_end(team: Team) -> Iterator[Edit]:
    yield from team.appends("README, end", README, "", "## Contact", "", f"team-{team.number}@example.com")


def _readme_line(team: Team) -> Iterator[Edit]:
    at = team.one(README, r"^[A-Z][A-Za-z ,`]{20}")
    if at is not None:
        line = team.text(README).split("\n")[at]
        yield from team.rewrites("README, a line", README, at, f"{line} (our wiki, page {team.number})")


def _dependency(team: Team) -> Iterator[Edit]:
    asked, lock = "requirements-agent.in", "requirements-agent.lock"
    locked = f"\nhttpx==0.28.{team.number} \\\n    --hash=sha256:{team.number:064x}\n"
    yield from team.owns("own dependency", asked, team.text(asked) and team.text(asked) + "\nhttpx>=0.28\n")
    yield from team.owns("own dependency, its lock", lock, team.text(lock) and team.text(lock) + locked)


def _deleted(team: Team) -> Iterator[Edit]:
    there = [path for path in SEEDS if (team.root / path).exists()]
    if there:
        path = team.random.choice(there)
        (team.root / path).unlink()
        yield Edit("deleted seed", path, lambda root: (root / path).exists())


_JOB = """
  ours-{number}:
    runs-on: ubuntu-latest
    timeout-minutes: 5
    permissions: {{}}
    steps:
      - run: "true"
"""


def _job(team: Team) -> Iterator[Edit]:
    yield from team.appends("own job", ".github/workflows/ci.yml", *_JOB.format(number=team.number).split("\n")[:-1])


def _workflow(team: Team) -> Iterator[Edit]:
    text = "name: Ours\n\non:\n  push:\n\npermissions: {}\n\njobs:" + _JOB.format(number=team.number)
    yield from team.owns("own workflow", f".github/workflows/ours-{team.number}.yml", text)


def _prepare(team: Team) -> Iterator[Edit]:
    path = f".github/actions/prepare-{team.random.choice(('act', 'investigate'))}/action.yml"
    step = f'    - name: Ours\n      shell: bash\n      run: echo "{team.number}"\n'
    yield from team.owns("prepare step", path, team.text(path) and team.text(path) + step)


def _hot_fix(team: Team) -> Iterator[Edit]:
    """A constant, or a line more, in the template's own code."""
    files = sorted(path.relative_to(team.root).as_posix() for path in team.root.glob("agent_runtime/**/*.py"))
    path = team.random.choice(files)
    number = team.one(path, r"^_?[A-Z_]+ = [0-9]+$")
    code = team.one(path, r"^    (?:return|if|for) ")
    if number is not None:
        line = team.text(path).split("\n")[number]
        yield from team.rewrites("hot fix", path, number, f"{line.partition('=')[0]}= {team.number}")
    elif code is not None:
        yield from team.adds("hot fix", path, code, f"    # Hot fix {team.number}")


def _guide(team: Team) -> Iterator[Edit]:
    path = f"docs/{team.random.choice(('SETUP_GUIDE', 'TROUBLESHOOTING', 'REVIEWER'))}.md"
    at = team.between(path)
    if at:
        yield from team.adds("note in a guide", path, at, "", f"Team {team.number}: ask us first.")


def _cron(team: Team) -> Iterator[Edit]:
    path = f".github/workflows/agent-{team.random.choice(('report', 'drift', 'report'))}.yml"
    at = team.one(path, r"- cron:")
    if at is not None:
        line = team.text(path).split("\n")[at]
        yield from team.rewrites("changed cron", path, at, re.sub(r"\"[0-9]+ ", f'"{team.number % 60} ', line))


def _label(team: Team) -> Iterator[Edit]:
    path = f".github/workflows/{team.random.choice(('ci', 'agent-report', 'agent-drift'))}.yml"
    at = team.one(path, r"runs-on: ubuntu-latest")
    if at is not None:
        yield from team.rewrites("changed label", path, at, f"    runs-on: [self-hosted, team-{team.number}]")


def _owners(team: Team) -> Iterator[Edit]:
    path = ".github/CODEOWNERS"
    at = team.random.choice((team.text(path).count("\n"), team.text(path).count("\n"), 3))
    if team.text(path):
        yield from team.adds("code owners", path, at, f"/docs/ @acme/writers-{team.number}")


def _ticks(team: Team) -> Iterator[Edit]:
    path = "PRODUCTION_CHECKLIST.md"
    share = team.random.random()
    lines = team.text(path).split("\n")
    done = [line.replace("- [ ]", "- [x]", 1) if team.random.random() < share else line for line in lines]
    ticked = {f"- [ ]{rest}" for rest in _TICKED.findall("\n".join(done))}
    team.write(path, "\n".join(done))
    yield Edit("ticks", path, lambda root: bool(ticked & set(_read(root / path).split("\n"))))


def _pins(team: Team) -> Iterator[Edit]:
    """Dependabot's pull request: every pin of one action."""
    new = f"{team.number:040x}"
    for file in sorted([*team.root.glob(".github/workflows/*.yml"), *team.root.glob(".github/actions/*/action.yml")]):
        path = file.relative_to(team.root).as_posix()
        text = team.text(path)
        old = {commit for _, commit in _PIN.findall(text)}
        if old:
            team.write(path, _PIN.sub(rf"\g<1>{new} # v99.{team.number}.0", text))
            yield Edit("renewed pin", path, lambda root, path=path, old=old: any(e in _read(root / path) for e in old))  # type: ignore[misc]


def _settings(team: Team) -> Iterator[Edit]:
    path = "pyproject.toml"
    at = team.one(path, r"^line-length = ")
    if at is not None:
        yield from team.rewrites("settings of a tool", path, at, "line-length = 100")
    yield from team.appends("settings of a tool", path, "", "[tool.coverage.run]", f"branch = true # {team.number}")


def _target(team: Team) -> Iterator[Edit]:
    yield from team.appends("own target", "Makefile", "", f"ours-{team.number}:", f"\t@echo {team.number}")


def _ignored(team: Team) -> Iterator[Edit]:
    yield from team.appends("ignored files", ".gitignore", f"/ours-{team.number}/")


def _ecosystem(team: Team) -> Iterator[Edit]:
    more = ("  - package-ecosystem: docker", "    directory: /", "    schedule:", "      interval: daily")
    yield from team.appends("own ecosystem", ".github/dependabot.yml", *more)


def _test(team: Team) -> Iterator[Edit]:
    text = f"def test_ours() -> None:\n    assert {team.number}\n"
    yield from team.owns("own test", f"tests/test_ours_{team.number}.py", text)


def _action(team: Team) -> Iterator[Edit]:
    text = "name: Ours\ndescription: Ours\nruns:\n  using: composite\n  steps:\n    - run: 'true'\n      shell: bash\n"
    yield from team.owns("own action", f".github/actions/ours-{team.number}/action.yml", text)


def _license(team: Team) -> Iterator[Edit]:
    at = team.one("LICENSE", r"Copyright|All rights reserved")
    if at is not None:
        yield from team.rewrites("license", "LICENSE", at, f"Copyright 2026 Team {team.number}")


_BY_HAND = {
    r"^    timeout-minutes: [0-9]+$": "    timeout-minutes: 720",  # up to 360 it is neutral
    r"^    runs-on: ubuntu-latest$": "    runs-on: [self-hosted, ours]",
    r"^      actions: read": "      actions: write",
    r"^    - cron:": '    - cron: "* * * * *"',
}


def _gate(team: Team) -> Iterator[Edit]:
    pattern = team.random.choice(sorted(_BY_HAND))
    at = team.one(GATE, pattern)
    if at is not None:
        yield from team.rewrites("the gate's workflow by hand", GATE, at, _BY_HAND[pattern], opens=True)


KINDS: tuple[Callable[[Team], Iterator[Edit]], ...] = (
    _action,
    _cron,
    _deleted,
    _dependency,
    _ecosystem,
    _gate,
    _guide,
    _hot_fix,
    _ignored,
    _job,
    _label,
    _license,
    _method,
    _owners,
    _pins,
    _prepare,
    _readme_end,
    _readme_line,
    _readme_middle,
    _readme_top,
    _rule,
    _settings,
    _target,
    _test,
    _ticks,
    _workflow,
)
# Edits that no release meets and that open nothing.
CALM = (_method, _readme_top, _dependency, _ticks, _owners)
