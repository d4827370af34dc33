"""What more photos without captions would bring, and how far two runs of one recipe differ.

    MMSEARCH_DATA=DIR python benchmarks/photos.py WORK

Runs `mmsearch train towers` on recipes/small.toml, changed to each line of RUNS, in a folder under WORK that keeps its
checkpoints; a run that is done is passed over. WORK/pool, and WORK/sentences.npy where it is there, serve all runs.
The text tower sees no photo: the runs over more photos take it from the first, those that repeat it make their own.
Writes recipes/small.photos.jsonl: the photos that took part, the seed, and the figures on the development photos.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

RECIPES = Path(__file__).parent.parent / "recipes"
RESULT = RECIPES / "small.photos.jsonl"
RUNS = [(12_000, 7), (108_000, 7), (36_000, 7), (12_000, 7), (12_000, 8)]  # uncaptioned photos at most, seed
SHARED = ("pool", "sentences.npy")
TEXT = ("tokenizer.json", "text.pt")


def main() -> None:
    work = Path(sys.argv[1]).resolve()
    lines = []
    for number, (photos, seed) in enumerate(RUNS, 1):
        model = run(work / f"run-{number}", photos, seed)
        figures = json.loads((model / "model.json").read_text(encoding="utf-8"))["metrics"]
        lines.append({"run": number, "uncaptioned": photos, "seed": seed, **figures})
        print(lines[-1], flush=True)
        RESULT.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def run(folder: Path, photos: int, seed: int) -> Path:
    """The model directory of one run, made where it is not there yet."""
    model = folder / "model"
    if (model / "model.json").exists():
        return model
    folder.mkdir(exist_ok=True)
    for name in SHARED:
        if (folder.parent / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to(folder.parent / name)
    first = folder.parent / "run-1"
    if (photos, seed) != RUNS[0] and seed == RUNS[0][1]:
        for name in TEXT:
            shutil.copy(first / name, folder / name)
    recipe = folder / "recipe.toml"
    recipe.write_text(changed(photos, seed), encoding="utf-8")
    command = ["mmsearch", "train", "towers", "--config", str(recipe), "--out", str(folder)]
    subprocess.run([sys.executable, "-m", *command], check=True, env=dict(os.environ))
    return model


def changed(photos: int, seed: int) -> str:
    """The small recipe with another number of photos and another seed."""
    text = (RECIPES / "small.toml").read_text(encoding="utf-8")
    values: dict[str, Any] = {"uncaptioned": photos, "seed": seed}
    for key, value in values.items():
        text, count = re.subn(rf"^{key} = \d+", f"{key} = {value}", text, flags=re.MULTILINE)
        if count != 1:
            raise ValueError(f"small.toml has {count} lines `{key} = NUMBER`, not one")
    return text


if __name__ == "__main__":
    main()
