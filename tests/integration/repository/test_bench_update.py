"""`make bench-update` goes on with a measurement that was ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from update.history import Failed
from update.kept import Kept
from update.report import render
from update.trial import OURS, PLAIN, Outcome, Trial


def _trial(number: int) -> Trial:
    outcomes = {OURS: Outcome(1.5, 3, "said", conflicts={"README.md": "both"}), PLAIN: Outcome(2.0, 0, left=["a"])}
    edits = [("ticks", "PRODUCTION_CHECKLIST.md")]
    return Trial(number, "v0.0.1 by copier", edits, opened=number == 1, outcomes=outcomes)


def test_what_was_measured_before_a_kill_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "bench" / "update.jsonl"
    kept = Kept(file, "seed 1", resume=True)
    for number in range(2):
        kept.add(_trial(number))
    with file.open("a", encoding="utf-8") as stream:
        stream.write('{"number": 2, "ori')

    resumed = Kept(file, "seed 1", resume=True)
    resumed.add(_trial(2))

    assert resumed.trials == {number: _trial(number) for number in range(2)}
    again = Kept(file, "seed 1", resume=True).trials
    assert list(again) == [0, 1, 2]
    assert "| ticks | 3 | 0 | 0 |" in render([*again.values()], None, "", {}, "")[0]


def test_results_of_another_measurement_count_for_nothing(tmp_path: Path) -> None:
    file = tmp_path / "update.jsonl"
    Kept(file, "seed 1", resume=False).add(_trial(0))

    with pytest.raises(Failed, match="another seed"):
        Kept(file, "seed 2", resume=True)
    assert Kept(file, "seed 1", resume=True).trials
    assert Kept(file, "seed 2", resume=False).trials == Kept(file, "seed 2", resume=True).trials == {}
