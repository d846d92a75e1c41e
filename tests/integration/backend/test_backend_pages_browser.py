"""A person in front of a browser: Chromium, with and without JavaScript, light, dark, and as narrow as a phone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from app.log.checkpoint import parse_proof
from app.log.entries import parse_entry
from app.log.note import signatures_of
from app.log.policy import parse_policy
from app.log.verify import check_inclusion, checkpoint_of
from backend_client import Client, administer, command, eventually
from backend_log import parties
from backend_runs import PLAN, REASON, acted, bundle_of, refused, send, waiting
from bench.servers import Backend

from support.environment import REPOSITORY, missing, require_tool

NODE = REPOSITORY / "tests" / "support" / "browser" / "node"
DAY = 86400
LAST_WEEK = "4811-1"


def chromium() -> str:
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None) or missing("Chromium is not installed")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures of the pages go: AIMGENTIX_TEST_PICTURES, to look at them."""
    wanted = os.environ.get("AIMGENTIX_TEST_PICTURES")
    folder = Path(wanted) if wanted else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Any:
    """What a person saw on their way through the pages of a backend with a witnessed log."""
    node = require_tool("node")
    if not (NODE / "node_modules").is_dir():
        missing("the packages of tests/support/browser/node are not installed: make .venv/node.stamp")
    folder = tmp_path_factory.mktemp("browser")
    now = time.time()
    old = [refused(LAST_WEEK, now - 7 * DAY), acted("4810-1", now - 7 * DAY - 600)]
    new = [acted(f"47{n}-1", now - n * 3600) for n in range(10, 14)]
    new += [waiting("4900-1", now - 600, resource="payments", agent="scaler"), refused("4901-1", now - 60)]
    torn = acted("4902-1", now - 30, resource="search")
    del torn.lines[4]
    quiet = {"AIMGENTIX_READ_MINUTES": "0"}  # what somebody reads would be new events, not yet in the log
    with (
        parties(folder / "parties") as both,
        both.witnessing(),
        Backend(folder, settings=both.settings | quiet) as backend,
    ):
        make = ("keys", "create", "--name", "auditor", "--scope", "read")
        key = command(backend.database_url, *make).stdout.strip()
        client = Client(backend.start().port, command(backend.database_url, *make, "--scope", "write").stdout.strip())
        send(client, *old)
        digest, packed = bundle_of(old[0], "refused")
        assert client.ask("PUT", f"/v1/bundles/{digest}", packed, content_type="application/zip").status == 201
        administer(
            backend.database_url,
            f"UPDATE runs SET first_received = first_received - {7 * DAY * 10**6}",
        )
        send(client, *new, torn)
        eventually(lambda: _is_cosigned(client))
        today = datetime.now(UTC).date()
        asked = {
            "chromium": chromium(),
            "url": backend.url,
            "key": key,
            "out": str(pictures),
            "find": {"since": str(today - timedelta(days=8)), "until": str(today - timedelta(days=6))},
            "pages": {
                "runs": "/ui/runs",
                "found": "/ui/runs?text=restart&outcome=acted&trail=intact",
                "run": f"/ui/run?trace={LAST_WEEK}",
                "plan": f"/ui/run?trace={LAST_WEEK}&plan={digest}",
                "torn": "/ui/run?trace=4902-1",
                "agents": "/ui/agents",
                "trails": "/ui/trails",
                "log": "/ui/log",
                "sign-in": "/ui/sign-in",
                "problem": "/ui/runs?outcome=nonsense",
            },
        }
        done = subprocess.run(
            [node, "src/journey.js", json.dumps(asked)],
            cwd=NODE,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout) | {"policy": both.policy.read_text()}


def _is_cosigned(client: Client) -> bool:
    found = client.get(f"/v1/traces/{LAST_WEEK}/verification").json
    return bool(found["cosigned"]) and all(one["logged"] and not one["unchecked"] for one in found["streams"])


def test_a_person_finds_a_refused_run_and_reads_why(seen: Any) -> None:
    journey = seen["journey"]
    assert journey["found"] == 1
    assert journey["title"].split() == ["checkout", "refused"]
    assert "GATE05" in journey["why"]
    assert REASON in journey["why"]
    assert "carol" in journey["approved"]
    assert "this is what was sealed" in journey["plan"]
    assert json.loads(journey["plan"][journey["plan"].index("{") : journey["plan"].rindex("}") + 1]) == PLAN
    assert [row.split()[2] for row in journey["checks"][1:]] == ["passed", "passed", "refused"]
    assert journey["timeline"][-1].startswith("Run ended")
    assert journey["signedOut"] == "/ui/sign-in"


def test_a_person_verifies_it_and_takes_it_along(seen: Any) -> None:
    journey = seen["journey"]
    assert len(journey["trail"]) == 1 + 6
    assert all("holds" in row.split() and "not" not in row.split()[:8] for row in journey["trail"][1:]), journey[
        "trail"
    ]
    bundle, events, *proofs = journey["downloads"].values()
    with zipfile.ZipFile(bundle) as archive:
        assert json.loads(archive.read("bundle.json"))["trace_id"] == LAST_WEEK
    lines = [json.loads(line) for line in Path(events).read_text(encoding="utf-8").splitlines()]
    assert [line["trace_id"] for line in lines] == [LAST_WEEK] * 12
    assert len(proofs) == 6
    policy = parse_policy(seen["policy"].encode())
    for path in proofs:
        proof = parse_proof(Path(path).read_bytes())
        assert proof.extra
        check_inclusion(proof, checkpoint_of(proof.checkpoint, policy.logs)[0], proof.extra)
        assert policy.is_met(set(signatures_of(proof.checkpoint, [witness.key for witness in policy.witnesses])))
        assert parse_entry(proof.extra).subject in {line["stream"] for line in lines}


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_nothing_keeps_anybody_out(seen: Any, look: str) -> None:
    found = seen["looks"][look]
    assert found["barriers"] == []
    assert found["wide"] == []
    refused = "Failed to load resource: the server responded with a status of 400 (Bad Request)"  # the page `problem`
    assert found["errors"] == [refused], "a page asked for something that its policy forbids"
    assert found["first"] == {"text": "Skip to content", "seen": True, "then": "text"}
