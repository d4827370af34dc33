"""`mmsearch doctor`: what is installed, and what works."""

from __future__ import annotations

import typer

from mmsearch.cli.options import AsJson
from mmsearch.cli.output import show


def doctor(as_json: AsJson = False) -> None:
    """Show what is installed, and what works.

    Runs a real kernel on each device that is there, and exits with 1 if something is broken.
    """
    from mmsearch.retrieval.devices import diagnose

    found = diagnose()
    show([finding._asdict() for finding in found], as_json=as_json)
    if any(finding.state == "broken" for finding in found):
        raise typer.Exit(1)
