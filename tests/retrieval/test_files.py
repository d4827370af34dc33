from __future__ import annotations

import inspect
import os
import socket
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.index.errors import Unreadable
from mmsearch.index.items import Root
from mmsearch.retrieval import naming
from mmsearch.retrieval.files import companions_key, digest, walk
from mmsearch.retrieval.types import File, Passage, Skipped


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))


def found(root: Path, scope: Path | None = None, **rules: object) -> list[str]:
    return [f.relative for f in all_of(root, scope, **rules) if isinstance(f, File)]


def passed_over(root: Path, scope: Path | None = None, **rules: object) -> list[tuple[str, str]]:
    skipped = (f for f in all_of(root, scope, **rules) if isinstance(f, Skipped))
    return [(str(f.path.relative_to(root)), f.reason) for f in skipped]


def all_of(root: Path, scope: Path | None, **rules: object) -> list[File | Skipped]:
    return list(walk(Root(7, root), scope or root, **rules))  # type: ignore[arg-type]


def companions_of(root: Path, relative: str) -> list[str]:
    files = (f for f in all_of(root, None) if isinstance(f, File) and f.relative == relative)
    return [path.name for path in next(files).companions]


def test_the_kind_follows_the_extension_in_any_case(tmp_path: Path) -> None:
    put(tmp_path, "a.JPG", "b.heic", "c.Md", "d.html", "e.opus", "f.m4a", "g.zip", "h", "i.json")
    kinds = {f.relative: f.kind for f in all_of(tmp_path, None) if isinstance(f, File)}
    assert kinds == {
        "a.JPG": "image",
        "b.heic": "image",
        "c.Md": "text",
        "d.html": "text",
        "e.opus": "audio",
        "f.m4a": "audio",
    }


def test_a_file_carries_its_root_size_and_time(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.jpg")
    os.utime(tmp_path / "sub/a.jpg", ns=(1, 1_234_567_890_123_456_789))
    (file,) = all_of(tmp_path, None)
    assert file == File(Root(7, tmp_path), "sub/a.jpg", "image", 9, 1_234_567_890_123_456_789)
    assert file.path == tmp_path / "sub/a.jpg"


def test_files_come_folder_by_folder_in_the_order_of_their_names(tmp_path: Path) -> None:
    put(tmp_path, "b/2.jpg", "b/1.jpg", "a/x/3.jpg", "c.jpg", "a/4.jpg")
    assert found(tmp_path) == ["c.jpg", "a/4.jpg", "a/x/3.jpg", "b/1.jpg", "b/2.jpg"]


def test_hidden_files_and_folders_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    put(tmp_path, ".a.jpg", ".git/b.jpg", "c.jpg")
    assert found(tmp_path) == ["c.jpg"]
    assert found(tmp_path, include_hidden=True) == [".a.jpg", "c.jpg", ".git/b.jpg"]
    assert passed_over(tmp_path) == []


def test_a_hidden_folder_or_file_named_outright_is_read(tmp_path: Path) -> None:
    put(tmp_path, ".phone/b.jpg", ".a.jpg", ".a.txt")
    assert found(tmp_path, tmp_path / ".phone") == [".phone/b.jpg"]
    assert found(tmp_path, tmp_path / ".a.jpg") == [".a.jpg"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("node_modules", ["a.png", "raw/b.jpg", "sub/raw/c.jpg"]),
        ("*.png", ["node_modules/d.jpg", "raw/b.jpg", "sub/raw/c.jpg"]),
        ("raw/**", ["a.png", "node_modules/d.jpg", "sub/raw/c.jpg"]),
        ("raw/", ["a.png", "node_modules/d.jpg"]),
        ("./raw/b.jpg", ["a.png", "node_modules/d.jpg", "sub/raw/c.jpg"]),
    ],
)
def test_exclude_reads_patterns_as_gitignore_does(tmp_path: Path, pattern: str, left: list[str]) -> None:
    put(tmp_path, "node_modules/d.jpg", "a.png", "raw/b.jpg", "sub/raw/c.jpg")
    assert found(tmp_path, exclude=[pattern]) == left


def test_an_excluded_folder_is_not_even_looked_into(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(".")
    assert all_of(tmp_path, None, exclude=["loop/"]) == []


def test_exclude_also_holds_below_a_folder_named_outright(tmp_path: Path) -> None:
    put(tmp_path, "raw/x/b.jpg")
    assert found(tmp_path, tmp_path / "raw/x", exclude=["raw"]) == []


def test_an_excluded_sidecar_is_no_companion_and_no_item(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.txt")
    (file,) = [f for f in all_of(tmp_path, None, exclude=["*.txt"]) if isinstance(f, File)]
    assert (file.relative, file.companions) == ("a.jpg", ())


def test_the_caption_of_an_excluded_photo_does_not_become_an_item(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.txt")
    assert found(tmp_path, exclude=["*.jpg"]) == []
    assert found(tmp_path, excluded=["a.jpg"]) == []


def test_forgotten_paths_stay_out_with_everything_below_them(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/b/2.jpg", "ab/3.jpg", "c.jpg", "d.jpg")
    assert found(tmp_path, excluded={"a", "c.jpg"}) == ["d.jpg", "ab/3.jpg"]
    assert all_of(tmp_path, tmp_path / "a/b", excluded={"a"}) == []
    assert all_of(tmp_path, tmp_path / "c.jpg", excluded={"c.jpg"}) == []


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "outside/a.jpg", "root/real.jpg")
    (tmp_path / "root/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "root/file.jpg").symlink_to(tmp_path / "outside/a.jpg")
    assert found(tmp_path / "root") == ["file.jpg", "real.jpg", "folder/a.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_back_to_a_folder_above_is_passed_over(tmp_path: Path, target: str) -> None:
    put(tmp_path, "r/sub/a.jpg")
    (tmp_path / "r/sub/loop").symlink_to(target)
    assert found(tmp_path / "r") == ["sub/a.jpg"]
    assert passed_over(tmp_path / "r") == [("sub/loop", "a link back to a folder above it")]
    assert passed_over(tmp_path / "r", tmp_path / "r/sub") == passed_over(tmp_path / "r")


def test_two_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "b/2.jpg")
    (tmp_path / "a/to_b").symlink_to("../b")
    (tmp_path / "b/to_a").symlink_to("../a")
    assert found(tmp_path) == ["a/1.jpg", "a/to_b/2.jpg", "b/2.jpg", "b/to_a/1.jpg"]


def test_a_link_that_leads_nowhere_or_in_a_circle_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to("nothing")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    assert passed_over(tmp_path) == [
        ("gone.jpg", "not there, or a link to something that is not there"),
        ("self.jpg", "cannot be read: Too many levels of symbolic links"),
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_without_permission_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o000)
    assert passed_over(tmp_path) == [("locked", "cannot be read: Permission denied")]


def test_a_folder_that_cannot_be_listed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.jpg", "locked/b.jpg")
    listing = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert found(tmp_path) == ["a.jpg"]
    assert passed_over(tmp_path) == [("locked", "cannot be read: Permission denied")]


def test_pipes_and_sockets_are_passed_over_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "a.txt")  # must not be taken for the caption of a.jpg
    put(tmp_path, "a.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.wav"))
        assert passed_over(tmp_path) == [
            ("a.txt", "not a regular file"),
            ("pipe.jpg", "not a regular file"),
            ("s.wav", "not a regular file"),
        ]
    assert companions_of(tmp_path, "a.jpg") == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (os.fsdecode(b"caf\xe9.jpg"), "its name is not UTF-8"),
        ("a\nb.jpg", "its name holds a line break or another control character"),
        ("a\tb.jpg", "its name holds a line break or another control character"),
        ("a\u2028b.jpg", "its name holds a line break or another control character"),
        (os.fsdecode(b"folder\xff"), "its name is not UTF-8"),
    ],
)
def test_a_name_that_cannot_be_shown_is_passed_over(tmp_path: Path, name: str, reason: str) -> None:
    put(tmp_path, "ok.jpg", name if "." in name else f"{name}/inside.jpg")
    assert found(tmp_path) == ["ok.jpg"]
    assert passed_over(tmp_path) == [(name, reason)]


def test_an_odd_name_of_no_interest_is_left_out_silently(tmp_path: Path) -> None:
    put(tmp_path, "a\nb.zip")
    assert all_of(tmp_path, None) == []


def test_a_folder_nested_deeper_than_pythons_calls_is_walked(tmp_path: Path) -> None:
    put(tmp_path, "d/" * 200 + "a.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 100)
    try:
        assert found(tmp_path) == ["d/" * 200 + "a.jpg"]
    finally:
        sys.setrecursionlimit(limit)


def test_a_file_named_outright_comes_with_its_companions(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.txt", "b.jpg")
    (file,) = all_of(tmp_path, tmp_path / "a.jpg")
    assert isinstance(file, File)
    assert (file.relative, [p.name for p in file.companions]) == ("a.jpg", ["a.txt"])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.jpg", "not there"),
        ("a.zip", "neither a photo, a text nor a sound, by its name"),
        ("a.txt", "the caption of a file beside it, not an item of its own"),
    ],
)
def test_a_file_named_outright_that_is_no_item_says_why(tmp_path: Path, name: str, reason: str) -> None:
    put(tmp_path, "a.jpg", "a.txt", "a.zip")
    assert passed_over(tmp_path, tmp_path / name) == [(name, reason)]


@pytest.mark.parametrize(
    ("names", "owner", "companions"),
    [
        (["p.jpg", "p.txt", "p.jpg.txt", "p.json"], "p.jpg", ["p.jpg.txt", "p.json", "p.txt"]),
        (["p.JPG", "p.TXT"], "p.JPG", ["p.TXT"]),
        (["p.jpg", "P.txt", "pp.txt", "p.srt"], "p.jpg", []),
        (["p.jpg", "p.jpg.supplemental-metadata.json"], "p.jpg", ["p.jpg.supplemental-metadata.json"]),
        (["p.jpg", "p.jpg.supple.json"], "p.jpg", ["p.jpg.supple.json"]),
        (["a.s.jpg", "a.s.json"], "a.s.jpg", ["a.s.json"]),
        (["c.wav", "c.srt", "c.vtt", "c.lrc", "c.wav.json"], "c.wav", ["c.lrc", "c.srt", "c.vtt", "c.wav.json"]),
        (["p.jpg", "p.wav"], "p.jpg", ["p.wav"]),
        (["p.jpg", "p.wav", "p.wav.txt", "p.srt"], "p.jpg", ["p.srt", "p.wav", "p.wav.txt"]),
        (["p.jpg", "p.wav", "p.txt", "p.srt"], "p.wav", ["p.srt"]),
        (["a.b.jpg", "a.txt", "a.b.txt"], "a.b.jpg", ["a.b.txt"]),
        (["p.txt", "p.json"], "p.txt", []),
    ],
)
def test_companions_bear_the_stem_or_the_full_name(
    tmp_path: Path, names: list[str], owner: str, companions: list[str]
) -> None:
    put(tmp_path, *names)
    assert companions_of(tmp_path, owner) == companions


def test_a_voice_note_is_an_item_too_but_its_captions_are_not(tmp_path: Path) -> None:
    put(tmp_path, "p.jpg", "p.wav", "p.wav.txt", "p.txt", "q.txt")
    assert found(tmp_path) == ["p.jpg", "p.wav", "q.txt"]


def test_the_sidecars_of_another_folder_are_no_companions(tmp_path: Path) -> None:
    put(tmp_path, "a/p.jpg", "b/p.txt")
    assert found(tmp_path) == ["a/p.jpg", "b/p.txt"]


def test_a_text_is_nobodys_companions() -> None:
    assert naming.companions("a.txt", ["a.txt", "a.json"]) == []


def test_the_companions_key_is_empty_without_companions(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    (file,) = all_of(tmp_path, None)
    assert isinstance(file, File)
    assert companions_key(file) == ""


def key_of(root: Path, *manifest: Passage) -> str:
    (file,) = (f for f in all_of(root, None) if isinstance(f, File))
    return companions_key(file, manifest)


def test_the_companions_key_changes_with_every_companion_and_manifest_row(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.txt")
    os.utime(tmp_path / "a.txt", ns=(0, 5))
    keys = [key_of(tmp_path)]
    os.utime(tmp_path / "a.txt", ns=(0, 6))
    keys.append(key_of(tmp_path))
    (tmp_path / "a.txt").write_text("longer text")
    os.utime(tmp_path / "a.txt", ns=(0, 6))
    keys.append(key_of(tmp_path))
    put(tmp_path, "a.json")
    os.utime(tmp_path / "a.json", ns=(0, 6))
    keys.append(key_of(tmp_path))
    keys.append(key_of(tmp_path, Passage("caption", "x")))
    keys.append(key_of(tmp_path, Passage("caption", "y")))
    assert len(set(keys)) == 6
    assert key_of(tmp_path, Passage("caption", "y")) == keys[-1]


def test_the_companions_key_stands_when_a_companion_goes_while_it_is_made(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "a.txt")
    (file,) = all_of(tmp_path, None)
    assert isinstance(file, File)
    before = companions_key(file)
    (tmp_path / "a.txt").unlink()
    assert companions_key(file) not in ("", before)


def test_the_digest_is_blake2b_of_sixteen_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == "cf4ab791c62b8d2b2109c90275287816"


def test_the_digest_of_a_file_that_is_gone_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"^not there, or a link to something that is not there$"):
        digest(tmp_path / "gone")


@given(st.text(alphabet="aJP.txtjson ~é", max_size=12).filter(bool))
def test_a_name_is_split_as_the_standard_library_splits_it(name: str) -> None:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  # Path.suffix sees dots at the beginning otherwise
    assert (naming.stem(name), naming.suffix(name)) == (stem, suffix.lower())


@given(
    st.sampled_from(["rex.jpg", "rex.heic", "rex.txt", "rex.wav", "rex"]),
    st.text(alphabet="rexjpg.tTsonvwi", max_size=14),
)
def test_what_says_something_of_another_file_is_seen_to_by_its_name(name: str, other: str) -> None:
    if other in naming.companions(name, [name, other]) or naming.is_sidecar(other, [name, other]):
        assert naming.may_speak(other)


@given(st.text(max_size=4), st.sampled_from(["", "\n", "\x7f", "\u2028", "\ud800"]), st.text(max_size=4))
def test_a_name_that_can_be_shown_has_no_flaw(before: str, character: str, after: str) -> None:
    name = before + character + after
    flawed = any(unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") for each in name)
    assert (naming.flaw(name) is not None) == flawed
