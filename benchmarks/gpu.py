"""What a GPU gives, as shares of what the same card was measured to do at most in the same run.

    python benchmarks/gpu.py [--device cuda:0] [--parts ceilings towers end_to_end search training]
    python benchmarks/gpu.py --device cpu --quick      the script itself, tried in two minutes without a GPU

Writes results/gpu.json after each part (only prints with --quick), so that a run that is cut off leaves what it had;
a part that fails leaves its error there. All parts together take less than ten minutes on one H100 or H200,
need about 40 GB of its memory and 40 GB of the machine's, and no file but this repository's: weights, photos and
vectors are made from random numbers.
"""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
from card import QUICK, Run, Sizes
from gpu_photos import end_to_end
from gpu_search import search
from gpu_towers import towers, training
from record import record


def main() -> None:
    """Run the parts that are asked for."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--device", default="cuda:0")
    ask.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    ask.add_argument("--quick", action="store_true")
    ask.add_argument("--seed", type=int, default=0)
    want = ask.parse_args()
    torch.manual_seed(want.seed)
    run = Run(want.device, QUICK if want.quick else Sizes(), want.seed)
    figures: dict[str, Any] = {"device": run.describe(), "quick": want.quick}
    for name in want.parts:
        begun = time.monotonic()
        try:
            figures[name] = PARTS[name](run)
        except Exception as error:  # the other parts are worth having all the same
            traceback.print_exc()
            figures[name] = {"failed": f"{type(error).__name__}: {error}"}
        figures[name]["part_took_s"] = round(time.monotonic() - begun, 3)
        print(name, json.dumps(figures[name]), flush=True)
        if not want.quick:
            print(record("gpu", figures, seed=want.seed, repeats=run.sizes.repeats))
    if any("failed" in figures[name] for name in want.parts):
        raise SystemExit(1)


def ceilings(run: Run) -> dict[str, Any]:
    """What the card does at most."""
    return dict(run.ceilings)


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "ceilings": ceilings,
    "towers": towers,
    "end_to_end": end_to_end,
    "search": search,
    "training": training,
}

if __name__ == "__main__":
    main()
