"""Every error that mmsearch raises on purpose.

MmsearchError
├── UsageError               what was asked makes no sense (CLI exit code 2)
├── LibraryNotFound          there is no library at that path
├── LibraryBusy              another process is indexing into this library
├── LibraryDamaged           the catalogue cannot be read as one
├── SchemaTooNew             the catalogue was written by a newer version
├── DimensionMismatch        vectors of another length than the library's
├── ModelMismatch            the library was embedded with another model
├── ModelNotFound            no model of that name
├── ModelInvalid             a model directory or checkpoint that cannot be used
├── HeadInvalid              a file of a fusion head that cannot be used
├── RootNotFound             the library has no such root
├── NotIndexed               the library has no such item
├── BadQuery                 a query that cannot be parsed or fetched
├── BadManifest              a caption file that cannot be read
├── DeviceUnavailable        the wanted device is not there
├── ReaderDied               a process that reads files ended before it answered
├── MissingExtra             an optional dependency is not installed
└── Unreadable               one file that cannot be read; becomes an entry of the failure ledger
"""

from __future__ import annotations

from pathlib import Path


class MmsearchError(Exception):
    """The fact, the values, and the next step, in one message."""


class UsageError(MmsearchError):
    """What was asked makes no sense."""


class LibraryNotFound(MmsearchError):
    def __init__(self, *, path: Path) -> None:
        super().__init__(f"there is no library at {path}; make one with `mmsearch index PATH`.")


class LibraryBusy(MmsearchError):
    def __init__(self, *, path: Path, holder: str) -> None:
        super().__init__(f"{holder} is indexing into {path}; try again when it has finished.")


class LibraryDamaged(MmsearchError):
    def __init__(self, *, path: Path, detail: str) -> None:
        super().__init__(
            f"the catalogue {path} cannot be read ({detail}); run `mmsearch repair`, or restore it from a backup."
        )


class SchemaTooNew(MmsearchError):
    def __init__(self, *, path: str, found: int, known: int) -> None:
        super().__init__(
            f"the catalogue {path} has schema version {found}, but this mmsearch knows only up to {known}; "
            "upgrade with `pip install --upgrade mmsearch`."
        )


class DimensionMismatch(MmsearchError):
    def __init__(self, *, expected: int, got: int) -> None:
        super().__init__(
            f"this library holds {expected}-dimensional vectors, but got {got}; was it built with another "
            "model? Re-embed it with `mmsearch index --rebuild --model NAME`."
        )


class ModelMismatch(MmsearchError):
    def __init__(self, *, stored: str, wanted: str) -> None:
        super().__init__(
            f"this library was embedded with the model {stored}, but {wanted} was asked for; "
            "their vectors cannot be compared. Re-embed it with "
            f"`mmsearch index --rebuild --model {wanted.split()[0]}`."
        )


class ModelNotFound(MmsearchError):
    def __init__(self, *, name: str, known: list[str]) -> None:
        super().__init__(
            f"there is no model {name!r}; there are: {', '.join(known)}. Add one with `mmsearch models add ARCH/TAG`."
        )


class ModelInvalid(MmsearchError):
    def __init__(self, *, model: str, reason: str) -> None:
        super().__init__(f"the model {model} cannot be used: {reason}")


class HeadInvalid(MmsearchError):
    def __init__(self, *, path: Path, reason: str) -> None:
        super().__init__(f"the fusion head {path} cannot be used: {reason}")


class RootNotFound(MmsearchError):
    def __init__(self, *, path: Path, known: list[Path]) -> None:
        listed = ", ".join(map(str, known)) or "none"
        super().__init__(f"{path} is not a root of this library; its roots are: {listed}.")


class NotIndexed(MmsearchError):
    def __init__(self, *, path: Path) -> None:
        super().__init__(f"{path} is not in this library; add it with `mmsearch index`.")


class BadQuery(MmsearchError):
    """A query that cannot be parsed, read or fetched."""


class BadManifest(MmsearchError):
    def __init__(self, *, path: Path, reason: str) -> None:
        super().__init__(f"the caption file {path} cannot be used: {reason}")


class DeviceUnavailable(MmsearchError):
    def __init__(self, *, device: str, reason: str) -> None:
        super().__init__(f"the device {device} cannot be used: {reason}. `mmsearch doctor` says what is there.")


class ReaderDied(MmsearchError):
    def __init__(self, *, pid: int, path: Path, how: str) -> None:
        super().__init__(
            f"the process {pid}, which was to read {path}, {how}; what is done is kept. Run the same command again, "
            "with fewer --workers if memory ran out."
        )


class MissingExtra(MmsearchError):
    def __init__(self, *, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs an optional part: pip install 'mmsearch[{extra}]'")


class Unreadable(MmsearchError):
    """One file that cannot be read; `reason` is what the failure ledger shows."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
