"""The index of words against bm25s and against FTS5's own bm25(): what they find, and how fast.

    pip install bm25s PyStemmer
    python benchmarks/lexical.py --data DIR [--set flickr8k]

DIR/SET/captions.csv has the columns split, image, caption. Quality: the first caption of each `dev` photo looks for the
second among those of all. Speed, in processor time: 60 captions are asked in 10,000 and in 100,000 texts. Cold is the
first query of a catalogue or index that was just opened, warm the first time that a text is asked, again the second.
Writes results/lexical.json.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import Stemmer
from captions import dev_captions
from numpy.typing import NDArray
from record import record
from timing import timed

from mmsearch.index.catalog import Catalog
from mmsearch.index.lexicon import Lexicon, bm25, query_words

DEPTH = 200
SIZES = (10_000, 100_000)
QUERIES = 60

Search = Callable[[str], NDArray[np.int64]]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--set", default="flickr8k")
    want = ask.parse_args()
    table = want.data / want.set / "captions.csv"
    said = list(dev_captions(table).values())
    figures: dict[str, Any] = {"quality": quality([each[0] for each in said], [each[1] for each in said])}
    with table.open(newline="", encoding="utf-8") as lines:
        captions = [line["caption"] for line in csv.DictReader(lines)]
    for size in SIZES:
        figures[f"ms_of_{size}"] = speed(texts_like(captions, size), captions[:: len(captions) // QUERIES][:QUERIES])
        print(size, figures[f"ms_of_{size}"], flush=True)
    print(record("lexical", figures, seed=0, repeats=QUERIES))


def quality(queries: Sequence[str], texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """R@1, R@10 and R@200 in percent of each engine; query i wants text i."""
    with tempfile.TemporaryDirectory() as work:
        fill(texts, Path(work))
        engines = {name: open_() for name, open_ in openers(Path(work)).items()}
        found = {name: [search(query) for query in queries] for name, search in engines.items()}
    return {
        name: {
            f"R@{k}": round(100 * float(np.mean([at in ids[:k] for at, ids in enumerate(each)])), 1)
            for k in (1, 10, 200)
        }
        for name, each in found.items()
    }


def speed(texts: Sequence[str], queries: Sequence[str]) -> dict[str, dict[str, float]]:
    """Processor milliseconds of a query: cold, and the median of texts asked for the first and the second time."""
    with tempfile.TemporaryDirectory() as work:
        fill(texts, Path(work))
        figures: dict[str, dict[str, float]] = {}
        engines: dict[str, Search] = {}
        for name, open_ in openers(Path(work)).items():

            def first(name: str = name, open_: Callable[[], Search] = open_) -> None:
                engines[name] = open_()
                engines[name](queries[0])

            figures[name] = {"cold": round(1e3 * timed(first)[1], 1)}
        for turn in ("warm", "again"):
            for name, search in engines.items():
                taken_ms = [1e3 * timed(partial(search, query))[1] for query in queries[1:]]
                figures[name][turn] = round(float(np.median(taken_ms)), 2)
    return figures


def fill(texts: Sequence[str], folder: Path) -> None:
    """Make a catalogue and an index of bm25s of texts in a folder."""
    catalog = Catalog.open(folder / "catalog.sqlite")
    root = catalog.add_root(Path("/texts"))
    # Not through Catalog.record, which would take most of the time; the triggers are the same.
    item = "INSERT INTO items VALUES (?, ?, ?, 'text', 1, 1, '', '', '', '{}')"
    row = "INSERT INTO rows (item_id, view, content_key, vector, text) VALUES (?, 'text', '', x'', ?)"
    numbered = list(enumerate(texts, 1))
    with catalog._writing() as connection:
        connection.exec_driver_sql(item, [(at, root.id, f"{at}.txt") for at, _ in numbered])
        connection.exec_driver_sql(row, numbered)
    catalog.close()
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index([stemmed(text) for text in texts], show_progress=False)
    index.save(folder / "bm25s")


def openers(folder: Path) -> dict[str, Callable[[], Search]]:
    """What opens each engine; a search gives the places of the best texts, best first."""
    return {
        "lexicon": lambda: lexicon(Catalog.open(folder / "catalog.sqlite")),
        "fts5": lambda: fts5(Catalog.open(folder / "catalog.sqlite")),
        "bm25s": lambda: by_bm25s(bm25s.BM25.load(folder / "bm25s", mmap=True)),
    }


def lexicon(catalog: Catalog) -> Search:
    """What the product does: the lists of the words, and BM25 of the best."""
    words = Lexicon(catalog)

    def search(query: str) -> NDArray[np.int64]:
        matches = words.texts(query)
        rows = matches.best(DEPTH)
        scores = bm25(matches.at(rows), catalog.facts(rows).characters)
        return rows[np.lexsort((rows, -scores))] - 1  # rows are numbered from 1

    return search


def fts5(catalog: Catalog) -> Search:
    """FTS5 ranks by itself."""

    def search(query: str) -> NDArray[np.int64]:
        wanted = " OR ".join(f'"{word}"' for word in query_words(query))
        with catalog._reading() as connection:
            found = connection.execute(
                f"SELECT rowid FROM texts WHERE texts MATCH ? ORDER BY rank LIMIT {DEPTH}", (wanted,)
            )
            return np.array([id_ for (id_,) in found.fetchall()], np.int64) - 1

    return search


def by_bm25s(index: bm25s.BM25) -> Search:
    """bm25s scores every text."""

    def search(query: str) -> NDArray[np.int64]:
        scores = index.get_scores(stemmed(query))
        best = np.argpartition(-scores, min(DEPTH, len(scores) - 1))[:DEPTH]
        return best[np.lexsort((best, -scores[best]))].astype(np.int64)

    return search


_STEMMER = Stemmer.Stemmer("porter")


def stemmed(text: str) -> list[str]:
    """The stems of a text's words without stop words, as the product's index has them."""
    stems: list[str] = _STEMMER.stemWords(query_words(text))
    return stems


def texts_like(captions: Sequence[str], size: int) -> list[str]:
    """So many texts: the captions, and captions with the words of another half mixed in."""
    draw = np.random.default_rng(0)
    texts = [captions[at] for at in draw.permutation(len(captions))[:size]]
    while len(texts) < size:
        one, other = (captions[at].split() for at in draw.integers(0, len(captions), 2))
        texts.append(" ".join(one[: len(one) // 2] + other[len(other) // 2 :]))
    return texts


if __name__ == "__main__":
    main()
