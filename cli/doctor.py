"""`mmsearch doctor`: what is installed, and what works."""

from __future__ import annotations

from mmsearch.cli.options import AsJson
from mmsearch.cli.output import show


def doctor(as_json: AsJson = False) -> None:
    """Show what is installed, and what works.

    Runs a real kernel on each device that is there.
    """
    from mmsearch.retrieval.devices import diagnose

    found = [{"what": what, "state": state, "detail": detail} for what, state, detail in diagnose()]
    show(found, as_json=as_json)
