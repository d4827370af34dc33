"""`mmsearch models add hf-hub:…` against a stand-in for the hub on this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from tests.clip_models import make_tiny_clip

pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")
constants = pytest.importorskip("huggingface_hub.constants")

from mmsearch.index.errors import ModelInvalid  # noqa: E402
from mmsearch.retrieval.encoders import registry, samples  # noqa: E402
from mmsearch.retrieval.encoders.open_clip_export import add  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torch, open_clip and the hub warn about themselves


class Hub(BaseHTTPRequestHandler):
    """GET and HEAD of /ORG/NAME/resolve/REVISION/FILE, with the headers that huggingface_hub goes by."""

    files: ClassVar[dict[str, bytes]] = {}
    cut_after: ClassVar[int | None] = None

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        content = self._head()
        if self.cut_after is not None and len(content) > self.cut_after:
            self.wfile.write(content[: self.cut_after])
            self.close_connection = True
            return
        self.wfile.write(content)

    def _head(self) -> bytes:
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        return content or b""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[Hub]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    point_at(f"http://127.0.0.1:{server.server_port}", monkeypatch, tmp_path)
    clip = make_tiny_clip(tmp_path / "clip")
    monkeypatch.setattr(Hub, "files", {f"/org/tiny/resolve/main/{p.name}": p.read_bytes() for p in clip.iterdir()})
    yield Hub
    server.shutdown()
    thread.join()
    server.server_close()


def point_at(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What HF_ENDPOINT and HF_HUB_CACHE do where they are set before Python starts."""
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)


def test_a_model_of_the_hub_is_added_and_asked(hub: type[Hub], models: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(samples.pictures(3, seed=5)):
        picture.save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "photos" / "notes.txt").write_text("no photo")
    card = add("hf-hub:org/tiny", photos=tmp_path / "photos")
    assert registry.card("tiny") == card
    assert card.description == "open_clip hf-hub:org/tiny"
    assert card.metrics["tried_on"] == "202 captions and 3 photos"
    rows = registry.load("tiny", device="cpu").texts(["a dog", "a cat"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def refused(models: Path) -> str:
    """What adding the model says when it goes wrong, and that it leaves nothing."""
    with pytest.raises(ModelInvalid) as caught:
        add("hf-hub:org/tiny")
    assert list(models.iterdir()) == []
    return str(caught.value)


def test_a_model_that_the_hub_does_not_have_is_told(hub: type[Hub], models: Path) -> None:
    hub.files.clear()
    message = refused(models)
    assert message.startswith("the model hf-hub:org/tiny cannot be used: open_clip cannot load it: ")
    assert "404" in message


def test_weights_that_the_hub_does_not_have_are_not_made_up(hub: type[Hub], models: Path) -> None:
    del hub.files["/org/tiny/resolve/main/open_clip_model.safetensors"]
    message = refused(models)
    assert "404" in message
    assert "open_clip_pytorch_model.bin" in message


def test_a_connection_that_breaks_off_leaves_nothing(
    hub: type[Hub], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "cut_after", 100_000)
    assert "open_clip cannot load it" in refused(models)


def test_without_a_network_the_message_says_so(models: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    point_at("http://127.0.0.1:9", monkeypatch, tmp_path)  # nobody listens on the discard port
    assert "open_clip cannot load it" in refused(models)
