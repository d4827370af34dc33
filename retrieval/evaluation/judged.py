"""Judged sets: items as a library holds them, and queries whose right answers are known.

A photo has several captions: one becomes the query, the next its stored caption, the next its audio caption, and words
of another its name. What is stored of each item is the regime:

    photo     the photo alone             caption   a caption alone
    audio     an audio caption alone      text      a caption alone, as a text document
    mixed     photo, caption, audio caption with probability 1/2 each, at least one, and names that may say something
    noisy     mixed, with a fifth of the stored captions swapped between items
    named     the photo alone, and names as in mixed; labelled photos, in folders of their labels, are in the way
    labels    labelled photos alone; the query is a label, and every photo of it is right
    short     as mixed; the query is a word or two of a caption, and whatever is said to be so is right

Clips with their captions lie among the items of each, and some are asked for (the regime `sound`). Some photos may have
a twin: an item that says what the photo's own does, and is as right.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmsearch.retrieval.evaluation.subjects import Subject, names_kind_of

REGIMES = ("photo", "caption", "audio", "text", "mixed", "noisy", "named")
SOUND = "sound"
LABELS = "labels"
SHORT = "short"
ROTATIONS = 5
SWAPPED = 0.2
ASKED_CLIPS = 0.2
NAMED_CLIPS = 0.5
# What names say of photos: nothing, words of a caption, the folder's one word of a caption, or another photo's word.
NAMES = {"nothing": 0.4, "file": 0.2, "folder": 0.15, "astray": 0.25}
# A word that more of the photos are told by than that tells them apart too little to be asked for.
_COMMON = 0.3
_STORED = {"photo": "image", "caption": "caption", "audio": "audio_caption", "text": "text", "named": "image"}
_NAMELESS = ("photo", "caption", "audio", "text")
_DRAWN = ("image", "caption", "audio_caption")


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """What a library holds of a file; at least one of photo, caption, text and audio_caption is there.

    name: its path below the root; the suffix says what kind of file it is.
    """

    name: str
    photo: Path | None = None
    caption: str | None = None
    text: str | None = None
    audio_caption: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and what is right.

    relevant: positions in the items of a set, or item ids of a library.
    group:    the photo, clip or label that it is about; queries of one group are no independent evidence.
    judged:   item ids to rank, where nobody knows of the others whether they are right; None ranks all. Leaving out
              what is not judged is Sakai 2007, "Alternatives to Bpref".
    """

    text: str
    relevant: frozenset[int]
    group: str
    regime: str
    judged: frozenset[int] | None = None

    def moved(self, place: Mapping[int, int]) -> JudgedQuery:
        """The same for items that are elsewhere; those that have no place are gone."""
        judged = None if self.judged is None else _there(self.judged, place)
        return replace(self, relevant=_there(self.relevant, place), judged=judged)


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """A library to be, and the queries to ask it."""

    items: tuple[JudgedItem, ...]
    queries: tuple[JudgedQuery, ...]


def judged_set(
    regime: str,
    photos: Sequence[Subject],
    clips: Sequence[Subject] = (),
    labelled: Sequence[Subject] = (),
    *,
    rotation: int = 0,
    seed: int = 0,
    twins: float = 0.0,
) -> JudgedSet:
    """The set of one of REGIMES; equal arguments make equal sets.

    labelled: what is in the way in the regime `named`.
    rotation: which caption of each photo is the query. A photo that has no such caption, or in a regime that stores
              captions no other, is an item that nobody asks for.
    twins:    share of the photos of which a voice note or a text, an item of its own, says what is stored with the
              photo, or could be; it is right for the same query.
    """
    by_chance = [seed, rotation, REGIMES.index(regime)]
    rng = np.random.default_rng(by_chance)
    items = [_item(regime, subject, at, rotation, photos, rng) for at, subject in enumerate(photos)]
    twin_of = _twins(items, photos, rotation, twins, np.random.default_rng([*by_chance, 1]))
    if regime == "noisy":
        items = _swapped(_swapped(items, "caption", rng), "audio_caption", rng)
    right = {at: frozenset([at]) for at in range(len(items))}
    for place, at in enumerate(twin_of, len(items)):
        right[at] |= {place}
    items += twin_of.values()
    queries = [
        JudgedQuery(subject.captions[rotation], right[at], subject.name, regime)
        for at, subject in enumerate(photos)
        if rotation < len(subject.captions) and (regime == "photo" or len(subject.captions) > 1)
    ]
    if regime == "named":
        items += [_in_a_folder(subject, at) for at, subject in enumerate(labelled, len(items))]
    sounds, asked = _sounds(clips, len(items), rotation, rng)
    return JudgedSet((*items, *sounds), (*queries, *asked))


def labelled_set(photos: Sequence[Subject], clips: Sequence[Subject] = (), *, seed: int = 0) -> JudgedSet:
    """The set of the regime `labels`: every label of the photos is asked for. Clips that say it are not judged."""
    rng = np.random.default_rng(seed)
    items = [JudgedItem(f"IMG_{at:04d}.jpg", subject.photo) for at, subject in enumerate(photos)]
    labels = [subject.captions[0] for subject in photos]
    sounds, _ = _sounds(clips, len(items), 0, rng)
    said = [frozenset(_words(sound.audio_caption or "")) for sound in sounds]
    queries = []
    for asked in dict.fromkeys(labels):
        right = frozenset(at for at, label in enumerate(labels) if names_kind_of(label, asked))
        silent = (at for at, words in enumerate(said, len(items)) if not words.issuperset(_words(asked)))
        queries.append(JudgedQuery(asked, right, asked, LABELS, frozenset(range(len(items))).union(silent)))
    return JudgedSet((*items, *sounds), tuple(queries))


def short_set(
    photos: Sequence[Subject], clips: Sequence[Subject] = (), *, rotation: int = 0, seed: int = 0, twins: float = 0.0
) -> JudgedSet:
    """The set of the regime `short`: the items of `mixed`, asked for by one or two words of the photos' captions.

    Right is every photo whose captions say these words, and every clip and twin that says them itself.
    """
    items = judged_set("mixed", photos, clips, rotation=rotation, seed=seed, twins=twins).items
    sayers = defaultdict(set)
    for at, item in enumerate(items):
        said = photos[at].captions if at < len(photos) else (item.text or item.audio_caption or "",)
        for word in _words(" ".join(said)):
            sayers[word].add(at)
    most = max(2, round(_COMMON * len(photos)))
    rng = np.random.default_rng([seed, rotation, len(REGIMES)])
    queries: dict[str, JudgedQuery] = {}
    for subject in (each for each in photos if rotation < len(each.captions)):
        telling = [word for word in _words(subject.captions[rotation]) if len(word) > 3 and len(sayers[word]) <= most]
        if telling:
            first = int(rng.integers(len(telling)))
            asked = telling[first : first + int(rng.integers(1, 3))]
            right = frozenset.intersection(*(frozenset(sayers[word]) for word in asked))
            text = " ".join(asked)
            queries.setdefault(text, JudgedQuery(text, right, subject.name, SHORT))
    return JudgedSet(items, tuple(queries.values()))


def _there(items: frozenset[int], place: Mapping[int, int]) -> frozenset[int]:
    return frozenset(place[at] for at in items if at in place)


def shards(subjects: Sequence[Subject], size: int, seed: int = 0) -> Iterator[list[Subject]]:
    """The subjects by chance in parts of that size; what is left over goes to none.

    >>> [len(part) for part in shards([Subject("a", None, ())] * 7, 3)]
    [3, 3]
    """
    order = np.random.default_rng(seed).permutation(len(subjects)).tolist()
    for start in range(0, len(order) - size + 1, size):
        yield [subjects[at] for at in order[start : start + size]]


def _item(
    regime: str, subject: Subject, at: int, rotation: int, photos: Sequence[Subject], rng: np.random.Generator
) -> JudgedItem:
    views = {_STORED[regime]} if regime in _STORED else _draw(rng)
    caption, spoken, named = _others(subject.captions, rotation)
    says = "nothing" if regime in _NAMELESS else str(rng.choice(list(NAMES), p=list(NAMES.values())))
    if says == "astray":
        named = str(rng.choice(photos[int(rng.integers(len(photos)))].captions))
    return JudgedItem(
        name=_name(says, named, at, "txt" if regime == "text" else "jpg", rng),
        photo=subject.photo if "image" in views else None,
        caption=caption if "caption" in views else None,
        text=caption if "text" in views else None,
        audio_caption=spoken if "audio_caption" in views else None,
    )


def _twins(
    items: Sequence[JudgedItem], photos: Sequence[Subject], rotation: int, share: float, rng: np.random.Generator
) -> dict[int, JudgedItem]:
    """The twins of some items, by the place of the item."""
    chosen = np.flatnonzero(rng.random(len(items)) < share).tolist()
    return {at: _twin(items[at], _others(photos[at].captions, rotation)[0], at, rng) for at in chosen}


def _twin(item: JudgedItem, caption: str, at: int, rng: np.random.Generator) -> JudgedItem:
    """A voice note or a text that says what the item does; the caption where that says nothing."""
    said = item.caption or item.text or item.audio_caption or caption
    if rng.random() < 0.5:
        return JudgedItem(f"note_{at:04d}.wav", audio_caption=said)
    return JudgedItem(f"note_{at:04d}.txt", text=said)


def _name(says: str, caption: str, at: int, suffix: str, rng: np.random.Generator) -> str:
    """A path below the root that says so much of a caption."""
    words = _longest(caption)
    if says == "nothing" or not words:
        return f"IMG_{at:04d}.{suffix}"
    if says == "file":
        return f"{'_'.join(words)}_{at:04d}.{suffix}"
    return f"{rng.choice(words)}/IMG_{at:04d}.{suffix}"


def _in_a_folder(subject: Subject, at: int) -> JudgedItem:
    """A labelled photo in the folder of its label."""
    return JudgedItem(f"{subject.captions[0]}/IMG_{at:04d}.jpg", subject.photo)


def _draw(rng: np.random.Generator) -> set[str]:
    """Some of the views that a photo can have, at least one."""
    while True:
        drawn = {view for view in _DRAWN if rng.random() < 0.5}
        if drawn:
            return drawn


def _others(captions: Sequence[str], rotation: int) -> tuple[str, str, str]:
    """The three captions after the one that is asked, which is among them only where there is no other."""
    asked = rotation % len(captions)
    others = [*captions[asked + 1 :], *captions[:asked]] or captions
    return others[0], others[1 % len(others)], others[2 % len(others)]


def _words(text: str) -> list[str]:
    """The different words of a text, as they follow each other."""
    return list(dict.fromkeys(re.findall(r"[^\W\d_]+", text.lower())))


def _longest(caption: str) -> list[str]:
    """The two longest words of a caption, as they follow each other, for a name."""
    words = _words(caption)
    longest = sorted(words, key=len, reverse=True)[:2]
    return [word for word in words if word in longest]


def _swapped(items: Sequence[JudgedItem], view: str, rng: np.random.Generator) -> list[JudgedItem]:
    """The items, of a fifth of those that have such a caption each with that of another."""
    having = [at for at, item in enumerate(items) if getattr(item, view) is not None]
    chosen = rng.permutation(having)[: round(SWAPPED * len(having))].tolist()
    given = {at: getattr(items[other], view) for at, other in zip(chosen, chosen[1:] + chosen[:1], strict=True)}
    return [replace(item, **{view: given[at]}) if at in given else item for at, item in enumerate(items)]


def _sounds(
    clips: Sequence[Subject], first: int, rotation: int, rng: np.random.Generator
) -> tuple[list[JudgedItem], list[JudgedQuery]]:
    """Clips as items from position `first` on, and the queries for some of those that have more than one caption."""
    items, queries = [], []
    for at, clip in enumerate(clips, first):
        caption, _, named = _others(clip.captions, rotation)
        several = len(clip.captions) > 1
        name = "_".join(_longest(named)) if several and rng.random() < NAMED_CLIPS else "REC"
        items.append(JudgedItem(f"{name}_{at:04d}.wav", audio_caption=caption))
        if several and rng.random() < ASKED_CLIPS:
            asked = clip.captions[rotation % len(clip.captions)]
            queries.append(JudgedQuery(asked, frozenset([at]), clip.name, SOUND))
    return items, queries
