from __future__ import annotations

from mmsearch.retrieval.evaluation.absent import taken_out
from mmsearch.retrieval.evaluation.judged import JudgedItem, JudgedQuery, JudgedSet


def of_words(words: str) -> JudgedSet:
    """An item and a query for each word, and a clip that nobody asks for."""
    items = [JudgedItem(f"{word}.txt", text=word) for word in words.split()]
    queries = [JudgedQuery(word, frozenset([at]), word, "text") for at, word in enumerate(words.split())]
    return JudgedSet((JudgedItem("rain.wav", audio_caption="rain"), *items), tuple(shifted(queries)))


def shifted(queries: list[JudgedQuery]) -> list[JudgedQuery]:
    return [JudgedQuery(each.text, frozenset(at + 1 for at in each.relevant), each.group, "text") for each in queries]


def test_a_share_of_the_queries_has_no_answer_any_more() -> None:
    made = taken_out(of_words("a b c d e f g h"), 0.25)
    assert [bool(query.relevant) for query in made.queries].count(False) == 2
    assert len(made.queries) == 8
    assert len(made.items) == 1 + 6


def test_the_others_still_find_their_own() -> None:
    made = taken_out(of_words("a b c d e f g h"), 0.5)
    found = {query.text: [made.items[at].text for at in query.relevant] for query in made.queries if query.relevant}
    assert len(found) == 4
    assert all(texts == [word] for word, texts in found.items())


def test_what_a_broad_query_wanted_is_gone_for_the_narrow_one_too() -> None:
    items = tuple(JudgedItem(f"{at}.txt", text="x") for at in range(3))
    broad = JudgedQuery("dog", frozenset([0, 1]), "dog", "labels")
    narrow = JudgedQuery("beagle dog", frozenset([0]), "beagle dog", "labels")
    for seed in range(8):
        made = taken_out(JudgedSet(items, (broad, narrow)), 0.5, seed)
        left = {query.text: len(query.relevant) for query in made.queries}
        assert left in ({"dog": 0, "beagle dog": 0}, {"dog": 1, "beagle dog": 0})


def test_equal_seeds_take_the_same_out() -> None:
    judged = of_words("a b c d e f g h")
    assert taken_out(judged, 0.5, 1) == taken_out(judged, 0.5, 1) != taken_out(judged, 0.5, 2)
