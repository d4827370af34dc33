from __future__ import annotations

import csv
import shutil
import wave
from dataclasses import replace
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.evaluation.judged import JudgedItem, JudgedSet, judged_set
from mmsearch.retrieval.evaluation.remembering import Remembering
from mmsearch.retrieval.evaluation.staging import stage
from mmsearch.retrieval.evaluation.subjects import Subject
from mmsearch.retrieval.types import Hit

QUERIES = ["red", "a blue balloon", "green dress", "grey rain", "wall", "yellow umbrella car"]


def answers(library: Library) -> list[list[tuple[object, ...]]]:
    return [[answer(hit) for hit in hits] for hits in library.query_many(QUERIES, k=20)]


def answer(hit: Hit) -> tuple[object, ...]:
    return Path(hit.path).name, hit.kind, hit.view, hit.score, hit.rank, hit.snippet, dict(hit.signals)


def write_files(items: tuple[JudgedItem, ...], folder: Path) -> Path:
    """The files of items, and a caption file that says of them what the items do."""
    told = []
    for item in items:
        path = folder / item.name
        if path.suffix == ".txt":
            path.write_text(item.text or "")
        elif path.suffix == ".wav":
            with wave.open(str(path), "wb") as clip:
                clip.setparams((1, 2, 8000, 0, "NONE", "NONE"))
                clip.writeframes(bytes(1600))
        elif item.photo is not None:
            shutil.copy(item.photo, path)
        told += [(item.name, said, "caption") for said in [item.caption] if said]
        told += [(item.name, said, "audio_caption") for said in [item.audio_caption] if said]
    table = folder.with_suffix(".csv")
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "caption", "kind"), *told])
    return table


def test_a_staged_library_answers_as_one_that_was_indexed(
    tmp_path: Path, painted: list[Subject], towers: Remembering, model: str
) -> None:
    clips = [Subject(f"c{i}", None, (f"{word} rain", f"{word} wind")) for i, word in enumerate(("grey", "red"))]
    drawn = judged_set("mixed", painted, clips)
    # Without folders, of which a walk has its own order: sums over rows depend on theirs in the last digit.
    plain = [replace(item, name=item.name.replace("/", "_")) for item in drawn.items]
    photographed = [item for item in plain if item.photo or item.name.endswith(".wav")]
    documents = [JudgedItem("notes.txt", text="a blue note"), JudgedItem("zebra.txt", text="black and white")]
    items = tuple(sorted([*photographed, *documents], key=lambda item: item.name))
    assert {item.photo is not None and item.caption is not None for item in items} == {True, False}
    folder = tmp_path / "files"
    folder.mkdir()
    table = write_files(items, folder)
    with Library.open(tmp_path / "indexed", model=model) as library:
        report = library.index([folder], captions=[table], workers=1)
        assert (report.added, report.skipped) == (len(items), 0)
        expected = answers(library)
    with stage(JudgedSet(items, ()), towers, tmp_path / "staged", model=model):
        pass
    with Library.open(tmp_path / "staged", create=False) as library:
        assert answers(library) == expected


def test_what_is_relevant_becomes_item_ids(
    tmp_path: Path, painted: list[Subject], towers: Remembering, model: str
) -> None:
    drawn = judged_set("photo", painted)
    with stage(drawn, towers, tmp_path / "lib", model=model) as library:
        at = {item.name: library.ids[place] for place, item in enumerate(drawn.items)}
        stored = {path.path.name: path.id for path in library.catalog.items_under(tmp_path)}
        assert at == stored
        assert [query.relevant for query in library.queries] == [{id_} for id_ in library.ids]


def test_a_photo_that_cannot_be_read_is_named(tmp_path: Path, towers: Remembering, model: str) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    drawn = JudgedSet((JudgedItem("a.jpg", photo=broken),), ())
    with (
        pytest.raises(Unreadable, match=f"{broken} cannot be read as a photo"),
        stage(drawn, towers, tmp_path / "lib", model=model),
    ):
        pass
