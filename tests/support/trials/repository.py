"""Trials of the codes of `make check`: answers, workflows, files, and the parts that the runtime needs to start."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from agent_runtime import codes
from agent_runtime.local import answers, check
from agent_runtime.local.codes import AGENT_MISSING, CASE_FAILED, CASES_INVALID, RULE_NEVER
from support import engines, interpreter, updates
from support.rendering import APPROVAL_WORKFLOW, WORKFLOW
from support.trials.lab import Attempt, Lab, both, trial

CONFIG = ".github/agent-config.yml"
SLUG = "checkout-restart"
POLICY = f".github/agent-policies/{SLUG}.yml"
CASES = "tests/policy.yml"
A_POLICY = f"name: {SLUG}\nversion: 1\nallowed_actions: []\n"
Change = Callable[[str], str]


def checked(root: Path) -> str:
    """What `make check` says."""
    return "\n".join(problem.line() for problem in (*check.check(root), *check.notes(root)))


def edit(root: Path, name: str, change: Change) -> None:
    """Change a file, which need not be there."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    changed = change(text)
    assert changed != text, name
    path.write_text(changed, encoding="utf-8")


RESTORED: dict[str, bytes] = {}


def obey(root: Path, line: str) -> None:
    """Type the command that a line recommends, of copier or of the agent."""
    engines.commit_all(root, "Edit")
    program, *words = shlex.split(command_of(line))
    command = {"agent_runner.py": [program], "copier": ["-m", program]}.get(program, ["-I", program])
    environment = {**updates.PATH, **updates.NOBODY}
    done = engines.run([interpreter.python(), *command, *words], cwd=root, environment=environment)
    assert done.returncode == 0, done.stderr


def command_of(line: str) -> str:
    """The command in a line, from the name of its program on."""
    found = re.search(r"(copier|agent_runner\.py|agent_runtime/__main__\.py) [^;]*", line)
    assert found, line
    return found[0]


def restore(root: Path, name: str, line: str) -> None:
    """The same for a command that restores one file; what it gave once is what the same command gives again."""
    if command_of(line) in RESTORED:
        (root / name).write_bytes(RESTORED[command_of(line)])
        return
    obey(root, line)
    RESTORED[command_of(line)] = (root / name).read_bytes()


def line_of(root: Path, code: str) -> str:
    """The first line of `make check` with a code."""
    return next(line for line in checked(root).splitlines() if line.startswith(code + ": "))


def replaced(old: str, new: str) -> Change:
    """Replace the first `old`."""
    return lambda text: text.replace(old, new, 1)


def added(text: str) -> Change:
    """Add to the end."""
    return lambda before: before + text


# The answers: a wrong one, and one that follows the advice.
ANSWERS: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    answers.TEXT: ("agent_name", "a\nb", "a b", {}),
    answers.SLUG: ("agent_slug", "Checkout", SLUG, {}),
    answers.REPOSITORY: ("github_repository", "https://github.com/acme/x", "acme/x", {}),
    answers.APPROVERS: ("approvers", "octocat,not a login", "octocat,acme/sre", {}),
    answers.CHOICE: ("use_case", "fly", "blank", {}),
    answers.CRON: ("schedule_cron", "@daily", "0 4 * * *", {}),
    answers.TTL: ("approval_ttl_minutes", "0", "60", {}),
    answers.PERMISSIONS: ("act_permissions", "write-all", "contents,issues", {}),
    answers.NAMES: ("act_secrets", "GITHUB_TOKEN", "DEPLOY_TOKEN", {}),
    answers.OIDC: ("investigate_oidc", "yes", "no", {"repository_plan": "private-free"}),
    answers.CONTAINER: ("investigate_container", "alpine:3.20", "alpine@sha256:" + "0a" * 32, {}),
    answers.RUNNER: ("act_runner", "a'b", "self-hosted,act", {}),
    answers.PYTHON: ("agent_python", "3.7", "3.8", {}),
    answers.TIMEOUT: ("act_timeout_minutes", "361", "360", {}),
    answers.TOOLKIT: ("toolkit", "http,../colour", "http,waiting", {}),
    answers.HOST: ("audit_host", "https://audit.example.com", "audit.example.com", {}),
}


def answered(question: str, value: Any, others: dict[str, Any], _: Lab) -> str:
    """What the rule of a question says of an answer."""
    problem = answers.check(question, value, others)
    return f"{problem.code}: {problem.message}" if problem else ""


for _code, (_question, _wrong, _right, _others) in ANSWERS.items():
    both(_code, partial(answered, _question, _wrong, _others), partial(answered, _question, _right, _others))


def in_answers(code: str, change: Change, undo: Change) -> None:
    """A trial of what a line of the answers' file does."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        root = lab.project()
        edit(root, check.ANSWERS_FILE, change)
        yield lambda: checked(root)
        edit(root, check.ANSWERS_FILE, undo)
        yield lambda: checked(root)


in_answers(answers.UNKNOWN, added("colour: red\n"), replaced("colour: red\n", ""))
in_answers(answers.MISSING, replaced("use_case:", "_use_case:"), replaced("_use_case:", "use_case:"))
in_answers(answers.NOT_ASKED, added("schedule_cron: 1 2 * * *\n"), replaced("schedule_cron: 1 2 * * *\n", ""))
in_answers("CHK001", replaced("agent_name: ", "agent_name: ["), replaced("agent_name: [", "agent_name: "))
in_answers("CHK011", replaced("_commit: ", "_x: "), replaced("_x: ", "_commit: "))


def by_copier(code: str, name: str, change: Change) -> None:
    """A trial of a file of the template, which the command of the line restores."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        root = lab.project()
        edit(root, name, change)
        yield lambda: checked(root)
        restore(root, name, line_of(root, code))
        yield lambda: checked(root)


def by_edit(code: str, name: str, change: Change, fix: Callable[[Path], object]) -> None:
    """A trial of a file that somebody changes, and changes again."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        root = lab.project()
        edit(root, name, change)
        yield lambda: checked(root)
        fix(root)
        yield lambda: checked(root)


def undone(name: str, old: str, new: str) -> Callable[[Path], None]:
    """Replace `old` by `new` in a file."""
    return lambda root: edit(root, name, replaced(old, new))


MARKER = "<<<<<<< before updating\n"
by_edit("CHK002", "stack.json", added("{"), undone("stack.json", "{", "{}"))
by_copier("CHK003", "README.md", added("{{ cookiecutter.agent_name }}\n"))
by_copier("CHK004", "agent_runtime/model/plan.py", added("# edited\n"))
by_edit("CHK006", "agent_runtime/own.py", added("x = 1\n"), lambda root: (root / "agent_runtime/own.py").unlink())
by_edit("CHK007", "README.md", added(MARKER), undone("README.md", MARKER, ""))
by_edit("CHK009", "yaml.py", added("x = 1\n"), lambda root: (root / "yaml.py").rename(root / "our_yaml.py"))
by_edit(codes.POLICY_INVALID, POLICY, lambda _: "a: &x 1\n", lambda root: edit(root, POLICY, lambda _: A_POLICY))


@trial("CHK012")
def the_agent_imports_what_is_not_here(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    more = "from agent_runtime.toolkit import keys\nfrom agent_runtime"
    edit(root, "agent_runner.py", replaced("from agent_runtime", more))
    yield lambda: checked(root)
    obey(root, line_of(root, "CHK012"))
    yield lambda: checked(root)


@trial("CHK005")
def a_file_is_gone(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    (root / "agent_runtime" / "model" / "plan.py").unlink()
    yield lambda: checked(root)
    obey(root, line_of(root, "CHK005"))
    yield lambda: checked(root)


@trial("CHK008")
def the_configuration_was_edited(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    edit(root, CONFIG, replaced("minutes: 60", "minutes: 61"))
    yield lambda: checked(root)
    obey(root, line_of(root, "CHK008").replace("NAME=VALUE", "approval_ttl_minutes=61"))
    yield lambda: checked(root)


@trial("CHK010")
def two_roles_share_a_runner(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    edit(root, CONFIG, lambda text: re.sub(r"(investigate|act)_runner: .*", r"\1_runner: ['ours']", text))
    yield lambda: checked(root)
    edit(root, CONFIG, replaced("act_runner: ['ours']", "act_runner: ['acting']"))
    yield lambda: checked(root)


@trial("CHK013")
def the_lock_lags_behind(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    edit(root, "requirements-agent.in", added("my-package\n"))
    yield lambda: checked(root)
    edit(root, "requirements-agent.lock", added("my-package==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n"))
    yield lambda: checked(root)


@trial(codes.CONFIG_INVALID)
def the_configuration_is_broken(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    edit(root, CONFIG, added("x: 1\n"))
    yield lambda: checked(root)
    obey(root, line_of(root, codes.CONFIG_INVALID))
    yield lambda: checked(root)


@trial(codes.POLICY_MISSING)
def the_policy_is_gone(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    (root / POLICY).unlink()
    yield lambda: checked(root)
    (root / POLICY).write_text(A_POLICY)
    (root / CASES).unlink()
    yield lambda: checked(root)


@trial(RULE_NEVER)
def a_rule_can_never_match(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    edit(root, POLICY, lambda _: A_POLICY.replace("[]", "[{type: Restart}]"))
    (root / CASES).unlink()
    yield lambda: checked(root)
    edit(root, POLICY, replaced("Restart", "restart"))
    yield lambda: checked(root)


def of_cases(code: str, right: str, wrong: str) -> None:
    """A trial of the policy's cases, in which a word is wrong at first."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        root = lab.project()
        edit(root, CASES, replaced(right, wrong))
        yield lambda: checked(root)
        edit(root, CASES, replaced(wrong, right))
        yield lambda: checked(root)


of_cases(CASE_FAILED, "decision: review", "decision: denied")
of_cases(CASES_INVALID, "decision:", "decison:")


# The workflows: an edit, which the command of the line undoes.
OTHER = "on: push\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n%s    steps: [{run: make}]\n"
BESIDE = ".github/workflows/nightly.yml"


def act(old: str, new: str, job: str = "act") -> Change:
    """Replace the first `old` after the start of a job."""

    def change(text: str) -> str:
        start = text.index(f"\n  {job}:\n") if job else 0
        return text[:start] + text[start:].replace(old, new, 1)

    return change


STEPS = "    steps:\n"
VERIFY = "      - name: Verify"
EDITS: dict[str, Change] = {
    "CON02": act("\n  seal:\n", "\n  seal2:\n", ""),
    "CON03": act("[seal, approve, approve-second]", "[seal, approve-second]"),
    "CON04": act("environment: agent-act", "environment: production"),
    "CON06": act("contents: read", "contents: write", "seal"),
    "CON08": act("permissions: {}", "permissions: write-all", ""),
    "CON09": act("timeout-minutes: 30", "timeout-minutes: 999"),
    "CON12": act("    if: always()\n", "", "record"),
    "CON13": act("persist-credentials: false", "persist-credentials: true"),
    "CON16": act("    cache-mode: none\n", ""),
    "CON17": act(STEPS, "    container: evil\n" + STEPS),
    "CON18": act(STEPS, "    continue-on-error: true\n" + STEPS, "seal"),
    "CON19": act("needs.approve.result == 'success' ", "needs.approve.result != 'failure' "),
    "CON20": act("decision == 'review'", "decision != 'none'", "approve"),
    "CON22": act(STEPS, "    strategy: {matrix: {n: [1, 2]}}\n" + STEPS),
    "CON23": act("retention-days: 90", "retention-days: 7"),
    "CON34": act("          AGENT_DISABLED: ${{ vars.AGENT_DISABLED }}\n", ""),
    "CON37": act(STEPS, "    uses: ./.github/workflows/x.yml\n" + STEPS),
}
for _code, _change in EDITS.items():
    by_copier(_code, WORKFLOW, _change)
by_copier("CON24", ".github/actions/setup-gate/action.yml", replaced("--no-compile", "--compile"))


def beside(code: str, wrong: str, right: str) -> None:
    """A trial of another workflow, which the team then writes as the line says."""
    change: Change = lambda _: OTHER % wrong  # noqa: E731
    by_edit(code, BESIDE, change, lambda root: edit(root, BESIDE, lambda _: OTHER % right))


beside("CON05", "    environment: agent-act\n", "    environment: staging\n")
beside("CON21", "    concurrency: agent-act-checkout\n", "    concurrency: ours-checkout\n")
beside("CON36", "    name: Act\n", "    name: Build\n")


@trial("CON01")
def a_workflow_can_not_be_read(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    edit(root, BESIDE, lambda _: OTHER % "    name: [\n")
    yield lambda: checked(root)
    edit(root, BESIDE, lambda _: OTHER % "")
    yield lambda: checked(root)


@trial("CON07")
def every_secret_is_passed_on(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    call = "on: push\npermissions: {}\njobs:\n  a:\n    uses: acme/x/.github/workflows/y.yml@v1\n    secrets: %s\n"
    edit(root, BESIDE, lambda _: call % "inherit")
    yield lambda: checked(root)
    edit(root, BESIDE, lambda _: call % "{K: '${{ secrets.OUR_KEY }}'}")
    yield lambda: checked(root)


@trial("CON10")
def a_step_of_the_team_takes_an_action_by_its_tag(lab: Lab) -> Iterator[Attempt]:
    root, name = lab.project(), ".github/actions/prepare-act/action.yml"
    edit(root, name, replaced("    - name: N", "    - uses: azure/login@v2\n    - name: N"))
    yield lambda: checked(root)
    edit(root, name, replaced("azure/login@v2", f"azure/login@{'a' * 40} # v2.3.0"))
    yield lambda: checked(root)


ACTION = ".github/actions/prepare-act/action.yml"
EMPTY = 'run: "true"'
PASTED, PASSED = "run: echo ${{ inputs.x }}", 'env: {X: "${{ inputs.x }}"}\n      run: echo "$X"'
by_edit("CON11", ACTION, replaced(EMPTY, PASTED), undone(ACTION, PASTED, PASSED))


@trial("CON31")
def a_job_more(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    job = "  deploy:\n    needs: act\n    runs-on: x\n    steps: [{run: make}]\n"
    edit(root, WORKFLOW, replaced("\njobs:\n", "\njobs:\n" + job))
    yield lambda: checked(root)
    edit(root, WORKFLOW, replaced(job, ""))
    edit(root, BESIDE, lambda _: "on: push\npermissions: {}\njobs:\n" + job.replace("    needs: act\n", ""))
    yield lambda: checked(root)


@trial("CON33")
def a_step_more(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    step = "      - run: make login\n"
    edit(root, WORKFLOW, act(VERIFY, step + VERIFY))
    yield lambda: checked(root)
    edit(root, WORKFLOW, replaced(step, ""))
    edit(root, ACTION, replaced(EMPTY, "run: make login"))
    yield lambda: checked(root)


@trial("CON15")
def a_pull_request_of_an_outsider_runs_with_permissions(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    run = (
        "on: %s\npermissions: {contents: write}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
        f"      - uses: actions/checkout@{'3' * 40} # v7.0.1\n"
        "        with: {ref: '${{ github.event.pull_request.head.sha }}'}\n      - run: make\n"
    )
    edit(root, BESIDE, lambda _: run % "pull_request_target")
    yield lambda: checked(root)
    edit(root, BESIDE, lambda _: run % "pull_request")
    yield lambda: checked(root)


@trial("CON32")
def a_workflow_of_another_gate(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    edit(root, APPROVAL_WORKFLOW, lambda _: OTHER % "")
    yield lambda: checked(root)
    (root / APPROVAL_WORKFLOW).unlink()
    yield lambda: checked(root)


@trial("CON35")
def a_second_file_looks_like_the_gates(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    twin = root / (WORKFLOW[:-3] + "yaml")
    twin.write_text(OTHER % "")
    yield lambda: checked(root)
    twin.rename(root / BESIDE)
    yield lambda: checked(root)


# What a process needs before it can begin.
def simulated(root: Path, *python: str) -> Any:
    """Start the agent as a person does."""
    command = [interpreter.python(), *python, "agent_runner.py", "policy", "check", "--action", "x", "--resource", "y"]
    return engines.run(command, cwd=root)


def part(code: str, name: str, attempt: Callable[[Path], object]) -> None:
    """A trial of a part that is gone, and comes back from the history."""

    @trial(code)
    def play(lab: Lab) -> Iterator[Attempt]:
        root = lab.project()
        engines.commit_all(root, "Whole")
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield lambda: attempt(root)
        engines.git(root, "checkout", "--", name)
        yield lambda: attempt(root)


def isolated(root: Path, *flags: str) -> Any:
    """Start what decides, by default as the workflow does."""
    return engines.run([interpreter.python(), *(flags or ("-I",)), "agent_runtime/__main__.py", "check"], cwd=root)


part(AGENT_MISSING, "agent_runner.py", checked)
part(codes.RUNTIME_MISSING, "agent_runtime/__init__.py", isolated)
part(codes.SDK_MISSING, "sdk", isolated)


@trial(codes.PACKAGE_MISSING)
def a_package_is_not_installed(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    yield lambda: simulated(root, "-S")
    yield lambda: simulated(root)


@trial(codes.NOT_ISOLATED)
def what_decides_was_started_like_any_script(lab: Lab) -> Iterator[Attempt]:
    root = lab.project()
    yield lambda: isolated(root, "-B")
    yield lambda: isolated(root)
