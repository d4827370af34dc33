"""Readers, on files that the test makes."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.retrieval.training.config import read_recipe
from mmsearch.retrieval.training.sources import Source, read_source


def jpeg(colour: str = "red") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(out, "JPEG")
    return out.getvalue()


def test_a_caption_table_gives_a_photo_with_all_its_captions(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text('path,caption\na.jpg,"one, two"\nb.jpg,three\na.jpg,four\n')
    photos = read_source(Source("x", "captions", "captions.csv", images="photos"), tmp_path)
    assert [(p.key, p.captions, p.split) for p in photos] == [
        ("a.jpg", ("one, two", "four"), "train"),
        ("b.jpg", ("three",), "train"),
    ]
    assert photos[0].path == tmp_path / "photos" / "a.jpg"


def test_a_caption_table_without_its_columns_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("file,words\na.jpg,one\n")
    with pytest.raises(ValueError, match="line 2: needs the columns path"):
        read_source(Source("x", "captions", "captions.csv"), tmp_path)


def test_folders_are_labels_and_a_share_is_held_out_the_same_way_each_time(tmp_path: Path) -> None:
    for label in ("ice_cream", "pizza"):
        (tmp_path / label).mkdir()
        for number in range(20):
            (tmp_path / label / f"{number}.jpg").write_bytes(jpeg())
    photos = read_source(Source("x", "folders", ".", hold=0.25), tmp_path)
    assert {p.label for p in photos} == {"ice cream", "pizza"}
    assert 2 <= sum(p.split == "held" for p in photos) <= 18
    assert photos == read_source(Source("x", "folders", ".", hold=0.25), tmp_path)


def test_a_label_table_finds_its_label_by_pattern_and_its_words_by_code(tmp_path: Path) -> None:
    (tmp_path / "labels.tsv").write_text("h1.jpg\ttrain/n01/x.jpg\nh2.jpg\tother.jpg\n")
    (tmp_path / "names.txt").write_text("n01\tgreat dane, dog\n")
    source = Source("x", "labels", ".", pattern=r"/(n\d+)/", names="names.txt")
    assert [p.label for p in read_source(source, tmp_path)] == ["great dane", ""]


def test_a_shard_gives_photos_with_the_captions_beside_them(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as shard:
        for name, raw in {
            "a.jpg": jpeg("blue"),
            "a.txt": b"one\ntwo",
            "b.jpg": jpeg(),
            "b.json": json.dumps({"caption": "three", "split": "dev"}).encode(),
        }.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(raw)
            shard.addfile(entry, io.BytesIO(raw))
    photos = read_source(Source("x", "shards", "."), tmp_path)
    assert [(p.key, p.captions, p.split) for p in photos] == [
        ("0.tar/a", ("one", "two"), "train"),
        ("0.tar/b", ("three",), "dev"),
    ]
    assert photos[0].read() == jpeg("blue")


def test_most_keeps_a_sample_that_does_not_depend_on_the_order(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg())
    assert len(read_source(Source("x", "folders", ".", most=10), tmp_path)) == 10


def test_an_unknown_kind_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="captions, folders, labels, shards"):
        read_source(Source("x", "parquet", "."), tmp_path)


def test_a_recipe_with_an_unknown_key_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\nseed = 1\nside = 32\n[[source]]\nname = "a"\nkind = "folders"\npath = "."\nkin = 3\n')
    with pytest.raises(ValueError, match="unknown key kin"):
        read_recipe(path)


def test_the_data_root_comes_from_the_environment_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('name = "x"\nseed = 1\nside = 32\nroot = "data"\nsource = []\n')
    monkeypatch.delenv("MMSEARCH_DATA", raising=False)
    assert read_recipe(path).root == tmp_path / "data"
    monkeypatch.setenv("MMSEARCH_DATA", str(tmp_path / "elsewhere"))
    assert read_recipe(path).root == tmp_path / "elsewhere"
