"""A file as what the towers take: pixels and passages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmsearch.index.errors import Unreadable
from mmsearch.retrieval import naming
from mmsearch.retrieval.types import Decoded, File, Passage, Preprocess

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

# How an opened photo becomes pixels.
Take = Callable[["Image", Preprocess], "NDArray[np.uint8]"]


def decode(
    file: File,
    *,
    preprocess: Preprocess,
    spans: Callable[[str], list[tuple[int, int]]],
    manifest: Sequence[Passage] = (),
    max_megapixels: float = 100.0,
    pixels: bool = True,
    take: Take | None = None,
) -> Decoded:
    """What a file holds: a photo's pixels and captions, a text's passages, a clip's captions.

    spans:    cuts a text into stretches that fit the text tower, as Encoder.spans does.
    manifest: captions of a photo or clip that a caption file gives.
    pixels:   False reads only what stands beside and around the picture.
    take:     makes the pixels of a photo; photos.pixels if None.

    Unreadable, and no other exception, where the file cannot be read.
    """
    # Each branch imports what it needs: a folder of photos needs no mutagen, a query no lxml.
    if file.kind == "image":
        return _photo(file, preprocess if pixels else None, spans, manifest, max_megapixels, take)
    if file.kind == "audio":
        return _clip(file, spans, manifest)
    return _document(file, spans)


def _photo(
    file: File,
    preprocess: Preprocess | None,
    spans: Callable[[str], list[tuple[int, int]]],
    manifest: Sequence[Passage],
    max_megapixels: float,
    take: Take | None,
) -> Decoded:
    from mmsearch.retrieval.decode import captions, embedded, photos

    with photos.opened(file.path, max_megapixels) as photo:
        width, height = photo.size
        # Before the metadata: some formats keep them behind the pixels, and a damaged file fails here.
        array = (take or photos.pixels)(photo, preprocess) if preprocess else None
        if photos.is_turned(photo):
            width, height = height, width
        said = embedded.read(photo)
    beside = [file.path.name, *(path.name for path in file.companions)]
    sidecars = [file.path.with_name(name) for name in naming.sidecars(file.path.name, beside)]
    written = captions.from_sidecars(sidecars, "caption")
    inside = (Passage("caption", text) for text in said.captions)
    metadata: dict[str, Any] = {**said.metadata, "width": width, "height": height}
    title = captions.title_from(sidecars)
    if title and title != file.path.name:  # Google Takeout gives the file's name
        metadata.setdefault("title", title)
    return Decoded(
        pixels=array,
        passages=captions.fitted([*written, *manifest, *inside, *_notes(file.path, beside)], spans),
        taken_at=said.taken_at,
        metadata=metadata,
    )


def _notes(photo: Path, beside: Sequence[str]) -> list[Passage]:
    """The captions of the voice notes beside a photo; a damaged note is reported as an item of its own."""
    found: list[Passage] = []
    for name in naming.voice_notes(photo.name, beside):
        sidecars = [photo.with_name(sidecar) for sidecar in naming.sidecars(name, beside)]
        with suppress(Unreadable):
            found += _heard(photo.with_name(name), sidecars)[0]
    return found


def _clip(file: File, spans: Callable[[str], list[tuple[int, int]]], manifest: Sequence[Passage]) -> Decoded:
    from mmsearch.retrieval.decode import captions

    said, metadata = _heard(file.path, file.companions, manifest)
    return Decoded(pixels=None, passages=captions.fitted(said, spans), metadata=metadata)


def _heard(
    clip: Path, sidecars: Iterable[Path], manifest: Sequence[Passage] = ()
) -> tuple[list[Passage], dict[str, Any]]:
    """The captions and metadata of a sound recording; its title is a caption where there is no other."""
    from mmsearch.retrieval.decode import audio, captions

    tags = audio.read(clip)
    said = [*captions.from_sidecars(sidecars, "audio_caption"), *manifest, *tags.captions]
    if tags.title and not any(passage.text.strip() for passage in said):
        said = [Passage("audio_caption", tags.title)]
    metadata = {"duration_s": tags.duration_s, "title": tags.title or captions.title_from(sidecars)}
    return said, {name: value for name, value in metadata.items() if value is not None}


def _document(file: File, spans: Callable[[str], list[tuple[int, int]]]) -> Decoded:
    from mmsearch.retrieval.decode import documents

    document = documents.read(file.path)
    return Decoded(
        pixels=None,
        passages=documents.passages(document.text, spans),
        metadata={"title": document.title} if document.title else {},
    )
