"""The use case security-response as a whole run: whatever it leaves behind holds no value of a key and no token."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from support import interpreter
from support.engines import clone_template, commit_all, run_copier
from support.toolkit import USE_CASES

SERVICE = USE_CASES / "security-response" / "example_service.py"
THIEF = "203.0.113.9"


@pytest.mark.parametrize("fails", ["", "shop/k-1"], ids=["done", "failed in the middle"])
def test_no_secret_is_left_behind(fails: str, tmp_path: Path) -> None:
    project = run_copier(
        clone_template(tmp_path / "template"),
        tmp_path / "project",
        {"agent_name": "Example", "use_case": "security-response"},
    )
    commit_all(project, "Start")
    tokens = {"identity": secrets.token_hex(16)}
    tokens["secrets"] = tokens["identity"]
    command = [sys.executable, str(SERVICE), "serve", f"--token={tokens['identity']}", f"--fails={fails}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        url = json.loads(service.stdout.readline())["url"]

        def ask(path: str, bearer: str) -> dict[str, str]:
            headers = {"Authorization": f"Bearer {bearer}", "X-Forwarded-For": THIEF}
            with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=10) as answer:
                found: dict[str, str] = json.load(answer)
                return found

        old = ask("/secrets/shop/k-1", tokens["secrets"])["value"]
        ask("/identity/whoami", old)
        catalogue = tmp_path / "services.yml"
        catalogue.write_text(
            json.dumps({"services": {"example": {"identity": url + "/identity", "secrets": url + "/secrets"}}}),
            encoding="utf-8",
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "AIM"))}
        environment |= {"SERVICES_FILE": str(catalogue), "AGENT_ACT_TOKEN": json.dumps(tokens), "no_proxy": "127.0.0.1"}
        run = [interpreter.python(), "agent_runner.py", "simulate", "--resource", "example/key/k-1", "--approve"]
        done = subprocess.run(
            [*run, "--out", str(tmp_path / "run")], cwd=project, env=environment, capture_output=True, check=False
        )
        new = ask("/secrets/shop/k-1", tokens["secrets"])["value"]
        service.terminate()

    assert (done.returncode == 0, new != old) == (not fails, not fails), done.stdout.decode()
    left = {str(path): path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    (result,) = [json.loads(data) for name, data in left.items() if name.endswith("/action-result.json")][:1]
    assert result["status"] == ("failed" if fails else "success")
    left["output"] = done.stdout + done.stderr
    found = [name for name, data in left.items() for secret in (old, new, tokens["secrets"]) if secret.encode() in data]
    assert found == []
