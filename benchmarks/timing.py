"""Time things in turns, so that whatever else the machine does disturbs all of them alike.

    times = interleaved({"ours": lambda: index(photos), "theirs": partial(quietly, ["rclip", "-n", "dog"])}, repeats=5)
    times.ratio("ours", "theirs")  # the median of the ratios of neighbouring runs: what carries over to another machine

Processor time is that of this process, all of its threads, and of the processes that it waited for.
The standard library alone is needed, so that this runs in the environment of any peer.
"""

from __future__ import annotations

import os
import resource
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Thing = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """What each turn took. wall_s, cpu_s: seconds by name, in the order of the turns."""

    wall_s: Mapping[str, Sequence[float]]
    cpu_s: Mapping[str, Sequence[float]]

    def wall_ms(self, name: str) -> float:
        """The median of the wall time, in milliseconds."""
        return 1e3 * median(self.wall_s[name])

    def cpu_ms(self, name: str) -> float:
        """The median of the processor time, in milliseconds."""
        return 1e3 * median(self.cpu_s[name])

    def ratio(self, name: str, against: str) -> float:
        """The median of the ratios of neighbouring runs in wall time; below 1 the first is quicker."""
        return _median_ratio(self.wall_s[name], self.wall_s[against])

    def cpu_ratio(self, name: str, against: str) -> float:
        """The same of the processor time."""
        return _median_ratio(self.cpu_s[name], self.cpu_s[against])

    def figures(self, digits: int = 1) -> dict[str, dict[str, float]]:
        """The medians by name, for a result: {"wall_ms": {...}, "cpu_ms": {...}}."""
        return {
            "wall_ms": {name: round(self.wall_ms(name), digits) for name in self.wall_s},
            "cpu_ms": {name: round(self.cpu_ms(name), digits) for name in self.cpu_s},
        }


def interleaved(
    things: Mapping[str, Thing], repeats: int = 5, *, before: Mapping[str, Thing] | None = None, warm_up: int = 1
) -> Times:
    """Call every thing once a turn, for so many turns.

    before:  what to do before each call of a thing, by its name, without being timed.
    warm_up: turns that come first and do not count.
    """
    wall: dict[str, list[float]] = {name: [] for name in things}
    cpu: dict[str, list[float]] = {name: [] for name in things}
    for turn in range(-warm_up, repeats):
        for name, thing in things.items():
            if before and name in before:
                before[name]()
            wall_s, cpu_s = timed(thing)
            if turn >= 0:
                wall[name].append(wall_s)
                cpu[name].append(cpu_s)
    return Times(wall, cpu)


def timed(thing: Thing) -> tuple[float, float]:
    """Wall and processor seconds of one call."""
    used, begun = _processor_s(), time.perf_counter()
    thing()
    return time.perf_counter() - begun, _processor_s() - used


def quietly(command: Sequence[str | Path], **changes: str) -> str:
    """Run a command with changes to its environment and give its output; CalledProcessError where it fails."""
    done = subprocess.run(
        list(map(str, command)), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | changes,
    )  # fmt: skip
    return done.stdout


def _median_ratio(values: Sequence[float], against: Sequence[float]) -> float:
    return median(one / other for one, other in zip(values, against, strict=True))


def _processor_s() -> float:
    used: list[Any] = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return float(sum(each.ru_utime + each.ru_stime for each in used))
