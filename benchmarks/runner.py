"""Times both sides of a case in turn, in one process, and measures their memory in others."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.case import SIDES, Case, Options, Sides
from benchmarks.families import load_family
from benchmarks.machine import available_bytes, describe_machine, measure_limits
from benchmarks.memory import peak_in_fresh_process

SHARE_OF_MEMORY = 0.7  # of what is free, that a plain side may be expected to take


def run_family(name: str, options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """All rows and curves of a family as JSON, with the machine and its limits before and after."""
    family = load_family(name)
    started = time.perf_counter()
    limits = [measure_limits(quick=options.quick, threads=options.threads)]
    rows = []
    for index, case in enumerate(family.cases(options)):
        say(f"{name}: {case.label}")
        rows.append((case, run_case(name, index, case, options)))
    limits.append(measure_limits(quick=options.quick, threads=options.threads))
    for _, row in rows:
        judge(row, limits, options.threads)
    return {
        "title": family.TITLE,
        "machine": describe_machine(),
        "limits": {"before": limits[0], "after": limits[1]},
        "quick": options.quick,
        "sizes": None if options.sizes is None else list(options.sizes),
        "threads": options.threads,
        "seconds": round(time.perf_counter() - started, 1),
        "rows": [row for case, row in rows if case.point is None],
        "curves": fit_curves(rows),
    }


def run_case(family: str, index: int, case: Case, options: Options) -> dict[str, Any]:
    """Checks equality on a tiny case and on this one, then times and weighs the sides."""
    row: dict[str, Any] = {"label": case.label, "note": case.note, "goals": {}}
    if not options.quick and options.sizes is None:
        row["goals"] = dict(case.goals)
    small = case.build(**case.small)
    error = _first_run(small)
    del small
    reason = _reason_against_plain(case, options)
    row["sides"] = {}
    facts: Mapping[str, Any] = {}
    has_plain = False
    if case.timed:
        sides = case.build(**case.arguments)
        has_plain = sides.plain is not None and reason is None
        if has_plain and sides.check is not None:
            error = sides.check()
        repeats = {
            "ours": case.repeats,
            "plain": (case.plain_repeats or case.repeats) if has_plain else 0,
            "base": 0 if sides.base is None else case.repeats,
        }
        row["sides"] = alternate({name: getattr(sides, name) for name in SIDES}, repeats)
        row["work"] = None if sides.work is None else {"limit": sides.work[0], "amount": sides.work[1]}
        facts = sides.facts
        row["items"] = sides.items
        reason = reason or ("there is none" if sides.plain is None else None)
        del sides
        gc.collect()
    if case.memory:
        for name in ("ours", "plain") if has_plain else ("ours",):
            peak = peak_in_fresh_process(family, index, name, options)
            row["sides"].setdefault(name, {})["peak_mib"] = peak
    row |= {"error": error, "no_plain": None if has_plain else reason, "facts": dict(facts)}
    return row


def alternate(steps: Mapping[str, Callable[[], Any] | None], repeats: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Runs the steps in turn and returns core and wall seconds of each: median, least and most."""
    core: dict[str, list[float]] = {name: [] for name in steps}
    wall: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(max(repeats.values())):
        for name, step in steps.items():
            if step is None or turn >= repeats[name]:
                continue
            gc.collect()
            start_wall, start_core = time.perf_counter(), time.process_time()
            result = step()
            core[name].append(time.process_time() - start_core)
            wall[name].append(time.perf_counter() - start_wall)
            del result
    return {
        name: {
            "core": statistics.median(times),
            "core_min": min(times),
            "core_max": max(times),
            "wall": statistics.median(wall[name]),
            "repeats": len(times),
        }
        for name, times in core.items()
        if times
    }


def judge(row: dict[str, Any], limits: list[dict[str, float]], threads: int) -> None:
    """Adds ratios, the share of the physical limit (the better of the two measurements) and which goals are met."""
    clock = "core" if threads == 1 else "wall"
    ours, plain, base = (row["sides"].get(name, {}) for name in SIDES)
    row["ratio"] = _divide(plain.get(clock), ours.get(clock))
    row["memory_ratio"] = _divide(plain.get("peak_mib"), ours.get("peak_mib"))
    row["of_base"] = _divide(ours.get(clock), base.get(clock))
    row["share"] = None
    if row.get("work"):
        name = row["work"]["limit"]
        row["share"] = row["work"]["amount"] / ours[clock] / (1e9 * max(limit[name] for limit in limits))
    row["rate"] = _divide(row.get("items"), ours.get(clock))
    measured = {
        "ratio": row["ratio"],
        "rate": row["rate"],
        "memory_ratio": row["memory_ratio"],
        "share": row["share"],
        "peak_mib": ours.get("peak_mib"),
        "seconds": ours.get(clock),
        "of_base": row["of_base"],
    }
    row["met"] = {
        name: None
        if measured[name] is None
        else bool((measured[name] >= goal) == (name not in ("peak_mib", "seconds", "of_base")))
        for name, goal in row["goals"].items()
    }


def fit_curves(rows: list[tuple[Case, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Exponents by least squares on logarithms, one a curve; of the least times, which neighbours disturb least."""
    curves: dict[str, dict[str, Any]] = {}
    for case, row in rows:
        if case.point is None:
            continue
        point, ours = case.point, row["sides"].get("ours", {})
        value = ours.get("core_min") if point.value == "seconds" else ours.get("peak_mib")
        curve = curves.setdefault(
            point.curve, {"label": point.curve, "unit": point.value, "expected": point.expected, "points": []}
        )
        if value is not None and value > 0:
            curve["points"].append([point.size, value])
    for curve in curves.values():
        curve["exponent"] = slope(curve["points"])
    return list(curves.values())


def slope(points: list[list[float]]) -> float | None:
    """Of log value against log size; ``None`` with fewer than two sizes."""
    xs, ys = [math.log(size) for size, _ in points], [math.log(value) for _, value in points]
    if len(set(xs)) < 2:
        return None
    x, y = statistics.fmean(xs), statistics.fmean(ys)
    return sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum((a - x) ** 2 for a in xs)


def _first_run(small: Sides) -> float | None:
    if small.check is not None:
        return small.check()
    small.ours()
    return None


def _reason_against_plain(case: Case, options: Options) -> str | None:
    if case.plain_only_with_all and not options.all:
        return "only with --all"
    if case.plain_bytes > SHARE_OF_MEMORY * available_bytes():
        return f"would need about {case.plain_bytes / 2**30:.0f} GiB"
    return None


def _divide(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b
