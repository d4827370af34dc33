"""What a run of indexing is about: the roots that cover the wanted paths, and the captions that came with it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.index.errors import NotIndexed, UsageError
from mmsearch.index.items import ManifestCaption, Root
from mmsearch.index.reader import Reader
from mmsearch.retrieval.types import Passage, Skipped

if TYPE_CHECKING:  # most runs read, and have no need of what writes
    from mmsearch.index.catalog import Catalog


def absolute(path: Path | str) -> Path:
    """The absolute form of a path as its user wrote it: `~` and `..` resolved, symbolic links kept."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100  # resolve() would follow links


def resolve(catalog: Reader, paths: Iterable[Path | str]) -> list[tuple[Root, Path]]:
    """The root and the absolute path of each wanted path; every root whole if none is named.

    A folder that no root covers becomes a root; so does the folder of a single file. A path that was
    forgotten and is now named again is welcome again. Raises UsageError before anything is changed.
    """
    wanted = [absolute(path) for path in paths]
    roots = catalog.roots()
    if not wanted and not roots:
        raise UsageError("there is nothing to index: name a folder, as in `mmsearch index ./photos`.")
    for path in wanted:
        if not path.exists() and not _is_covered(path, roots):
            raise UsageError(f"{path} is not there; nothing was indexed.")
    if not wanted:
        return [(root, root.path) for root in roots]
    for path in wanted:
        if not _is_covered(path, roots):
            catalog.writer.add_root(_root_for(path))
    # Asked only now: a root that covers earlier ones has taken their place.
    covered = [(_covering(path, catalog.roots()), path) for path in wanted]
    for root, path in covered:
        if root.relative(path) in catalog.excludes(root.id):
            catalog.writer.include(root.id, root.relative(path))
    return covered


def take_captions(
    catalog: Reader, caption_files: Sequence[Path | str], scopes: Sequence[tuple[Root, Path]]
) -> list[Skipped]:
    """Keep what caption files say of files under the roots; returns what they say of files that are not there.

    The captions of a caption file replace what it said before. Raises BadManifest.
    """
    if not caption_files:
        return []
    from mmsearch.retrieval.decode import manifests  # which a query does not need

    missing: list[Skipped] = []
    roots = {root.id: root for root, _ in scopes}.values()
    for caption_file in map(absolute, caption_files):
        folders = [root.path for root in roots]
        captions, absent = manifests.resolve(manifests.read(caption_file), caption_file.parent, folders)
        missing += [Skipped(Path(name), f"not there, though {caption_file.name} captions it") for name in absent]
        for root in roots:
            catalog.writer.set_captions(root.id, str(caption_file), _captions_below(root, captions))
    return missing


def forget(catalog: Catalog, path: Path) -> int:
    """Remove a file, a folder or whole roots from the catalogue; returns how many items went.

    A part of a root is also kept out from now on. Raises NotIndexed where nothing is known of path.
    """
    items = catalog.items_under(path)
    roots = catalog.roots()
    inside = [root for root in roots if root.path.is_relative_to(path)]
    around = [root for root in roots if path.is_relative_to(root.path) and root not in inside]
    if not items and not inside:
        raise NotIndexed(path=path)
    for root in inside:
        catalog.drop_root(root.id)
    for root in around:
        catalog.forget([item.id for item in items])
        catalog.exclude(root.id, root.relative(path))
    return len(items)


def _captions_below(root: Root, captions: Mapping[Path, tuple[Passage, ...]]) -> Iterator[tuple[str, ManifestCaption]]:
    for path, passages in captions.items():
        if path.is_relative_to(root.path):
            for each in passages:
                yield root.relative(path), ManifestCaption(each.view, each.text, each.start_s, each.end_s)


def _root_for(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _is_covered(path: Path, roots: Sequence[Root]) -> bool:
    return any(path.is_relative_to(root.path) for root in roots)


def _covering(path: Path, roots: Sequence[Root]) -> Root:
    return next(root for root in roots if path.is_relative_to(root.path))
