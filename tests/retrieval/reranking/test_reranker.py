from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.models import make_tiny_model

from mmsearch import Library, Reranker
from mmsearch.index.errors import BadQuery, MmsearchError, Unreadable, UsageError
from mmsearch.retrieval import hubs
from mmsearch.retrieval.candidates import gather
from mmsearch.retrieval.fusion.heads.weighted import Weighted
from mmsearch.retrieval.fusion.signals import ITEM_SIGNALS, VIEW_SIGNALS
from mmsearch.retrieval.reranking.documents import taken_apart
from mmsearch.retrieval.reranking.rows import as_candidates, embed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that looks at words, ranks, neighbours and names."""
    made = Weighted.untrained()
    for name, weight in (("words", 0.5), ("reciprocal_rank", 1.0), ("density", 0.3), ("centroid", 0.7)):
        made.parameters["weights"][:, VIEW_SIGNALS.index(name)] = weight
    made.parameters["items"][ITEM_SIGNALS.index("name")] = 2.0
    path = tmp_path_factory.mktemp("heads") / "head.npz"
    made.save(path)
    return path


@pytest.fixture(scope="module")
def reranker(model: str, head: Path) -> Iterator[Reranker]:
    with Reranker(model, head=head) as made:
        yield made


def picture(colour: str) -> Image.Image:
    return Image.new("RGB", (40, 40), colour)


DOCUMENTS: list[Any] = [
    "a green field",
    "something red and something blue",
    picture("red"),
    picture("yellow"),
    {"image": picture("red"), "caption": "a red barn", "name": "IMG_1.jpg"},
    {"caption": ["a blue boat", "a red boat"], "audio_caption": "waves"},
    {"text": "nothing at all", "name": "red barn.jpg"},
]


def test_the_right_document_comes_first(reranker: Reranker) -> None:
    best = reranker.rank("red", ["a blue boat", "a red barn", "a green field"])[0]
    assert best["corpus_id"] == 1
    assert reranker.rank("blue", [picture("green"), picture("blue")])[0]["corpus_id"] == 1


def test_every_document_is_ranked_best_first(reranker: Reranker) -> None:
    ranked = reranker.rank("a red barn", DOCUMENTS)
    scores = [each["score"] for each in ranked]
    assert scores == sorted(scores, reverse=True)
    assert sorted(each["corpus_id"] for each in ranked) == list(range(len(DOCUMENTS)))
    assert all(set(each) == {"corpus_id", "score"} for each in ranked)


def test_the_best_are_given_with_themselves_where_that_is_wanted(reranker: Reranker) -> None:
    every = reranker.rank("a red barn", DOCUMENTS)
    best = reranker.rank("a red barn", DOCUMENTS, top_k=2, return_documents=True)
    assert best == [{**each, "text": DOCUMENTS[each["corpus_id"]]} for each in every[:2]]
    assert reranker.rank("a red barn", DOCUMENTS, top_k=99) == every


def test_no_documents_give_no_ranking(reranker: Reranker) -> None:
    assert reranker.rank("red", []) == []


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(range(len(DOCUMENTS))))
def test_the_order_of_the_documents_changes_no_score(reranker: Reranker, order: list[int]) -> None:
    expected = {each["corpus_id"]: each["score"] for each in reranker.rank("a red barn", DOCUMENTS)}
    ranked = reranker.rank("a red barn", [DOCUMENTS[at] for at in order])
    assert {order[each["corpus_id"]]: each["score"] for each in ranked} == expected


def test_of_equal_documents_the_first_comes_first(reranker: Reranker) -> None:
    assert [each["corpus_id"] for each in reranker.rank("red", ["a red barn"] * 4)] == [0, 1, 2, 3]


def test_a_picture_may_come_in_any_form(reranker: Reranker, tmp_path: Path) -> None:
    picture("red").save(tmp_path / "red.png")
    data = io.BytesIO()
    picture("red").save(data, "PNG")
    forms = [picture("red"), tmp_path / "red.png", data.getvalue(), np.asarray(picture("red"))]
    named = [{"image": str(tmp_path / "red.png")}, {"image": tmp_path / "red.png", "caption": None}]
    scores = reranker.predict([("red", form) for form in forms + named])
    assert len(set(scores.tolist())) == 1


def test_words_of_a_name_count(reranker: Reranker) -> None:
    with_name, without = reranker.predict(
        [("barn", {"text": "white", "name": "Red Barns.jpg"}), ("barn", {"text": "white", "name": "IMG_1.jpg"})]
    )
    assert with_name > without + 1


def test_of_several_texts_the_best_counts(reranker: Reranker) -> None:
    boats = reranker.predict([("red", {"caption": ["a red boat", "a blue boat"]}), ("red", {"caption": "a red boat"})])
    assert boats[0] == pytest.approx(boats[1], rel=1e-3)  # a word is rarer in one of two texts than in one


def test_a_pair_scores_as_a_list_of_its_own(reranker: Reranker) -> None:
    scores = reranker.predict([("a red barn", document) for document in DOCUMENTS])
    alone = [reranker.rank("a red barn", [document])[0]["score"] for document in DOCUMENTS]
    assert (scores.dtype.name, scores.shape) == ("float32", (len(DOCUMENTS),))
    np.testing.assert_allclose(scores, alone, rtol=1e-5)  # a tower of floats adds up a batch as it comes


def test_no_pairs_give_no_scores(reranker: Reranker) -> None:
    scores = reranker.predict([])
    assert (scores.dtype.name, scores.shape) == ("float32", (0,))


def test_an_untrained_head_gives_the_best_single_score(model: str, tmp_path: Path) -> None:
    Weighted.untrained().save(tmp_path / "h.npz")
    with Reranker(model, head=tmp_path / "h.npz") as plain:
        both, caption = plain.predict(
            [("red", {"image": picture("blue"), "caption": "a red"}), ("red", {"caption": "a red"})]
        )
    assert both == pytest.approx(caption, rel=1e-5)


def test_documents_line_up_as_the_candidates_of_a_library_of_them(model: str, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    documents = []
    for name, colour, caption in (("1", "red", "a red barn"), ("2", "blue", "a boat"), ("3", "green", None)):
        picture(colour).save(photos / f"{name}.png")
        if caption:
            (photos / f"{name}.txt").write_text(caption)
        documents.append({"image": photos / f"{name}.png", "caption": caption})
    with Library.open(tmp_path / "lib", model=model) as library:
        library.index([photos])
        target = library.encode_texts(["a red boat"])[0]
        (expected,) = gather(library._catalog, library._indexes, target[None], ["a red boat"], 200)
        taken = [taken_apart(document, library.card.preprocess) for document in documents]
        found = as_candidates("a red boat", target, embed(taken, library.encoder), hubs.of_samples(library.encoder))
    np.testing.assert_array_equal(found.rows < 0, expected.rows < 0)
    np.testing.assert_allclose(found.cosine, expected.cosine, atol=2e-3)  # a library rounds to float16
    np.testing.assert_allclose(found.all_vectors(), expected.all_vectors(), atol=2e-3)
    np.testing.assert_allclose(found.hubness, expected.hubness, atol=2e-3)
    np.testing.assert_array_equal(found.words > 0, expected.words > 0)
    np.testing.assert_array_equal(np.isnan(found.words), np.isnan(expected.words))


def test_many_threads_get_the_same_ranking(reranker: Reranker) -> None:
    expected = reranker.rank("a red barn", DOCUMENTS)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(reranker.rank("a red barn", DOCUMENTS))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.parametrize(
    ("document", "kind", "message"),
    [
        (
            7,
            UsageError,
            "a document is a text, a picture or a dict of views, not int; a picture is a path, its bytes, a PIL image "
            "or an array.",
        ),
        (
            {"title": "x"},
            UsageError,
            "a document has no view 'title'; its views are image, caption, text, audio_caption, name.",
        ),
        ({"name": "x"}, UsageError, "a document needs at least one of image, caption, text, audio_caption."),
        (" ", UsageError, "the view 'text' of a document is a text or a list of texts, and none is empty."),
        (
            {"caption": []},
            UsageError,
            "the view 'caption' of a document is a text or a list of texts, and none is empty.",
        ),
        (Path("gone.png"), Unreadable, "gone.png cannot be used: not there, or a link to something that is not there"),
        (b"", Unreadable, "a picture cannot be used: empty"),
    ],
)
def test_what_is_no_document_is_refused(
    reranker: Reranker, document: object, kind: type[MmsearchError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        reranker.rank("red", ["a red barn", document])
    assert str(caught.value) == message


def test_an_empty_query_and_a_top_k_that_is_no_count_are_refused(reranker: Reranker) -> None:
    with pytest.raises(BadQuery, match=r"^the query is empty; ask for something, such as"):
        reranker.predict([("red", "x"), (" ", "x")])
    with pytest.raises(UsageError, match=r"^top_k must be at least 1, but it is 0\.$"):
        reranker.rank("red", ["x"], top_k=0)


def test_no_training_library_is_loaded(model: str) -> None:
    code = f"""
import sys
from mmsearch import Reranker
print(Reranker({model!r}).rank("red", ["blue", "red"])[0]["corpus_id"])
print(*sorted({{"torch", "open_clip", "faiss", "pandas", "scipy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n\n"
