from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from PIL import Image

from mmsearch.cli.contact_sheet import contact_sheet, thumbnail
from mmsearch.retrieval.types import Hit


def photo(path: Path, size: tuple[int, int] = (640, 480), orientation: int = 1) -> Path:
    """A photo, red on the left and blue on the right."""
    picture = Image.new("RGB", size, "blue")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    return path


def pictures_in(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_a_page_has_each_query_and_its_hits_in_order(tmp_path: Path) -> None:
    hits = [Hit(str(photo(tmp_path / name)), "image", "image", 0.5, 1) for name in ("b.jpg", "a.jpg")]
    page = contact_sheet([("a dog", hits), ("a cat", hits[:1])])
    assert re.findall(r"<h2>(.*?)</h2>|<span>(.*?)</span>", page) == [
        ("a dog", ""), ("", "b.jpg"), ("", "a.jpg"), ("a cat", ""), ("", "b.jpg"),
    ]  # fmt: skip
    assert len(pictures_in(page)) == 3
    assert "<b>0.500</b>" in page


def test_the_page_needs_no_other_file(tmp_path: Path) -> None:
    page = contact_sheet([("a dog", [Hit(str(photo(tmp_path / "a.jpg")), "image", "image", 0.5, 1)])])
    assert all(source.startswith("data:") for source in re.findall(r'(?:src|href)="([^"]*)"', page))
    assert "http" not in page


def test_nothing_in_a_query_or_a_name_is_html(tmp_path: Path) -> None:
    path = photo(tmp_path / '"><script>alert(1)<_script>.png')
    page = contact_sheet([("<b>&", [Hit(str(path), "image", "image", 0.5, 1, snippet="<i>")])])
    assert "<script" not in page
    assert "<h2>&lt;b&gt;&amp;</h2>" in page
    assert 'alt="&quot;&gt;&lt;script&gt;alert(1)&lt;_script&gt;.png"' in page


def test_a_sound_shows_what_matched() -> None:
    clip = Hit("/p/rain.wav", "audio", "audio_caption", 0.5, 1, 12.4, 75.0, "rain <on> a roof")
    assert "<blockquote>0:12-1:15 rain &lt;on&gt; a roof</blockquote>" in contact_sheet([("rain", [clip])])


def test_a_photo_that_is_gone_shows_what_matched(tmp_path: Path) -> None:
    gone = Hit(str(tmp_path / "gone.jpg"), "image", "caption", 0.5, 1, snippet="a dog")
    assert "<blockquote>a dog</blockquote>" in contact_sheet([("a dog", [gone])])


def test_a_query_without_hits_says_so() -> None:
    assert "nothing found" in contact_sheet([("a dog", [])])


def test_a_thumbnail_is_small_and_upright(tmp_path: Path) -> None:
    turned = photo(tmp_path / "turned.jpg", orientation=6)  # to be shown a quarter turn clockwise
    page = contact_sheet([("", [Hit(str(turned), "image", "image", 0.5, 1)])])
    (small,) = pictures_in(page)
    assert small.size == (320, 320)
    above, below = small.getpixel((160, 20)), small.getpixel((160, 300))
    assert isinstance(above, tuple)
    assert isinstance(below, tuple)
    assert above[0] > 200 > 50 > above[2]
    assert below[2] > 200 > 50 > below[0]


def test_what_is_no_photo_has_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("not a photo")
    assert thumbnail(tmp_path / "a.jpg") is None
