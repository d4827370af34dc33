"""Photos and what is said of them, as the towers of a model see both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.errors import BadManifest, Unreadable
from mmsearch.retrieval import naming
from mmsearch.retrieval.decode import manifests, photos
from mmsearch.retrieval.encoders.adapter import Adapter
from mmsearch.retrieval.encoders.base import Encoder
from mmsearch.retrieval.encoders.batches import unit_rows
from mmsearch.retrieval.types import Preprocess, Skipped

MIN_PHOTOS = 200
_BATCH = 64
_SAID_EVERY = 16 * _BATCH
_NAMED = 3  # missing photos named in one message

Captions = Mapping[Path, Sequence[str]]
OnSkip = Callable[[Skipped], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Captioned:
    """P photos and their C captions, embedded.

    photos: (P, D) float32 unit rows.
    texts:  (C, D) float32 unit rows.
    owner:  (C,) int64, the photo of each caption; every photo has one.
    """

    photos: NDArray[np.float32]
    texts: NDArray[np.float32]
    owner: NDArray[np.int64]

    def part(self, chosen: NDArray[np.int64]) -> Captioned:
        """Some of the photos, in the order chosen, with all their captions and nothing else."""
        place = np.full(len(self.photos), -1)
        place[chosen] = np.arange(len(chosen))
        kept = place[self.owner] >= 0
        return Captioned(self.photos[chosen], self.texts[kept], place[self.owner[kept]])

    def adapted(self, adapter: Adapter) -> Captioned:
        """The same with an adapter after the towers."""
        return Captioned(unit_rows(self.photos @ adapter.image), unit_rows(self.texts @ adapter.text), self.owner)


def find(caption_file: Path, folder: Path | None, on_skip: OnSkip) -> dict[Path, list[str]]:
    """The captions of each photo that a caption file names, in its order.

    folder: where photos are looked for besides the folder of caption_file.

    Photos that are not there go to on_skip. BadManifest where too few are.
    """
    manifest = manifests.read(caption_file)
    found, absent = manifests.resolve(manifest, caption_file.parent, [] if folder is None else [folder])
    missing = [name for name in absent if naming.kind_of(name) == "image"]
    captions: dict[Path, list[str]] = {}
    for path, passages in found.items():
        said = [passage.text for passage in passages if passage.view == "caption"]
        if said and naming.kind_of(path.name) == "image":
            captions[path] = list(dict.fromkeys(said))
    if missing and not captions:
        raise BadManifest(path=caption_file, reason=none_there(missing))
    check_enough(caption_file, len(captions), skipped=len(missing))
    for name in missing:
        on_skip(Skipped(Path(name), f"not there, though {caption_file.name} captions it"))
    return captions


def check_enough(caption_file: Path, count: int, *, skipped: int) -> None:
    """BadManifest where there are fewer photos than adapting needs."""
    if count < MIN_PHOTOS:
        more = f"; {skipped} more are not there or cannot be read" if skipped else ""
        raise BadManifest(
            path=caption_file,
            reason=f"it has captions for {count} photos, and adapting needs at least {MIN_PHOTOS}{more}.",
        )


def embed(captions: Captions, encoder: Encoder, on_skip: OnSkip, say: Say) -> Captioned:
    """Everything embedded once. Photos of equal pixels are one photo, with the captions of all.

    Photos that cannot be read go to on_skip, and their captions are left out.
    """
    paths, pictures, rows = embed_photos(list(captions), encoder, on_skip, say)
    firsts, owners = _same(pictures)
    said = list(
        dict.fromkeys((owner, text) for owner, path in zip(owners, paths, strict=True) for text in captions[path])
    )
    say(f"embedding {len(said)} captions")
    texts = encoder.texts([text for _, text in said])
    return Captioned(rows[firsts], texts, np.array([owner for owner, _ in said], np.int64))


def embed_photos(
    paths: Sequence[Path], encoder: Encoder, on_skip: OnSkip, say: Say
) -> tuple[list[Path], list[bytes], NDArray[np.float32]]:
    """The photos that can be read, a digest of the pixels of each, and their rows (P, D). Others go to on_skip."""
    kept: list[Path] = []
    pictures: list[bytes] = []
    rows = [np.empty((0, encoder.card.dim), np.float32)]
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), _BATCH):
            if start % _SAID_EVERY == 0:
                say(f"embedding photos: {start} of {len(paths)}")
            batch = paths[start : start + _BATCH]
            tried = zip(batch, pool.map(partial(_read, encoder.card.preprocess), batch), strict=True)
            read = list(_readable(tried, on_skip))
            kept += [path for path, _ in read]
            pictures += [hashlib.blake2b(pixels.tobytes(), digest_size=16).digest() for _, pixels in read]
            if read:
                rows.append(encoder.images(np.stack([pixels for _, pixels in read])))
    return kept, pictures, np.concatenate(rows)


def _same(pictures: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """Where each different picture stands first, and for each picture its place among those.

    >>> _same([b"a", b"b", b"a", b"c"])
    ([0, 1, 3], [0, 1, 0, 2])
    """
    firsts: dict[bytes, int] = {}
    for i, picture in enumerate(pictures):
        firsts.setdefault(picture, i)
    places = {picture: place for place, picture in enumerate(firsts)}
    return list(firsts.values()), [places[picture] for picture in pictures]


def _read(preprocess: Preprocess, path: Path) -> NDArray[np.uint8] | Unreadable:
    try:
        return photos.load(path, preprocess)
    except Unreadable as error:
        return error


def _readable(
    tried: Iterable[tuple[Path, NDArray[np.uint8] | Unreadable]], on_skip: OnSkip
) -> Iterator[tuple[Path, NDArray[np.uint8]]]:
    for path, pixels in tried:
        if isinstance(pixels, Unreadable):
            on_skip(Skipped(path, pixels.reason))
        else:
            yield path, pixels


def none_there(missing: Sequence[str]) -> str:
    """That no photo of a caption file was found, naming a few."""
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    return f"none of its photos is there: {', '.join(missing[:_NAMED])}{more}. Say where they are with --photos DIR."
