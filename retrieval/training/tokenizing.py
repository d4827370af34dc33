"""A small WordPiece vocabulary of one's own, and texts as padded token arrays."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Lower-casing WordPiece of `size` pieces; [CLS] and [SEP] are added by its post-processor, [PAD] is 0."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.BertNormalizer(lowercase=True, strip_accents=True)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    ends = [("[CLS]", SPECIAL.index("[CLS]")), ("[SEP]", SPECIAL.index("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def token_array(tokenizer: Tokenizer, texts: list[str], context: int) -> np.ndarray:
    """(N, context) int64, padded with 0; longer texts keep their first pieces and the closing [SEP]."""
    out = np.zeros((len(texts), context), dtype=np.int64)
    for row, encoding in zip(out, tokenizer.encode_batch(texts), strict=True):
        ids = encoding.ids
        ids = ids if len(ids) <= context else [*ids[: context - 1], ids[-1]]
        row[: len(ids)] = ids
    return out


def trimmed(tokens: np.ndarray) -> np.ndarray:
    """The same rows without the columns that are padding in all of them."""
    used = int((tokens != 0).sum(axis=1).max(initial=1))
    return tokens[:, : max(used, 1)]
