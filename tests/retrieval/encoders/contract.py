"""What every Encoder promises, tried on each implementation."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mmsearch.index.errors import UsageError
from mmsearch.retrieval.encoders.base import Encoder

TEXTS = ["red", "", "a big red dog on a beach", "ein Hund, 犬 🐶", "word " * 90, "blue", "x" * 40]


def pictures(encoder: Encoder, count: int) -> NDArray[np.uint8]:
    side = encoder.card.preprocess.size
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def assert_unit(rows: NDArray[np.float32], shape: tuple[int, int]) -> None:
    assert rows.shape == shape
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


class EncoderContract:
    """Inherited by the tests of an implementation, which give the fixture `encoder`."""

    def test_texts_become_unit_rows(self, encoder: Encoder) -> None:
        assert_unit(encoder.texts(TEXTS), (len(TEXTS), encoder.card.dim))

    def test_pictures_become_unit_rows(self, encoder: Encoder) -> None:
        assert_unit(encoder.images(pictures(encoder, 3)), (3, encoder.card.dim))

    def test_nothing_becomes_no_rows(self, encoder: Encoder) -> None:
        assert_unit(encoder.texts([]), (0, encoder.card.dim))
        assert_unit(encoder.images(pictures(encoder, 0)), (0, encoder.card.dim))

    def test_a_text_embeds_alike_alone_and_among_others(self, encoder: Encoder) -> None:
        alone = np.concatenate([encoder.texts([text]) for text in TEXTS])
        np.testing.assert_allclose(encoder.texts(TEXTS), alone, atol=1e-5)

    def test_a_picture_embeds_alike_alone_and_among_others(self, encoder: Encoder) -> None:
        pixels = pictures(encoder, 18)
        alone = np.concatenate([encoder.images(pixels[i : i + 1]) for i in range(18)])
        np.testing.assert_allclose(encoder.images(pixels), alone, atol=1e-5)

    def test_rows_do_not_depend_on_the_order(self, encoder: Encoder) -> None:
        many = [f"{text} {i}" for i in range(12) for text in TEXTS]
        np.testing.assert_allclose(encoder.texts(many[::-1])[::-1], encoder.texts(many), atol=1e-5)

    def test_a_long_text_is_the_mean_of_its_passages(self, encoder: Encoder) -> None:
        text = "one two three four five. " * 40
        spans = encoder.spans(text)
        assert len(spans) > 1
        parts = [text[start:end] for start, end in spans]
        # Equal passages have equal lengths; the last one may be shorter.
        assert len(set(parts[:-1])) == 1
        first, last = encoder.texts([parts[0], parts[-1]])
        share = len(parts[-1]) / len(parts[0])
        expected = (len(parts) - 1) * first + share * last
        cosine = encoder.texts([text])[0] @ (expected / np.linalg.norm(expected))
        assert cosine > 0.999

    def test_pictures_that_are_not_contiguous_are_taken(self, encoder: Encoder) -> None:
        pixels = pictures(encoder, 4)
        np.testing.assert_allclose(encoder.images(pixels[::-1]), encoder.images(pixels)[::-1], atol=1e-5)

    @pytest.mark.parametrize("shape", [(1, 8, 8, 3), (3,), (0, 0, 0, 0)])
    def test_pictures_of_another_shape_are_refused(self, encoder: Encoder, shape: tuple[int, ...]) -> None:
        with pytest.raises(UsageError):
            encoder.images(np.zeros(shape, np.uint8))

    def test_spans_fit_and_cover(self, encoder: Encoder) -> None:
        text = "A red dog runs. " * 60 + "y" * 200
        spans = encoder.spans(text)
        assert (spans[0][0], spans[-1][1]) == (0, len(text))
        assert all(encoder.spans(text[start:end]) == [(0, end - start)] for start, end in spans)
