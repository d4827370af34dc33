"""The answers to some queries as one HTML page that needs no other file.

python -m mmsearch.cli.contact_sheet --library DIR --out FILE QUERY...
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from mmsearch.cli.answers import matched, worth
from mmsearch.cli.options import Count, LibraryFolder, existing_library
from mmsearch.cli.output import emit
from mmsearch.index.errors import Unreadable
from mmsearch.retrieval.decode import photos
from mmsearch.retrieval.types import Hit, Preprocess

THUMBNAIL_PIXELS = 320
STYLE = """\
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
h2 { font-weight: 600; margin: 2rem 0 .75rem }
ol { list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
     grid-template-columns: repeat(auto-fill, minmax(12rem, 1fr)) }
li { border: 1px solid #8884; border-radius: 6px; overflow: hidden }
li img, li blockquote { display: block; width: 100%; height: 11rem; margin: 0; box-sizing: border-box }
li img { object-fit: cover }
li blockquote { padding: .75rem; overflow: hidden }
li p { margin: 0; padding: .4rem .6rem; display: flex; gap: .6rem }
li p span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
li b { font-variant-numeric: tabular-nums }
"""


def contact_sheet(answers: Sequence[tuple[str, Sequence[Hit]]]) -> str:
    """An HTML page of queries and their hits, best first, with the photos as small pictures inside the page.

    A hit that is no photo, or whose photo is gone, shows the caption or passage that matched.
    """
    sections = "\n".join(_section(query, hits) for query, hits in answers)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>mmsearch: answers</title>\n<style>\n{STYLE}</style>\n{sections}\n</html>\n"
    )


def _section(query: str, hits: Sequence[Hit]) -> str:
    cards = "\n".join(map(_card, hits)) or "<li><p>nothing found</p></li>"
    return f"<h2>{escape(query)}</h2>\n<ol>\n{cards}\n</ol>"


def _card(hit: Hit) -> str:
    name = escape(Path(hit.path).name)
    picture = thumbnail(Path(hit.path)) if hit.kind == "image" else None
    if picture is None:
        body = f"<blockquote>{escape(matched(hit))}</blockquote>"
    else:
        body = f'<img alt="{name}" src="{picture}">'
    return f'<li title="{escape(hit.path)}">{body}<p><b>{worth(hit)}</b> <span>{name}</span></p></li>'


def thumbnail(path: Path) -> str | None:
    """The middle of a photo, upright and small, as a data URI; None if it cannot be read any more."""
    try:
        pixels = photos.load(path, Preprocess(size=THUMBNAIL_PIXELS), max_megapixels=math.inf)
    except Unreadable:
        return None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def write_contact_sheet(
    queries: Annotated[list[str], typer.Argument(metavar="QUERY")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the page goes.")],
    library: LibraryFolder = None,
    k: Count = 5,
) -> None:
    """Ask some queries and write their answers as an HTML page."""
    with existing_library(library) as opened:
        answers = [(query, opened.query(query, k)) for query in queries]
    out.write_text(contact_sheet(answers), encoding="utf-8")
    emit([str(out)])


if __name__ == "__main__":
    typer.run(write_contact_sheet)
