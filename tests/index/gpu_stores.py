"""The stores of a GPU as a machine without one can run them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tests.index import fake_faiss

from mmsearch.index.device_store import DeviceStore, Form, on_device

TorchStore = on_device("cpu")


class FlatStore(DeviceStore):
    """Held by FAISS's flat index, as far as fake_faiss is one."""

    can: Collection[Form] = ("flat",)  # type: ignore[assignment]

    def _can(self) -> Collection[Form]:
        return self.can

    @staticmethod
    def _faiss() -> Any:
        return fake_faiss
