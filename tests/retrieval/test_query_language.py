"""What a person may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.index.errors import BadQuery
from mmsearch.retrieval.query_language import Term, parse


def nowhere(name: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("a dog on a beach", [Term("text", "a dog on a beach")]),
        ("dog + beach - people", [Term("text", "dog"), Term("text", "beach"), Term("text", "people", -1.0)]),
        ("2:dog + 0.5:beach", [Term("text", "dog", 2.0), Term("text", "beach", 0.5)]),
        ("beach - 3:people", [Term("text", "beach"), Term("text", "people", -3.0)]),
        ("- people + beach", [Term("text", "people", -1.0), Term("text", "beach")]),
        ("+ beach", [Term("text", "beach")]),
        ("t-shirt and C++", [Term("text", "t-shirt and C++")]),
        ("the 10:30 train", [Term("text", "the 10:30 train")]),
        ("10:30 train", [Term("text", "10:30 train")]),
        ("16:9 frame", [Term("text", "16:9 frame")]),
        ('"rock - paper" - scissors', [Term("text", "rock - paper"), Term("text", "scissors", -1.0)]),
        ("./x.jpg", [Term("image", "./x.jpg")]),
        ("~/x.HEIC", [Term("image", "~/x.HEIC")]),
        ("/photos/x.png + snow", [Term("image", "/photos/x.png"), Term("text", "snow")]),
        ("x.jpg", [Term("text", "x.jpg")]),
        ("2:./x.jpg - people", [Term("image", "./x.jpg", 2.0), Term("text", "people", -1.0)]),
        ("https://example.org/x.jpg", [Term("url", "https://example.org/x.jpg")]),
        ("dog + HTTP://example.org/x", [Term("text", "dog"), Term("url", "HTTP://example.org/x")]),
        ("a\nb", [Term("text", "a\nb")]),
    ],
)
def test_a_query_is_a_weighted_sum_of_terms(query: str, terms: list[Term]) -> None:
    assert list(parse(query, nowhere)) == terms


def test_the_name_of_an_existing_photo_is_an_image() -> None:
    assert parse("x.jpg", {"x.jpg"}.__contains__) == (Term("image", "x.jpg"),)


def test_a_photo_whose_name_holds_a_sign_is_one_term() -> None:
    assert parse("./Ann - Bob.jpg", nowhere) == (Term("image", "./Ann - Bob.jpg"),)


@pytest.mark.parametrize("query", ["", "  ", "- people", "dog +", "dog + + beach", "dog - ", "0:dog", "2: "])
def test_a_query_that_asks_for_nothing_is_refused(query: str) -> None:
    with pytest.raises(BadQuery):
        parse(query, nowhere)


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(BadQuery, match="only subtracts; name something to look for"):
        parse("- people", nowhere)


@given(st.text())
def test_any_text_is_parsed_or_refused(query: str) -> None:
    try:
        terms = parse(query, nowhere)
    except BadQuery:
        return
    assert any(term.weight > 0 for term in terms)
    assert all(term.content for term in terms)


words = st.text(st.characters(categories=["L"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.sampled_from("+-"), st.integers(1, 9), words), min_size=1, max_size=5))
def test_a_written_sum_is_read_back(parts: list[tuple[str, int, str]]) -> None:
    parts = [("+", 1, "sea"), *parts]
    written = " ".join(f"{sign} {weight}:{word}" for sign, weight, word in parts)
    assert [(t.content, t.weight) for t in parse(written, nowhere)] == [
        (word, float(weight if sign == "+" else -weight)) for sign, weight, word in parts
    ]
