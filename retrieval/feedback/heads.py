"""The fusion heads of one library: the shipped one, and those that were trained for it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mmsearch.index.errors import HeadInvalid, UsageError
from mmsearch.index.reader import Reader
from mmsearch.retrieval.fusion import calibration
from mmsearch.retrieval.fusion.calibration import Calibration
from mmsearch.retrieval.fusion.heads import load, shipped
from mmsearch.retrieval.fusion.heads.base import Head

DEFAULT = "default"  # what the shipped head is called
_IN_USE = "fusion"  # the note of the catalogue that names the head in use
_SUFFIX = ".npz"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Line(NamedTuple):
    """The log odds of a hit are slope · those that the shipped calibration gives + shift; slope > 0."""

    slope: float
    shift: float


AS_SHIPPED = Line(1.0, 0.0)


class Fusion(NamedTuple):
    """What orders the answers, and what says how sure they are."""

    head: Head
    sure: Calibration


class Heads:
    """Which heads there are and which one answers. Trained ones are files; the catalogue notes the one in use.

    Usable from many threads; another process may train or choose meanwhile.
    """

    def __init__(self, catalog: Reader, folder: Path, fingerprint: str) -> None:
        """folder: where trained heads lie. fingerprint: of the library's model."""
        self._catalog = catalog
        self._folder = folder
        self._fingerprint = fingerprint
        self._kept: tuple[tuple[str, int], Fusion] | None = None

    def names(self) -> list[str]:
        """All heads by name, the shipped one first."""
        return [DEFAULT, *sorted(file.stem for file in self._folder.glob(f"*{_SUFFIX}"))]

    def in_use(self) -> str:
        """The name of the head that is to answer."""
        return self._catalog.meta(_IN_USE) or DEFAULT

    def load(self, name: str) -> Head:
        """The head of that name.

        Raises UsageError where there is none, and HeadInvalid where it is damaged or was trained with another model.
        """
        if name == DEFAULT:
            return shipped()
        self._check_known(name)
        if self._catalog.meta(_trained_with(name)) != self._fingerprint:
            raise HeadInvalid(path=self._file(name), reason="it was trained with another model than the library's")
        return load(self._file(name))

    def usable(self) -> Iterator[tuple[str, Head]]:
        """Every head by name, the shipped one first; one that cannot be used is passed over with a RuntimeWarning."""
        for name in self.names():
            try:
                yield name, self.load(name)
            except HeadInvalid as error:
                warnings.warn(f"{str(error).rstrip('.')}.", RuntimeWarning, stacklevel=2)

    def current(self) -> Fusion:
        """The head in use; the shipped one, with a RuntimeWarning, where that one cannot be used."""
        name = self.in_use()
        if name == DEFAULT:
            return Fusion(shipped(), calibration.shipped())
        stamp = name, self._stamp(name)
        if self._kept is None or self._kept[0] != stamp:
            self._kept = stamp, self._load_or_shipped(name)
        return self._kept[1]

    def add(self, name: str, head: Head, line: Line = AS_SHIPPED) -> None:
        """Keep a head and how sure its answers are under a name, in place of what was there."""
        self._folder.mkdir(exist_ok=True)
        beside = self._file(name).with_suffix(".part")
        head.save(beside)
        beside.replace(self._file(name))
        slope, shift = map(repr, line)
        self._catalog.writer.set_meta(**{_trained_with(name): self._fingerprint, _calibrated(name): f"{slope} {shift}"})

    def use(self, name: str) -> None:
        """Let the head of that name answer from now on. Raises as load does."""
        self.load(name)
        self._catalog.writer.set_meta(**{_IN_USE: name})

    def reset(self) -> int:
        """Let the shipped head answer, and delete all others; returns how many there were."""
        self._catalog.writer.set_meta(**{_IN_USE: DEFAULT})
        files = list(self._folder.glob(f"*{_SUFFIX}"))
        for file in files:
            file.unlink()
        return len(files)

    def check_name(self, name: str) -> str:
        """The name, if a trained head can have it; else UsageError."""
        if name == DEFAULT or not _NAME.fullmatch(name):
            raise UsageError(f"a head cannot be called {name!r}; use letters, digits, dots, dashes, underscores.")
        return name

    def _check_known(self, name: str) -> None:
        if name not in self.names():
            raise UsageError(f"there is no fusion head {name!r}; there are {', '.join(self.names())}.")

    def _load_or_shipped(self, name: str) -> Fusion:
        try:
            return Fusion(self.load(name), calibration.shipped().along(*self._line(name)))
        except (HeadInvalid, UsageError) as error:
            warnings.warn(
                f"{str(error).rstrip('.')}. The shipped one answers; `mmsearch fusion use default` keeps it so.",
                RuntimeWarning,
                stacklevel=3,
            )
            return Fusion(shipped(), calibration.shipped())

    def _line(self, name: str) -> Line:
        noted = self._catalog.meta(_calibrated(name))
        return Line(*map(float, noted.split())) if noted else AS_SHIPPED

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}{_SUFFIX}"

    def _stamp(self, name: str) -> int:
        """Changes when the file does."""
        try:
            return self._file(name).stat().st_mtime_ns
        except FileNotFoundError:
            return 0


def _trained_with(name: str) -> str:
    return f"fusion:{name}"


def _calibrated(name: str) -> str:
    return f"fusion:{name}:line"
