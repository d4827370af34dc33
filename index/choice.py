"""By what a view is searched: a choice by its size, as measured in benchmarks/search.py."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

from mmsearch.index.errors import UsageError

Form = Literal["scan", "codes", "lists"]

# So many values are read through in a millisecond or two: 10,000 rows of 256 dimensions.
SCANNED_VALUES = 2_560_000

# From here on a scan of codes takes longer than a person who types would like.
LISTS_FROM = 1_500_000

# The environment variable by which a user chooses.
VARIABLE = "MMSEARCH_SEARCH"


@dataclass(frozen=True, slots=True)
class Choice:
    """A form and why it was chosen."""

    form: Form
    reason: str

    def __str__(self) -> str:
        return f"{self.form} ({self.reason})"


def choose(rows: int, dim: int, asked: str | None = None) -> Choice:
    """How so many rows are best searched, or as is asked for.

    asked: a form; if None MMSEARCH_SEARCH, which may also be `auto`. UsageError for any other word.

    >>> print(choose(1000, 256))
    scan (1000 rows are few)
    """
    asked = asked or os.environ.get(VARIABLE) or "auto"
    for form in get_args(Form):
        if asked == form:
            return Choice(form, "asked for")
    if asked != "auto":
        raise UsageError(f"{VARIABLE} is {asked!r}; it may be {', '.join(get_args(Form))} or auto.")
    if rows * dim <= SCANNED_VALUES:
        return Choice("scan", f"{rows} rows are few")
    if rows < LISTS_FROM:
        return Choice("codes", f"{rows} rows, each looked at by its code")
    return Choice("lists", f"{rows} rows are too many to look at each")
