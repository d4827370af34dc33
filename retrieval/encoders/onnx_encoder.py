"""The towers on the CPU, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmsearch.index.cores import cores
from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders import model_directory
from mmsearch.retrieval.encoders.adapter import adapted
from mmsearch.retrieval.encoders.batches import embed_images, embed_texts
from mmsearch.retrieval.encoders.tokens import Tokens

if TYPE_CHECKING:  # a run that embeds nothing does not import it
    import onnxruntime

Optimisation = Literal["ORT_ENABLE_ALL", "ORT_ENABLE_BASIC"]

TEXT_BATCH = 32
IMAGE_BATCH = 16


class OnnxEncoder:
    """The Encoder of a model directory. Safe to use from several threads.

    threads: how many each tower computes with; all cores that this process may use by default.
    """

    def __init__(self, directory: Path, threads: int | None = None) -> None:
        model = model_directory.read(directory)
        self.card = model.card
        self._model = model
        self._tokens: Tokens | None = None
        threads = threads or cores()  # ONNX Runtime itself would count all of the machine's
        self._image = _Tower(directory / "image.onnx", model.card.dim, threads, "ORT_ENABLE_ALL")
        # A query waits for its tower: more would cost 40 ms of loading a ViT-B-32 and save nothing a text.
        self._text = _Tower(directory / "text.onnx", model.card.dim, threads, "ORT_ENABLE_BASIC")
        self._text_rows, self._image_rows = adapted(model, self._text.run, self._image.run)

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(N, D) rows of N texts. A text longer than the tower's context is the mean of its passages."""
        return embed_texts(texts, self._tokenizer(), self.card.dim, self._text_rows, TEXT_BATCH)

    def images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, D) rows of N pictures (N, S, S, 3), RGB, prepared as card.preprocess says."""
        return embed_images(pixels, self.card, self._image_rows, IMAGE_BATCH)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Character spans, in order, that cover text and each fit the tower's context; [] for blank text."""
        return self._tokenizer().spans(text)

    def close(self) -> None:
        """Give back the sessions; the next call makes new ones."""
        self._image.close()
        self._text.close()

    def _tokenizer(self) -> Tokens:
        if self._tokens is None:  # two threads may both make one: either serves
            self._tokens = Tokens(self._model)
        return self._tokens


class _Tower:
    """One graph, loaded when it is first run: a text query never loads the image tower."""

    def __init__(self, path: Path, dim: int, threads: int, optimisation: Optimisation) -> None:
        self._path = path
        self._dim = dim
        self._threads = threads
        self._optimisation = optimisation
        self._session: onnxruntime.InferenceSession | None = None
        self._lock = Lock()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        with self._lock:
            session = self._session = self._session or self._load()
        (rows,) = session.run(["embedding"], {session.get_inputs()[0].name: batch})
        return np.asarray(rows)

    def close(self) -> None:
        with self._lock:
            self._session = None

    def _load(self) -> onnxruntime.InferenceSession:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, self._optimisation)
        options.intra_op_num_threads = self._threads
        options.log_severity_level = 3  # its warnings are about graphs, for their makers
        # Spinning threads would take the cores from the workers that decode the next batch.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # nothing narrower: that is what ONNX Runtime raises
            raise self._invalid(f"cannot be loaded: {error}") from error
        made = {output.name: output.shape[-1] for output in session.get_outputs()}
        if made.get("embedding") != self._dim:
            raise self._invalid(f"makes {made}, but model.json says {self._dim} dimensions")
        return session

    def _invalid(self, reason: str) -> ModelInvalid:
        return ModelInvalid(model=str(self._path.parent), reason=f"{self._path.name} {reason}")
