from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from pathlib import Path

import pytest

from mmsearch.retrieval.evaluation.judged import (
    REGIMES,
    JudgedItem,
    JudgedQuery,
    JudgedSet,
    judged_set,
    labelled_set,
    short_set,
)
from mmsearch.retrieval.evaluation.subjects import Subject

PHOTOS = [
    Subject(f"p{i}", Path(f"p{i}.jpg"), tuple(f"caption{c} photograph{i} abc" for c in range(5))) for i in range(200)
]
CLIPS = [Subject(f"c{i}", None, tuple(f"sound{c} clip{i}" for c in range(5))) for i in range(100)]
ONE_CAPTION = [Subject("one", Path("one.jpg"), ("the only one",))]


def views(item: JudgedItem) -> tuple[bool, ...]:
    """Whether it has a photo, caption, text and audio caption."""
    _, *stored = astuple(item)
    return tuple(value is not None for value in stored)


@pytest.mark.parametrize(
    ("regime", "expected"),
    [
        ("photo", JudgedItem("IMG_0003.jpg", photo=Path("p3.jpg"))),
        ("caption", JudgedItem("IMG_0003.jpg", caption="caption2 photograph3 abc")),
        ("audio", JudgedItem("IMG_0003.jpg", audio_caption="caption3 photograph3 abc")),
        ("text", JudgedItem("IMG_0003.txt", text="caption2 photograph3 abc")),
    ],
)
def test_a_regime_of_one_view_stores_it_alone(regime: str, expected: JudgedItem) -> None:
    made = judged_set(regime, PHOTOS, rotation=1)
    assert made.items[3] == expected
    assert made.queries[3].text == "caption1 photograph3 abc"
    assert made.queries[3].relevant == {3}
    assert made.queries[3].group == "p3"
    assert made.queries[3].regime == regime


def test_captions_are_taken_in_a_circle() -> None:
    assert judged_set("caption", PHOTOS, rotation=4).items[0].caption == "caption0 photograph0 abc"
    assert judged_set("audio", PHOTOS, rotation=4).items[0].audio_caption == "caption1 photograph0 abc"


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("rotation", range(5))
def test_no_query_is_stored_word_for_word(regime: str, rotation: int) -> None:
    made = judged_set(regime, PHOTOS, CLIPS, rotation=rotation)
    stored = {text for item in made.items for text in (item.caption, item.text, item.audio_caption) if text}
    assert made.queries
    assert not stored & {query.text for query in made.queries}


def test_a_mixed_item_has_each_view_with_probability_one_half() -> None:
    counts = Counter(views(item) for item in judged_set("mixed", PHOTOS * 5).items)
    kinds = {(photo, caption, False, spoken) for photo in (0, 1) for caption in (0, 1) for spoken in (0, 1)}
    assert set(counts) == kinds - {(0, 0, False, 0)}
    assert all(100 < count < 190 for count in counts.values())  # 1000 / 7 = 143 +- 11


@pytest.mark.parametrize("regime", ["mixed", "noisy", "named"])
def test_names_say_nothing_or_the_words_of_a_caption_or_a_word_of_anothers(regime: str) -> None:
    photos = [Subject(f"p{i}", Path(f"p{i}.jpg"), (f"{word} photograph",) * 3) for i, word in enumerate(WORDS)]
    names = [item.name for item in judged_set(regime, photos).items]
    kinds = Counter(_kind(name, word) for name, word in zip(names, WORDS, strict=True))
    assert len(set(names)) == len(names)
    assert 120 < kinds["nothing"] < 200  # 160 of 400, +- 10
    assert 50 < kinds["file"] < 110
    assert 15 < kinds["folder"] < 60  # 30 of 400: half of the folders have the word that all captions share
    assert 30 < kinds["astray"] < 80


WORDS = ["w" + "".join(chr(ord("a") + int(digit)) for digit in f"{at:03d}") for at in range(400)]


def _kind(name: str, word: str) -> str:
    """What a name says of a photo whose caption is that word and `photograph`."""
    folder, _, file = name.rpartition("/")
    if folder:
        return {"photograph": "shared folder", word: "folder"}.get(folder, "astray")
    return {"IMG": "nothing", f"{word}_photograph": "file"}[file.rpartition("_")[0]]


def test_labelled_photos_in_their_folders_are_in_the_way_of_named_ones_alone() -> None:
    labelled = [Subject("d", Path("d.jpg"), ("dog",)), Subject("c", Path("c.jpg"), ("cat",))]
    made = judged_set("named", PHOTOS[:3], labelled=labelled)
    assert [(item.name, item.photo) for item in made.items[3:]] == [
        ("dog/IMG_0003.jpg", Path("d.jpg")),
        ("cat/IMG_0004.jpg", Path("c.jpg")),
    ]
    assert [min(query.relevant) for query in made.queries] == [0, 1, 2]
    assert len(judged_set("mixed", PHOTOS[:3], labelled=labelled).items) == 3


def test_a_fifth_of_the_noisy_captions_belong_to_another_item() -> None:
    items = judged_set("noisy", PHOTOS).items
    captions = [(at, item.caption) for at, item in enumerate(items) if item.caption]
    wrong = [at for at, caption in captions if f"photograph{at} " not in caption]
    assert len(wrong) == round(0.2 * len(captions))
    assert len({caption for _, caption in captions}) == len(captions)  # swapped, not copied


def test_noise_keeps_which_views_an_item_has() -> None:
    kinds = Counter(views(item) for item in judged_set("noisy", PHOTOS).items)
    assert all(any(kind) for kind in kinds)


def test_equal_arguments_make_equal_sets() -> None:
    assert judged_set("noisy", PHOTOS, CLIPS, seed=1) == judged_set("noisy", PHOTOS, CLIPS, seed=1)
    assert judged_set("noisy", PHOTOS, CLIPS, seed=1) != judged_set("noisy", PHOTOS, CLIPS, seed=2)


def test_clips_are_items_and_some_are_asked_for() -> None:
    made = judged_set("photo", PHOTOS, CLIPS, rotation=2)
    asked = [query for query in made.queries if query.regime == "sound"]
    assert len(made.items) == 300
    assert 8 <= len(asked) <= 33
    (place,) = asked[0].relevant
    clip = CLIPS[place - 200]
    assert asked[0].group == clip.name
    assert asked[0].text == clip.captions[2]
    assert made.items[place].audio_caption == clip.captions[3]
    assert made.items[place].name.endswith(f"_{place:04d}.wav")


def test_a_clip_with_one_caption_is_only_in_the_way() -> None:
    made = judged_set("photo", PHOTOS[:1], [Subject("c", None, ("rain",))] * 50)
    assert [query.regime for query in made.queries] == ["photo"]
    assert {item.name.split("_")[0] for item in made.items[1:]} == {"REC"}


def test_a_photo_with_one_caption_is_asked_for_only_where_captions_are_not_stored() -> None:
    assert [query.text for query in judged_set("photo", ONE_CAPTION).queries] == ["the only one"]
    stored = judged_set("caption", ONE_CAPTION)
    assert stored.queries == ()
    assert stored.items[0].caption == "the only one"


def test_a_photo_is_asked_for_once_by_each_caption() -> None:
    pair = [Subject("two", Path("two.jpg"), ("first", "second"))]
    asked = [[query.text for query in judged_set("caption", pair, rotation=r).queries] for r in range(3)]
    assert asked == [["first"], ["second"], []]


def test_a_label_wants_every_photo_of_its_kind() -> None:
    labels = ["beagle dog", "dog", "cat", "dog", "hotdog"]
    photos = [Subject(str(i), Path(f"{i}.jpg"), (label,)) for i, label in enumerate(labels)]
    made = labelled_set(photos)
    assert {query.text: set(query.relevant) for query in made.queries} == {
        "beagle dog": {0},
        "dog": {0, 1, 3},
        "cat": {2},
        "hotdog": {4},
    }
    assert {query.regime for query in made.queries} == {"labels"}
    assert made.items[2] == JudgedItem("IMG_0002.jpg", photo=Path("2.jpg"))


@pytest.mark.parametrize("regime", REGIMES)
def test_a_twin_says_what_its_photo_does_and_is_as_right(regime: str) -> None:
    made = judged_set(regime, PHOTOS, CLIPS, rotation=1, twins=0.3)
    kinds: Counter[bool] = Counter()
    for at, query in enumerate(made.queries[: len(PHOTOS)]):
        assert at in query.relevant
        for twin in (made.items[place] for place in query.relevant - {at}):
            said = twin.text or twin.audio_caption
            own = made.items[at].caption or made.items[at].text or made.items[at].audio_caption
            assert regime == "noisy" or said == own or (own is None and said == f"caption2 photograph{at} abc")
            assert (twin.text is None) == twin.name.endswith(".wav")
            kinds[twin.text is None] += 1
    assert 40 <= kinds.total() <= 80  # 60 of 200, +- 6.5
    assert 12 <= kinds[True] <= kinds.total() - 12


def test_a_photo_without_a_caption_has_its_next_one_for_a_twin() -> None:
    made = judged_set("photo", ONE_CAPTION, twins=1.0)
    assert made.items[0].photo == Path("one.jpg")
    assert (made.items[1].text or made.items[1].audio_caption) == "the only one"
    assert made.queries[0].relevant == {0, 1}


def test_captions_go_astray_after_the_twins_were_made() -> None:
    twins = judged_set("noisy", PHOTOS, twins=1.0).items[len(PHOTOS) :]
    assert all(f"photograph{at} " in (twin.text or twin.audio_caption or "") for at, twin in enumerate(twins))


@pytest.mark.parametrize("regime", REGIMES)
def test_twins_leave_all_else_as_it_is(regime: str) -> None:
    without, having = (judged_set(regime, PHOTOS, twins=share) for share in (0.0, 0.5))
    assert having.items[: len(PHOTOS)] == without.items
    assert [query.text for query in having.queries] == [query.text for query in without.queries]


def test_nothing_makes_an_empty_set() -> None:
    assert judged_set("mixed", []) == JudgedSet((), ())


def test_a_clip_that_says_the_label_is_not_judged() -> None:
    photos = [Subject("0", Path("0.jpg"), ("dog",)), Subject("1", Path("1.jpg"), ("pizza",))]
    clips = [Subject("bark", None, ("a dog barks",)), Subject("rain", None, ("rain falls",))]
    dog, pizza = labelled_set(photos, clips).queries
    assert dog.judged == frozenset([0, 1, 3])
    assert pizza.judged == frozenset([0, 1, 2, 3])


SAID = [
    Subject("0", Path("0.jpg"), ("a white terrier runs", "a terrier on sand", "some animal")),
    Subject("1", Path("1.jpg"), ("children eating pizza", "two children", "a table")),
    Subject("2", Path("2.jpg"), ("a big meadow", "the animal on a meadow", "grass")),
]


def test_short_queries_are_a_word_or_two_and_all_that_says_them_is_right() -> None:
    clips = [Subject("c", None, ("children shout",))]
    asked: dict[str, frozenset[int]] = {}
    for seed in range(30):
        made = short_set(SAID, clips, seed=seed)
        assert made.items == judged_set("mixed", SAID, clips, seed=seed).items
        asked |= {query.text: query.relevant for query in made.queries}
    assert asked == {
        "white": {0}, "white terrier": {0}, "terrier": {0}, "terrier runs": {0}, "runs": {0},
        "children": {1, 3}, "children eating": {1}, "eating": {1}, "eating pizza": {1}, "pizza": {1}, "meadow": {2},
    }  # fmt: skip


def test_of_twins_those_that_say_the_words_are_right() -> None:
    made = short_set(SAID, seed=1, twins=1.0)
    for query in made.queries:
        for at, item in enumerate(made.items[3:], 3):
            words = (item.text or item.audio_caption or "").split()
            assert (at in query.relevant) == all(word in words for word in query.text.split())


def test_words_that_most_photos_are_told_by_are_not_asked() -> None:
    photos = [Subject(f"{at}", Path(f"{at}.jpg"), (f"someone number{'abcdefghij'[at]}",) * 2) for at in range(10)]
    assert all("someone" not in query.text for query in short_set(photos).queries)


def test_a_query_moves_with_its_items() -> None:
    query = JudgedQuery("a", frozenset([1, 2]), "g", "photo", frozenset([0, 1]))
    moved = query.moved({0: 10, 1: 11})
    assert (moved.relevant, moved.judged) == (frozenset([11]), frozenset([10, 11]))
    assert JudgedQuery("a", frozenset([1]), "g", "photo").moved({1: 5}).judged is None
