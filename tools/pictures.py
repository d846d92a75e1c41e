"""Make the pictures in `docs/images` from a real run and a real update: `make pictures`.

A generated repository investigates the failing example service; the page that its reviewer reads is rendered by
GitHub's own Markdown parser with GitHub's style sheet, and photographed by Chromium without a window.  So is the pull
request that brings it a release in which a job of the gate may write more, and the README's first screen.  The demo
and the questions of both engines are played at a terminal of 80 columns and 24 lines (tools/screens.py).

    python tools/pictures.py [--out FOLDER] [--only NAME]
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tools import demo, screens  # noqa: E402
from tools.demo_cases import CASES, DemoFailed  # noqa: E402

IMAGES = ROOT / "docs" / "images"
STYLE = ROOT / "tools" / "pictures" / "node_modules" / "github-markdown-css" / "github-markdown-light.css"
# As wide as a summary on GitHub beside its list of jobs.
WIDTH = 980
MAX_BYTES = 200 * 1024
# Of a page that does not give its height.
MAX_HEIGHT = 1400
COLOURS = 48
# The demo's many screens have little more than black and white.
FEWER = {"demo": 4}
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

PAGE = """\
<!doctype html>
<meta charset="utf-8">
<style>{style}
body {{ margin: 0; background: #ffffff; }}
.markdown-body {{ box-sizing: border-box; width: {width}px; padding: 24px 32px; }}
</style>
<article class="markdown-body">{body}</article>
<script>
const second = document.querySelectorAll("h2")[1];
document.title = "height=" + document.documentElement.scrollHeight + " first=" + (second ? second.offsetTop : 0);
</script>
"""


# The release of the second picture: what it changes, and what its changelog says.
CURRENT, RELEASE = "v0.1.0", "v0.2.0"
CHANGES = (
    (
        "template/.github/workflows/agent-investigate-act.yml.jinja",
        "      actions: read # what did the jobs leave, who approved or rejected?",
        "      actions: write # what did the jobs leave, who approved or rejected? Old artifacts are deleted",
    ),
    ("template/agent_runtime/model/redaction.py", "from __future__", "# Faster.\nfrom __future__"),
)
_PERMISSION = "CON06@.github/workflows/agent-investigate-act.yml:jobs.record.permissions.actions"
ACCEPTED = (_PERMISSION, f"new:{_PERMISSION}")
CHANGELOG = f"""\
# Changelog

## {RELEASE} - 2027-01-15

### What changes in your repository

- Plans with many steps are sealed faster.
- The job *record* deletes artifacts that are older than 30 days. It may write `actions` for that (CON06).

### What you must do

- Store bundles that you need for longer in the audit backend, before you merge this.
"""


# What a person types at the questions of both engines, up to the one that shows what there is to choose from.
TYPED = {
    "agent's name": "Checkout Restart\r",
    **dict.fromkeys(("short name", "watch over", "Which repository", "Who may approve"), "\r"),
    "What should it do": None,
}
FIRST_SCREEN = 900


class PictureFailed(Exception):
    """There is no picture; the message says why."""


def summary(folder: Path) -> str:
    """Play a run in a repository that is generated below `folder`, and return the page of its reviewer."""
    case = CASES[demo.DEFAULT_CASE]
    with case.start(folder / "world") as world:
        world.spoil()
        world.wrong()
        repository = demo.generate(folder, case)
        arguments = ["simulate", "--resource", case.resource, "--approve", "--out", str(demo.RUN_FOLDER)]
        if demo.run_agent(repository, arguments, world.settings(folder)) != 0:
            raise PictureFailed("the run did not end well")
    return (repository / demo.RUN_FOLDER / "seal" / "summary-seal").read_text(encoding="utf-8")


def proposal(folder: Path) -> str:
    """Make a release below `folder`, and return the pull request that brings it to a repository, with its title."""
    sys.path[:0] = [str(ROOT / "template"), str(ROOT / "template" / "sdk")]
    from agent_runtime.local.update import proposal as proposals  # noqa: PLC0415  the path above comes first

    template, repository = folder / "template", folder / "agent"
    demo.git(folder, "clone", "--quiet", str(ROOT), str(template))
    demo.git(template, "tag", CURRENT)
    copier = str(Path(sys.executable).with_name("copier"))
    words = ["copy", "--quiet", "--defaults", "--data", "agent_name=Checkout Restart", f"--vcs-ref={CURRENT}"]
    _run([copier, *words, str(template), str(repository)], folder)
    demo.git(repository, "init", "--quiet", "--initial-branch=main")
    demo.git(repository, "add", "--all")
    demo.git(repository, "commit", "--quiet", "--message=Start from the template")
    for name, old, new in CHANGES:
        text = (template / name).read_text(encoding="utf-8")
        (template / name).write_text(text.replace(old, new, 1), encoding="utf-8")
    (template / "CHANGELOG.md").write_text(CHANGELOG, encoding="utf-8")
    _run([sys.executable, "tools/manifest.py"], template)
    demo.git(template, "commit", "--quiet", "--all", f"--message=Release {RELEASE}")
    demo.git(template, "tag", RELEASE)
    update = [
        "agent_runner.py",
        "update",
        "--json",
        f"--accept={' '.join(ACCEPTED)}",
        f"--patch={folder / proposals.PATCH}",
    ]
    report = _run([sys.executable, *update], repository)
    files = {proposals.PATCH: (folder / proposals.PATCH).read_bytes(), proposals.REPORT: report.encode()}
    with proposals.opened(repository) as here:
        made = proposals.checked(here, RELEASE, ACCEPTED, files, "octocat")
    return f"# {made.title}\n\n{made.body}"


def questions(folder: Path, engine: str) -> str:
    """The page of what an engine's questions look like, asked by a released template below `folder`."""
    template = folder / "template"
    demo.git(folder, "clone", "--quiet", str(ROOT), str(template))
    demo.git(template, "tag", CURRENT)
    program = str(Path(sys.executable).with_name(engine))
    words = ["copy", str(template), "agent"] if engine == "copier" else [str(template)]
    return screens.page(screens.played([program, *words], folder, os.environ, TYPED)[-1:])


def whole_demo(folder: Path) -> str:
    """The page of what `make demo` shows to a person who approves, screen by screen."""
    command = [sys.executable, str(ROOT / "tools" / "demo.py"), "--out", str(folder)]
    return screens.page(
        screens.played(command, folder, os.environ, {"-- Return: ": "\n", "q: the question": "q\n", "[y/N]": "y\n"})
    )


def readme() -> str:
    """The page of the README, as GitHub shows it."""
    page = html((ROOT / "README.md").read_text(encoding="utf-8"))
    return page.replace("<style>", f'<base href="{ROOT.as_uri()}/">\n<style>', 1)


# Each picture's page; the folder is the one in which it may work.
PAGES: dict[str, Callable[[Path], str]] = {
    "review-summary": lambda folder: html(summary(folder)),
    "update-pull-request": lambda folder: html(proposal(folder)),
    "readme": lambda _: readme(),
    "questions-copier": lambda folder: questions(folder, "copier"),
    "questions-cookiecutter": lambda folder: questions(folder, "cookiecutter"),
    "demo": whole_demo,
}


def _run(command: list[str], folder: Path) -> str:
    """Run a program with this environment's Copier on PATH, and return what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {**os.environ, "PATH": path}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PictureFailed(f"{command[1]} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def html(markdown: str) -> str:
    """Return the page as GitHub shows it."""
    import cmarkgfm  # type: ignore[import-untyped]  # noqa: PLC0415  only here
    from cmarkgfm.cmark import Options  # type: ignore[import-untyped]  # noqa: PLC0415

    if not STYLE.is_file():
        raise PictureFailed("GitHub's style sheet is missing: type `make pictures`, which installs it")
    body = cmarkgfm.github_flavored_markdown_to_html(markdown, options=Options.CMARK_OPT_UNSAFE)  # <details>
    return PAGE.format(style=STYLE.read_text(encoding="utf-8"), width=WIDTH, body=body)


def photograph(page: Path, picture: Path) -> int:
    """Let Chromium draw a local page, as high as it is, into a PNG; return where its second section begins."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        raise PictureFailed(f"none of {', '.join(CHROMIUM)} is installed")
    with tempfile.TemporaryDirectory() as profile:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        command += [
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ]
        command += [f"--user-data-dir={profile}"]

        def draw(*options: str) -> str:
            done = subprocess.run(
                [*command, *options, page.as_uri()], capture_output=True, text=True, check=False, timeout=120
            )
            if done.returncode != 0:
                raise PictureFailed(f"{program} failed: {done.stderr.strip()[-400:]}")
            return done.stdout

        drawn = draw(f"--window-size={WIDTH},800", "--dump-dom")
        found = re.search(r"height=(\d+) first=(\d+)", drawn)
        height, second = map(int, found.groups()) if found else (MAX_HEIGHT, 0)
        draw(f"--window-size={WIDTH},{height}", f"--screenshot={picture}")
        return second


def shrink(picture: Path, target: Path, height: int = 0) -> None:
    """Write the upper part of a picture, or all of it, with as few colours as text needs."""
    from PIL import Image  # noqa: PLC0415  only here

    with Image.open(picture) as whole:
        part = whole.convert("RGB").crop((0, 0, whole.width, height or whole.height))
        part.quantize(FEWER.get(target.stem, COLOURS), dither=Image.Dither.NONE).save(target, optimize=True)
    if target.stat().st_size > MAX_BYTES:
        raise PictureFailed(f"{target.name} has {target.stat().st_size} bytes, {MAX_BYTES} are allowed")


def _draw(name: str, page: Path, out: Path) -> None:
    """Make a page's picture; of the reviewer's page two, since its upper part is what the README shows."""
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch) / "page.png"
        second = photograph(page, picture)
        if name == "review-summary":
            shrink(picture, out / f"{name}.png", second)
            name += "-whole"
        shrink(picture, out / f"{name}.png", FIRST_SCREEN if name == "readme" else 0)


def main() -> int:
    """Run the command line and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder for the pictures (default: docs/images)")
    parser.add_argument("--page", type=Path, help="photograph this HTML file instead of a run")
    parser.add_argument("--only", choices=PAGES, help="make this picture alone")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        if options.page:
            _draw(options.page.stem, options.page.resolve(), options.out)
        for name in [options.only] if options.only else [] if options.page else PAGES:
            with tempfile.TemporaryDirectory() as scratch:
                page = Path(scratch) / "page.html"
                page.write_text(PAGES[name](Path(scratch)), encoding="utf-8")
                _draw(name, page, options.out)
    except (PictureFailed, DemoFailed, screens.PlayFailed) as problem:
        print(f"pictures: {problem}", file=sys.stderr)
        return 1
    print(f"look at what is in {os.path.relpath(options.out)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
