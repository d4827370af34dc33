"""Which files of a folder become items."""

from __future__ import annotations

import errno
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b, file_digest
from operator import attrgetter
from pathlib import Path, PurePosixPath

from mmsearch.index.errors import Unreadable, UsageError
from mmsearch.index.items import Kind, Root
from mmsearch.retrieval import naming
from mmsearch.retrieval.types import File, Passage, Skipped


def walk(
    root: Root,
    scope: Path,
    *,
    exclude: Sequence[str] = (),
    include_hidden: bool = False,
    excluded: Collection[str] = (),
) -> Iterator[File | Skipped]:
    """The files at or below scope that may become items, and what had to be passed over, in a fixed order.

    scope:    root.path, or a folder or file below it; named outright, it may be hidden.
    exclude:  patterns as in .gitignore, against the path relative to the root.
    excluded: relative paths that were forgotten on purpose, with everything below them.

    Links are followed, except back to a folder above them. A file that is the caption of another is no
    item of its own. UsageError for a pattern that cannot be understood.
    """
    rules = _Rules(_matcher(exclude), include_hidden, frozenset(excluded))
    if rules.is_forgotten(root.relative(scope)):
        return
    if not scope.is_dir():
        yield from _named_outright(root, scope, rules)
        return
    # A stack, not recursion: folders can be nested deeper than Python's calls.
    stack = [(scope, _identities(scope))]
    while stack:
        folder, above = stack.pop()
        below = []
        for found in _scan(root, folder, rules):
            if not isinstance(found, Path):
                yield found
            elif (identity := _identity(found)) in above:
                yield Skipped(found, "a link back to a folder above it")
            else:
                below.append((found, above | {identity} if identity else above))
        stack += reversed(below)


def digest(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits. Unreadable where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return file_digest(stream, lambda: blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise Unreadable(failure(error)) from error


def companions_key(file: File, manifest: Sequence[Passage] = ()) -> str:
    """A short key that changes when the captions of a file may have changed; empty where it has none.

    It is made of the names, sizes and times of the file's companions and of its manifest rows.
    """
    if not file.companions and not manifest:
        return ""
    seen = [(path.name, *_size_and_time(path)) for path in file.companions]
    return blake2b(repr((seen, list(manifest))).encode(), digest_size=8).hexdigest()


def failure(error: OSError) -> str:
    """Why a file or folder cannot be read, for the failure ledger."""
    if error.errno == errno.ENOENT:
        return "not there, or a link to something that is not there"
    return f"cannot be read: {os.strerror(error.errno) if error.errno else error}"


@dataclass(frozen=True, slots=True)
class _Rules:
    """What the walk leaves out without a word."""

    matches: Callable[[str], bool]
    include_hidden: bool
    excluded: frozenset[str]

    def is_forgotten(self, relative: str) -> bool:
        path = PurePosixPath(relative)
        return any(str(part) in self.excluded for part in (path, *path.parents))

    def is_left_out(self, relative: str, *, is_folder: bool = False) -> bool:
        return relative in self.excluded or self.matches(relative + "/" if is_folder else relative)


def _matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    if not patterns:
        return lambda relative: False
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines([pattern.removeprefix("./") for pattern in patterns]).match_file
    except ValueError as error:
        raise UsageError(f"--exclude cannot be understood: {error}") from error


def _named_outright(root: Root, path: Path, rules: _Rules) -> Iterator[File | Skipped]:
    """The one file at path, or why it is none."""
    rules = replace(rules, include_hidden=rules.include_hidden or path.name.startswith("."))
    beside = list(_scan(root, path.parent, rules))
    found = [one for one in beside if not isinstance(one, Path) and one.path in (path, path.parent)]
    if found:
        yield from found
    elif not os.path.lexists(path):
        yield Skipped(path, "not there")
    elif naming.kind_of(path.name) is None:
        yield Skipped(path, "neither a photo, a text nor a sound, by its name")
    elif not rules.is_left_out(root.relative(path)):
        yield Skipped(path, "the caption of a file beside it, not an item of its own")


def _scan(root: Root, folder: Path, rules: _Rules) -> Iterator[File | Skipped | Path]:
    """What one folder holds, by name: files, what was passed over, and the folders below (as paths)."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=attrgetter("name"))
    except OSError as error:
        yield Skipped(folder, failure(error))
        return
    if not rules.include_hidden:
        entries = [entry for entry in entries if not entry.name.startswith(".")]
    base = f"{root.relative(folder)}/".lstrip("/")
    families = _families(entries)
    for entry in entries:
        name = entry.name
        is_folder = _leads_to(entry.is_dir)
        kind = naming.kind_of(name)
        if kind is None and not is_folder:
            continue
        relative = base + name
        if rules.is_left_out(relative, is_folder=is_folder):
            continue
        if flaw := naming.flaw(name):
            yield Skipped(Path(entry.path), flaw)
        elif is_folder or kind is None:
            yield Path(entry.path)
        else:
            family = families[naming.family(name)] if families else ()
            if file := _file(root, entry, kind, relative, family, rules):
                yield file


def _file(
    root: Root, entry: os.DirEntry[str], kind: Kind, relative: str, family: Sequence[str], rules: _Rules
) -> File | Skipped | None:
    """The file of an entry, None where it is the caption of another."""
    if kind == "text" and naming.is_sidecar(entry.name, family):
        return None
    try:
        status = entry.stat()
    except OSError as error:
        return Skipped(Path(entry.path), failure(error))
    if not stat.S_ISREG(status.st_mode):
        return Skipped(Path(entry.path), "not a regular file")  # opening a pipe would wait for ever
    companions: tuple[Path, ...] = ()
    if len(family) > 1:
        base = relative.removesuffix(entry.name)
        beside = [name for name in naming.companions(entry.name, family) if not rules.is_left_out(base + name)]
        companions = tuple(Path(entry.path).with_name(name) for name in beside)
    return File(root, relative, kind, status.st_size, status.st_mtime_ns, companions)


def _families(entries: Sequence[os.DirEntry[str]]) -> Mapping[str, Sequence[str]]:
    """The files that may belong together; none where no name could say anything of another, as among photos alone."""
    families: dict[str, list[str]] = defaultdict(list)
    if any(naming.may_speak(entry.name) for entry in entries):
        for entry in entries:
            if _leads_to(entry.is_file):
                families[naming.family(entry.name)].append(entry.name)
    return families


def _leads_to(test: Callable[[], bool]) -> bool:
    """The answer of an entry's is_file or is_dir, False where its link leads in a circle."""
    try:
        return test()
    except OSError:
        return False


def _identity(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from all others, whatever path leads to it; None where it cannot be asked."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _identities(folder: Path) -> frozenset[tuple[int, int]]:
    """The identities of a folder and of all folders above it."""
    absolute = folder.absolute()
    return frozenset(filter(None, map(_identity, (absolute, *absolute.parents))))


def _size_and_time(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
