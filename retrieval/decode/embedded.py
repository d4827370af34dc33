"""What a photo says of itself: EXIF, IPTC and XMP. Nothing odd in them ever fails the photo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from PIL import ExifTags, Image, IptcImagePlugin

from mmsearch.retrieval.decode.captions import is_caption

T = TypeVar("T")
_XMP_TEXT = ".//{http://purl.org/dc/elements/1.1/}%s//{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


@dataclass(frozen=True, slots=True)
class Embedded:
    """captions: descriptions that a person may have written. taken_at: ISO 8601 local time.

    metadata: camera, title, keywords, latitude and longitude in degrees (north and east positive), as far as known.
    """

    captions: tuple[str, ...] = ()
    taken_at: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read(photo: Image.Image) -> Embedded:
    """What the opened photo says of itself; where a part of it is damaged, what the others say."""
    exif = _or_none(photo.getexif) or Image.Exif()
    details = _or_none(lambda: exif.get_ifd(ExifTags.IFD.Exif)) or {}
    iptc = _or_none(lambda: _iptc(photo)) or {}
    xmp = _or_none(lambda: _xmp(photo)) or {}
    title = _text(exif.get(ExifTags.Base.XPTitle), "utf-16-le")
    candidates = (
        xmp.get("description"),
        iptc.get("description"),
        _text(exif.get(ExifTags.Base.ImageDescription)),
        _comment(details.get(ExifTags.Base.UserComment)),
        _text(exif.get(ExifTags.Base.XPComment), "utf-16-le"),
        title,
    )
    metadata = {
        "camera": _camera(exif),
        "title": xmp.get("title") or iptc.get("title") or title or None,
        "keywords": list(dict.fromkeys([*xmp.get("keywords", ()), *iptc.get("keywords", ())])) or None,
        **(_or_none(lambda: _place(exif.get_ifd(ExifTags.IFD.GPSInfo))) or {}),
    }
    return Embedded(
        captions=tuple(dict.fromkeys(text for text in candidates if text and is_caption(text))),
        taken_at=_or_none(lambda: _time(details)),
        metadata={key: value for key, value in metadata.items() if value is not None},
    )


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Exception:  # whatever damaged metadata makes a parser raise
        return None


def _text(value: Any, encoding: str = "utf-8") -> str:
    """A tag's value as text without padding; Pillow hands ASCII tags over as Latin-1."""
    if isinstance(value, tuple):
        value = bytes(value)
    if isinstance(value, str):
        value = value.encode("latin-1", errors="ignore")
    if not isinstance(value, bytes):
        return ""
    try:
        text = value.decode(encoding)
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.strip("\0 \t\r\n")


def _comment(value: Any) -> str:
    """EXIF UserComment: eight bytes that name the encoding, then the text."""
    if not isinstance(value, bytes):
        return _text(value)
    name, body = value[:8].rstrip(b"\0 ").upper(), value[8:]
    if name == b"UNICODE":
        # The standard leaves the byte order open; ordinary text has its zeros in the higher bytes.
        big_endian = body[0::2].count(0) > body[1::2].count(0)
        return _text(body, "utf-16-be" if big_endian else "utf-16-le")
    if name == b"JIS":
        return _text(body, "iso2022_jp")
    return _text(body if name in (b"", b"ASCII") else value)


def _iptc(photo: Image.Image) -> dict[str, Any]:
    found = IptcImagePlugin.getiptcinfo(photo) or {}  # type: ignore[arg-type]
    fields = {"title": (2, 5), "description": (2, 120), "keywords": (2, 25)}
    # A field that occurs once is its value, one that occurs often a list of them.
    listed = {name: found.get(key, []) for name, key in fields.items()}
    texts = {name: [*map(_text, value if isinstance(value, list) else [value])] for name, value in listed.items()}
    keywords = [text for text in texts.pop("keywords") if text]
    return {name: value[0] for name, value in texts.items() if value} | {"keywords": keywords}


def _xmp(photo: Image.Image) -> dict[str, Any]:
    raw = photo.info.get("xmp") or getattr(photo, "tag_v2", {}).get(700)
    if not raw:
        return {}
    from lxml import etree  # type: ignore[import-untyped]

    data = raw.encode() if isinstance(raw, str) else bytes(raw).rstrip(b"\0 \n")
    tree = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True))
    texts = {name: tree.find(_XMP_TEXT % name) for name in ("title", "description")}
    said = {name: " ".join((node.text or "").split()) for name, node in texts.items() if node is not None}
    keywords = [" ".join((node.text or "").split()) for node in tree.findall(_XMP_TEXT % "subject")]
    return said | {"keywords": [word for word in keywords if word]}


def _camera(exif: Image.Exif) -> str | None:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    return (model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()) or None


def _time(details: Mapping[int, Any]) -> str | None:
    """The local time of the exposure; the offset to UTC is left out on purpose."""
    for tag in (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized):
        if written := _text(details.get(tag)):
            return datetime.strptime(written[:19], "%Y:%m:%d %H:%M:%S").isoformat()
    return None


def _place(gps: Mapping[int, Any]) -> dict[str, float]:
    latitude = _degrees(gps[ExifTags.GPS.GPSLatitude], gps.get(ExifTags.GPS.GPSLatitudeRef), "S")
    longitude = _degrees(gps[ExifTags.GPS.GPSLongitude], gps.get(ExifTags.GPS.GPSLongitudeRef), "W")
    is_sound = abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude, longitude) != (0.0, 0.0)
    return {"latitude": latitude, "longitude": longitude} if is_sound else {}


def _degrees(parts: Any, side: Any, negative: str) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    value = round(degrees + minutes / 60 + seconds / 3600, 6)
    return -value if _text(side).upper().startswith(negative) else value
