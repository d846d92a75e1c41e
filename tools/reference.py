"""Write or check the reference pages in `docs/reference/`, from the code and the files that they describe.

Usage: python tools/reference.py --write | --check

`template/specs/codes.md` is the fifth reference page; `tools/codes.py` writes it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "docs" / "reference"
NOTE = "<!-- Written by tools/reference.py; edit what it reads, not this page. -->\n"

sys.path[:0] = [str(REPOSITORY / part) for part in ("template", "template/sdk", "backend")]


class Undescribed(Exception):
    """Something was added to the code that no reference page explains yet."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; bars and line feeds in a cell are escaped."""
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- questions


def questions() -> str:
    """The questions of the template, from copier.yml."""
    import yaml  # noqa: PLC0415  only this page

    settings = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
    asked = {
        name: question
        for name, question in settings.items()
        if not name.startswith("_") and question.get("when") is not False
    }
    parts = [
        "# Questions of the template\n",
        NOTE,
        f"Copier and Cookiecutter ask the same {len(asked)} questions. The answers are kept in `.copier-answers.yml`\n"
        "of the new repository; `python agent_runner.py update --set NAME=VALUE` changes one later.\n",
    ]
    for name, question in asked.items():
        parts.append(f"## {name}\n")
        parts.append(" ".join(question["help"].split()) + "\n")
        choices = question.get("choices")
        if isinstance(choices, dict):
            parts.append(
                table(("answer", "means"), [(f"`{_value(it)}`", label) for label, it in choices.items()]) + "\n"
            )
        elif choices:
            parts.append("One of " + ", ".join(f"`{choice}`" for choice in choices) + ".\n")
        parts.append("\n".join(f"- {fact}" for fact in _facts_of_question(name, question)) + "\n")
    return "\n".join(parts)


def _facts_of_question(name: str, question: dict[str, Any]) -> Iterator[str]:
    answers = importlib.import_module("agent_runtime.local.answers")
    if "default" not in question:
        yield "It has no default."
    else:
        yield f"Default: {_default(str(question['default']))}"
    if "when" in question:
        condition = re.sub(r"[{}]", "", str(question["when"])).strip()
        yield f"Asked only when `{condition}`; refused ({_code(answers.NOT_ASKED)}) when it is answered all the same."
    rule = answers.RULES[name]
    if rule.code != answers.CHOICE:
        yield f"Accepts {rule.message} ({_code(rule.code)})."
    if name == "investigate_oidc":
        yield f"With `private-free`, accepts only `no` ({_code(answers.OIDC)}): identity tokens need an environment."
    if name == "act_secrets":
        yield f"With `private-free`, accepts no name of `investigate_secrets` ({_code(answers.NAMES)})."


def _code(code: str) -> str:
    return f"[{code}](../../template/specs/codes.md)"


def _value(choice: Any) -> str:
    return str(choice["value"] if isinstance(choice, dict) else choice)


def _default(text: str) -> str:
    if not text:
        return "empty."
    if "{%" in text or "[use_case]" in text:
        return "made from the other answers."
    otherwise = re.search(r" else '(\w+)' \}\}$", text)  # what it is for an answer of an older template goes before
    return f"`{otherwise.group(1) if otherwise else _plain(text)}`"


def _plain(text: str) -> str:
    """Jinja's expressions as words in angle brackets."""
    text = re.sub(r"\{\{ github_repository\.split\(.*?\)\[0\] \}\}", "<owner>", text)
    return re.sub(r"\{\{ (\w+) \}\}", lambda found: f"<{found.group(1)}>", text)


# ------------------------------------------------------------------------------------------------------- command lines


class _Captured(Exception):
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


@contextmanager
def _capturing() -> Iterator[None]:
    """Let parse_args() hand over its parser instead of parsing."""

    def hand_over(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        raise _Captured(parser)

    original = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = hand_over  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]


def parser_of(main: Callable[..., Any]) -> argparse.ArgumentParser:
    """Return the parser that a program's `main()` reads its arguments with."""
    with _capturing():
        try:
            main([])
        except _Captured as captured:
            return captured.parser
    raise Undescribed(f"{main.__module__} reads its arguments without argparse")


def agent_parsers() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parsers of `agent_runner.py` and of `agent_runtime/__main__.py`."""
    cli = importlib.import_module("agent_runtime.cli")
    team = {**cli.TEAM, **cli.LOCAL}
    return cli.build_parser("agent_runner.py", team, team), cli.build_parser("agent_runtime", cli.GATE, cli.GATE)


def programs() -> list[tuple[str, str, argparse.ArgumentParser]]:
    """Every program: how it is called, where it is, and its parser."""
    named = {
        name: importlib.import_module(module).main
        for name, module in (
            ("linter", "agent_runtime.local.linter.__main__"),
            ("aimgentix", "aimgentix.__main__"),
            ("backend", "app.cli"),
        )
    }
    team, gate = agent_parsers()
    return [
        ("python agent_runner.py", "In an agent repository.", team),
        (
            "python -I agent_runtime/__main__.py",
            "In an agent repository; what the jobs run that never run team code. It takes the local commands, too.",
            gate,
        ),
        ("python -m agent_runtime.local.linter", "In an agent repository.", parser_of(named["linter"])),
        (
            "python -m aimgentix",
            "Where the SDK is on the path: in an agent repository with `PYTHONPATH=sdk`.",
            parser_of(named["aimgentix"]),
        ),
        ("python -m app", "In the folder `backend`.", parser_of(named["backend"])),
    ]


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's subcommands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def command_line() -> str:
    """Every program with its subcommands and options."""
    parts = [
        "# Command line\n",
        NOTE,
        "Every program says the same with `--help`. Exit codes of `agent_runner.py`: 0 fine, 2 bad input, 3 refused\n"
        "by the gate, 4 the action failed, 5 nobody knows the outcome, 6 the trail is incomplete, 1 anything else.\n",
    ]
    for call, where, parser in programs():
        parts.append(f"## {call}\n")
        parts.append(f"{where} {_sentence(parser.description)}\n")
        parts += _options(parser)
        for name, summary, sub in _flat(parser):
            parts.append(f"### {call.split()[-1]} {name}\n")
            parts.append(f"{_sentence(summary)}\n")
            parts += _options(sub)
    return "\n".join(parts)


def _flat(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    """Subcommands that have none of their own, with their full names and what is said about them."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {choice.dest: choice.help for choice in action._choices_actions}
        for name, sub in action.choices.items():
            below = list(_flat(sub))
            for inner, text, deepest in below:
                yield f"{name} {inner}", text, deepest
            if not below:
                yield name, str(sub.description or helps.get(name) or ""), sub


def _sentence(text: str | None) -> str:
    words = " ".join((text or "").split())
    words = words[:1].upper() + words[1:]
    return words if not words or words.endswith((".", "?")) else words + "."


def _options(parser: argparse.ArgumentParser) -> list[str]:
    rows = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        words = ", ".join(f"`{option}`" for option in action.option_strings) or f"`{action.metavar or action.dest}`"
        shown = action.metavar or (action.dest.upper() if action.option_strings and action.nargs != 0 else "")
        if action.option_strings and shown and action.nargs != 0:
            words = words.replace("`", "", 1).replace("`", f" {shown}`", 1)
            words = f"`{words}"
        if action.choices and not isinstance(action.choices, dict):
            words += " (" + ", ".join(f"`{choice}`" for choice in action.choices) + ")"
        needed = "yes" if action.required and action.nargs not in ("*", "?") else ""
        rows.append((words, needed, _of_anybody((action.help or "") % _values(action))))
    if not rows:
        return ["It takes no arguments.\n"] if not subcommands(parser) else []
    return [table(("argument", "required", "means"), rows) + "\n"]


def _of_anybody(text: str) -> str:
    """Help without the home of whoever runs this tool."""
    return text.replace(str(Path.home()), "~")


def _values(action: argparse.Action) -> dict[str, Any]:
    values = dict(vars(action))
    if isinstance(values.get("default"), Path):
        values["default"] = values["default"].as_posix()
    return values


# -------------------------------------------------------------------------------------------------------------- policy

# The reader's groups of keys, in the order of the page.
POLICY_GROUPS = {
    "_POLICY_KEYS": "The policy",
    "_ALLOWED_KEYS": "A rule that allows",
    "_DENIED_KEYS": "A rule that denies",
    "_AUTO_KEYS": "A rule of auto_approve",
    "_LIMIT_KEYS": "A rate limit",
    "_ROOT_KEYS": "A root of paths",
    "_CONDITION_KEYS": "A condition",
    "_OTHER_KEYS": "Another parameter as the value of a condition",
}

# What each key is for; a key that the reader knows and this table does not stops the tool.
POLICY_KEYS = {
    "name": "of the policy; shown, not compared",
    "version": "whole number from 1; raise it when you change the rules",
    "allowed_actions": "list of rules; what none of them allows is denied",
    "denied_actions": "list of rules; one that applies denies, whatever is allowed",
    "type": "the action's type; `*` and `?` are wildcards",
    "resources": "list of patterns, one of which the resource must match; all resources without it",
    "conditions": "list of conditions, all of which must hold",
    "auto_approve": "list of rules for what may happen without asking, where the answer `auto_approval` is yes",
    "rate_limits": "list of limits that hold over all runs of the repository, counted from GitHub's own records",
    "initiators": "list of the apps that may start runs, each as `name[bot]`; people need no entry",
    "session_policies": "for each allowed action the statements of AWS IAM that its credential is cut down to, see "
    "[how to act in a cloud](../how-to/clouds.md#cut-to-the-plan)",
    "max_risk": "highest risk that the rule is about; without it `high`, in `auto_approve` `low` and at most `medium`",
    "requires_approval": "`true` (the default): a human is asked, whatever `auto_approve` says",
    "approvals": "how many different people must approve: 1 (the default) or 2",
    "approvers": "list of the logins of those who may; without it every reviewer of the gate",
    "max": "how many actions",
    "per": "in which time: a whole number and `m`, `h` or `d`, at most 30 days",
    "description": "words for people",
    "reason": "words for people: why it is denied",
    "parameter": "one of the action's parameters, or what is inside of it, see below",
    "operator": "how to compare, see below",
    "value": "what to compare with",
    "path_roots": "list of folders outside the repository, below which some of the paths are",
    "root": "absolute path of the folder on the machine that acts",
}

PARAMETERS = {
    "a": "the parameter `a`",
    "a.b": "`b` of the object `a`",
    "a[].b": "`b` of each item of the list `a`: all must agree; `a[]` where the items are not objects",
    "count(a)": "how many items the list `a` has",
    "sum(a[].b)": "the sum of these numbers, none of which may be negative",
    "age(a[].b)": "how long before the sealing of the plan each of these times was (`2026-11-30T12:00:00Z`, up to 9 "
    "decimals of a second); for the four comparisons of order, with a value such as `30m`, `24h` or `7d`",
}

OPERATORS = {
    "equals": "the same text, number or truth value",
    "not_equals": "another one of the same kind",
    "in": "one of a list",
    "not_in": "none of a list",
    "format": "the whole text is of a named format, see below",
    "starts_with": "a text with this beginning, whatever follows",
    "greater_than": "a larger number",
    "at_least": "the same number or a larger one",
    "less_than": "a smaller number",
    "at_most": "the same number or a smaller one",
    "max_items": "a list with at most this many items",
    "each_in": "a list, each item of which is one of these",
    "each_format": "a list, each item of which is of a named format",
    "each_starts_with": "a list, each item of which has this beginning",
}


def policy() -> str:
    """The keys of a policy file, from its reader."""
    reader = importlib.import_module("agent_runtime.gate.policy_file")
    conditions = importlib.import_module("agent_runtime.gate.conditions")
    parts = [
        "# Policy keys\n",
        NOTE,
        "`.github/agent-policies/<agent>.yml` says what the agent may do. An unknown key is an error, and so is a\n"
        "value that YAML readers understand differently. How rules decide is described in the\n"
        "[specification](../../template/specs/github-actions-agent-runtime.md#policy).\n",
    ]
    groups = {name: keys for name, keys in vars(reader).items() if name.endswith("_KEYS")}
    for name, keys in sorted(groups.items(), key=lambda group: list(POLICY_GROUPS).index(_known_group(group[0]))):
        parts.append(f"## {POLICY_GROUPS[name]}\n")
        parts.append(table(("key", "means"), [(f"`{key}`", _described(POLICY_KEYS, key)) for key in keys]) + "\n")
    parts.append("## What a condition looks at\n")
    parts.append(
        "The same in `parameter` of a condition and of `path_roots`, there without `count`, `sum` and `age`. What is\n"
        "not there as the path says (a field is missing, a list is empty, a number is negative where it is summed, a\n"
        "time is after the sealing) can't be judged and counts against the action.\n"
    )
    parts.append(table(("parameter", "means"), [(f"`{name}`", means) for name, means in PARAMETERS.items()]) + "\n")
    parts.append("## Operators\n")
    parts.append(
        "A condition whose parameter is missing, or of another kind than its value, counts against the action. So\n"
        "does one of which only case, whitespace around the text or compatibility characters decide (`Prod` where the\n"
        "rule says `prod`): a rule that denies then applies, and one that allows does not match.\n"
    )
    rows = [(f"`{name}`", _described(OPERATORS, name)) for name in conditions.OPERATORS]
    parts.append(table(("operator", "holds for"), rows) + "\n")
    parts.append(
        "Instead of a value, `equals`, `not_equals` and the four comparisons of order take another parameter, which\n"
        "is one value: `{parameter: to, operator: at_most, value: {parameter: limits.most}}`.\n"
    )
    parts.append("## Formats\n")
    parts.append(
        "A policy has no regular expressions. What is of none of these formats can be named whole, with `in`, or by\n"
        "its beginning, with `starts_with`.\n"
    )
    formats = importlib.import_module("agent_runtime.text.formats").FORMATS.items()
    shown = [(f"`{name}`", str(form), f"`{form.example}`", f"`{form.counter_example}`") for name, form in formats]
    parts.append(table(("format", "accepts", "for example", "refuses"), shown) + "\n")
    risks = [f"`{risk}`" for risk in importlib.import_module("agent_runtime.results").RiskLevel]
    parts.append("## Risks\n")
    parts.append(f"From the smallest: {', '.join(risks)}.\n")
    return "\n".join(parts)


def _known_group(name: str) -> str:
    _described(POLICY_GROUPS, name)
    return name


def _described(known: dict[str, str], key: str) -> str:
    try:
        return known[key]
    except KeyError:
        raise Undescribed(f"tools/reference.py does not explain {key!r} yet") from None


# -------------------------------------------------------------------------------------------------------------- events

STEPS = {
    "started": ("investigate, seal, act", "the job began"),
    "duplicate": ("seal", "an earlier run asks already, named in `duplicate_of`; nobody is asked again"),
    "model_answered": ("investigate", "reported by the agent: a language model answered, with its tokens and `usd`"),
    "tool_called": (
        "investigate",
        "reported by the agent: what the model called, with `arguments` and `answer_sha256`",
    ),
    "transcript_kept": ("investigate", "reported by the agent: the conversation is over, with `transcript_sha256`"),
    "investigated": ("investigate", "`investigate()` returned"),
    "policy_evaluated": ("seal", "the policy decided, with `decision` and `matched_rules`"),
    "plan_sealed": ("seal", "a plan waits for approval, with `plan_digest`"),
    "approval_asked": ("ask", "the issue is open, with `issue` and `plan_digest`"),
    "approved": ("approve", "GitHub's record names an approver, with `approver`, `plan_digest` and `issue_comment`"),
    "plan_claimed": ("claim", "this run claimed the plan, with `plan_digest`"),
    "gate_check": ("seal, claim, act", "one check of the gate, with its code as `check`"),
    "authorized": ("act", "*Verify* found that everything holds, before anything of the team's started"),
    "intent": ("act", "reported by the agent: the effect comes next, with `number` and `action`"),
    "outcome": ("act", "reported by the agent: how the step ended, with `number` and `outcome`"),
    "finished": ("investigate, seal", "the job wrote its document"),
    "error": ("any", "something failed or was refused, with `code` and `message`"),
    "terminal": ("record", "how the run ended, with `outcome`"),
}


def events() -> str:
    """The fields of an audit event and the steps that the runtime writes."""
    schema = json.loads((REPOSITORY / "template/specs/audit-event.schema.json").read_text(encoding="utf-8"))
    names = importlib.import_module("agent_runtime.model.names")
    rows = []
    for name, field in schema["properties"].items():
        kind = schema["$defs"][field["$ref"].rsplit("/", 1)[1]] if "$ref" in field else field
        needed = "yes" if name in schema["required"] else ""
        rows.append((f"`{name}`", needed, _kind(kind), str(field["description"])))
    steps = [str(value) for name, value in vars(names).items() if name.startswith("STEP_")]
    means = [(f"`{step}`", *(_pair(step))) for step in steps]
    return "\n".join(
        [
            "# Audit events\n",
            NOTE,
            f"{schema['description']} The schema is\n"
            "[audit-event.schema.json](../../template/specs/audit-event.schema.json), the file that holds them is\n"
            "described in [journal.md](../../template/specs/journal.md).\n",
            "## Fields\n",
            table(("field", "required", "kind", "means"), rows) + "\n",
            "## Steps of a run\n",
            "The runtime's events carry `metadata.step`, and `metadata.gha` with the run, attempt, job and commit.\n",
            table(("step", "job", "means"), means) + "\n",
        ]
    )


def _pair(step: str) -> tuple[str, str]:
    if step not in STEPS:
        raise Undescribed(f"tools/reference.py does not explain the step {step!r} yet")
    return STEPS[step]


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kind = field["type"]
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "maxLength" in field:
        text += f", {field.get('minLength', 0)} to {field['maxLength']} characters"
    return text


# ---------------------------------------------------------------------------------------------------------------- main

PAGES = {
    "questions.md": questions,
    "command-line.md": command_line,
    "policy.md": policy,
    "events.md": events,
}


SPEC = REPOSITORY / "template" / "specs" / "github-actions-agent-runtime.md"


def spec() -> str:
    """The specification with its tables of checks, which are those that the runtime makes."""
    gates = importlib.import_module("agent_runtime.gate.gates")
    text = SPEC.read_text(encoding="utf-8")
    for name in ("environment", "issue"):
        rows = [(f"`{check.code}`", check.what) for check in gates.by_name(name).checks()]
        start = text.index(f"<!-- checks:{name} -->") + len(f"<!-- checks:{name} -->")
        end = text.index("<!-- end -->", start)
        text = f"{text[:start]}\n\n{table(('code', 'what must hold'), rows)}\n\n{text[end:]}"
    return text


def render() -> dict[Path, str]:
    """Return every page's text by its path."""
    pages = {FOLDER / name: page().rstrip("\n") + "\n" for name, page in PAGES.items()}
    return {**pages, SPEC: spec()}


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the pages")
    mode.add_argument("--check", action="store_true", help="exit 1 when a page is not up to date")
    options = parser.parse_args()
    for variable in ("XDG_STATE_HOME", "AIMGENTIX_JOURNAL_DIR"):
        os.environ.pop(variable, None)
    try:
        pages = render()
    except Undescribed as problem:
        print(problem, file=sys.stderr)
        return 1
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if options.write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages[path], encoding="utf-8")
        else:
            print(
                f"{path.relative_to(REPOSITORY)} is not up to date: run python tools/reference.py --write",
                file=sys.stderr,
            )
    return 0 if options.write or not stale else 1


if __name__ == "__main__":
    raise SystemExit(main())
