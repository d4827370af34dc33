"""The whole path over real files, with a model that knows seven colours."""

from __future__ import annotations

import os
import threading
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.models import make_tiny_model

from mmsearch import Library
from mmsearch.index.errors import (
    BadManifest,
    BadQuery,
    LibraryBusy,
    LibraryNotFound,
    ModelMismatch,
    NotIndexed,
    RootNotFound,
    UsageError,
)
from mmsearch.index.lock import index_lock
from mmsearch.retrieval.fusion.heads import shipped
from mmsearch.retrieval.paging import Page
from mmsearch.retrieval.types import Hit, IndexReport, Progress


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("models") / "other", seed=1, dim=16, name="other"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for colour in ("red", "green", "blue"):
        paint(folder / f"{colour}.png", colour)
    return folder


@pytest.fixture
def library(tmp_path: Path, model: str) -> Iterator[Library]:
    with Library.open(tmp_path / "lib", model=model) as opened:
        yield opened


def paint(path: Path, colour: str, size: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)
    return path


def counts(report: IndexReport) -> tuple[int, int, int, int, int]:
    return (report.added, report.changed, report.removed, report.unchanged, report.skipped)


def names(hits: list[Hit]) -> list[str]:
    return [Path(hit.path).name for hit in hits]


def passes(library: Library, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts what goes through the towers from now on."""
    made = {"images": 0, "texts": 0}
    encoder = library.encoder
    images, texts = encoder.images, encoder.texts

    def counting_images(pixels: np.ndarray) -> np.ndarray:
        made["images"] += len(pixels)
        return images(pixels)

    def counting_texts(batch: list[str]) -> np.ndarray:
        made["texts"] += len(batch)
        return texts(batch)

    monkeypatch.setattr(encoder, "images", counting_images)
    monkeypatch.setattr(encoder, "texts", counting_texts)
    return made


# -- indexing ----------------------------------------------------------------------------------------------------------


def test_a_folder_becomes_items_and_the_right_photo_comes_first(library: Library, photos: Path) -> None:
    assert counts(library.index([photos])) == (3, 0, 0, 0, 0)
    best = library.query("red")[0]
    assert (best.path, best.kind, best.view, best.rank) == (str(photos / "red.png"), "image", "image", 1)


def test_an_unchanged_folder_costs_nothing(library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library.index([photos])
    made = passes(library, monkeypatch)
    assert counts(library.index([photos])) == (0, 0, 0, 3, 0)
    assert made == {"images": 0, "texts": 0}


def test_a_run_that_finds_nothing_new_writes_nothing(library: Library, photos: Path) -> None:
    library.index([photos])
    before = {path: path.stat().st_mtime_ns for path in library.path.rglob("*") if path.is_file()}
    library.index([photos])
    assert {path: path.stat().st_mtime_ns for path in library.path.rglob("*") if path.is_file()} == before


def test_without_paths_every_root_is_looked_at_again(library: Library, photos: Path, tmp_path: Path) -> None:
    library.index([photos, paint(tmp_path / "more" / "grey.png", "grey").parent])
    paint(photos / "white.png", "white")
    paint(tmp_path / "more" / "black.png", "black")
    assert counts(library.index()) == (2, 0, 0, 4, 0)


def test_a_touched_file_is_unchanged(library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library.index([photos])
    made = passes(library, monkeypatch)
    os.utime(photos / "red.png", (1, 1))
    assert counts(library.index([photos])) == (0, 0, 0, 3, 0)
    assert counts(library.index([photos])) == (0, 0, 0, 3, 0)
    assert made["images"] == 0


def test_an_edited_photo_answers_as_what_it_is_now(library: Library, photos: Path) -> None:
    library.index([photos])
    paint(photos / "red.png", "yellow", size=41)
    assert counts(library.index([photos])) == (0, 1, 0, 2, 0)
    assert names(library.query("yellow"))[0] == "red.png"
    was, became = (library.query(colour, k=1, rerank=False)[0].score for colour in ("red", "yellow"))
    assert was < became


def test_renamed_moved_and_copied_files_keep_their_vectors(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([photos])
    made = passes(library, monkeypatch)
    (photos / "red.png").rename(photos / "rouge.png")
    (photos / "deep").mkdir()
    (photos / "green.png").rename(photos / "deep" / "green.png")
    (photos / "copy.png").write_bytes((photos / "blue.png").read_bytes())
    assert counts(library.index([photos])) == (3, 0, 2, 1, 0)
    assert made["images"] == 0
    assert names(library.query("red"))[0] == "rouge.png"


def test_a_vanished_file_is_forgotten_in_the_same_run(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "red.png").unlink()
    assert counts(library.index([photos])) == (0, 0, 1, 2, 0)
    assert "red.png" not in names(library.query("red"))


def test_what_was_said_of_a_vanished_file_goes_with_it(library: Library, photos: Path) -> None:
    library.index([photos])
    library.feedback("a colour", good=[photos / "red.png", photos / "blue.png"])
    (photos / "red.png").unlink()
    library.index([photos])
    paint(photos / "red.png", "white")
    library.index([photos])
    assert [each.path.name for each in library.judgements()] == ["blue.png"]


def test_a_vanished_folder_inside_a_root_is_forgotten(library: Library, photos: Path) -> None:
    folder = paint(photos / "deep" / "white.png", "white").parent
    library.index([photos])
    (folder / "white.png").unlink()
    folder.rmdir()
    assert counts(library.index([folder])) == (0, 0, 1, 0, 0)


def test_the_failures_of_a_vanished_folder_leave_the_ledger(library: Library, photos: Path) -> None:
    (photos / "deep").mkdir()
    (photos / "deep" / "broken.png").write_bytes(b"no photo at all")
    library.index([photos])
    (photos / "deep" / "broken.png").unlink()
    (photos / "deep").rmdir()
    library.index([photos / "deep"])
    assert library.failures() == []


def test_a_root_that_is_not_there_keeps_its_items(library: Library, photos: Path, tmp_path: Path) -> None:
    library.index([photos])
    photos.rename(tmp_path / "unmounted")
    report = library.index([photos])
    assert counts(report) == (0, 0, 0, 0, 1)
    assert report.failures[0].reason == "it is not there; its 3 items are kept until it is back or forgotten"
    assert names(library.query("red"))[0] == "red.png"


def test_a_part_of_a_root_is_indexed_alone(library: Library, photos: Path) -> None:
    paint(photos / "deep" / "white.png", "white")
    library.index([photos])
    paint(photos / "deep" / "black.png", "black")
    (photos / "red.png").unlink()
    assert counts(library.index([photos / "deep"])) == (1, 0, 0, 1, 0)
    assert [root.path for root in library.roots()] == [photos]


def test_a_single_file_is_indexed_without_its_folder(library: Library, photos: Path) -> None:
    assert counts(library.index([photos / "red.png"])) == (1, 0, 0, 0, 0)
    assert counts(library.index([photos / "blue.png"])) == (1, 0, 0, 0, 0)


def test_a_root_above_takes_over_the_root_below(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([photos])
    made = passes(library, monkeypatch)
    assert counts(library.index([photos.parent], exclude=["lib"])) == (0, 0, 0, 3, 0)
    assert [root.path for root in library.roots()] == [photos.parent]
    assert made["images"] == 0


def test_two_names_for_one_path_are_one_root(library: Library, photos: Path) -> None:
    library.index([photos])
    assert counts(library.index([photos / "." / ".." / "photos"])) == (0, 0, 0, 3, 0)
    assert len(library.roots()) == 1


def test_a_path_that_is_not_there_stops_the_run_before_it_starts(library: Library, photos: Path) -> None:
    with pytest.raises(UsageError, match="nowhere is not there; nothing was indexed"):
        library.index([photos, photos.parent / "nowhere"])
    assert library.roots() == []


def test_nothing_to_index_is_said(library: Library) -> None:
    with pytest.raises(UsageError, match="there is nothing to index"):
        library.index()


def test_a_new_exclude_takes_files_out(library: Library, photos: Path) -> None:
    library.index([photos])
    assert counts(library.index([photos], exclude=["red.*"])) == (0, 0, 1, 2, 0)


def test_broken_files_are_in_the_ledger_and_the_run_goes_on(library: Library, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photo at all")
    (photos / "empty.png").touch()
    report = library.index([photos])
    assert counts(report) == (3, 0, 0, 0, 2)
    assert [failure.path.name for failure in library.failures()] == ["broken.jpg", "empty.png"]


def test_a_known_failure_is_not_read_again_until_it_changes(library: Library, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo at all")
    library.index([photos])
    told: list[object] = []
    assert counts(library.index([photos], on_skip=told.append)) == (0, 0, 0, 3, 1)
    assert told == []
    paint(photos / "broken.png", "white")
    assert counts(library.index([photos])) == (1, 0, 0, 3, 0)
    assert library.failures() == []


def test_failures_are_retried_when_asked(library: Library, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo at all")
    library.index([photos])
    assert counts(library.retry_failures()) == (0, 0, 0, 3, 1)
    assert len(library.failures()) == 1


def test_failures_stay_on_record_where_another_process_indexes(library: Library, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo at all")
    library.index([photos])
    with index_lock(library.path), pytest.raises(LibraryBusy):
        library.retry_failures()
    assert len(library.failures()) == 1


def test_a_failure_that_vanished_leaves_the_ledger(library: Library, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo at all")
    library.index([photos])
    (photos / "broken.png").unlink()
    library.index([photos])
    assert library.failures() == []


def test_a_photo_that_broke_is_no_longer_an_answer(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "red.png").write_bytes(b"torn")
    assert counts(library.index([photos])) == (0, 0, 0, 2, 1)
    assert "red.png" not in names(library.query("red"))


def test_odd_names_are_skipped_with_their_reason(library: Library, photos: Path) -> None:
    (photos / "two\nlines.png").write_bytes((photos / "red.png").read_bytes())
    os.rename(photos / "two\nlines.png", os.fsencode(photos) + b"/\xff.png")  # noqa: PTH104  # bytes
    paint(photos / "two\nlines.png", "white")
    told: list[object] = []
    for _ in range(2):
        assert library.index([photos], on_skip=told.append).skipped == 2
    assert len(told) == 2
    assert len(library.failures()) == 2
    assert library.verify() == []


def test_a_photo_that_became_a_dead_link_is_no_longer_an_answer(library: Library, photos: Path) -> None:
    library.index([photos])
    (photos / "red.png").unlink()
    (photos / "red.png").symlink_to(photos / "nowhere.png")
    assert counts(library.index([photos])) == (0, 0, 0, 2, 1)
    assert "red.png" not in names(library.query("red"))


def test_ctrl_c_keeps_what_is_done(library: Library, photos: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    report = library.index([photos], batch_size=1, on_progress=stop)
    assert report.interrupted
    assert report.added == 1
    assert library.verify() == []
    assert counts(library.index([photos])) == (2, 0, 0, 1, 0)


def test_progress_counts_up_to_the_total(library: Library, photos: Path) -> None:
    seen: list[Progress] = []
    library.index([photos], batch_size=2, on_progress=seen.append)
    assert [(each.done, each.total) for each in seen] == [(0, 3), (2, 3), (3, 3)]


def test_only_one_process_indexes_at_a_time(library: Library, photos: Path) -> None:
    with index_lock(library.path), pytest.raises(LibraryBusy, match="is indexing into"):
        library.index([photos])


def test_a_folder_read_while_it_cannot_be_listed_keeps_its_items(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(photos / "deep" / "white.png", "white")
    library.index([photos])
    scandir = os.scandir

    def refuse(folder: Path | str) -> object:
        if Path(folder).name == "deep":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert counts(library.index([photos])) == (0, 0, 0, 3, 1)
    monkeypatch.undo()
    assert names(library.query("white"))[0] == "white.png"
    assert counts(library.index([photos])) == (0, 0, 0, 4, 0)
    assert library.failures() == []


# -- captions, texts, sounds -------------------------------------------------------------------------------------------


def test_a_sidecar_is_a_view_of_its_photo(library: Library, photos: Path) -> None:
    (photos / "red.txt").write_text("a white ship")
    assert counts(library.index([photos])) == (3, 0, 0, 0, 0)
    best = library.query("white")[0]
    assert (Path(best.path).name, best.view, best.snippet) == ("red.png", "caption", "a white ship")
    assert library.query("red")[0].view == "image"


def test_a_changed_sidecar_changes_the_photo_but_not_its_vector(
    library: Library, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "red.txt").write_text("a white ship")
    library.index([photos])
    made = passes(library, monkeypatch)
    (photos / "red.txt").write_text("a black ship, now")
    assert counts(library.index([photos])) == (0, 1, 0, 2, 0)
    assert made == {"images": 0, "texts": 1}
    assert library.query("black")[0].snippet == "a black ship, now"


def test_a_document_answers_with_its_passage(library: Library, tmp_path: Path) -> None:
    filler = "word " * 40
    text = tmp_path / "notes" / "day.md"
    text.parent.mkdir()
    text.write_text(f"{filler}\n\nThe yellow house by the sea.\n\n{filler}")
    library.index([text.parent])
    best = library.query("yellow")[0]
    assert (best.kind, best.view, best.path) == ("text", "text", str(text))
    assert "yellow house" in best.snippet


def test_captions_from_a_table_stay(library: Library, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("path,caption\nred.png,a white ship\nnowhere.png,a ghost\n")
    report = library.index([photos], captions=[table])
    assert counts(report) == (3, 0, 0, 0, 1)
    assert report.failures[0].reason == "not there, though captions.csv captions it"
    assert library.query("white")[0].view == "caption"
    assert counts(library.index([photos])) == (0, 0, 0, 3, 0)
    table.write_text("path,caption\nred.png,a black ship\n")
    assert counts(library.index([photos], captions=[table])) == (0, 1, 0, 2, 0)
    assert library.query("black")[0].snippet == "a black ship"


def test_a_voice_note_captions_its_photo(library: Library, photos: Path, tmp_path: Path) -> None:
    with wave.open(str(photos / "red.wav"), "wb") as note:
        note.setparams((1, 2, 8000, 800, "NONE", ""))
        note.writeframes(bytes(1600))
    table = tmp_path / "captions.csv"
    table.write_text("path,caption\nred.wav,the white ship that we saw\n")
    library.index([photos], captions=[table])
    found = {Path(hit.path).name: hit.view for hit in library.query("white", k=2)}
    assert found == {"red.png": "audio_caption", "red.wav": "audio_caption"}


def test_a_bad_table_changes_nothing(library: Library, photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("a,b\n1,2\n")
    with pytest.raises(BadManifest):
        library.index([photos], captions=[table])
    assert library.status().items == {}


# -- asking ------------------------------------------------------------------------------------------------------------


def test_pages_of_a_ranking_join(library: Library, photos: Path) -> None:
    library.index([photos])
    whole = library.query("green", k=3)
    assert [hit.rank for hit in whole] == [1, 2, 3]
    assert library.query("green", k=1) + library.query("green", k=2, offset=1) == whole
    assert library.query("green", offset=3) == []


@pytest.mark.parametrize(("k", "offset", "depth"), [(10, 0, 100), (10, 90, 100), (10, 91, 400), (1, 400, 1600)])
def test_neighbouring_pages_look_equally_deep(k: int, offset: int, depth: int) -> None:
    assert Page(k, offset).depth == depth


def test_scores_and_probabilities_fall(library: Library, photos: Path) -> None:
    library.index([photos])
    hits = library.query("green")
    scores, chances = [hit.score for hit in hits], [hit.probability or 0 for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert chances == sorted(chances, reverse=True)
    assert all(0 < chance < 1 for chance in chances)


def test_a_minimum_score_cuts(library: Library, photos: Path) -> None:
    library.index([photos])
    best, second, _ = library.query("green")
    assert library.query("green", min_score=(best.score + second.score) / 2) == [best]


def test_a_minimum_probability_cuts(library: Library, photos: Path) -> None:
    library.index([photos])
    best, second, _ = library.query("green")
    assert best.probability is not None
    assert second.probability is not None
    assert library.query("green", min_prob=best.probability) == [best]
    assert library.query("green", min_prob=second.probability) == [best, second]


@pytest.mark.parametrize("wrong", [-0.1, 1.1])
def test_a_minimum_that_is_no_probability_is_refused(library: Library, wrong: float) -> None:
    with pytest.raises(UsageError, match=f"^a probability lies between 0 and 1, but min_prob is {wrong}.$"):
        library.query("green", min_prob=wrong)


def test_no_probability_is_cut_without_reranking(library: Library) -> None:
    with pytest.raises(UsageError, match=r"^without re-ranking there are no probabilities; cut by min_score"):
        library.query("green", min_prob=0.5, rerank=False)


def test_an_answer_says_whether_anything_fits_and_a_picture_does_not(library: Library, photos: Path) -> None:
    library.index([photos])
    fits = library.query("green").fits
    assert fits is not None
    assert 0 < fits < 1
    assert library.query("green", rerank=False).fits is None
    assert library.similar(photos / "green.png").fits is None
    assert library.query("green", path_glob="nowhere").fits == 0


@pytest.mark.parametrize("query", ["green", "green - red", "{photo}", "{photo} - red"])
def test_contributions_sum_to_the_score(library: Library, photos: Path, query: str) -> None:
    library.index([photos])
    for hit in library.query(query.format(photo=photos / "green.png"), explain=True):
        assert sum(hit.contributions.values()) == pytest.approx(hit.score, abs=1e-4)
        assert hit.method == ("exact" if "{photo}" in query else shipped().method)
        assert hit.reasons


def test_a_plain_cosine_explains_itself(library: Library, photos: Path) -> None:
    library.index([photos])
    best = library.query("green", k=1, rerank=False, explain=True)[0]
    assert best.contributions == {"image.cosine": best.score}
    assert best.reasons == (f"its photo is close in meaning {best.score:+.2f}",)


def test_nothing_is_explained_unasked(library: Library, photos: Path) -> None:
    library.index([photos])
    best = library.query("green", k=1)[0]
    assert (best.contributions, best.method, best.reasons) == ({}, "", ())


def test_without_reranking_the_score_is_the_cosine(library: Library, photos: Path) -> None:
    library.index([photos])
    text, image = library.encode_texts(["red"])[0], library.encode_images([photos / "red.png"])[0]
    best = library.query("red", k=1, rerank=False)[0]
    assert best.score == pytest.approx(float(text @ image), abs=2e-3)
    assert best.signals["cosine_image"] == pytest.approx(best.score)


def test_answers_can_be_limited(library: Library, photos: Path) -> None:
    (photos / "red.md").write_text("red")
    paint(photos / "deep" / "red2.png", "red", size=30)
    os.utime(photos / "blue.png", (0, 86400 * 366))
    library.index([photos])
    assert {hit.kind for hit in library.query("red")} == {"image", "text"}
    assert names(library.query("red", kinds=["text"])) == ["red.md"]
    assert names(library.query("red", path_glob="*/deep/*")) == ["red2.png"]
    assert names(library.query("red", before="1972")) == ["blue.png"]
    assert "blue.png" not in names(library.query("red", after="1972"))


def test_a_subtracted_term_is_pushed_down(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "halves"
    folder.mkdir()
    for other in ("white", "blue"):
        picture = Image.new("RGB", (40, 40), "red")
        picture.paste(other, (0, 20, 40, 40))
        picture.save(folder / f"red_{other}.png")
    library.index([folder])
    assert names(library.query("red - blue"))[0] == "red_white.png"
    assert names(library.query("red - white"))[0] == "red_blue.png"
    assert library.query("red - blue")[1].signals["unwanted"] > 0


def test_a_picture_is_a_query(library: Library, photos: Path, tmp_path: Path) -> None:
    library.index([photos])
    asked = paint(tmp_path / "ask.jpg", "green")
    assert names(library.query(str(asked)))[0] == "green.png"
    assert names(library.query(f"{asked} + red"))[-1] == "blue.png"


def test_a_picture_that_cannot_be_read_is_a_bad_query(library: Library, photos: Path) -> None:
    library.index([photos])
    with pytest.raises(BadQuery, match=r"\./none\.jpg"):
        library.query("./none.jpg")


def test_the_web_is_off_unless_allowed(library: Library, photos: Path) -> None:
    library.index([photos])
    with pytest.raises(BadQuery, match="--allow-url"):
        library.query("https://example.org/x.jpg")


def test_many_queries_are_answered_as_one_by_one(library: Library, photos: Path) -> None:
    library.index([photos])
    asked = ["red", "green + blue", "blue - red", "something else"]
    together = library.query_many(asked)
    for query, hits in zip(asked, together, strict=True):
        alone = library.query(query)
        assert names(hits) == names(alone)
        np.testing.assert_allclose([h.score for h in hits], [h.score for h in alone], rtol=1e-4)
    assert library.query_many([]) == []


def test_an_empty_library_has_no_answers(library: Library) -> None:
    assert library.query("red") == []
    assert library.verify() == []


@pytest.mark.parametrize(("k", "offset"), [(0, 0), (-1, 0), (1, -1)])
def test_a_count_that_is_none_is_refused(library: Library, k: int, offset: int) -> None:
    with pytest.raises(UsageError):
        library.query("red", k=k, offset=offset)


def test_similar_items_are_found_without_the_item_itself(library: Library, photos: Path, tmp_path: Path) -> None:
    paint(photos / "red2.png", "red", size=30)
    library.index([photos])
    assert names(library.similar(photos / "red.png"))[0] == "red2.png"
    assert len(library.similar(photos / "red.png", k=10)) == 3
    outside = paint(tmp_path / "outside.png", "blue")
    assert names(library.similar(outside))[0] == "blue.png"
    with pytest.raises(NotIndexed):
        library.similar(tmp_path / "none.png")


def test_encoded_rows_are_unit_vectors(library: Library, photos: Path) -> None:
    images = library.encode_images([photos / "red.png", str(photos / "blue.png"), Image.new("RGB", (9, 9))])
    texts = library.encode_texts(["a", "b"])
    assert images.shape == (3, 32)
    assert texts.shape == (2, 32)
    assert images.dtype == texts.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([images, texts]), axis=1), 1, rtol=1e-5)
    assert library.encode_images([]).shape == library.encode_texts([]).shape == (0, 32)


# -- looking after it --------------------------------------------------------------------------------------------------


def test_what_is_forgotten_stays_forgotten_until_named(library: Library, photos: Path) -> None:
    library.index([photos])
    assert library.forget([photos / "red.png"]) == 1
    assert counts(library.index([photos])) == (0, 0, 0, 2, 0)
    assert "red.png" not in names(library.query("red"))
    assert counts(library.index([photos / "red.png"])) == (1, 0, 0, 0, 0)
    assert counts(library.index([photos])) == (0, 0, 0, 3, 0)


def test_a_forgotten_root_is_gone(library: Library, photos: Path) -> None:
    library.index([photos])
    assert library.forget([photos]) == 3
    assert library.roots() == []
    assert library.query("red") == []
    with pytest.raises(NotIndexed):
        library.forget([photos])


def test_a_forgotten_text_is_nowhere_on_the_disk(library: Library, photos: Path) -> None:
    (photos / "diary.txt").write_text("an unmistakable secret")
    library.index([photos])
    vector = library.encode_texts(["an unmistakable secret"]).astype(np.float16).tobytes()
    assert any(vector in file.read_bytes() for file in library.path.rglob("*") if file.is_file())
    library.forget([photos / "diary.txt"])
    for file in library.path.rglob("*"):
        if file.is_file():
            assert b"unmistakable" not in file.read_bytes()
            assert vector not in file.read_bytes()


def test_what_a_broken_file_held_is_nowhere_on_the_disk(library: Library, photos: Path) -> None:
    (photos / "diary.txt").write_text("an unmistakable secret")
    library.index([photos])
    (photos / "diary.txt").write_bytes(bytes(range(256)) * 4)
    assert counts(library.index([photos])) == (0, 0, 0, 3, 1)
    for file in library.path.rglob("*"):
        assert not file.is_file() or b"unmistakable" not in file.read_bytes()


def test_a_moved_root_is_not_read_again(
    library: Library, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([photos])
    made = passes(library, monkeypatch)
    photos.rename(tmp_path / "elsewhere")
    library.move_root(photos, tmp_path / "elsewhere")
    assert library.query("red")[0].path == str(tmp_path / "elsewhere" / "red.png")
    assert counts(library.index()) == (0, 0, 0, 3, 0)
    assert made["images"] == 0
    with pytest.raises(RootNotFound):
        library.move_root(photos, tmp_path)


def test_status_says_what_is_there(library: Library, photos: Path) -> None:
    (photos / "red.txt").write_text("a caption")
    (photos / "broken.png").touch()
    library.index([photos])
    status = library.status()
    assert status.items == {"image": 3}
    assert status.rows == {"image": 3, "caption": 1}
    assert (status.failures, status.uncaptioned, status.roots) == (1, [], [photos])
    assert status.size_bytes > 0


def test_a_library_that_is_not_there_is_not_made_by_asking(tmp_path: Path, model: str) -> None:
    with pytest.raises(LibraryNotFound):
        Library.open(tmp_path / "none", model=model, create=False)
    assert not (tmp_path / "none").exists()


def test_another_model_is_refused_with_the_way_out(library: Library, photos: Path, other_model: str) -> None:
    library.index([photos])
    with pytest.raises(ModelMismatch, match=r"Re-embed it with `mmsearch index --rebuild --model"):
        Library.open(library.path, model=other_model)


def test_a_library_remembers_its_model(
    library: Library, photos: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([photos])
    monkeypatch.delenv("MMSEARCH_MODEL", raising=False)
    with Library.open(library.path) as again:
        assert names(again.query("red"))[0] == "red.png"
        assert again.status().model == model


def test_a_rebuild_embeds_everything_with_another_model(library: Library, photos: Path, other_model: str) -> None:
    (photos / "notes.md").write_text("green")
    library.index([photos])
    library.close()
    with Library.open(library.path, model=other_model, switch_model=True) as switched:
        with pytest.raises(ModelMismatch):
            switched.index([photos])
        assert counts(switched.index(rebuild=True)) == (0, 4, 0, 0, 0)
        assert names(switched.query("red"))[0] == "red.png"
        assert switched.verify() == []


def test_a_new_release_of_the_same_model_asks_for_a_rebuild(
    library: Library, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MMSEARCH_MODEL", raising=False)
    monkeypatch.setenv("MMSEARCH_MODELS", str(tmp_path / "models"))
    model = make_tiny_model(tmp_path / "models" / "tiny")
    with Library.open(tmp_path / "named", model="tiny") as first:
        first.index([photos])
    make_tiny_model(model, seed=5)
    with pytest.raises(ModelMismatch):
        Library.open(tmp_path / "named")
    with Library.open(tmp_path / "named", switch_model=True) as again:
        assert counts(again.index(rebuild=True)) == (0, 3, 0, 0, 0)
        assert names(again.query("red"))[0] == "red.png"


def test_an_interrupted_rebuild_goes_on_at_the_next_run(library: Library, photos: Path, other_model: str) -> None:
    library.index([photos])

    def stop(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with Library.open(library.path, model=other_model, switch_model=True) as switched:
        assert switched.index(rebuild=True, batch_size=1, on_progress=stop).interrupted
    with Library.open(library.path, model=other_model) as switched:
        assert counts(switched.index()) == (0, 2, 0, 1, 0)
        assert switched.verify() == []


def test_a_damaged_snapshot_is_mended(library: Library, photos: Path, model: str) -> None:
    library.index([photos])
    library.close()
    for file in (library.path / "vectors").iterdir():
        file.write_bytes(b"garbage")
    with Library.open(library.path, model=model) as again:
        assert again.verify() != []
        assert names(again.query("red"))[0] == "red.png"
        assert again.repair() != []
        assert again.verify() == []


def test_threads_may_ask_while_another_process_indexes(library: Library, photos: Path, model: str) -> None:
    library.index([photos])
    wrong: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                if names(library.query("red", k=1)) != ["red.png"]:
                    wrong.append("another answer")
            except Exception as error:  # whatever it is, it must not happen
                wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    with Library.open(library.path, model=model) as writer:
        for i in range(5):
            for j in range(5):
                paint(photos / f"blue{i}-{j}.png", "blue", size=10 + i * 5 + j)
            writer.index([photos])
            time.sleep(0.02)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(library.query("blue", k=100)) == 28
