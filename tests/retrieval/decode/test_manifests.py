from __future__ import annotations

import os
from pathlib import Path

import pytest

from mmsearch.index.errors import BadManifest
from mmsearch.index.items import View
from mmsearch.retrieval.decode import manifests
from mmsearch.retrieval.types import Passage

CLIP: View = "audio_caption"


def table(tmp_path: Path, text: str | bytes) -> manifests.Manifest:
    (tmp_path / "m.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return manifests.read(tmp_path / "m.csv")


def rows(manifest: manifests.Manifest) -> list[tuple[str, str, str]]:
    return [(entry.name, entry.passage.view, entry.passage.text) for entry in manifest.entries]


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def places(tmp_path: Path, text: str, *roots: Path) -> dict[str, list[str]]:
    """The captions by path relative to the test's folder, the missing names under an empty path."""
    found, missing = manifests.resolve(table(tmp_path, text), tmp_path, roots)
    named = {path.relative_to(tmp_path).as_posix(): [p.text for p in ps] for path, ps in found.items()}
    return named | ({"": list(missing)} if missing else {})


def test_clotho_has_five_captions_a_clip(tmp_path: Path) -> None:
    manifest = table(tmp_path, 'file_name,caption_1,caption_2,caption_3\nRain 1.wav,A,"B, b",\nDog.wav,C,D,E\n')
    assert rows(manifest) == [
        ("Rain 1.wav", CLIP, "A"),
        ("Rain 1.wav", CLIP, "B, b"),
        ("Dog.wav", CLIP, "C"),
        ("Dog.wav", CLIP, "D"),
        ("Dog.wav", CLIP, "E"),
    ]


def test_audiocaps_describes_whole_clips(tmp_path: Path) -> None:
    manifest = table(tmp_path, "audiocap_id,youtube_id,start_time,caption\n91139,r1nicOVtvkQ,130,Water pours\n")
    (entry,) = manifest.entries
    assert entry == manifests.Entry(
        "r1nicOVtvkQ",
        Passage(CLIP, "Water pours"),
        2,
        ("r1nicOVtvkQ", "Yr1nicOVtvkQ", "91139", "r1nicOVtvkQ_130"),
    )


def test_plain_tables_may_give_kind_and_times(tmp_path: Path) -> None:
    manifest = table(
        tmp_path,
        "path,caption,kind,start,end\np.jpg,A,,,\np.jpg,B,audio_caption,1,2.5\nc.mp3,C,,3,\nc.mp3,D,caption,,\n",
    )
    assert [entry.passage for entry in manifest.entries] == [
        Passage("caption", "A"),
        Passage(CLIP, "B", 1.0, 2.5),
        Passage(CLIP, "C", 3.0, None),
        Passage("caption", "D"),
    ]


@pytest.mark.parametrize("head", ["image,caption", "split,image,caption", "Image Name,Caption", "caption,path"])
def test_tables_of_photo_sets_are_read(tmp_path: Path, head: str) -> None:
    cells = {"split": "dev", "image": "p.jpg", "Image Name": "p.jpg", "path": "p.jpg"}
    row = ",".join(cells.get(column, "A dog") for column in head.split(","))
    assert rows(table(tmp_path, f"{head}\n{row}\n")) == [("p.jpg", "caption", "A dog")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_delimiters_and_encodings_are_found_out(tmp_path: Path, delimiter: str, encoding: str) -> None:
    text = f"path{delimiter}caption\r\np.jpg{delimiter}Un été sur la plage\r\n"
    assert rows(table(tmp_path, text.encode(encoding))) == [("p.jpg", "caption", "Un été sur la plage")]


def test_a_quoted_caption_may_run_over_lines(tmp_path: Path) -> None:
    manifest = table(tmp_path, 'path,caption\np.jpg, "one\ntwo"\n\nq.jpg,"he said ""no"""\n')
    assert [(entry.passage.text, entry.line) for entry in manifest.entries] == [
        ("one\ntwo", 2),
        ('he said "no"', 5),
    ]


def test_a_row_without_a_caption_is_passed_over(tmp_path: Path) -> None:
    assert rows(table(tmp_path, "path,caption\np.jpg,\nq.jpg\n")) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is empty."),
        ("\n\n", "it is empty."),
        (
            "name,text\n",
            "it lacks the column path (or file_name, image, audio, youtube_id) and the column caption "
            "(or caption_1, caption_2 …); its columns are: name, text.",
        ),
        (
            "path,text\n",
            "it lacks the column caption (or caption_1, caption_2 …); its columns are: path, text.",
        ),
        ("path,caption,start\np,A,one\n", "line 2: start is 'one', not a number of seconds."),
        ("path,caption,end\np,A,-1\n", "line 2: end is '-1', not a number of seconds."),
        ("path,caption,end\np,A,inf\n", "line 2: end is 'inf', not a number of seconds."),
        ("path,caption,start,end\np,A,3,2.5\n", "line 2: end is 2.5, before start, 3."),
        ("path,caption,kind\np,A,text\n", "line 2: kind is 'text', neither caption nor audio_caption."),
        ("path,caption\n,A\n", "line 2: the path is empty."),
        (
            "path,caption\np,A dog, a cat\n",
            "line 2: 3 cells for 2 columns; a caption with a comma needs quotes.",
        ),
        (
            'path,caption\np,"A\nB"\n,C\nq,D\n,E\n',
            "line 4: the path is empty; line 6: the path is empty.",
        ),
        (
            "path,caption\n" + ",A\n" * 8,
            "; ".join(f"line {line}: the path is empty" for line in range(2, 7)) + "; and 3 more.",
        ),
        ("path,caption\np," + "A" * 200_000, "field larger than field limit (131072)."),
        (b"\0\1\2", "binary data, whatever its name says."),
    ],
)
def test_what_is_wrong_is_named_with_its_lines(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(BadManifest) as refused:
        table(tmp_path, text)
    assert str(refused.value) == f"the caption file {tmp_path / 'm.csv'} cannot be used: {reason}"


def test_a_caption_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match="not there"):
        manifests.read(tmp_path / "gone.csv")


def test_a_name_is_looked_for_beside_the_caption_file_then_below_the_roots(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "r/a.jpg", "r/b.jpg", "s/b.jpg", "s/sub/c.jpg")
    text = "path,caption\na.jpg,A\nb.jpg,B\nsub/c.jpg,C\n./r/../a.jpg,D\n"
    assert places(tmp_path, text, tmp_path / "r", tmp_path / "s") == {
        "a.jpg": ["A", "D"],
        "r/b.jpg": ["B"],
        "s/sub/c.jpg": ["C"],
    }


def test_an_absolute_name_is_taken_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "r/a.jpg")
    assert places(tmp_path, f"path,caption\n{tmp_path}/r/a.jpg,A\n") == {"r/a.jpg": ["A"]}


def test_a_name_found_nowhere_else_is_found_by_its_last_part(tmp_path: Path) -> None:
    put(tmp_path, "r/x/a.jpg", "r/x/twice.jpg", "r/y/twice.jpg")
    text = "path,caption\nelsewhere/A.JPG,A\ntwice.jpg,B\ngone.jpg,C\ngone.jpg,D\n"
    assert places(tmp_path, text, tmp_path / "r") == {"r/x/a.jpg": ["A"], "": ["twice.jpg", "gone.jpg"]}


def test_only_photos_and_clips_bear_captions(tmp_path: Path) -> None:
    put(tmp_path, "a.md", "r/b.md")
    assert places(tmp_path, "path,caption\na.md,A\nb.md,B\n", tmp_path / "r") == {"": ["a.md", "b.md"]}


@pytest.mark.parametrize("name", ["vid.wav", "Yvid.mp3", "17.flac", "vid_30.ogg"])
def test_clips_of_audiocaps_are_found_under_their_usual_names(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"r/x/{name}", "r/vid.jpg")
    text = "audiocap_id,youtube_id,start_time,caption\n17,vid,30,Rain\n18,other,0,Wind\n"
    assert places(tmp_path, text, tmp_path / "r") == {f"r/x/{name}": ["Rain"], "": ["other"]}


def test_the_likelier_name_of_a_clip_wins(tmp_path: Path) -> None:
    put(tmp_path, "r/17.wav", "r/vid.wav")
    text = "audiocap_id,youtube_id,start_time,caption\n17,vid,30,Rain\n"
    assert places(tmp_path, text, tmp_path / "r") == {"r/vid.wav": ["Rain"]}


def test_the_captions_of_a_clip_are_audio_captions_whatever_the_table_says(tmp_path: Path) -> None:
    put(tmp_path, "c.wav", "p.jpg")
    manifest = table(tmp_path, "path,caption,kind\nc.wav,A,caption\np.jpg,B,audio_caption\n")
    found, _ = manifests.resolve(manifest, tmp_path, [])
    assert found == {
        tmp_path / "c.wav": (Passage(CLIP, "A"),),
        tmp_path / "p.jpg": (Passage(CLIP, "B"),),
    }


def test_a_file_found_over_a_link_is_named_as_its_root_names_it(tmp_path: Path) -> None:
    put(tmp_path, "real/a.jpg", "real/sub/b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real/m.csv").write_text("path,caption\na.jpg,A\nb.jpg,B\n")
    manifest = manifests.read(tmp_path / "real/m.csv")
    found, missing = manifests.resolve(manifest, tmp_path / "real", [tmp_path / "link"])
    assert (sorted(found), missing) == ([tmp_path / "link/a.jpg", tmp_path / "link/sub/b.jpg"], ())


def test_folders_are_walked_at_most_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "r/a.jpg")
    walked: list[Path] = []
    listing = os.scandir

    def watched(path: Path) -> object:
        walked.append(path)
        return listing(path)

    monkeypatch.setattr(os, "scandir", watched)
    manifest = table(tmp_path, "path,caption\na.jpg,A\n" + "".join(f"gone{n}.jpg,B\n" for n in range(9)))
    manifests.resolve(table(tmp_path, "path,caption\na.jpg,A\n"), tmp_path, [tmp_path / "r"])
    assert walked == []
    manifests.resolve(manifest, tmp_path / "r", [])
    assert walked == [tmp_path / "r"]
