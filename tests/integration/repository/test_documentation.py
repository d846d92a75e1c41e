"""What the documents of this repository and of a generated one have a reader type or open is there."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from agent_runtime.local import answers, policy_cases
from agent_runtime.results import ActionStatus
from agent_runtime.testing import evaluate, parse_policy
from support import engines, samples
from support.environment import REPOSITORY, require_tool
from support.samples import Place, blocks, commands, tokens
from tools import reference

DOCUMENTS = sorted(
    path
    for path in [
        *REPOSITORY.glob("*.md"),
        *(REPOSITORY / "docs").rglob("*.md"),
        REPOSITORY / "backend" / "README.md",
        REPOSITORY / "examples" / "README.md",
        REPOSITORY / "rendered" / "README.md",
        REPOSITORY / "template" / "sdk" / "README.md",
        *(REPOSITORY / "template" / "specs").glob("*.md"),
    ]
)
# Read here and, with everything that they speak of, in a generated repository.
GENERATED = [
    *sorted((REPOSITORY / "template" / "docs").glob("*.md")),
    REPOSITORY / "template" / "PRODUCTION_CHECKLIST.md",
]
GUIDES = REPOSITORY / "docs" / "how-to"
TARGETS = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def by_name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A generated repository for each use case; tests don't change them."""
    template = engines.clone_template(tmp_path_factory.mktemp("template") / "gated-agents")
    given = {"agent_name": "Checkout Restart", "triggers": "manual+alert+schedule"}
    return {
        use_case: engines.run_copier(
            template, tmp_path_factory.mktemp("documents") / use_case, {**given, "use_case": use_case}
        )
        for use_case in answers.USE_CASES
    }


@pytest.fixture(scope="session")
def place(rendered: dict[str, Path]) -> Place:
    return Place(REPOSITORY, rendered["service-restart"])


def documents_of(project: Path) -> list[Path]:
    """The documents of a generated repository."""
    return sorted(path for path in project.rglob("*.md") if ".venv" not in path.parts)


# --------------------------------------------------------------------------------------------------------------- links


def links(path: Path) -> list[str]:
    found = tokens(read(path))
    targets = [str(token.attrs["href"]) for token in found if token.type == "link_open"]
    return targets + [str(token.attrs["src"]) for token in found if token.type == "image"]


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub, and the site, give to a document's headings."""
    found: set[str] = set()
    markdown = tokens(read(path))
    for heading, inline in pairwise(markdown):
        if heading.type == "heading_open":
            text = "".join(token.content for token in inline.children or () if token.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            number = next(n for n in range(1000) if (f"{slug}-{n}" if n else slug) not in found)
            found.add(f"{slug}-{number}" if number else slug)
    return found


def broken_links(path: Path) -> list[str]:
    broken = []
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            address = urlsplit(link)
            whole = address.scheme == "https" and re.fullmatch(r"[\w-]+(\.[\w-]+)+", address.netloc)
            if not whole and address.scheme != "mailto":
                broken.append(link)
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", [*DOCUMENTS, *GENERATED], ids=by_name)
def test_every_link_leads_somewhere(path: Path) -> None:
    inside_rendered = {"template"} & set(path.relative_to(REPOSITORY).parts)
    broken = broken_links(path)
    # What the template says of files that hold an answer is looked at where they are rendered.
    assert [link for link in broken if not (inside_rendered and (path.parent / f"{link}.jinja").exists())] == []


def test_every_link_of_a_generated_repository_leads_somewhere(rendered: dict[str, Path]) -> None:
    for project in rendered.values():
        broken = {str(path.relative_to(project)): broken_links(path) for path in documents_of(project)}
        assert {name: found for name, found in broken.items() if found} == {}


# ------------------------------------------------------------------------------------------------------------- samples


@pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)
def test_every_sample_would_work(path: Path, place: Place) -> None:
    assert list(samples.faults(read(path), place)) == []


def test_every_sample_of_a_generated_repository_would_work(rendered: dict[str, Path]) -> None:
    for project in rendered.values():
        found = {
            str(path.relative_to(project)): list(samples.faults(read(path), Place(project, project)))
            for path in documents_of(project)
        }
        assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        ("```sh\nmake demonstration\n```", "no target"),
        ("```sh\nX=1 make test ARGS=1\n```", ""),
        ("```sh\npython agent_runner.py simulate --resource x --aprove\n```", "--aprove"),
        ("```sh\npython agent_runner.py deliver x\n```", "invalid choice"),
        ("```sh\npython -I agent_runtime/__main__.py deliver x\n```", ""),
        ("```sh\npython -I agent_runtime/__main__.py delivr x\n```", "invalid choice"),
        ("```sh\n.venv/bin/python agent_runner.py verify\n```", "bundle"),
        ("```sh\n.venv/bin/python agent_runner.py verify x --digest DIGESTS\n```", "64"),
        ("```sh\npython -m agent_runtime.local.linter --explian CON01\n```", "--explian"),
        ("```sh\npython tools/codes.py --wirte\n```", "no option"),
        ("```sh\npython tools/code.py\n```", "no file"),
        ("```sh\npython tests/example_service.py with --eror 1 -- make test\n```", "no option"),
        ("```sh\npython tests/example_service.py with -- make demonstration\n```", "no target"),
        ("```sh\ncopier copy --default TEMPLATE x\n```", "no option"),
        ("```sh\ncopier copy --defaults --data agent=x TEMPLATE x\n```", "no question"),
        ("```sh\ncopier copy --defaults --data use_case=restart TEMPLATE x\n```", "no such answer"),
        ("```sh\ncopier update --defaults --data investigate_oidc=yes\n```", ""),
        ("```sh\ncopier update --defaults --data investigate_oidc=maybe\n```", "no such answer"),
        ("```sh\npython agent_runner.py update --set investigate_oidc=maybe\n```", "no such answer"),
        ("```sh\ncookiecutter TEMPLATE --chekout v1\n```", "no option"),
        ("```sh\ngh workflow run agent-investigate-act.yml -f ressource=x\n```", "no input"),
        ("```sh\ngh secrets set X\n```", "nobody knows"),
        ("```sh\nGH_TOKEN=$(gh auth token) make test\n```", ""),
        ("```sh\nexport GH_TOKEN=$(gh auth tokens)\n```", "nobody knows"),
        ("```sh\ncurl -d '{\"a\":\n1}' http://127.0.0.1\n```", ""),
        ("```sh\ncurl -d '{a: 1}' http://127.0.0.1\n```", "no JSON"),
        ("```console\n$ make demo\nanything at all\n```", ""),
        ("```python\nfrom agent_runtime import AgentRuner\n```", "AgentRuner"),
        ("```python\nif x:\n    return 1\n```", ""),
        ("```yaml\nname: a\nversion: 1\nallowed_actions:\n  - {typ: x}\n```", "unknown key typ"),
        ("```json\n{\n```", "json"),
        ("```rust\nfn main() {}\n```", "nobody knows how"),
    ],
)
def test_a_wrong_sample_is_noticed(sample: str, fault: str, place: Place) -> None:
    found = list(samples.faults(sample, place))

    assert bool(found) == bool(fault), found
    assert all(fault in each for each in found)


def test_the_agent_of_the_guide_does_what_its_policy_lets_a_reviewer_decide_on(tmp_path: Path) -> None:
    found = list(blocks(read(REPOSITORY / "docs" / "how-to" / "blank.md")))
    rules, cases = (text for kind, text in found if kind == "yaml")
    policy = parse_policy(rules.encode(), "guide")
    scope: dict[str, Any] = {}
    exec(dict(found)["python"], scope)
    agent = scope["PurgeAgent"]()
    proposed = agent.investigate("site-a").proposed_action

    verdict = evaluate(
        policy,
        action=proposed.action,
        resource="site-a",
        parameters=proposed.parameters,
        risk_level=proposed.risk_level,
    )

    assert verdict.decision == "review", verdict.reasons
    assert agent.act("site-a", proposed.action, proposed.parameters).status is ActionStatus.SUCCESS
    (tmp_path / "policy.yml").write_text(cases, encoding="utf-8")
    tried = policy_cases.read(tmp_path / "policy.yml", "policy.yml")
    assert [policy_cases.problem(each, policy, auto_approval=False) for each in tried] == [None, None]


@pytest.mark.parametrize("path", GENERATED, ids=by_name)
def test_a_command_of_the_agent_names_the_python_that_has_its_packages(path: Path) -> None:
    inline = [token.content.split() for token in tokens(read(path)) if token.type == "code_inline"]
    given = [words for words in (*commands(read(path)), *inline) if "agent_runner.py" in words[1:]]
    starts = {
        words[words.index("agent_runner.py") - 1] for words in given if words.index("agent_runner.py") < len(words) - 1
    }
    assert starts <= {".venv/bin/python"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)
def test_every_make_target_that_is_named_exists(path: Path, place: Place) -> None:
    inline = [token.content.split() for token in tokens(read(path)) if token.type == "code_inline"]
    named = {words[1] for words in inline if words[:1] == ["make"] and len(words) > 1}

    assert {name for name in named if re.fullmatch("[a-z]+", name)} <= place.targets


@pytest.mark.parametrize("path", DOCUMENTS, ids=by_name)
def test_files_that_are_named_exist(path: Path) -> None:
    words = [word for command in commands(read(path)) for word in command]
    words += [token.content for token in tokens(read(path)) if token.type == "code_inline"]
    here = re.compile(r"(tools|requirements|benchmarks|tests|template|docs|hooks|\.github)/[^:<]*")
    named = {word.rstrip("/") for text in words for word in text.split() if here.fullmatch(word)}

    # A document here also speaks of a generated repository, whose files have their source below template/.
    places = ("{}", "template/{}", "template/{}.jinja", "backend/{}")
    made = {"docs/RUNBOOK.md", "tests/test_agent.py", "tests/example_service.py"}
    missing = [name for name in named - made if not any(any(REPOSITORY.glob(each.format(name))) for each in places)]
    assert [name for name in missing if "<" not in name] == []


# ----------------------------------------------------------------------------------------------------- reference, site


@pytest.mark.parametrize(
    "path", [*(reference.FOLDER / name for name in reference.PAGES), reference.SPEC], ids=lambda path: path.name
)
def test_a_reference_page_is_up_to_date(path: Path) -> None:
    assert read(path) == reference.render()[path], "run python tools/reference.py --write"


def test_the_reference_has_every_option_that_the_programs_list(tmp_path: Path) -> None:
    page = read(reference.FOLDER / "command-line.md")
    environment = {"PYTHONPATH": "template:template/sdk:backend", "HOME": str(tmp_path)}
    (tmp_path / "agent_runner.py").write_text(
        "from agent_runtime import AgentRunner\n\nclass Agent(AgentRunner): ...\n\nraise SystemExit(Agent.main())\n"
    )
    for call in (["-m", "agent_runtime.local.linter"], [str(tmp_path / "agent_runner.py"), "simulate"]):
        said = subprocess.run(
            [sys.executable, *call, "--help"],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        reported = set(re.findall(r"^ +(--[a-z-]+)", said, flags=re.MULTILINE))
        assert len(reported) > 1 or "linter" in call[-1]
        assert [option for option in reported if f"`{option}" not in page] == []


def test_what_nobody_explained_stops_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(reference.POLICY_KEYS, "conditions")
    with pytest.raises(reference.Undescribed, match="'conditions'"):
        reference.policy()


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    sphinx = require_tool("sphinx-build")
    command = [sphinx, "--quiet", "--fail-on-warning", "--keep-going", "-c", "docs", "-b", "html", ".", str(tmp_path)]

    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert built.returncode == 0, built.stderr
    assert all((tmp_path / "template" / "docs" / f"{name}.html").is_file() for name in ("REVIEWER", "AUDITOR"))
    page = (tmp_path / "docs" / "index.html").read_text(encoding="utf-8")
    assert "review-summary-whole.png" in page and (tmp_path / "index.html").is_file()
    assert not list(tmp_path.rglob("*.jinja*"))


# ---------------------------------------------------------------------------------------------------- what stands where


def test_the_first_commands_of_the_readme_are_the_two() -> None:
    assert commands(read(REPOSITORY / "README.md"))[:2] == [["make", "demo"], ["make", "test"]]


def test_the_readme_shows_a_run_and_leads_to_each_reader() -> None:
    found = links(REPOSITORY / "README.md")

    pages = {"docs/tutorial.md", "template/docs/REVIEWER.md", "template/docs/AUDITOR.md", "docs/maintainer.md"}
    assert {"docs/images/review-summary.png", *pages} <= set(found)


def test_a_generated_repository_leads_each_reader_to_their_page(rendered: dict[str, Path]) -> None:
    for project in rendered.values():
        pages = {f"docs/{name}.md" for name in ("SETUP_GUIDE", "REVIEWER", "AUDITOR", "RUNBOOK", "TROUBLESHOOTING")}
        assert pages <= set(links(project / "README.md"))
        assert {"docs/REVIEWER.md", "docs/AUDITOR.md"} <= set(links(project / "PRODUCTION_CHECKLIST.md"))


def test_pictures_are_small() -> None:
    pictures = list((REPOSITORY / "docs" / "images").iterdir())

    assert pictures
    assert {path.name: path.stat().st_size for path in pictures if path.stat().st_size > 200 * 1024} == {}


def test_every_use_case_has_its_guide() -> None:
    guides = {path.stem for path in GUIDES.glob("*.md")}

    assert guides >= set(answers.USE_CASES)
    index = links(REPOSITORY / "docs" / "index.md")
    assert {f"how-to/{name}.md" for name in guides} <= set(index)
    assert [
        name for name in answers.USE_CASES if f"`make demo USE_CASE={name}`" not in read(GUIDES / f"{name}.md")
    ] == []


def test_make_alone_lists_every_target() -> None:
    result = subprocess.run([require_tool("make")], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    listed = re.findall(r"^  make ([a-z]+) +\S", result.stdout, flags=re.MULTILINE)
    assert sorted(listed) == sorted(TARGETS)


def test_the_decisions_are_all_listed_and_have_the_three_parts() -> None:
    folder = REPOSITORY / "docs" / "decisions"
    pages = sorted(folder.glob("[0-9]*.md"))
    index = read(folder / "README.md")

    assert len(pages) >= 8
    for page in pages:
        text = read(page)
        number, title = re.match(r"# (\d{4}) (.+)\n", text).groups()  # type: ignore[union-attr]
        assert page.name.startswith(f"{number}-")
        assert f"[{number}]({page.name})" in index
        assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Consequences"], title
