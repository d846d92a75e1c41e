"""Commands and code in Markdown: found, and judged by the programs and readers that they are for."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import re
import shlex
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from agent_runtime import codes
from agent_runtime.testing import parse_policy
from support.environment import REPOSITORY
from tools import reference

SHELLS = ("sh", "console")
# Samples that are shown and not meant for a machine.
SHOWN = ("", "text", "mermaid", "{toctree}")

# Programs of others, with the words that must follow; an empty entry means that they are not judged.
OTHERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "az": (),
    "cd": (),
    "cut": (),
    "curl": (),
    "docker": (),
    "gcloud": (),
    "head": (),
    "openssl": (),
    "export": (),
    "pipx": (),
    "prometheus": (),
    "sh": (),
    "sha256sum": (),
    "tail": (),
    "vault": (),
    "wc": (),
    "xargs": (),
    "gh": (
        ("api",),
        ("attestation", "trusted-root"),
        ("auth", "token"),
        ("repo", "create"),
        ("run", "download"),
        ("run", "list"),
        ("run", "watch"),
        ("secret", "set"),
        ("variable", "set"),
        ("variable", "delete"),
        ("workflow", "run"),
    ),
    "git": (
        ("init",),
        ("add",),
        ("commit",),
        ("config",),
        ("tag",),
        ("verify-tag",),
        ("push",),
        ("diff",),
        ("status",),
        ("switch",),
        ("checkout",),
    ),
}
ENGINES = ("copier", "cookiecutter")
# What a reader puts their own value in the place of, where a program would refuse the word itself.
PLACEHOLDERS = {"DIGEST": "0" * 64}


@dataclass(frozen=True)
class Place:
    """Where commands are typed: the root of a repository, and the folder that the template is rendered to."""

    root: Path
    rendered: Path

    @property
    def targets(self) -> set[str]:
        """The targets of both Makefiles: documents here also speak of a generated repository."""
        found = set()
        for folder in (self.root, self.rendered):
            text = (folder / "Makefile").read_text(encoding="utf-8")
            found |= set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE))
        return found

    def has(self, name: str) -> bool:
        """Whether a file or folder of this name is in one of the two, or in the backend, of which both speak."""
        return any((folder / name).exists() for folder in (self.root, self.rendered, REPOSITORY / "backend"))


def tokens(text: str) -> list[Token]:
    """Return the document's tokens, those inside lines too."""
    markdown = MarkdownIt("commonmark").enable("table")
    return [token for block in markdown.parse(text) for token in (block, *(block.children or ()))]


def blocks(text: str) -> list[tuple[str, str]]:
    """Return language and content of the document's fenced blocks."""
    return [(token.info.split(" ")[0], token.content) for token in tokens(text) if token.type == "fence"]


def command_lines(content: str) -> list[str]:
    """Return the commands of a shell block; where prompts stand, the other lines are what programs answer."""
    lines = re.sub(r"\\\n\s*", " ", content).splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    return whole_commands([line for line in prompted or lines if line.strip() and not line.lstrip().startswith("#")])


def whole_commands(lines: list[str]) -> list[str]:
    """Put lines together again where a quotation goes over several."""
    found: list[str] = []
    for line in lines:
        if found and not _is_whole(found[-1]):
            found[-1] += "\n" + line
        else:
            found.append(line)
    return found


def _is_whole(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return True


def commands(text: str) -> list[list[str]]:
    """Return the commands of the document's shell blocks, as words."""
    lines = [line for info, content in blocks(text) if info in SHELLS for line in command_lines(content)]
    return [shlex.split(line, comments=True) for line in lines]


def faults(text: str, place: Place) -> Iterator[str]:
    """Say what is wrong with the document's samples."""
    shown = set(re.findall(r"^## .*`(?:\w+/)*(\w+)\.py`$", text, flags=re.MULTILINE))  # modules that it shows itself
    for info, content in blocks(text):
        if info in SHELLS:
            for line in command_lines(content):
                yield from (f"{line}: {fault}" for fault in _of_line(line, place) if fault)
        elif info in READERS:
            try:
                READERS[info](content)
            except (ValueError, SyntaxError, ImportError, AttributeError, codes.AgentError, yaml.YAMLError) as problem:
                if getattr(problem, "name", None) not in shown:
                    yield f"{info}: {content.splitlines()[0]}: {problem}"
        elif info not in SHOWN:
            yield f"nobody knows how to check {info}"


# ------------------------------------------------------------------------------------------------------------ commands


def _of_line(line: str, place: Place) -> Iterator[str]:
    """What is wrong with the commands of a line, and with those whose output they take."""
    for inner in _SUBSTITUTION.findall(line):
        yield from _of_line(inner, place)
    try:
        words = shlex.split(_SUBSTITUTION.sub("VALUE", line), comments=True)
    except ValueError as problem:
        yield str(problem)
        return
    while (at := next((at for at, word in enumerate(words) if word in ("&&", "|")), None)) is not None:
        yield from _of_command(words[:at], place)
        words = words[at + 1 :]
    yield from _of_command(words, place)


_SUBSTITUTION = re.compile(r"""\$\(((?:'[^']*'|[^()'])*)\)""")


def _of_command(words: list[str], place: Place) -> Iterator[str]:
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    if not words:
        return
    program = words[0].rpartition("/")[2]
    if program == "make":
        yield from (f"no target {word}" for word in words[1:] if "=" not in word and word not in place.targets)
    elif program.startswith("python"):
        yield from _of_python(words[1:], place)
    elif program in ENGINES:
        yield from _of_engine(program, words[1:])
    elif program == "gh" and words[1:3] == ["workflow", "run"]:
        yield from _of_dispatch(words[3:], place)
    elif program == "gh" and words[1:3] in (["workflow", "disable"], ["workflow", "enable"]):
        yield from (f"no workflow {word}" for word in words[3:] if not _workflow(word, place).is_file())
    elif program == "pip":
        yield from (f"no file {word}" for word in words if word.endswith((".txt", ".lock")) and not place.has(word))
    elif program == "uvicorn":
        yield "" if place.has(words[1].partition(":")[0].replace(".", "/") + ".py") else f"no module {words[1]}"
    elif program == "curl":
        bodies = [after for word, after in pairwise(words) if word in ("-d", "--data") and after.startswith("{")]
        yield from (f"no JSON: {body}" for body in bodies if not _is_json(body))
    elif program == "uv":
        yield from (f"no file {word}" for word in words if word.endswith(".in") and not place.has(word))
    elif program not in OTHERS:
        yield "nobody knows how to check this program"
    elif OTHERS[program] and not any(tuple(words[1 : 1 + len(after)]) == after for after in OTHERS[program]):
        yield f"nobody knows {program} {' '.join(words[1:3])}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _of_python(words: list[str], place: Place) -> Iterator[str]:
    if words[0] == "-c":
        compile(words[1], "sample", "exec")
    elif words[0] == "-m":
        called, rest = f"python -m {words[1]}", words[2:]
        if called in _parsers():
            yield from _refusal(called, rest)
        elif words[1] not in ("pytest", "venv", "pip", "bench", "agent_runtime.local.check"):
            yield f"no program {called}"
    elif words[0] == "agent_runner.py":
        yield from _refusal("python agent_runner.py", words[1:])
        yield from _of_answers(words, "--set")
    elif words[:2] == ["-I", "agent_runtime/__main__.py"]:
        yield from _refusal("python -I agent_runtime/__main__.py", words[2:])
    elif not place.has(words[0]):
        yield f"no file {words[0]}"
    elif words[0].endswith("example_service.py"):
        source = (REPOSITORY / "examples" / "example_service.py").read_text(encoding="utf-8")
        own, _, command = (words[1:], "", []) if "--" not in words else _split(words[1:])
        yield from (f"no option {word}" for word in own if word.startswith("--") and f'"{word}"' not in source)
        yield from _of_command(command, place)
    else:
        options = set(re.findall(r"--[a-z-]+", (place.root / words[0]).read_text(encoding="utf-8")))
        yield from (f"no option {word}" for word in words[1:] if word.startswith("--") and word not in options)


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    at = words.index("--")
    return words[:at], "--", words[at + 1 :]


@cache
def _parsers() -> dict[str, Any]:
    return {call: parser for call, _, parser in reference.programs()}


def _refusal(called: str, words: list[str]) -> Iterator[str]:
    """What the program's own parser says against these arguments."""
    reported = io.StringIO()
    try:
        with contextlib.redirect_stderr(reported):
            _parsers()[called].parse_args([PLACEHOLDERS.get(word, word) for word in words])
    except codes.AgentError as problem:
        yield problem.message
    except SystemExit:
        yield reported.getvalue()


@cache
def _help_of(engine: str) -> str:
    """What Copier or Cookiecutter say about themselves."""
    if engine == "cookiecutter":
        command: Any = importlib.import_module("cookiecutter.cli").main
        return " ".join(option for parameter in command.params for option in parameter.opts)
    cli = importlib.import_module("copier._cli")
    found = set()
    for application in (cli.CopierApp, cli.CopierCopySubApp, cli.CopierUpdateSubApp):
        for name in dir(application):
            switch = getattr(getattr(application, name, None), "_switch_info", None)
            found |= {"--" + each for each in getattr(switch, "names", ())}
    return " ".join(sorted(found))


def _of_engine(engine: str, words: list[str]) -> Iterator[str]:
    if engine == "copier" and words[0] not in ("copy", "update"):
        yield f"no command {words[0]}"
    known = _help_of(engine).split()
    yield from (f"no option {word}" for word in words if word.startswith("--") and word.split("=")[0] not in known)
    yield from _of_answers(words, "--data")


def _of_answers(words: list[str], option: str) -> Iterator[str]:
    questions = yaml.safe_load((REPOSITORY / "copier.yml").read_text(encoding="utf-8"))
    given = [after for word, after in pairwise(words) if word == option]
    for name, _, value in (pair.partition("=") for pair in given):
        if name not in questions:
            yield f"no question {name}"
            continue
        choices = questions[name].get("choices")
        listed = list(choices.values() if isinstance(choices, dict) else choices or ())
        if choices and value not in [each["value"] if isinstance(each, dict) else each for each in listed]:
            yield f"no such answer to {name}: {value}"


def _workflow(name: str, place: Place) -> Path:
    return place.rendered / ".github" / "workflows" / name


def _of_dispatch(words: list[str], place: Place) -> Iterator[str]:
    path = _workflow(words[0], place)
    if not path.is_file():
        yield f"no workflow {words[0]}"
        return
    inputs = yaml.safe_load(path.read_text(encoding="utf-8"))[True]["workflow_dispatch"]["inputs"]
    given = [after for word, after in pairwise(words) if word == "-f"]
    yield from (f"no input {pair}" for pair in given if pair.partition("=")[0] not in inputs)


# ---------------------------------------------------------------------------------------------------------------- code


def _python(content: str) -> None:
    text = textwrap.dedent(content)
    try:
        tree = ast.parse(text)
        compile(text, "sample", "exec")
    except SyntaxError:
        # The lines of a body.
        text = "def sample():\n" + textwrap.indent(text, "    ")
        tree = ast.parse(text)
        compile(text, "sample", "exec")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for name in node.names:
                if not hasattr(module, name.name) and hasattr(module, "__path__"):
                    importlib.import_module(f"{node.module}.{name.name}")
                getattr(module, name.name)
        elif isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)


def _yaml(content: str) -> None:
    value = yaml.safe_load(content)
    if isinstance(value, dict) and "allowed_actions" in value:
        parse_policy(textwrap.dedent(content).encode(), "sample")


READERS: dict[str, Callable[[str], object]] = {"python": _python, "yaml": _yaml, "json": json.loads}
