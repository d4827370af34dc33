from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mmsearch.retrieval.decode import embedded
from mmsearch.retrieval.decode.captions import is_caption

XMP = """<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">
<rdf:Description><dc:title><rdf:Alt><rdf:li xml:lang="x-default">Été</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Rex  at
the lake</rdf:li></rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""


def exif_of(
    tags: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    place: dict[int, Any] | None = None,
) -> Image.Exif:
    exif = Image.Exif()
    exif.update(tags or {})
    exif.get_ifd(0x8769).update(details or {})
    exif.get_ifd(0x8825).update(place or {})
    return exif


def read(form: str = "JPEG", **options: Any) -> embedded.Embedded:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, form, **options)
    with Image.open(stream) as photo:
        return embedded.read(photo)


def test_a_plain_photo_says_nothing() -> None:
    assert read() == embedded.Embedded()


@pytest.mark.parametrize(
    ("exif", "caption"),
    [
        (exif_of({0x010E: "Rex at the lake \0"}), "Rex at the lake"),
        (exif_of({0x010E: "Été".encode()}), "Été"),
        (exif_of({0x9C9C: "Hündchen\0".encode("utf-16-le")}), "Hündchen"),
        (exif_of(details={0x9286: b"ASCII\0\0\0Rex"}), "Rex"),
        (exif_of(details={0x9286: b"\0" * 8 + "Été".encode()}), "Été"),
        (exif_of(details={0x9286: b"UNICODE\0" + "Été".encode("utf-16-le")}), "Été"),
        (exif_of(details={0x9286: b"UNICODE\0" + "Été".encode("utf-16-be")}), "Été"),
        (exif_of(details={0x9286: b"JIS\0\0\0\0\0" + "犬".encode("iso2022_jp")}), "犬"),
        (exif_of(details={0x9286: b"Rex without a mark"}), "Rex without a mark"),
    ],
)
def test_exif_descriptions_are_captions(exif: Image.Exif, caption: str) -> None:
    assert read(exif=exif).captions == (caption,)


def test_a_windows_title_is_a_caption_and_the_title() -> None:
    said = read(exif=exif_of({0x9C9B: "Summer\0".encode("utf-16-le")}))
    assert (said.captions, said.metadata) == (("Summer",), {"title": "Summer"})


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_xmp_is_read_in_every_format_that_has_it(form: str) -> None:
    options: dict[str, Any] = {"xmp": XMP.encode()}
    if form == "PNG":
        from PIL.PngImagePlugin import PngInfo

        options = {"pnginfo": PngInfo()}
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP)
    elif form == "TIFF":
        options = {"tiffinfo": {700: XMP.encode()}}
    said = read(form, **options)
    assert (said.captions, said.metadata) == (("Rex at the lake",), {"title": "Été"})


def test_xmp_is_no_way_to_read_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    attack = XMP.replace("<x:xmpmeta", f'<!DOCTYPE x [<!ENTITY e SYSTEM "{tmp_path}/secret">]><x:xmpmeta', 1)
    said = read(xmp=attack.replace("Rex", "&e;").encode())
    assert "secret" not in str(said)


def iptc(*records: tuple[int, bytes]) -> bytes:
    """A photoshop segment of a JPEG that holds IPTC records of the second dataset."""
    body = b"".join(b"\x1c\x02" + struct.pack(">BH", name, len(text)) + text for name, text in records)
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2)
    segment = b"Photoshop 3.0\0" + block
    return b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_iptc_is_read(encoding: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    jpeg = stream.getvalue()
    segment = iptc((5, b"Lake"), (120, "Un été".encode(encoding)))
    with Image.open(io.BytesIO(jpeg[:2] + segment + jpeg[2:])) as photo:
        said = embedded.read(photo)
    assert (said.captions, said.metadata) == (("Un été",), {"title": "Lake"})


def test_keywords_of_xmp_and_iptc_are_kept_once() -> None:
    subject = "<dc:subject><rdf:Bag><rdf:li>sea</rdf:li><rdf:li> the  dog </rdf:li><rdf:li/></rdf:Bag></dc:subject>"
    stream = io.BytesIO()
    xmp = XMP.replace("<dc:title>", f"{subject}<dc:title>").encode()
    Image.new("RGB", (8, 8)).save(stream, "JPEG", xmp=xmp)
    jpeg = stream.getvalue()
    segment = iptc((25, b"beach"), (25, b"sea"))
    with Image.open(io.BytesIO(jpeg[:2] + segment + jpeg[2:])) as photo:
        assert embedded.read(photo).metadata["keywords"] == ["sea", "the dog", "beach"]


def test_one_keyword_of_iptc_is_a_list() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "JPEG")
    jpeg = stream.getvalue()
    with Image.open(io.BytesIO(jpeg[:2] + iptc((25, b"beach")) + jpeg[2:])) as photo:
        assert embedded.read(photo).metadata == {"keywords": ["beach"]}


def test_different_captions_are_all_kept_and_repeats_are_not() -> None:
    exif = exif_of({0x010E: "Rex at the lake", 0x9C9C: "Max\0".encode("utf-16-le")})
    assert read(exif=exif, xmp=XMP.encode()).captions == ("Rex at the lake", "Max")


@pytest.mark.parametrize(
    "text",
    [
        *("", "   ", "0", "--- 123", "OLYMPUS DIGITAL CAMERA", "olympus digital camera        ", "SONY DSC"),
        *("KODAK Digital Still Camera", "SAMSUNG DIGITAL CAMERA", "Exif_JPEG_PICTURE", "Exif JPEG"),
        *("DCF 1.0", "hdrpl", "cof", "Created with GIMP", "CREATOR: gd-jpeg v1.0", "Processed by SoX"),
        *("charset=Ascii", "untitled", "default"),
    ],
)
def test_what_cameras_and_programs_write_is_no_caption(text: str) -> None:
    assert not is_caption(text)


@pytest.mark.parametrize("text", ["My new digital camera!", "A", "犬", "Default settings", "hdr of the bay"])
def test_what_a_person_writes_is_a_caption(text: str) -> None:
    assert is_caption(text)


def test_boilerplate_is_left_out_of_the_captions() -> None:
    assert read(exif=exif_of({0x010E: "OLYMPUS DIGITAL CAMERA         "})).captions == ()


@pytest.mark.parametrize(
    ("details", "taken_at"),
    [
        ({0x9003: "2020:01:02 03:04:05"}, "2020-01-02T03:04:05"),
        ({0x9003: "2020:01:02 03:04:05", 0x9011: "+09:00"}, "2020-01-02T03:04:05"),
        ({0x9004: "2021:01:02 03:04:05"}, "2021-01-02T03:04:05"),
        ({0x9003: "2020:01:02 03:04:05", 0x9004: "2021:01:02 03:04:05"}, "2020-01-02T03:04:05"),
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({0x9003: "    :  :     :  :  "}, None),
        ({0x9003: "2020:13:02 03:04:05"}, None),
        ({}, None),
    ],
)
def test_the_time_of_the_photo_is_local_iso(details: dict[int, str], taken_at: str | None) -> None:
    assert read(exif=exif_of(details=details)).taken_at == taken_at


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("Canon", "Canon EOS 5D", "Canon EOS 5D"),
        ("NIKON CORPORATION", "NIKON D90", "NIKON CORPORATION NIKON D90"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("", "D90", "D90"),
        ("Leica", "", "Leica"),
    ],
)
def test_the_camera_is_make_and_model(make: str, model: str, camera: str) -> None:
    assert read(exif=exif_of({0x010F: make, 0x0110: model})).metadata == {"camera": camera}


@pytest.mark.parametrize(("sides", "signs"), [(("N", "E"), (1, 1)), (("S", "W"), (-1, -1)), (("N", "W"), (1, -1))])
def test_the_place_is_signed_degrees(sides: tuple[str, str], signs: tuple[int, int]) -> None:
    place = {1: sides[0], 2: (52.0, 30.0, 36.0), 3: sides[1], 4: (13.0, 22.0, 30.0)}
    assert read(exif=exif_of(place=place)).metadata == {
        "latitude": signs[0] * 52.51,
        "longitude": signs[1] * 13.375,
    }


@pytest.mark.parametrize(
    "place",
    [
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (1.0, 0.0, 0.0)},
        {1: "N", 2: (1.0, 0.0), 3: "E", 4: (1.0, 0.0)},
    ],
)
def test_a_place_that_is_none_is_left_out(place: dict[int, Any]) -> None:
    assert read(exif=exif_of(place=place)).metadata == {}


@pytest.mark.filterwarnings("ignore")  # Pillow's, about the damage
@pytest.mark.parametrize("kept", [5, 20, 40, 60])
def test_damaged_exif_leaves_what_the_others_say(kept: int) -> None:
    exif = exif_of({0x010E: "Rex at the lake" * 9}, {0x9003: "2020:01:02 03:04:05"}).tobytes()[:kept]
    assert "Rex at the lake" in read(exif=exif, xmp=XMP.encode()).captions


def test_damaged_xmp_leaves_what_the_others_say() -> None:
    said = read(exif=exif_of({0x010E: "Max"}), xmp=XMP[:400].encode())
    assert said.captions == ("Max",)
