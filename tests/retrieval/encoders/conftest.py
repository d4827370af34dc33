from __future__ import annotations

from pathlib import Path

import pytest
from tests.models import make_tiny_model


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models directory, in place of the user's."""
    directory = tmp_path / "models"
    directory.mkdir()
    monkeypatch.setenv("MMSEARCH_MODELS", str(directory))
    return directory


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")
