"""Files read in processes of their own: the same as on threads, and never a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.models import make_tiny_model

from mmsearch.index.errors import ReaderDied, Unreadable
from mmsearch.index.items import Root
from mmsearch.retrieval.decode import photos
from mmsearch.retrieval.decode.worker import Picture, Want
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.tokens import Tokens
from mmsearch.retrieval.feeding import LocalFeed, WorkerFeed, feed_for
from mmsearch.retrieval.types import File, Passage, Preprocess


class NumpyFinisher:
    """Makes the input with Pillow, so that the result is that of a LocalFeed."""

    def __init__(self, preprocess: Preprocess, want: Want = "pixels") -> None:
        self.preprocess, self.wanted = preprocess, want
        self.seen: list[Picture] = []
        self.open = False

    def adopt(self, memory: NDArray[np.uint8]) -> None:
        self.open = True

    def want(self) -> Want:
        return self.wanted

    def finish(self, slot: NDArray[np.uint8], picture: Picture) -> NDArray[np.uint8]:
        self.seen.append(picture)
        if len(picture.shape) == 1:
            raise ValueError("no decoder here")
        pixels = slot[: int(np.prod(picture.shape))].reshape(picture.shape).copy()
        if picture.size is None:
            return pixels
        return photos.scaled(Image.fromarray(pixels), picture.size, self.preprocess)

    def stack(self, pixels: Sequence[Any]) -> NDArray[np.uint8]:
        return np.stack(pixels)

    def close(self) -> None:
        self.open = False


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def preprocess(model: Path) -> Preprocess:
    return model_directory.read(model).card.preprocess


@pytest.fixture
def finisher(preprocess: Preprocess) -> NumpyFinisher:
    return NumpyFinisher(preprocess)


@pytest.fixture
def feed(model: Path, finisher: NumpyFinisher) -> Iterator[WorkerFeed]:
    opened = WorkerFeed(model, finisher, max_megapixels=1, workers=1, slot_bytes=1 << 17)
    yield opened
    opened.close()


@pytest.fixture
def local(model: Path, preprocess: Preprocess) -> LocalFeed:
    return LocalFeed(preprocess, Tokens(model_directory.read(model)).spans, 1)


def file(path: Path, kind: Any = "image") -> File:
    return File(Root(1, path.parent), path.name, kind, path.stat().st_size, 0)


def photo(path: Path, size: tuple[int, int] = (300, 200), orientation: int = 1, seed: int = 0) -> File:
    noise = np.random.default_rng(seed).integers(0, 256, (size[1] // 10, size[0] // 10, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).resize(size).save(path, exif=exif)
    return file(path)


def test_a_file_holds_the_same_in_a_process_as_on_a_thread(
    feed: WorkerFeed, local: LocalFeed, finisher: NumpyFinisher, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("A red dog. " * 40)
    files = [
        photo(tmp_path / "wide.jpg"),
        photo(tmp_path / "turned.jpg", orientation=6),
        photo(tmp_path / "large.jpg", (1200, 800)),
        photo(tmp_path / "a.png"),
        file(tmp_path / "a.txt", "text"),
    ]
    said = [Passage("caption", "a dog"), Passage("caption", "a dog on the beach " * 20)]
    for each in files:
        manifest = [] if each.kind == "text" else said
        ours, theirs = feed.decode(each, manifest, True), local.decode(each, manifest, True)
        assert (ours.passages, ours.metadata, ours.taken_at) == (theirs.passages, theirs.metadata, theirs.taken_at)
        if theirs.pixels is None:
            assert ours.pixels is None
        else:
            np.testing.assert_array_equal(ours.pixels, theirs.pixels)
    # A JPEG leaves its worker as it was decoded, what is no JPEG or too large for the slot as the model's input.
    assert [picture.size is None for picture in finisher.seen] == [False, False, False, True]


def test_a_photo_too_large_for_the_slot_is_scaled_by_its_worker(
    model: Path, local: LocalFeed, finisher: NumpyFinisher, tmp_path: Path
) -> None:
    feed = WorkerFeed(model, finisher, max_megapixels=1, workers=1, slot_bytes=4096)
    wide = photo(tmp_path / "wide.jpg")
    np.testing.assert_array_equal(feed.decode(wide, [], True).pixels, local.decode(wide, [], True).pixels)
    assert finisher.seen[0].size is None
    feed.close()


def test_pixels_that_are_not_wanted_are_not_read(feed: WorkerFeed, finisher: NumpyFinisher, tmp_path: Path) -> None:
    decoded = feed.decode(photo(tmp_path / "a.jpg"), [Passage("caption", "a dog")], False)
    assert (decoded.pixels, finisher.seen) == (None, [])
    assert [passage.text for passage in decoded.passages] == ["a dog"]


def test_a_jpeg_that_the_gpu_refuses_is_read_by_its_worker(
    feed: WorkerFeed, local: LocalFeed, finisher: NumpyFinisher, tmp_path: Path
) -> None:
    finisher.wanted = "jpeg"
    wide = photo(tmp_path / "wide.jpg", orientation=3)
    np.testing.assert_array_equal(feed.decode(wide, [], True).pixels, local.decode(wide, [], True).pixels)
    whole, pixels = finisher.seen
    assert (whole.shape, whole.orientation) == ((wide.size_bytes,), 3)
    assert pixels.shape[2] == 3


def test_a_jpeg_without_an_end_is_never_for_the_gpu(feed: WorkerFeed, finisher: NumpyFinisher, tmp_path: Path) -> None:
    finisher.wanted = "jpeg"
    whole = photo(tmp_path / "a.jpg")
    whole.path.write_bytes(whole.path.read_bytes()[:-500])
    with pytest.raises(Unreadable):
        feed.decode(whole, [], True)
    assert finisher.seen == []


def test_a_bad_photo_is_said_to_be_one_and_the_worker_goes_on(feed: WorkerFeed, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    for _ in range(3):  # more often than there are slots
        with pytest.raises(Unreadable) as refused:
            feed.decode(file(bad), [], True)
        assert refused.value.reason == "not a photo, whatever its name says"
    with pytest.raises(Unreadable, match="megapixels; the limit is 1"):
        feed.decode(photo(tmp_path / "vast.png", (2000, 1000)), [], True)
    assert feed.decode(photo(tmp_path / "good.jpg"), [], True).pixels is not None


def test_many_threads_share_few_workers(model: Path, finisher: NumpyFinisher, local: LocalFeed, tmp_path: Path) -> None:
    feed = WorkerFeed(model, finisher, max_megapixels=1, workers=2, slot_bytes=1 << 17)
    files = [photo(tmp_path / f"{i}.jpg", seed=i) for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda each: feed.decode(each, [], True).pixels, files))
    for each, pixels in zip(files, found, strict=True):
        np.testing.assert_array_equal(pixels, local.decode(each, [], True).pixels)
    feed.close()


def test_a_killed_worker_is_named_and_nothing_hangs(feed: WorkerFeed, tmp_path: Path) -> None:
    good = photo(tmp_path / "good.jpg")
    feed.decode(good, [], True)
    pid = feed._workers[0].process.pid
    os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        with pytest.raises(ReaderDied) as died:
            feed.decode(good, [], True)
    assert str(died.value) == (
        f"the process {pid}, which was to read {good.path}, was killed by signal 9; what is done is kept. Run the "
        "same command again, with fewer --workers if memory ran out."
    )


def test_close_ends_the_workers_and_forgets_the_memory(feed: WorkerFeed, finisher: NumpyFinisher) -> None:
    processes = [worker.process for worker in feed._workers]
    assert finisher.open
    feed.close()
    feed.close()
    assert [process.returncode for process in processes] == [0]
    assert not finisher.open


# Where the tests run in the background, Ctrl-C comes ignored to everything that they start.
ORPHANS = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.retrieval.test_feeding import NumpyFinisher
from mmsearch.retrieval.feeding import WorkerFeed
feed = WorkerFeed(Path(sys.argv[1]), NumpyFinisher(None), max_megapixels=1, workers=2)
print(*[worker.process.pid for worker in feed._workers], flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_process_that_wanted_them(sent: signal.Signals, model: Path) -> None:
    command = [sys.executable, "-c", ORPHANS, str(model)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert parent.stdout is not None
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.send_signal(sent)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while any(_is_there(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived the process that wanted it"
        time.sleep(0.05)


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_on_the_cpu_files_are_read_on_threads(model: Path) -> None:
    from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder

    with feed_for("cpu", model, OnnxEncoder(model), 100, 4) as feed:
        assert isinstance(feed, LocalFeed)
