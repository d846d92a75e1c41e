"""A git server over HTTP: git's own `http-backend` behind a small CGI, with a password and a protected branch."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.environment import require_tool

USER = "x-access-token"

# What a server that protects a branch does with a push.
PROTECTED = """\
#!/bin/sh
while read -r old new ref; do
    if [ "$ref" = refs/heads/main ]; then echo "GH006: Protected branch update failed" >&2; exit 1; fi
done
"""


def git(folder: Path, *words: str, data: str | None = None) -> str:
    """Run git in a folder as nobody in particular, and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "init.defaultBranch=main"]
    command = [require_tool("git"), "-C", str(folder), *who, *words]
    done = subprocess.run(command, env=environment, input=data, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class Origin:
    """A bare repository, and a work tree from which somebody pushes to it."""

    bare: Path
    work: Path

    @property
    def address(self) -> str:
        return f"file://{self.bare}"

    def commit(self, files: dict[str, str | None], message: str = "Change") -> str:
        """Push these files to main (None removes one), and return the commit."""
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text, encoding="utf-8")
        git(self.work, "add", "--all")
        git(self.work, "commit", "--quiet", "--message", message)
        return self.push()

    def push(self) -> str:
        """Push what the work tree has, and return the commit."""
        git(self.work, "push", "--quiet", str(self.bare), "HEAD:main")
        return git(self.work, "rev-parse", "HEAD")

    def head(self, branch: str = "main") -> str:
        """The commit that a branch is at on the server."""
        return git(self.bare, "rev-parse", f"refs/heads/{branch}")

    def show(self, name: str, branch: str = "main") -> str:
        """The content of a file on the server."""
        return git(self.bare, "show", f"refs/heads/{branch}:{name}")

    def protect(self) -> None:
        """From now on nobody pushes to main."""
        hook = self.bare / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(PROTECTED, encoding="utf-8")
        hook.chmod(0o755)


def create(folder: Path) -> Origin:
    """Make a repository with a first commit."""
    bare, work = folder / "origin.git", folder / "work"
    git(folder, "init", "--quiet", "--bare", str(bare))
    git(bare, "config", "http.receivepack", "true")
    git(folder, "init", "--quiet", str(work))
    origin = Origin(bare, work)
    origin.commit({"app.json": "1\n2\n3\n", "flags.yml": "dark: false\n"}, "First")
    return origin


@dataclass
class GitServer:
    """A running server.

    Arguments:
        requests: method and path of what was asked.
        after: called with method and path once git has done its work, before the answer leaves; its answer replaces
            the status, 0 drops the connection.
    """

    url: str
    requests: list[str] = field(default_factory=list)
    after: Callable[[str, str], int | None] = lambda method, path: None


@contextmanager
def serve(
    origin: Origin, password: str | Callable[[str], Mapping[str, str] | None] | None = None, root: Path | None = None
) -> Iterator[GitServer]:
    """Serve a repository over HTTP for the time of a block.

    Arguments:
        password: what has to be presented; None lets everybody in.  A function says of what is presented which
            variables the repository's hooks get, or None to keep it out.
        root: what the paths of addresses begin at; by default where the repository is.
    """
    backend = Path(subprocess.run(["git", "--exec-path"], capture_output=True, text=True, check=True).stdout.strip())

    def allowed(authorization: str) -> Mapping[str, str] | None:
        if password is None or isinstance(password, str):
            wanted = base64.b64encode(f"{USER}:{password}".encode()).decode()
            return {} if password is None or authorization == f"Basic {wanted}" else None
        kind, _, basic = authorization.partition(" ")
        user, _, token = base64.b64decode(basic).decode().partition(":")
        return password(token) if (kind.lower(), user) == ("basic", USER) else None

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._pass_on(b"")

        def do_POST(self) -> None:
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._pass_on(body)

        def _pass_on(self, body: bytes) -> None:
            running.requests.append(f"{self.command} {self.path}")
            about = allowed(self.headers.get("Authorization", ""))
            if about is None:
                self._answer(401, [("WWW-Authenticate", 'Basic realm="git"')], b"")
                return
            path, _, query = self.path.partition("?")
            environment = {
                **about,
                "PATH": os.environ["PATH"],
                "GIT_PROJECT_ROOT": str(root or origin.bare.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "somebody",
            }
            done = subprocess.run(
                [str(backend / "git-http-backend")], input=body, env=environment, capture_output=True, check=False
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = [tuple(line.split(": ", 1)) for line in head.decode().splitlines()]
            status = next((int(value[:3]) for name, value in headers if name == "Status"), 200)
            replaced = running.after(self.command, path)
            if replaced == 0:
                self.close_connection = True
                return
            self._answer(replaced or status, [pair for pair in headers if pair[0] != "Status"], content)  # type: ignore[misc]

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    path = origin.bare.relative_to(root or origin.bare.parent)
    running = GitServer(f"http://127.0.0.1:{server.server_port}/{path}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
