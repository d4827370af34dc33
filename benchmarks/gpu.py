"""What a GPU gives, as shares of what the same card was measured to do at most in the same run.

    pip install ".[gpu]"           (or ".[gpu,faiss-gpu]": without FAISS only torch searches)
    python benchmarks/gpu.py [--device cuda:0] [--parts ceilings towers ...] [--minutes 10]
    python benchmarks/gpu.py --device cpu --quick      the script itself, tried in two minutes without a GPU

Once installed it needs no network, and no file but this repository's: weights, photos and vectors are made from random
numbers. It needs 45 GB of the card's memory, 60 GB of the machine's and 8 GB for temporary files.

Results are written after each part, to results/gpu.json (with --quick to build/bench), so that a run that is cut off
leaves what it had; what fails leaves its error there, and a part is skipped that may take longer than is left. On an
H100 the parts are expected to take 10, 120, 90, 60, 20, 90 and 150 seconds: graphs are made last.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from card import QUICK, Run, Sizes, attempt
from gpu_photos import end_to_end
from gpu_search import by_graph, by_lists, search
from gpu_towers import towers, training
from record import claim, record

BEGUN = time.monotonic()


def main() -> None:
    """Run the parts that are asked for."""
    from mmsearch import MmsearchError
    from mmsearch.retrieval.devices import choose

    want = asked()
    try:
        device = choose(want.device)
    except MmsearchError as error:
        raise SystemExit(str(error)) from error
    torch.manual_seed(want.seed)
    run = Run(device, QUICK if want.quick else Sizes(), want.seed)
    figures: dict[str, Any] = {"device": run.describe(), "quick": want.quick}
    for name in want.parts:
        left_s = 60 * want.minutes - (time.monotonic() - BEGUN)
        figures[name] = measured(run, name, left_s)
        figures["claims"] = claims(figures)
        print(name, json.dumps(figures[name]), flush=True)
        print(record("gpu", figures, seed=want.seed, repeats=run.sizes.repeats, quick=want.quick))
    if any("failed" in figures[name] for name in want.parts):
        raise SystemExit(1)


def asked() -> argparse.Namespace:
    """What the command line asks for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--device", default="cuda:0")
    ask.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    ask.add_argument("--minutes", type=float, default=10)
    ask.add_argument("--quick", action="store_true")
    ask.add_argument("--seed", type=int, default=0)
    return ask.parse_args()


def measured(run: Run, name: str, left_s: float) -> dict[str, Any]:
    """The figures of a part, and how long it took."""
    work, longest_s = PARTS[name]
    if longest_s > left_s and run.on_gpu:
        return {"skipped": f"it may take {longest_s} s, and {left_s:.0f} are left"}
    begun = time.monotonic()
    figures = attempt(lambda: work(run))
    run.empty()
    return {**figures, "part_took_s": round(time.monotonic() - begun, 1)}


def ceilings(run: Run) -> dict[str, Any]:
    """What the card does at most."""
    return dict(run.ceilings)


def claims(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the parts that were measured claim; rows go on where the table of the processor's speeds ends."""
    ceiling = figures.get("ceilings", {})
    made = []
    for row, (name, tower) in enumerate(figures.get("towers", {}).items(), 15):
        if isinstance(tower, dict) and "best" in tower:
            against = f"{ceiling.get('bf16_tflops', '?')} TFLOP/s of bf16 products"
            best = tower["best"]
            what = f"{name}, photos on the card to rows"
            made.append(claim(row, what, ours=best["how"], against=against, ratio=best["share"], at_least=0.35))
    if (ratio := figures.get("end_to_end", {}).get("share_of_reading")) is not None:
        told = figures["end_to_end"]
        ours, against = f"{told['indexed_s']} photos/s", f"{told['read_alone_s']} photos/s read alone"
        made.append(claim(17, "photos into a library", ours=ours, against=against, ratio=ratio, at_least=0.9))
    for row, (name, scan) in enumerate(figures.get("search", {}).get("exact", {}).items(), 18):
        if "best" in scan:
            against = f"{ceiling.get('memory_gb_s', '?')} GB/s of memory"
            best, what = scan["best"], f"exact search of {int(name):,} x 512 in float16"
            made.append(claim(row, what, ours=best["how"], against=against, ratio=best["share"], at_least=0.7))
    return made


# Each part, and the seconds that it may take at most on a card of this decade.
PARTS: dict[str, tuple[Callable[[Run], dict[str, Any]], int]] = {
    "ceilings": (ceilings, 30),
    "towers": (towers, 240),
    "end_to_end": (end_to_end, 180),
    "search": (search, 120),
    "training": (training, 60),
    "lists": (by_lists, 150),
    "graph": (by_graph, 200),
}

if __name__ == "__main__":
    main()
