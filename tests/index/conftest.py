from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmsearch.index.catalog import Catalog
from mmsearch.index.items import Root


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an empty catalogue, to be copied: that is quicker than to make one."""
    path = tmp_path_factory.mktemp("empty") / "catalog.sqlite"
    Catalog.open(path).close()
    return path


@pytest.fixture
def catalog(tmp_path: Path, empty_catalog: Path) -> Iterator[Catalog]:
    opened = Catalog.open(Path(shutil.copy(empty_catalog, tmp_path)))
    yield opened
    opened.close()


@pytest.fixture
def root(catalog: Catalog) -> Root:
    return catalog.add_root(Path("/photos"))
