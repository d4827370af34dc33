"""What the bundled towers are worth: retrieval, labels, text to text, robustness, speed.

    python benchmarks/towers.py --data DIR [--model DIR] [--tiny FOLDER] [--sentences PACKAGE]
    python benchmarks/towers.py --data DIR [--model DIR] --speed

DIR holds flickr8k/ and coco/ (images/, captions.csv with the columns split, image, caption; split `dev` is used),
everyday/SET/LABEL/ (the tenth of the photos that the recipe holds out is used) and audio-captions/. FOLDER is
Tiny-ImageNet as the recipe reads it (labels.tsv). PACKAGE holds a sentence model to compare texts with.
Writes results/towers.json; the second form takes only the speed again, on a machine that has nothing else to do.
Intervals are 95 % bootstraps over photos.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from record import RESULTS, amend, record
from timing import timed

from mmsearch.retrieval.encoders.onnx_encoder import OnnxEncoder
from mmsearch.retrieval.training.corpus import PROMPT, plain
from mmsearch.retrieval.training.pool import open_photo, squash
from mmsearch.retrieval.training.sources import Photo, Source, read_source, share

BUNDLED = Path(__file__).parent.parent / "retrieval" / "encoders" / "bundled"
CLOTHO_HOLD = 0.12
Change = Callable[[Image.Image], Image.Image]
Rows = NDArray[np.float32]


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--model", type=Path, default=BUNDLED)
    ask.add_argument("--tiny", type=Path)
    ask.add_argument("--sentences", default="")
    ask.add_argument("--speed", action="store_true")
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--name", default="towers")
    want = ask.parse_args()
    encoder = OnnxEncoder(want.model, threads=1)
    if want.speed:
        speed_again(want.name, encoder, want.model, dev_set(want.data / "flickr8k", "flickr8k"))
    else:
        measure(want, encoder)


def measure(want: argparse.Namespace, encoder: OnnxEncoder) -> None:
    """Take every figure."""
    side = encoder.card.preprocess.size
    flickr, coco = (dev_set(want.data / name, name) for name in ("flickr8k", "coco"))
    figures: dict[str, Any] = {"fingerprint": encoder.card.fingerprint, "size_bytes": size_of(want.model)}
    for name, photos in (("flickr8k", flickr), ("coco", coco)):
        figures[name] = text_to_image(encoder, photos, side, want.seed)
        print(name, figures[name], flush=True)
    figures["everyday"] = labels(encoder, everyday(want.data / "everyday"), side)
    print("everyday", figures["everyday"], flush=True)
    if want.tiny:
        figures["tiny_imagenet"] = labels(encoder, tiny(want.tiny), side)
        print("tiny", figures["tiny_imagenet"], flush=True)
    figures["text_to_text"] = text_to_text(encoder, flickr, want.data, want.sentences)
    figures["robustness"] = robustness(encoder, flickr, side)
    figures["speed"] = speed(want.model, flickr, side)
    print(figures["text_to_text"], figures["robustness"], figures["speed"], sep="\n")
    print(record(want.name, figures, seed=want.seed, repeats=1))


def speed_again(name: str, encoder: OnnxEncoder, model: Path, photos: list[Photo]) -> None:
    """Replace the speed in results/NAME.json; raises SystemExit where that was taken of another model."""
    known = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["figures"]["fingerprint"]
    if known != encoder.card.fingerprint:
        raise SystemExit(f"results/{name}.json is about another model; run without --speed")
    figures = speed(model, photos, encoder.card.preprocess.size)
    print(figures)
    print(amend(name, {"speed": figures}))


def size_of(model: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in sorted(model.iterdir())}


def dev_set(folder: Path, name: str) -> list[Photo]:
    source = Source(name, "captions", "captions.csv", images="images")
    return [photo for photo in read_source(source, folder) if photo.split == "dev"]


def everyday(folder: Path) -> list[Photo]:
    """The photos of every set; those that the recipe keeps out of training have the split "held"."""
    sets = [Source(path.name, "folders", path.name, hold=0.1) for path in sorted(folder.iterdir())]
    return [photo for source in sets for photo in read_source(source, folder)]


def tiny(folder: Path) -> list[Photo]:
    source = Source(
        "tiny", "labels", folder.name, pattern=r"train/(n\d+)/", names="wordnet-words.txt", hold=0.02, most=70000
    )  # fmt: skip
    return read_source(source, folder.parent)


def pixels(photos: list[Photo], side: int, change: Change = lambda image: image) -> NDArray[np.uint8]:
    """(N, side, side, 3) uint8, as the product prepares them."""
    return np.stack([squash(change(open_photo(photo.read(), side)), side) for photo in photos])


def text_to_image(encoder: OnnxEncoder, photos: list[Photo], side: int, seed: int) -> dict[str, Any]:
    queries = [caption for photo in photos for caption in photo.captions]
    owner = np.array([at for at, photo in enumerate(photos) for _ in photo.captions])
    ranks = ranks_of(encoder.texts(queries), encoder.images(pixels(photos, side)), owner)
    return {"photos": len(photos), "queries": len(queries), **recall_with_interval(ranks, owner, seed)}


def ranks_of(queries: Rows, rows: Rows, owner: NDArray[np.int64]) -> NDArray[np.int64]:
    """(Q,) rank of each query's own row, 1 is best; ties count against it."""
    scores = queries @ rows.T
    return (scores >= np.take_along_axis(scores, owner[:, None], 1)).sum(axis=1)


def recall_with_interval(ranks: NDArray[np.int64], owner: NDArray[np.int64], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    count = owner.max() + 1
    draws = rng.integers(0, count, (1000, count))
    out: dict[str, Any] = {"median_rank": float(np.median(ranks))}
    for k in (1, 5, 10):
        hit, size = np.bincount(owner, ranks <= k, count), np.bincount(owner, minlength=count)
        means = hit[draws].sum(1) / size[draws].sum(1)
        low, high = np.percentile(100 * means, [2.5, 97.5])
        out[f"recall@{k}"] = [round(float(100 * (ranks <= k).mean()), 1), round(float(low), 1), round(float(high), 1)]
    return out


def labels(encoder: OnnxEncoder, photos: list[Photo], side: int) -> dict[str, Any]:
    """Top-1 and top-5 of the held-out photos over all class names, each a mean of the bare name and a prompt."""
    names = sorted({plain(photo.label) for photo in photos})
    photos = [photo for photo in photos if photo.split == "held"]
    rows = encoder.texts(names) + encoder.texts([PROMPT.format(name) for name in names])
    owner = np.array([names.index(plain(photo.label)) for photo in photos])
    ranks = ranks_of(encoder.images(pixels(photos, side)), rows / np.linalg.norm(rows, axis=1, keepdims=True), owner)
    top = {f"top{k}": round(float(100 * (ranks <= k).mean()), 1) for k in (1, 5)}
    return {"photos": len(photos), "classes": len(names), **top}


def text_to_text(encoder: OnnxEncoder, flickr: list[Photo], data: Path, package: str) -> dict[str, Any]:
    """R@10 of another caption of the same photo or clip, among all; and a sentence model's on the same task."""
    with (data / "audio-captions" / "clotho_development.csv").open(newline="", encoding="utf-8") as stream:
        clips = [row for row in csv.DictReader(stream) if share(row["file_name"]) < CLOTHO_HOLD]
    tasks = {
        "flickr8k": [(at, caption) for at, photo in enumerate(flickr) for caption in photo.captions],
        "clotho": [(at, row[f"caption_{i}"].strip()) for at, row in enumerate(clips) for i in range(1, 6)],
    }
    out: dict[str, Any] = {}
    for name, pairs in tasks.items():
        owner, texts = np.array([at for at, _ in pairs]), [text for _, text in pairs]
        out[name] = {"texts": len(texts), "recall@10": partner_recall(encoder.texts(texts), owner)}
        if package:
            out[name]["sentence_model"] = partner_recall(sentence_rows(package, texts), owner)
            out[name]["share"] = round(out[name]["recall@10"] / out[name]["sentence_model"], 3)
    return out


def sentence_rows(package: str, texts: list[str]) -> Rows:
    from sentence_transformers import SentenceTransformer

    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"the package {package} is not installed")
    model: Any = SentenceTransformer(str(Path(found.submodule_search_locations[0]) / "model"), device="cpu")
    return np.asarray(model.encode(texts, normalize_embeddings=True, show_progress_bar=False), dtype=np.float32)


def partner_recall(rows: Rows, owner: NDArray[np.int64], k: int = 10) -> float:
    scores = rows @ rows.T
    np.fill_diagonal(scores, -2)
    near = np.argpartition(-scores, k, axis=1)[:, :k]
    return round(float(100 * (owner[near] == owner[:, None]).any(axis=1).mean()), 1)


def robustness(encoder: OnnxEncoder, photos: list[Photo], side: int) -> dict[str, Any]:
    """R@10 on Flickr8k dev with changed photos, and with changed queries (the first caption of each photo)."""
    queries = [caption for photo in photos for caption in photo.captions]
    owner = np.array([at for at, photo in enumerate(photos) for _ in photo.captions])
    asked, plain_rows = encoder.texts(queries), encoder.images(pixels(photos, side))
    out: dict[str, Any] = {"unchanged": recall_at_10(ranks_of(asked, plain_rows, owner))}
    for name, change in PHOTO_CHANGES.items():
        out[name] = recall_at_10(ranks_of(asked, encoder.images(pixels(photos, side, change)), owner))
    first, own = [photo.captions[0] for photo in photos], np.arange(len(photos))
    out["query unchanged"] = recall_at_10(ranks_of(encoder.texts(first), plain_rows, own))
    for name, rewrite in QUERY_CHANGES.items():
        changed = [rewrite(text) for text in first]
        out[name] = recall_at_10(ranks_of(encoder.texts(changed), plain_rows, own))
    return out


def recall_at_10(ranks: NDArray[np.int64]) -> float:
    return round(float(100 * (ranks <= 10).mean()), 1)


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def cropped(image: Image.Image) -> Image.Image:
    """The middle 70 % of each side."""
    width, height = image.size
    left, top = round(width * 0.15), round(height * 0.15)
    return image.crop((left, top, width - left, height - top))


def squeezed(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=20)
    return Image.open(out).convert("RGB")


PHOTO_CHANGES: dict[str, Change] = {
    "photo mirrored": mirrored,
    "photo grey": lambda image: image.convert("L").convert("RGB"),
    "photo blurred (radius 1 % of its width)": lambda image: image.filter(ImageFilter.GaussianBlur(image.width / 100)),
    "photo cropped to 70 %": cropped,
    "photo of 64 px": lambda image: image.resize((64, 64), Image.Resampling.BICUBIC),
    "photo as JPEG of quality 20": squeezed,
}


def typo(text: str) -> str:
    """The longest word with its two middle letters swapped."""
    words = text.split()
    at = max(range(len(words)), key=lambda i: len(words[i]))
    word, middle = words[at], len(words[at]) // 2
    words[at] = word[: middle - 1] + word[middle : middle + 1] + word[middle - 1 : middle] + word[middle + 1 :]
    return " ".join(words)


def forty_words(text: str) -> str:
    """The caption inside a polite request, repeated to forty words."""
    words = (
        "please find me the one photo in my collection that shows " + text + " and " + text + " , thank you"
    ).split()
    return " ".join((words * 4)[:40])


QUERY_CHANGES: dict[str, Callable[[str], str]] = {
    "query in capitals": str.upper,
    "query with a typo": typo,
    "query of one word (the longest)": lambda text: max(text.split(), key=len),
    "query of forty words": forty_words,
}


def speed(model: Path, photos: list[Photo], side: int, repeats: int = 5) -> dict[str, float]:
    """Milliseconds a text (one at a time) and photos a second (batches of 16), the towers alone, the best of five.

    The load is how many processes wanted a processor before: above 0, the machine was not ours alone.
    """
    shown, texts = pixels(photos[:256], side), [photo.captions[0] for photo in photos[:128]]
    out: dict[str, float] = {"load_before": round(os.getloadavg()[0], 1)}
    for threads in (1, 2):
        encoder = OnnxEncoder(model, threads=threads)
        encoder.images(shown[:16])
        encoder.texts(texts[:1])
        per_photo = min(timed(lambda e=encoder: e.images(shown))[0] for _ in range(repeats)) / len(shown)
        per_text = min(timed(lambda e=encoder: [e.texts([t]) for t in texts])[0] for _ in range(repeats)) / len(texts)
        out[f"photos_per_s_{threads}_threads"] = round(1 / per_photo, 1)
        out[f"ms_per_text_{threads}_threads"] = round(1000 * per_text, 2)
    return out


if __name__ == "__main__":
    main()
