from __future__ import annotations

from datetime import datetime

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.cli.options import device_name, iso_date, known_kinds


@pytest.mark.parametrize("date", ["2024", "2024-05", "2024-02-29", "2024-05-01T12:00", None])
def test_a_date_is_handed_on_as_it_was_typed(date: str | None) -> None:
    assert iso_date(date) == date


@pytest.mark.parametrize(
    "date", ["", "24", "2024-5", "2024-13", "2023-02-29", "2024-05-01 12:00", "2024-05-01T24:00", "yesterday"]
)
def test_what_is_no_date_is_refused_with_examples(date: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        iso_date(date)
    assert str(refused.value) == (f"{date!r} is not a date; write 2024, 2024-05, 2024-05-01 or 2024-05-01T12:00.")


@given(st.datetimes(min_value=datetime(1000, 1, 1)))
def test_every_beginning_of_a_time_that_ends_a_unit_is_a_date(time: datetime) -> None:
    text = time.isoformat()
    assert all(iso_date(text[:length]) == text[:length] for length in (4, 7, 10, 16))


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:11"])
def test_a_device_is_handed_on(device: str) -> None:
    assert device_name(device) == device


@pytest.mark.parametrize("device", ["", "gpu", "cuda:", "cuda:x", "cpu:0", "CPU"])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        device_name(device)
    assert str(refused.value) == f"{device!r} is not a device; write auto, cpu, cuda, cuda:N or cuda:N,cuda:M."


def test_kinds_are_each_named_once() -> None:
    assert known_kinds(["audio", "image", "audio"]) == ("image", "audio")
    assert known_kinds(None) == ()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(typer.BadParameter) as refused:
        known_kinds(["image", "video"])
    assert str(refused.value) == "'video' is not one of image, text, audio."
