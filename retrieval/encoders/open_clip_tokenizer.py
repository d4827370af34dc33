"""An open_clip tokenizer as a tokenizer.json, checked against the original."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

from mmsearch.index.errors import ModelInvalid
from mmsearch.retrieval.encoders.model_directory import Clean, ModelDirectory, Pad, TextInput
from mmsearch.retrieval.encoders.samples import probes
from mmsearch.retrieval.encoders.tokens import Tokens

# What open_clip calls its cleaning functions, and what they are called here.
_CLEANING: dict[str, Clean] = {
    "_clean_lower": "ftfy-lower",
    "_clean_whitespace": "ftfy",
    "_clean_canonicalize": "canonicalize",
}
# The pattern of open_clip's SimpleTokenizer, whose special tokens are taken out before it is applied.
_CLIP_WORDS = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def converted(tokenizer: Any, pad: Pad, spec: str) -> tuple[Tokenizer, TextInput]:
    """The same tokenizer as the tokenizers library has it, and how its tokens are padded.

    ModelInvalid where it does something that a tokenizer.json cannot say.
    """
    from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer

    clean = _CLEANING.get(getattr(getattr(tokenizer, "clean_fn", None), "__name__", ""), "canonicalize")
    if isinstance(tokenizer, SimpleTokenizer) and tokenizer.reduction_fn is None:
        return _clip(tokenizer), TextInput(0, pad, clean)
    plain = isinstance(tokenizer, SigLipTokenizer) or (
        isinstance(tokenizer, HFTokenizer) and not tokenizer.tokenizer_mode and not tokenizer.strip_sep_token
    )
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if not plain or not hasattr(inner, "backend_tokenizer"):
        raise ModelInvalid(model=spec, reason=f"its tokenizer ({type(tokenizer).__name__}) cannot be exported")
    copy: Tokenizer = Tokenizer.from_str(inner.backend_tokenizer.to_str())
    copy.no_padding()
    copy.no_truncation()
    return copy, TextInput(int(inner.pad_token_id), pad, clean)


def check(model: ModelDirectory, tokenizer: Any) -> None:
    """Compare the exported tokenizer with the original on over 500 texts; ModelInvalid where they differ."""
    length, texts = model.card.context_length, probes()
    for text, ours, theirs in zip(texts, Tokens(model).encode(texts), tokenizer(texts).tolist(), strict=True):
        # The original cuts a long text off, and its last token is then another.
        same = ours[: length - 1] == theirs[: length - 1] if len(ours) > length else _same(ours, theirs, model)
        if not same:
            raise ModelInvalid(model=str(model.path), reason=f"its exported tokenizer differs on {text[:60]!r}")


def _same(ours: list[int], theirs: list[int], model: ModelDirectory) -> bool:
    return ours + [model.text.pad_id] * (len(theirs) - len(ours)) == theirs


def _clip(tokenizer: Any) -> Tokenizer:
    """open_clip's SimpleTokenizer: byte-level BPE whose last symbol of a word ends in </w>."""
    start, end = (tokenizer.decoder[i] for i in (tokenizer.sot_token_id, tokenizer.eot_token_id))
    copy = Tokenizer(models.BPE(tokenizer.encoder, list(tokenizer.bpe_ranks), end_of_word_suffix="</w>"))
    copy.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    special = [tokenizer.decoder[i] for i in tokenizer.all_special_ids]
    copy.add_special_tokens([AddedToken(token, normalized=False) for token in special])
    copy.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(start, tokenizer.sot_token_id), (end, tokenizer.eot_token_id)],
    )
    return copy
