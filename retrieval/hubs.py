"""Hubness: how near a row is to queries of all kinds, so that it can be held against it.

Some vectors are among the nearest of far too many queries. Nearest Neighbour Normalization (Chowdhury et al. 2024,
"Nearest Neighbor Normalization Improves Multimodal Retrieval") takes from each cosine a share of the row's mean cosine
to the queries of a bank that are nearest to it. The bank holds vectors of captions: those that a model brings along
(`bank.npy` in its directory), else of some captions of everyday things, which the library keeps beside its indexes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.durable import replace_file
from mmsearch.index.errors import ModelInvalid
from mmsearch.index.reader import Reader
from mmsearch.retrieval.encoders import model_directory, registry
from mmsearch.retrieval.encoders.base import Encoder

# Measured in benchmarks/hubs.py: so many neighbours in so large a bank lift recall most, by little.
HUB_NEIGHBOURS = 16
BANK_SIZE = 2048

_CHUNK = 5_000
_BANK_KEY = "bank"  # the note of which bank the rows were measured by

Bank = NDArray[np.float16]


def hubness(
    rows: NDArray[np.floating], bank: NDArray[np.floating], neighbours: int = HUB_NEIGHBOURS
) -> NDArray[np.float32]:
    """(N,) the mean of the greatest `neighbours` cosines of each of unit rows (N, D) to the unit rows of a bank (B, D).

    >>> hubness(np.eye(2), np.array([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]]), neighbours=2)
    array([0.8, 0.4], dtype=float32)
    """
    cosine = rows.astype(np.float32) @ bank.astype(np.float32).T  # (N, B)
    kept = min(neighbours, len(bank))
    nearest = np.partition(cosine, len(bank) - kept, axis=1)[:, len(bank) - kept :]
    mean: NDArray[np.float32] = nearest.mean(axis=1, dtype=np.float32)
    return mean


def level(catalog: Reader, bank: Bank) -> None:
    """Measure the rows of a catalogue that are not measured, or all of them if it was by another bank."""
    name = f"{zlib.crc32(np.ascontiguousarray(bank).tobytes()):08x}"
    if catalog.meta(_BANK_KEY) != name:
        catalog.writer.clear_hubness()
        catalog.writer.set_meta(**{_BANK_KEY: name})
    while True:
        ids, vectors = catalog.unmeasured(_CHUNK)
        if not len(ids):
            return
        catalog.writer.note_hubness(ids, hubness(vectors, bank))


def find(model: str, kept_in: Path) -> Bank | None:
    """The bank of the model of that name, its own or the one kept in a folder; None before `provide` made one.

    ModelInvalid where the model's own cannot be read or has rows of another length.
    """
    directory = model_directory.read(registry.find(model))
    if directory.bank is not None:
        return _read(directory.bank, directory.card.dim)
    kept = _kept(kept_in, directory.card.fingerprint)
    return _read(kept, directory.card.dim) if kept.exists() else None


def provide(model: str, kept_in: Path, encoder: Callable[[], Encoder]) -> Bank:
    """The bank of the model of that name. Where it has none, one is made of our own captions and kept in a folder.

    encoder: gives the model's towers, should they be needed.
    """
    found = find(model, kept_in)
    if found is not None:
        return found
    towers = encoder()
    made = of_samples(towers)
    path = _kept(kept_in, towers.card.fingerprint)
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(_kept(Path(), "*").name):
        other.unlink()
    replace_file(path, lambda file: np.save(file, made))
    return made


def of_samples(encoder: Encoder) -> Bank:
    """The vectors (B, D) of our own captions, for a model that brings no bank along."""
    from mmsearch.retrieval.encoders import samples  # Pillow costs time that a query does not need

    return encoder.texts(samples.CAPTIONS).astype(np.float16)


def _kept(folder: Path, fingerprint: str) -> Path:
    return folder / f"bank-{fingerprint[:16]}.npy"


def _read(path: Path, dim: int) -> Bank:
    try:
        bank = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ModelInvalid(model=str(path.parent), reason=f"{path.name} cannot be read: {error}") from error
    if bank.ndim != 2 or bank.shape[1] != dim or not len(bank):
        raise ModelInvalid(model=str(path.parent), reason=f"{path.name} has rows of {bank.shape}, not (B, {dim})")
    return np.asarray(bank, np.float16)
