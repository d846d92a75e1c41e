"""What another job uploaded is read within bounds, under plain names, and only when it is the uploaded archive."""

from __future__ import annotations

import hashlib
import io
import re
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_runtime import codes
from agent_runtime.github import archive
from agent_runtime.github.api import GitHubApi
from support.github import FullGitHub

REPOSITORY = "acme/checkout-restart"


def packed(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Files as an archive, names as they are given, twice where they are given twice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as made:
        for name, data in files:
            made.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def refused(data: bytes) -> str:
    """Expect that an archive is refused, in one line; return the message."""
    with pytest.raises(codes.GateRefused) as caught:
        archive.unpack(data)
    assert caught.value.code == codes.GATE_ARTIFACT
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", caught.value.line())
    return caught.value.message


def test_files_and_folders_come_out_as_they_went_in(tmp_path: Path) -> None:
    files = {"report.json": b"{}", "journal/0001.jsonl": b"a\nb\n", "a/b/c/d/e.txt": b""}
    data = packed(("journal/", b""), *files.items())
    assert archive.unpack(data) == files
    archive.write(archive.unpack(data), tmp_path / "out")
    for name, content in files.items():
        assert (tmp_path / "out" / name).read_bytes() == content


@pytest.mark.threat("T7")
@pytest.mark.parametrize(
    "name",
    [
        *["../outside", "/outside", "a/../../outside", "a\\outside", "C:outside", "a/./b", "a//b", "~/x", ".ssh/x"],
        *["..", ".", "a/", "a/..", "a b", "a\nb", "a\x1bb", "é", "\u202ea", "a" + "/a" * 5, "con:aux", "-rf/ "],
    ],
)
def test_a_name_that_is_not_plain_is_refused(name: str, tmp_path: Path) -> None:
    data = packed((name, b"x"), ("fine", b"y"))
    if name == "a/":
        assert archive.unpack(data) == {"fine": b"y"}  # a folder is nothing but a name
        return
    assert "by no plain name" in refused(data)


@pytest.mark.threat("T7")
def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = packed(("investigation.json", b"{}"), ("investigation.json", b"[]"))
    assert "twice" in refused(data)


@pytest.mark.threat("T7")
@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
def test_a_name_that_is_a_file_and_a_folder_is_refused(names: tuple[str, ...]) -> None:
    assert "a file and a folder" in refused(packed(*[(name, b"x") for name in names]))


@pytest.mark.threat("T7")
def test_bombs_are_refused_before_they_fill_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    one = packed(("zeros", bytes(archive.MAX_UNPACKED_BYTES + 1)))
    assert len(one) < 100_000
    assert "more than" in refused(one)
    half = bytes(archive.MAX_UNPACKED_BYTES // 2 + 1)
    assert "more than" in refused(packed(("one", half), ("two", half)))
    assert "files" in refused(packed(*[(f"f{number}", b"") for number in range(201)]))
    assert len(archive.unpack(packed(*[(f"f{number}", b"") for number in range(200)]))) == 200


@pytest.mark.threat("T7")
def test_a_bomb_that_lies_about_its_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 1000)
    data = packed(("zeros", bytes(100_000)))
    lying = data.replace(struct.pack("<L", 100_000), struct.pack("<L", 10))
    assert lying != data
    refused(lying)


@pytest.mark.threat("T7")
def test_what_is_encrypted_linked_or_packed_otherwise_is_refused() -> None:
    plain = packed(("a", b"content"), method=zipfile.ZIP_STORED)
    encrypted = bytearray(plain)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(signature) + flags] |= 1
    refused(bytes(encrypted))
    unknown = bytearray(plain)
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        unknown[unknown.index(signature) + method] = 97
    refused(bytes(unknown))
    flipped = plain.replace(b"content", b"contenT")
    refused(flipped)


def test_a_link_in_an_archive_becomes_a_file_with_its_target_as_text(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(link, "/etc/passwd")
    archive.write(archive.unpack(buffer.getvalue()), tmp_path)
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "/etc/passwd"


@given(st.integers(0, 400))
def test_a_truncated_archive_is_refused(length: int) -> None:
    whole = packed(("investigation.json", bytes(range(256)) * 2), ("journal/0001.jsonl", b"x"))
    refused(whole[: min(length, len(whole) - 1)])


@given(st.data())
def test_whatever_byte_is_changed_the_content_is_the_same_or_it_is_refused(data: st.DataObject) -> None:
    files = {"investigation.json": b"{}" * 30, "journal/0001.jsonl": b"line\n" * 20}
    whole = bytearray(packed(*files.items()))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = archive.unpack(bytes(whole))
    except codes.GateRefused as problem:
        assert problem.code == codes.GATE_ARTIFACT
        return
    assert set(found.values()) <= set(files.values())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    refused(data)


@given(st.lists(st.tuples(st.text("ab./\\~ -é", max_size=8), st.binary(max_size=5)), max_size=4))
def test_nothing_is_ever_written_outside(files: list[tuple[str, bytes]]) -> None:
    try:
        found = archive.unpack(packed(*[(name, data) for name, data in dict(files).items() if name]))
    except codes.GateRefused:
        return
    for name in found:
        assert not name.startswith(("/", ".")) and not set(name) & set("\\~ é")
        assert all(part not in ("", ".", "..") for part in name.split("/"))


# Fetching


def fetch(github: FullGitHub, id: str, digest: str) -> dict[str, bytes]:
    return archive.fetch(GitHubApi(github.url, None, pause=lambda seconds: None), REPOSITORY, id, digest)


@pytest.mark.threat("T7")
def test_t7_the_archive_that_was_uploaded_is_read_and_no_other() -> None:
    uploaded, other = packed(("report.json", b"{}")), packed(("report.json", b"{} "))
    digest = hashlib.sha256(uploaded).hexdigest()
    with FullGitHub(REPOSITORY) as github:
        github.keep_archive(1, "4711", "investigation-report", uploaded)
        github.keep_archive(2, "4711", "investigation-report", other)
        assert fetch(github, "1", digest) == {"report.json": b"{}"}
        with pytest.raises(codes.GateRefused) as caught:
            fetch(github, "2", digest)
        assert caught.value.code == codes.GATE_ARTIFACT
        assert digest in caught.value.message and hashlib.sha256(other).hexdigest() in caught.value.message


@pytest.mark.threat("T7")
@pytest.mark.parametrize(
    ("id", "digest"),
    [
        *[
            ("1", reported)
            for reported in ["", "sha256:" + "0" * 64, "0" * 63, "é" * 64, "a\n::error::" + "b" * 53, "A" * 64]
        ],
        *[
            (reported, "0" * 64)
            for reported in ["", "-1", "1 ", "1/zip", "../1", "1\n", "x", "\u0661x", "\u0661", "\u00b2", "0", "9" * 20]
        ],
    ],
)
def test_t7_what_is_not_an_id_and_a_sha256_is_refused_unasked(id: str, digest: str) -> None:
    with FullGitHub(REPOSITORY) as github:
        github.keep_archive(1, "4711", "investigation-report", packed(("a", b"x")))
        with pytest.raises(codes.GateRefused) as caught:
            fetch(github, id, digest)
        assert caught.value.code == codes.GATE_ARTIFACT
        assert github.requests == []


def test_an_archive_that_is_gone_or_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed(("a", bytes(range(256)) * 10), method=zipfile.ZIP_STORED)
    digest = hashlib.sha256(data).hexdigest()
    with FullGitHub(REPOSITORY) as github:
        github.keep_archive(1, "4711", "investigation-report", data)
        monkeypatch.setattr(archive, "MAX_ARCHIVE_BYTES", 1000)
        for id in ("1", "2"):
            with pytest.raises(codes.GateRefused) as caught:
                fetch(github, id, digest)
            assert caught.value.code == codes.GATE_API
