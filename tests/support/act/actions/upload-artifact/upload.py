"""Upload a file or folder to the artifact service: upload.py NAME PATH, by the protocol of actions/toolkit."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import urllib.request
import zipfile
from pathlib import Path

SERVICE = "twirp/github.actions.results.api.v1.ArtifactService/"


def send(method: str, url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Make one request, past any proxy, and return what was answered."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, body, headers, method=method), timeout=60) as answer:
        data: bytes = answer.read()
    return data


def call(method: str, body: dict[str, str]) -> dict[str, str]:
    """Ask the artifact service as the runner."""
    headers = {"Authorization": f"Bearer {os.environ['ACTIONS_RUNTIME_TOKEN']}", "Content-Type": "application/json"}
    url = os.environ["ACTIONS_RESULTS_URL"] + SERVICE + method
    answer: dict[str, str] = json.loads(send("POST", url, json.dumps(body).encode(), headers))
    return answer


def pack(path: Path) -> tuple[int, bytes]:
    """Return how many files there are, hidden ones left out, and an archive of them."""
    root = path if path.is_dir() else path.parent
    found = [each for each in ([path] if path.is_file() else sorted(path.rglob("*"))) if each.is_file()]
    names = [each.relative_to(root) for each in found]
    shown = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name in shown:
            opened.write(root / name, name.as_posix())
    return len(shown), archive.getvalue()


def main(name: str, path: Path) -> None:
    count, data = pack(path)
    if not count:
        print(f"No files were found with the provided path: {path}. No artifacts will be uploaded.")
        return
    digest = hashlib.sha256(data).hexdigest()
    address = call("CreateArtifact", {"name": name})["signed_upload_url"]
    send("PUT", address, data, {"Content-Type": "application/zip"})
    number = call("FinalizeArtifact", {"name": name, "size": str(len(data)), "hash": f"sha256:{digest}"})["artifact_id"]
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as stream:
        stream.write(f"artifact-id={number}\nartifact-digest={digest}\n")
    print(f"Artifact {name} has been uploaded with the ID {number}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
