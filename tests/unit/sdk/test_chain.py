"""The chain: whatever is done to a journal afterwards is found, and named for what it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aimgentix import verify
from aimgentix.journal import Journal, read_events, read_lines, verify_directory, verify_segment
from support.sdk.helpers import event

COUNT = 12


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A segment of 12 events: its path and its lines."""
    journal = Journal(tmp_path_factory.mktemp("written"))
    for number in range(COUNT):
        journal.append(event(resource=f"service/{number}", metadata={"number": number}).encode())
    path = Path(journal.path or "")
    journal.close()
    return path, path.read_bytes().splitlines()


@pytest.fixture
def change(written, tmp_path):
    """Write other lines under the segment's name, and verify them."""
    path, _ = written

    def verify_changed(lines, tail=b"", expected_head=None):
        copy = tmp_path / path.name
        copy.write_bytes(b"".join(line + b"\n" for line in lines) + tail)
        return verify_segment(copy, expected_head)

    return verify_changed


def kinds(report):
    return {problem.kind for problem in report.problems}


def test_the_format_is_what_the_specification_says(written):
    path, lines = written
    head = None
    for number, raw in enumerate(lines, 1):
        line = json.loads(raw.decode())
        assert list(line) == ["v", "stream", "seq", "prev", "event"]
        assert (line["v"], line["stream"], line["seq"], line["prev"]) == (1, path.stem, number, head)
        head = hashlib.sha256(raw).hexdigest()
    report = verify_segment(path)
    assert (report.ok, report.lines, report.head, report.anchored) == (True, COUNT, head, False)
    assert verify_segment(path, head).anchored


def test_an_empty_segment_is_whole_and_has_no_head(change):
    report = change([])
    assert (report.ok, report.lines, report.head) == (True, 0, None)


@given(index=st.integers(0, COUNT - 2), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_changed_byte_of_an_event_is_an_altered_line(written, change, index, data):
    _, lines = written
    start = lines[index].index(b'"event":{') + len(b'"event":{')
    position = data.draw(st.integers(start, len(lines[index]) - 3))
    byte = data.draw(st.integers(1, 255).filter(lambda value: value != 10))
    changed = bytearray(lines[index])
    assume(changed[position] != byte)
    changed[position] = byte
    report = change([*lines[:index], bytes(changed), *lines[index + 1 :]])
    assert kinds(report) == {verify.ALTERED}
    assert [problem.seq for problem in report.problems] == [index + 1]


@pytest.mark.threat("T36")
@given(index=st.integers(0, COUNT - 1), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_changed_byte_anywhere_goes_unseen_with_an_anchor(written, change, index, data):
    _, lines = written
    changed = bytearray(lines[index])
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    report = change(
        [*lines[:index], bytes(changed), *lines[index + 1 :]], expected_head=verify_segment(written[0]).head
    )
    assert not report.ok


@given(st.sets(st.integers(0, COUNT - 2), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_removed_lines_are_missing(written, change, removed):
    _, lines = written
    report = change([line for index, line in enumerate(lines) if index not in removed])
    assert kinds(report) == {verify.MISSING}
    assert report.problems[0].seq == min(removed) + 1


@given(st.permutations(range(COUNT)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_moved_lines_are_reordered_and_nothing_else(written, change, order):
    _, lines = written
    report = change([lines[index] for index in order])
    assert kinds(report) == (set() if list(order) == sorted(order) else {verify.REORDERED})


@pytest.mark.parametrize("index", [0, 5, COUNT - 1])
def test_a_line_written_twice_is_repeated(written, change, index):
    _, lines = written
    assert kinds(change([*lines[: index + 1], lines[index], *lines[index + 1 :]])) == {verify.REPEATED}


def test_two_lines_for_one_place_are_a_fork(written, change):
    _, lines = written
    other = lines[5].replace(b'"service/5"', b'"service/X"')
    assert kinds(change([*lines[:6], other, *lines[6:]])) == {verify.FORKED}


def test_a_line_of_another_stream_is_foreign(written, change, tmp_path):
    _, lines = written
    foreign = Journal(tmp_path / "other")
    foreign.append(event().encode())
    line = Path(foreign.path or "").read_bytes().rstrip(b"\n")
    report = change([*lines[:3], line, *lines[3:]])
    assert kinds(report) == {verify.FOREIGN}


@given(st.integers(1, 200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_cut_last_line_is_truncated_and_what_is_before_counts(written, change, length):
    _, lines = written
    report = change(lines[:-1], tail=lines[-1][:length])
    assert kinds(report) == {verify.TRUNCATED}
    assert report.lines == COUNT - 1


def test_an_anchor_finds_a_cut_or_longer_end(written, change):
    path, lines = written
    head = verify_segment(path).head
    assert kinds(change(lines[:-2], expected_head=head)) == {verify.MISSING}
    earlier = change(lines[:-2]).head
    report = change(lines, expected_head=earlier)
    assert (kinds(report), report.anchored) == ({verify.APPENDED}, False)


def test_lines_that_are_no_lines_are_altered_ones(written, change):
    _, lines = written
    for bad in (b"", b"{}", b"null", b"\xff\xfe", b'{"v":2}', b"[" * 100_000, lines[3].replace(b'"v":1', b'"v":9')):
        assert kinds(change([*lines[:3], bad, *lines[4:]])) == {verify.ALTERED}
    first = lines[0].replace(b'"event":', b'"after":{nonsense},"event":')
    assert kinds(change([first])) == {verify.ALTERED}
    assert kinds(change([lines[0][:-2]])) == {verify.ALTERED}


@given(st.binary(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_can_be_verified_and_read(tmp_path, data):
    path = tmp_path / "stream-1.jsonl"
    path.write_bytes(data)
    report = verify_segment(path)
    assert report.ok or {problem.kind for problem in report.problems} <= set(verify.KINDS)
    assert read_events(tmp_path) == []


def test_a_segment_goes_on_from_the_one_before(tmp_path):
    journal = Journal(tmp_path, segment_bytes=2000)
    for number in range(20):
        journal.append(event(resource=f"service/{number}").encode())
    journal.close()
    journal.append(event(resource="after close").encode())
    journal.close()
    report = verify_directory(tmp_path)
    assert report.ok
    assert len(report.segments) > 3
    by_stream = {segment.stream: segment for segment in report.segments}
    reasons = []
    for segment in report.segments:
        if segment.after:
            before = by_stream[segment.after["stream"]]
            assert (segment.after["seq"], segment.after["hash"]) == (before.last_seq, before.head)
            reasons.append(segment.after["reason"])
    assert sorted(set(reasons)) == ["closed", "size"]
    assert [each.resource for each in read_events(tmp_path)] == [f"service/{n}" for n in range(20)] + ["after close"]


@pytest.fixture
def chained(tmp_path):
    """Three segments, each going on from the one before, oldest first."""
    journal = Journal(tmp_path)
    for number in range(3):
        for _ in range(2):
            journal.append(event(resource=f"service/{number}").encode())
        journal.close()
    report = verify_directory(tmp_path)
    successors = {(segment.after or {}).get("stream"): Path(segment.path) for segment in report.segments}
    first = successors[None]
    second = successors[first.stem]
    return tmp_path, [first, second, successors[second.stem]]


def test_a_removed_segment_is_missing(chained):
    directory, paths = chained
    paths[1].unlink()
    assert {problem.kind for problem in verify_directory(directory).problems} == {verify.MISSING}


def test_a_segment_cut_at_its_end_is_missing_what_its_successor_knows(chained):
    directory, paths = chained
    lines = paths[0].read_bytes().splitlines(keepends=True)
    paths[0].write_bytes(b"".join(lines[:-1]))
    problems = verify_directory(directory).problems
    assert [(problem.kind, problem.seq) for problem in problems] == [(verify.MISSING, 2)]


def test_the_changed_end_of_a_segment_is_seen_by_its_successor(chained):
    directory, paths = chained
    before, _, after = paths[0].read_bytes().rpartition(b'"agent"')
    paths[0].write_bytes(before + b'"human"' + after)
    assert {problem.kind for problem in verify_directory(directory).problems} == {verify.ALTERED}


def test_two_successors_of_one_segment_are_a_fork(chained):
    directory, paths = chained
    copy = directory / "20000101T000000Z-1-0000000000000000.jsonl"
    copy.write_bytes(paths[1].read_bytes().replace(paths[1].stem.encode(), copy.stem.encode()).splitlines(True)[0])
    assert verify.FORKED in {problem.kind for problem in verify_directory(directory).problems}


def test_expected_streams_and_heads(chained):
    directory, paths = chained
    heads = {path.stem: verify_segment(path).head or "" for path in paths}
    report = verify_directory(directory, heads)
    assert report.ok
    assert all(segment.anchored for segment in report.segments)
    report = verify_directory(directory, {"20000101T000000Z-1-0000000000000000": "0" * 64})
    assert [problem.kind for problem in report.problems] == [verify.MISSING]


def test_events_are_read_in_the_order_of_time_and_each_once(tmp_path):
    late = event(timestamp="2026-11-22T11:00:00.000000002Z", resource="late")
    early = event(timestamp="2026-11-22T12:00:00.000000001+01:00", resource="early")
    first = event(timestamp="2026-11-22T10:59:59Z", resource="first")
    for name, events in (("a", [late, first]), ("b", [early, late])):
        journal = Journal(tmp_path / name)
        for each in events:
            journal.append(each.encode())
        journal.close()
        shutil.copy(next((tmp_path / name).glob("*.jsonl")), tmp_path / f"{name}-1.jsonl")
    assert [each.resource for each in read_events(tmp_path)] == ["first", "early", "late"]


def test_lines_are_read_as_they_stand(written):
    path, lines = written
    assert [line.raw for line in read_lines(path)] == lines
    assert [line.event["resource"] for line in read_lines(path)] == [f"service/{n}" for n in range(COUNT)]
