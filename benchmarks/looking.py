"""Free-form queries for a person to judge: sheets of the first five photos of each, and the judgements kept.

    python benchmarks/looking.py --data DIR --sheets FOLDER [--model NAME]
    python benchmarks/looking.py --judged FILE [--model NAME]

DIR is laid out as for towers.py, with coco-photos/ and imagenet-samples/ besides. The first form indexes the photos
together (of Flickr8k the split `dev`, of everyday/ the held-out tenth, of the others all), numbered, so that none is
found by the words of its name, asks queries.txt, and writes FOLDER/sheet-N.png, ten queries each, and
FOLDER/to-judge.tsv, a line `query<TAB>fitting<TAB>remark` for each. Somebody looks, and fills in how many of the five
fit. The second form writes results/looking.json from that file; the sheets show other people's photos and are not kept.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from record import record
from towers import dev_set, everyday

from mmsearch import Library

QUERIES = Path(__file__).parent / "queries.txt"
SHOWN = 5
ROWS = 10  # queries on a sheet
CELL = 180  # pixels of a photo's side
LINE = 22  # pixels above each row for its query


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path)
    ask.add_argument("--sheets", type=Path)
    ask.add_argument("--judged", type=Path)
    ask.add_argument("--model", default="bundled")
    want = ask.parse_args()
    if want.judged:
        figures = {"model": want.model, "fingerprint": fingerprint(want.model), **summary(judgements(want.judged))}
        print(record("looking", figures))
    elif want.data and want.sheets:
        look(want.data, want.sheets, want.model)
    else:
        ask.error("give --data and --sheets, or --judged")


def look(data: Path, sheets: Path, model: str) -> None:
    """Index the photos, ask the queries, and write what somebody has to look at."""
    queries = QUERIES.read_text(encoding="utf-8").splitlines()
    sheets.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "photos").mkdir()
        for number, path in enumerate(photos(data)):
            (Path(work) / "photos" / f"{number}.jpg").symlink_to(path.resolve())
        with Library.open(Path(work) / "library", model=model) as library:
            print(library.index([Path(work) / "photos"]))
            answers = [[Path(hit.path) for hit in hits] for hits in library.query_many(queries, k=SHOWN)]
        for at in range(0, len(queries), ROWS):
            page = sheet(queries[at : at + ROWS], answers[at : at + ROWS])
            page.save(sheets / f"sheet-{at // ROWS + 1}.png")
    (sheets / "to-judge.tsv").write_text("".join(f"{query}\t\t\n" for query in queries), encoding="utf-8")


def photos(data: Path) -> Iterator[Path]:
    """Every photo that is looked through."""
    yield from (Path(photo.path) for photo in dev_set(data / "flickr8k", "flickr8k"))
    yield from (Path(photo.path) for photo in everyday(data / "everyday") if photo.split == "held")
    for name in ("coco-photos", "imagenet-samples"):
        yield from sorted((data / name).rglob("*.jpg"))


def sheet(queries: Sequence[str], answers: Sequence[Sequence[Path]]) -> Image.Image:
    """A page of queries, each above its photos, best first."""
    page = Image.new("RGB", (SHOWN * CELL, len(queries) * (CELL + LINE)), "white")
    pen = ImageDraw.Draw(page)
    for row, (query, paths) in enumerate(zip(queries, answers, strict=True)):
        top = row * (CELL + LINE)
        pen.text((4, top + 4), query, fill="black", font_size=15)
        for column, path in enumerate(paths):
            with Image.open(path) as photo:
                small = photo.convert("RGB").resize((CELL - 4, CELL - 4))
            page.paste(small, (column * CELL, top + LINE))
    return page


def judgements(path: Path) -> list[dict[str, Any]]:
    """The filled-in lines; raises ValueError for one without a number from 0 to 5."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    judged = [{"query": query, "fitting": int(fitting), "remark": remark} for query, fitting, remark in rows]
    wrong = [row["query"] for row in judged if not 0 <= row["fitting"] <= SHOWN]
    if wrong:
        raise ValueError(f"not a number from 0 to {SHOWN}: {', '.join(wrong)}")
    return judged


def summary(judged: list[dict[str, Any]]) -> dict[str, Any]:
    """The judgements, and how many queries are good (4 or 5 fit), mixed (2 or 3) and failed."""
    count = [row["fitting"] for row in judged]
    return {
        "good": sum(n >= 4 for n in count),
        "mixed": sum(2 <= n <= 3 for n in count),
        "failed": sum(n <= 1 for n in count),
        "fitting_of_all": round(sum(count) / (SHOWN * len(count)), 3),
        "judged": judged,
    }


def fingerprint(model: str) -> str:
    with tempfile.TemporaryDirectory() as work, Library.open(Path(work) / "library", model=model) as library:
        return library.card.fingerprint


if __name__ == "__main__":
    main()
