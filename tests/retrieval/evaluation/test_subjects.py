from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mmsearch.index.errors import BadManifest
from mmsearch.retrieval.evaluation.subjects import Subject, read_clips, read_labelled, read_photos
from mmsearch.retrieval.training.sources import share


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def photo(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def test_captions_of_a_photo_come_together_and_once(tmp_path: Path) -> None:
    rex = photo(tmp_path / "photos/rex.jpg")
    table = write(tmp_path / "c.csv", "path,caption", "rex.jpg,a dog", "rex.jpg,a big dog", "rex.jpg,a dog")
    assert read_photos(table, tmp_path / "photos") == ([Subject(str(rex), rex, ("a dog", "a big dog"))], ())


def test_photos_that_are_not_there_are_named(tmp_path: Path) -> None:
    photo(tmp_path / "rex.jpg")
    table = write(tmp_path / "c.csv", "path,caption", "rex.jpg,a dog", "max.jpg,a cat")
    assert read_photos(table)[1] == ("max.jpg",)


def test_a_split_is_read_alone(tmp_path: Path) -> None:
    for name in ("rex.jpg", "max.jpg"):
        photo(tmp_path / name)
    table = write(tmp_path / "c.csv", "split,image,caption", "train,rex.jpg,a dog", "dev,max.jpg,a cat")
    photos, missing = read_photos(table, split="dev")
    assert [subject.captions for subject in photos] == [("a cat",)]
    assert missing == ()


def test_a_table_without_captions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="it lacks the column caption"):
        read_photos(write(tmp_path / "c.csv", "path,words", "rex.jpg,a dog"))


def test_clips_of_clotho_need_not_be_there(tmp_path: Path) -> None:
    table = write(tmp_path / "c.csv", "file_name,caption_1,caption_2", "rain.wav,rain falls,it rains")
    assert read_clips(table) == [Subject("rain.wav", None, ("rain falls", "it rains"))]


def test_captions_of_a_clip_of_audiocaps_come_together(tmp_path: Path) -> None:
    table = write(
        tmp_path / "c.csv",
        "audiocap_id,youtube_id,start_time,caption",
        "1,abc,30,rain falls",
        "2,abc,30,it rains",
        "3,abc,90,a dog barks",
    )
    assert read_clips(table) == [
        Subject("abc_30", None, ("rain falls", "it rains")),
        Subject("abc_90", None, ("a dog barks",)),
    ]


def test_labelled_photos_are_held_out_as_the_towers_held_them_out(tmp_path: Path) -> None:
    for i in range(60):
        photo(tmp_path / f"fruit/apples (pink lady)/{i}.jpg")
    held, seen = (read_labelled(tmp_path, held=held) for held in (True, False))
    assert {subject.captions for subject in [*held, *seen]} == {("apples",)}
    expected = {f"fruit/apples (pink lady)/{i}.jpg" for i in range(60) if share(f"apples (pink lady)/{i}.jpg") < 0.1}
    assert {subject.name for subject in held} == expected
    assert len(seen) == 60 - len(held)
