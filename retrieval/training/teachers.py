"""Teachers: networks whose features the towers learn to imitate. They guide the training and are never shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmsearch.retrieval.training.pool import Progress, Shelf, open_photo
from mmsearch.retrieval.training.sources import Photo


class TfliteTeacher:
    """A quantised TFLite classifier cut at its last feature map.

    The map's average is finer than the model's own pooled output, which is rounded to 8 bits again.

    map_index, logits_index: tensors of the graph; (1, h, w, F) features and (1, C) class scores.
    """

    def __init__(self, path: Path, *, map_index: int, logits_index: int, side: int = 224) -> None:
        from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped,import-not-found,unused-ignore]

        self.side = side
        self._net: Any = Interpreter(model_content=cut(path, [map_index, logits_index]), num_threads=1)
        entry = self._net.get_input_details()[0]["index"]
        self._net.resize_tensor_input(entry, (1, side, side, 3))
        self._net.allocate_tensors()
        self._entry = entry

    def __call__(self, image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """((F,) mean of the feature map, (C,) class scores), float32."""
        pixels = np.asarray(image.resize((self.side, self.side), Image.Resampling.BICUBIC))
        self._net.set_tensor(self._entry, pixels[None])
        self._net.invoke()
        grid, scores = (self._real(detail) for detail in self._net.get_output_details())
        return grid.reshape(-1, grid.shape[-1]).mean(axis=0), scores.reshape(-1)

    def _real(self, detail: dict[str, Any]) -> np.ndarray:
        scale, zero = detail["quantization"]
        real: np.ndarray = (self._net.get_tensor(detail["index"]).astype(np.float32) - zero) * scale
        return real


def teach(shelves: list[Shelf], settings: dict[str, Any], root: Path, progress: Progress) -> None:
    """Keep the teacher's features and scores of every shelf beside its pixels; shelves that have them are passed over.

    settings: path (a .tflite under the data root), map, logits (tensor numbers), side; skip: names of shelves left out.
    """
    left = [shelf for shelf in shelves if shelf.source.name not in settings.get("skip", ())]
    left = [shelf for shelf in left if not (shelf.folder / "features.npy").exists()]
    if not left:
        return
    side = int(settings.get("side", 224))
    teacher = TfliteTeacher(
        root / settings["path"], map_index=settings["map"], logits_index=settings["logits"], side=side
    )  # fmt: skip
    for shelf in left:
        pairs = [teacher(open_photo(_photo(row).read(), side)) for row in shelf.rows]
        for name, rows in zip(("scores", "features"), ([p[1] for p in pairs], [p[0] for p in pairs]), strict=True):
            np.save(shelf.folder / f"{name}.npy", np.array(rows, dtype=np.float16))
        progress(f"{shelf.source.name}: the teacher saw {len(pairs)} photos")


def _photo(row: dict[str, Any]) -> Photo:
    return Photo(str(row["key"]), Path(row["path"]), member=str(row["member"]))


def cut(path: Path, outputs: list[int]) -> bytes:
    """The TFLite model with other tensors as its outputs and nothing after them."""
    import ai_edge_litert.schema_py_generated as schema  # type: ignore[import-untyped,import-not-found,unused-ignore]
    import flatbuffers  # type: ignore[import-untyped,import-not-found,unused-ignore]

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    graph.outputs = outputs
    last = max(at for at, node in enumerate(graph.operators) if set(node.outputs) & set(outputs))
    graph.operators = graph.operators[: last + 1]
    model.signatureDefs = []
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
