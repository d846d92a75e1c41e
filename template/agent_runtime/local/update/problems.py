"""What stops an update, each with its code."""

from __future__ import annotations

from agent_runtime import codes

NO_COPIER = codes.register(
    "UPD01",
    "Copier is not installed, or too old",
    "Install it once, outside this repository: pipx install 'copier>=9.18'",
)
NO_ORIGIN = codes.register(
    "UPD02",
    "nothing says which release of which template this is",
    "Write the template's git address as _src_path and the tag or commit that this repository came from as _commit "
    "into .copier-answers.yml, and commit that",
)
UNREACHABLE = codes.register(
    "UPD03",
    "the template can't be fetched",
    "Check the network and your access; if the template moved, write its new address as _src_path into "
    ".copier-answers.yml and commit that",
)
NO_VERSION = codes.register(
    "UPD04",
    "the template does not have this version",
    "Name a tag or commit that it has, in --to or as _commit in .copier-answers.yml",
)
DIRTY = codes.register("UPD05", "something here is not committed", "Commit it or stash it (git stash -u), then update")
DETACHED = codes.register("UPD06", "no branch is checked out", "Check one out, or name a new one: --branch NAME")
BUSY = codes.register("UPD07", "another update of this repository is running", "Wait until it ends")
NO_GIT = codes.register("UPD08", "this is not a git repository with a commit", "Commit the repository first")
FIXED = codes.register(
    "UPD09",
    "this answer can't be changed",
    "Start a new repository from the template with the other answer, and move your agent_runner.py and policy there",
)
RENDERING = codes.register(
    "UPD10",
    "Copier could not render the template",
    "Answer what it asks for with --set NAME=VALUE, or fix what it names",
)
CONFLICT = codes.register(
    "UPD11",
    "the release and this repository changed the same lines",
    "Nothing was changed. --apply writes the merge into the working tree, for you to resolve there",
)
WEAKER = codes.register(
    "UPD12",
    "the update changes what keeps the gate closed",
    "Nothing was changed. Read each difference; accept those that you want by the names that update prints: "
    "--accept CODE@FILE:PLACE",
)
CONFIGURED = codes.register(
    "UPD13",
    "the update changes the configuration, and nobody changed an answer",
    "Look up in the template's changelog what the key means; --accept takes it by the name that update prints",
)
MOVED = codes.register("UPD14", "the branch can't be moved", "Do what the message asks for, then update again")
IN_THE_WAY = codes.register(
    "UPD15", "a file that git ignores is in the way of the update", "Move or remove the file, then update"
)
NO_GIT_PROGRAM = codes.register("UPD16", "git is not installed, or stopped", "Install git, or fix what it names")
NO_CHECK = codes.register(
    "UPD17",
    "the check that the update brings did not run",
    "Install the package that it names as missing; report anything else to the template's maintainers",
)
UNSIGNED = codes.register(
    "UPD18",
    "this release is not signed by an allowed signer",
    "Nothing was changed. Ask one of the signers in agent_runtime/allowed_signers for a signed tag. "
    "git 2.34 or newer and ssh-keygen are needed to check it",
)
REVOKED = codes.register(
    "UPD19", "the release is revoked", "Nothing was changed. Take another one: --to VERSION, or wait for a newer one"
)
NO_LIST = codes.register(
    "UPD20",
    "the template's list of releases can't be read",
    "Nothing was changed. Ask the template's maintainers to fix releases.toml",
)
NOT_AN_UPDATE = codes.register(
    "UPD21",
    "what was made is not an update to this release",
    "Nothing was pushed. What made it ran the release's code: read its artifact and report it to the template's "
    "maintainers; to see the update by yourself, run update --check",
)
NAMELESS = codes.register(
    "UPD22",
    "what --accept names is not a difference of this update",
    "Nothing was changed. Read the differences, and accept each that you want by the name that update prints: "
    "--accept CODE@FILE:PLACE",
)
