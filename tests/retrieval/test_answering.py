"""What answers queries is opened beside the towers, once, and its errors reach whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.models import make_tiny_model

from mmsearch.index.errors import LibraryBusy
from mmsearch.index.reader import Reader
from mmsearch.retrieval.answering import Answers
from mmsearch.retrieval.encoders import registry
from mmsearch.retrieval.opening import CATALOG_NAME, Model
from mmsearch.retrieval.paging import Page
from mmsearch.retrieval.queries import QueryVector


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    name = str(make_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))
    return Model(name, registry.card(name), "auto")


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Reader]:
    opened = Reader.open(tmp_path / CATALOG_NAME)
    yield opened
    opened.close()


def query(model: Model) -> QueryVector:
    return QueryVector(np.eye(1, model.card.dim, dtype=np.float32)[0], words="a dog")


def test_the_search_is_opened_beside_the_towers_and_once(
    catalog: Reader, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_by: list[threading.Thread] = []
    monkeypatch.setattr(
        "mmsearch.retrieval.searching.make_ready", lambda indexes: opened_by.append(threading.current_thread())
    )
    answers = Answers(catalog, tmp_path, model)
    for _ in range(3):
        with answers.made_ready():
            pass
        assert answers.search([query(model)], Page()) == [[]]
    answers.close()
    assert len(opened_by) == 1
    assert opened_by[0] is not threading.current_thread()


def test_what_fails_beside_the_towers_is_told_to_who_searches(
    catalog: Reader, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(self: Reader) -> int:
        raise LibraryBusy(path=tmp_path, holder="another process")

    monkeypatch.setattr(Reader, "versions", busy)
    answers = Answers(catalog, tmp_path, model)
    with answers.made_ready():
        pass
    with pytest.raises(LibraryBusy):
        answers.search([query(model)], Page())


def test_closing_what_was_never_asked_is_allowed(catalog: Reader, tmp_path: Path, model: Model) -> None:
    answers = Answers(catalog, tmp_path, model)
    answers.close()
    answers.close()
