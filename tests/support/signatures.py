"""Signers with real keys, and tags that they sign."""

from __future__ import annotations

import subprocess
from pathlib import Path

from agent_runtime.local.update.releases import LIST, SIGNERS
from support import engines
from support.environment import require_tool


def key(folder: Path, name: str) -> Path:
    """A new key without a passphrase, for `name@example.com`."""
    path = folder / name
    command = [
        require_tool("ssh-keygen"),
        "-q",
        "-t",
        "ed25519",
        "-N",
        "",
        "-C",
        f"{name}@example.com",
        "-f",
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


def line(key: Path, options: str = "") -> str:
    """The line that names a key in the file of allowed signers."""
    kind, text, name = key.with_suffix(".pub").read_text(encoding="utf-8").split()
    return " ".join(filter(None, (name, options, kind, text))) + "\n"


def allow(template: Path, *keys: Path) -> None:
    """Let exactly these keys sign, in a folder `template` or a repository made from it."""
    (template / SIGNERS).write_text("# Ours\n" + "".join(map(line, keys)), encoding="utf-8")


def sign(template: Path, tag: str, key: Path, commit: str = "HEAD") -> None:
    """Make a signed tag, instead of one that is there."""
    settings = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"]
    engines.git(template, *settings, "tag", "--force", "--sign", "--message", f"Release {tag}", tag, commit)


def list_releases(template: Path, text: str) -> None:
    """Commit a list of releases."""
    (template / LIST).write_text(text, encoding="utf-8")
    engines.commit_all(template, "List the releases")


def entry(template: Path, tag: str, revoked: str = "") -> str:
    """The entry of a tag in that list."""
    commit = engines.git(template, "rev-parse", tag + "^{commit}").strip()
    lines = [f'version = "{tag}"', f'commit = "{commit}"', 'date = "2026-12-01"']
    return "\n".join(["", "[[release]]", *lines, *([f'revoked = "{revoked}"'] if revoked else []), ""])
