"""Parts 1 to 3: what an SDK costs, and what it loses."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence

from audit.adapters import JOURNAL_ONLY, OURS, PEERS, SDKS, Sdk
from audit.processes import PATIENCE_SECONDS, Bench, Ended
from audit.report import Section, Target, peers_ahead, table

EVENTS = 100
BURST = 20_000
CALLS_PER_ROUND = 90
"""Fewer than any SDK's batch, so that nothing is sent while calls are timed but what an SDK sends early."""

ENDS = ("return", "raise", "exit", "SIGTERM", "SIGKILL", "cancel")
WORKING = "work"
WORKING_EVENTS = 1000  # more than fit in the ten seconds until such a worker is killed
MODES = ("refused", "503", "hang")


def say(text: str) -> None:
    """Report progress on stderr."""
    print(text, file=sys.stderr, flush=True)


def in_turns(sdks: Sequence[Sdk], rounds: int) -> Iterator[Sdk]:
    """Yield all SDKs in each round, forwards and backwards in turns: a machine that slows down favours nobody."""
    for turn in range(rounds):
        yield from sdks if turn % 2 == 0 else reversed(sdks)


COLUMNS = (
    "`capture()` mean",
    "`capture()` p50",
    "`capture()` p99",
    "the same but for the first",
    "CPU for each event",
)


def timed(bench: Bench, task: str, rounds: int, loops: int) -> dict[Sdk, list[tuple[float, ...]]]:
    """Return the figures of each SDK: a tuple in the order of COLUMNS for each process."""
    figures: dict[Sdk, list[tuple[float, ...]]] = {sdk: [] for sdk in SDKS}
    for sdk in in_turns(SDKS, rounds):
        say(f"{task}: {sdk.name}")
        spent, cpu, delivered = bench.timed_calls(task, sdk, loops, CALLS_PER_ROUND)
        expected = 0 if sdk is JOURNAL_ONLY else len(spent) + CALLS_PER_ROUND
        if delivered != expected:
            raise RuntimeError(f"{sdk.name}: {delivered} of {expected} events arrived")
        steady = sorted(each for number, each in enumerate(spent) if number % CALLS_PER_ROUND)
        spent.sort()
        figures[sdk].append(
            (
                statistics.fmean(spent) / 1000,
                spent[len(spent) // 2] / 1000,
                spent[len(spent) * 99 // 100] / 1000,
                steady[len(steady) * 99 // 100] / 1000,
                cpu / len(spent) * 1e6,
            )
        )
    return figures


def capture(bench: Bench, rounds: int, loops: int) -> Section:
    """Measure what a call costs its caller, and an event the machine."""
    section = Section(
        "1. What `capture()` costs",
        f"Microseconds that the caller is blocked, over {loops} rounds of {CALLS_PER_ROUND} calls with a flush after "
        f"each, and microseconds of processor time of the whole process for each event delivered (without a backend: "
        f"journalled and synced). Each figure is the median of {rounds} processes; least and most of the means in "
        "brackets. *4 KB*: the same event with 4 KB of `key=value` text more.",
    )
    rows: list[tuple[str, ...]] = []
    for task, what in (("capture", ""), ("large", ", 4 KB")):
        figures = timed(bench, task, rounds, loops)
        medians = {sdk: [statistics.median(each) for each in zip(*figures[sdk], strict=True)] for sdk in SDKS}
        rows += (
            (
                sdk.name + what,
                f"{medians[sdk][0]:.1f} ({min(each[0] for each in figures[sdk]):.1f} to "
                f"{max(each[0] for each in figures[sdk]):.1f})",
                *(f"{value:.1f}" for value in medians[sdk][1:]),
            )
            for sdk in SDKS
        )
        ours = medians[OURS]
        if task == "capture":
            fastest = min(PEERS, key=lambda sdk: medians[sdk][0])
            quickest = medians[fastest][0]
            section.targets += [
                Target("`capture()`, mean", "at most 10 µs", f"{ours[0]:.1f} µs", ours[0] <= 10),
                Target(
                    "`capture()`, mean against the fastest peer's in-memory path",
                    f"at most {quickest:.1f} µs ({fastest.name})",
                    f"{ours[0]:.1f} µs, ratio {ours[0] / quickest:.2f}",
                    ours[0] <= quickest,
                ),
                Target("`capture()`, p99", "at most 30 µs", f"{ours[2]:.1f} µs", ours[2] <= 30),
            ]
        else:
            section.targets.append(
                Target("`capture()` of 4 KB, p50", "at most 40 µs", f"{ours[1]:.1f} µs", ours[1] <= 40)
            )
        for number, column in enumerate(COLUMNS):
            theirs = ((sdk.name, medians[sdk][number]) for sdk in PEERS)
            section.ahead += peers_ahead(column + what, ours[number], theirs, "µs")
    heads = ("SDK", "mean", "p50", "p99", "p99 but for the first after a flush", "CPU for each event")
    section.tables.append(table(heads, rows))
    return section


def imports(bench: Bench, rounds: int) -> Section:
    """Measure what importing costs."""
    say("import times")
    measured = [sdk for sdk in SDKS if sdk is not JOURNAL_ONLY]
    statements = {"pass": "Python alone", **{sdk.imports: sdk.name.split(",")[0] for sdk in reversed(measured)}}
    seconds: dict[str, list[tuple[float, float]]] = {statement: [] for statement in statements}
    for turn in range(rounds + 1):
        for statement in statements if turn % 2 else reversed(statements):
            took = bench.start_seconds(statement)
            if turn:  # the first one compiles and warms up
                seconds[statement].append(took)
    bare, bare_cpu = (statistics.median(each) * 1000 for each in zip(*seconds["pass"], strict=True))
    over = {each: statistics.median(wall for wall, _ in seconds[each]) * 1000 - bare for each in statements}
    cpu = {each: statistics.median(spent for _, spent in seconds[each]) * 1000 - bare_cpu for each in statements}
    section = Section(
        "1b. What importing costs",
        f"Milliseconds of a fresh interpreter over one that does nothing ({bare:.1f} ms, {bare_cpu:.1f} ms of "
        f"processor time); medians of {rounds}, in turns.",
    )
    del over["pass"]
    order = sorted(over, key=lambda statement: over[statement])
    section.tables.append(
        table(
            ("import", "ms over bare Python", "of processor time"),
            ((f"{statements[each]}: `{each}`", f"{over[each]:.1f}", f"{cpu[each]:.1f}") for each in order),
        )
    )
    ours = over[OURS.imports]
    section.targets.append(Target("import of the SDK over bare Python", "at most 15 ms", f"{ours:.1f} ms", ours <= 15))
    section.ahead += peers_ahead(
        "import", ours, ((statements[each], over[each]) for each in over if each != OURS.imports), "ms"
    )
    return section


def exits(bench: Bench, rounds: int) -> Section:
    """Measure what is lost by each way to end."""
    results: dict[tuple[Sdk, str], list[Ended]] = {}
    delivering = [sdk for sdk in SDKS if sdk is not JOURNAL_ONLY]
    for how in ENDS:
        say(f"exit matrix: {how}")
        for sdk in in_turns(delivering, rounds):
            results.setdefault((sdk, how), []).append(bench.end(sdk, how, EVENTS))
    for sdk in delivering:
        say(f"cancelled while working: {sdk.name}")
        results[sdk, WORKING] = [bench.end(sdk, WORKING, WORKING_EVENTS)]
    section = Section(
        "2. What arrives, by how the process ends",
        f"{EVENTS} events, no flush, then the end: how many arrived, the worst of {rounds} runs. *cancelled "
        "step*: bash is the parent, gets SIGINT, then SIGTERM, and the tree is killed 0.3 s after the last event. "
        "*cancelled at work*: the same with GitHub's real times (7.5 s and 2.5 s), and the agent captures ten events a "
        "second until it is killed: events lost of those captured. *drained*: after `python -m aimgentix journal "
        "drain`, as a job's last step does it.",
    )
    names = ("return", "raise", "`os._exit`", "SIGTERM", "SIGKILL", "cancelled step", "cancelled at work: lost")

    def row(sdk: Sdk, label: str, arrived: Callable[[Ended], int]) -> tuple[str, ...]:
        cells = [str(min(arrived(each) for each in results[sdk, how])) for how in ENDS]
        at_work = results[sdk, WORKING][0]
        return label, *cells, f"{max(0, at_work.captured - arrived(at_work))} of {at_work.captured}"

    rows = [
        row(OURS, f"{OURS.name}, drained", lambda each: each.drained),
        row(OURS, f"{OURS.name}, before the drain", lambda each: each.delivered),
        *(row(sdk, sdk.name, lambda each: each.delivered) for sdk in PEERS),
    ]
    section.tables.append(table(("SDK", *names), rows))
    lost = sum(max(0, each.captured - each.drained) for how in (*ENDS, WORKING) for each in results[OURS, how])
    runs = sum(len(results[OURS, how]) for how in (*ENDS, WORKING))
    section.targets.append(Target("exit matrix: lost after the drain", "0 events", f"{lost} in {runs} runs", lost == 0))
    for how, name in zip(ENDS, names, strict=False):
        worst = min(each.drained for each in results[OURS, how])
        section.ahead += [
            f"{name}: {sdk.name} delivers {arrived}, ours {worst}"
            for sdk in PEERS
            if (arrived := min(each.delivered for each in results[sdk, how])) > worst
        ]
        before = min(each.delivered for each in results[OURS, how])
        section.ahead += [
            f"{name}, before the drain: {sdk.name} delivers {arrived}, ours {before}"
            for sdk in PEERS
            if (arrived := min(each.delivered for each in results[sdk, how])) > before
        ]
    return section


def burst(bench: Bench, rounds: int) -> Section:
    """Measure what a tight loop loses."""
    delivering = [sdk for sdk in SDKS if sdk is not JOURNAL_ONLY]
    results: dict[Sdk, list[Ended]] = {sdk: [] for sdk in delivering}
    for sdk in in_turns(delivering, rounds):
        say(f"burst: {sdk.name}")
        results[sdk].append(bench.end(sdk, "return", BURST))
    section = Section(
        f"3. A burst of {BURST:,}",
        f"A tight loop, default settings, a backend that works, then return. The worst of {rounds}. Seconds: of the "
        "loop, and from its end to the end of the process (medians).",
    )

    def row(sdk: Sdk, label: str, arrived: Callable[[Ended], int]) -> tuple[str, ...]:
        return (
            label,
            f"{max(BURST - arrived(each) for each in results[sdk]):,}",
            f"{statistics.median(each.loop_seconds for each in results[sdk]):.2f}",
            exit_cell(results[sdk]),
            f"{max(each.errors for each in results[sdk]):,}",
        )

    rows = [
        row(OURS, f"{OURS.name}, drained", lambda each: each.drained),
        row(OURS, f"{OURS.name}, before the drain", lambda each: each.delivered),
        *(row(sdk, sdk.name, lambda each: each.delivered) for sdk in PEERS),
    ]
    section.tables.append(table(("SDK", "events lost", "loop, s", "exit, s", "lines on stderr"), rows))
    lost = sum(BURST - each.drained for each in results[OURS])
    section.targets.append(Target("burst of 20,000: lost after the drain", "0 events", str(lost), lost == 0))
    left = max(BURST - each.delivered for each in results[OURS])
    section.ahead += [
        f"burst, before the drain: {sdk.name} has {fewer:,} undelivered, ours {left:,}"
        for sdk in PEERS
        if (fewer := max(BURST - each.delivered for each in results[sdk])) < left
    ]
    for column, value in (("burst, loop", "loop_seconds"), ("burst, exit", "exit_seconds")):
        median = {sdk: statistics.median(getattr(each, value) for each in results[sdk]) for sdk in delivering}
        section.ahead += peers_ahead(column, median[OURS], ((sdk.name, median[sdk]) for sdk in PEERS), "s", digits=2)
    return section


def broken(bench: Bench, rounds: int) -> Section:
    """Measure what a broken backend costs."""
    delivering = [sdk for sdk in SDKS if sdk is not JOURNAL_ONLY]
    results: dict[tuple[Sdk, str], list[Ended]] = {}
    for mode in MODES:
        for sdk in in_turns(delivering, rounds):
            say(f"backend {mode}: {sdk.name}")
            results.setdefault((sdk, mode), []).append(bench.end(sdk, "return", EVENTS, mode))
    section = Section(
        "3b. A broken backend",
        f"{EVENTS} events, then return. Each cell: events lost / seconds from the last event to the end of the process "
        f"/ lines on stderr; the worst of {rounds}. Ours is drained after the backend works again; a peer's events "
        "have nowhere to come back from. A process that has not ended after "
        f"{PATIENCE_SECONDS:.0f} s is killed.",
    )

    def cell(sdk: Sdk, mode: str) -> str:
        runs = results[sdk, mode]
        lost = max(each.captured - each.drained for each in runs)
        return f"{lost} / {exit_cell(runs, worst=True)} / {max(each.errors for each in runs)}"

    section.tables.append(
        table(
            ("SDK", "connection refused", "503", "accepts and never answers"),
            ((sdk.name, *(cell(sdk, mode) for mode in MODES)) for sdk in delivering),
        )
    )
    ours = [each for mode in MODES for each in results[OURS, mode]]
    lost = sum(each.captured - each.drained for each in ours)
    slowest = max(each.exit_seconds for each in ours)
    lines = max(each.errors for each in ours)
    section.targets += [
        Target("dead backend: lost after the drain", "0 events", str(lost), lost == 0),
        Target("exit with a dead backend", "at most 1 s", f"{slowest:.2f} s (slowest)", slowest <= 1),
        Target("lines on stderr with a dead backend", "at most 1", str(lines), lines <= 1),
    ]
    for mode in MODES:
        worst = {sdk: max(each.exit_seconds for each in results[sdk, mode]) for sdk in delivering}
        section.ahead += peers_ahead(
            f"exit, backend {mode}", worst[OURS], ((sdk.name, worst[sdk]) for sdk in PEERS), "s", digits=2
        )
        noise = {sdk: max(each.errors for each in results[sdk, mode]) for sdk in delivering}
        section.ahead += peers_ahead(
            f"lines on stderr, backend {mode}",
            noise[OURS],
            ((sdk.name, noise[sdk]) for sdk in PEERS),
            "lines",
            digits=0,
        )
    return section


def exit_cell(runs: Sequence[Ended], *, worst: bool = False) -> str:
    """Return the seconds that the exit took: the median, or the most."""
    if any(each.killed for each in runs):
        return f"> {PATIENCE_SECONDS:.0f}, killed"
    pick = max if worst else statistics.median
    return f"{pick(each.exit_seconds for each in runs):.2f}"
