"""The scatter plot of the map: a component of our own, since Streamlit's charts have no area to select among 100,000 points."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from kb.insights.map_labels import AreaLabel
from kb.insights.map_view import Area, Plot

#: Colours of the groups by their number: after Okabe and Ito's, which the colour-blind can tell apart, and four more.
PALETTE = ("#1a7fc4", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6bb1", "#a6761d", "#5ab400", "#e7298a")
REST = "#8a8f98"  # of the last group, which is no group of its own

_FOLDER = Path(__file__).parent
_component = st.components.v2.component(
    "paper_map",
    html='<div class="map"></div>',
    css=(_FOLDER / "scatter.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "scatter.js").read_text(encoding="utf-8"),
)


def scatter(packed: bytes) -> Area | None:
    """Draw a plot that `pack` made ready, each point a link to its paper; return the area that is selected."""
    result: Any = _component(key="map", data=packed, on_area_change=_nothing)
    return _area(result.area)


def pack(plot: Plot, labels: Sequence[AreaLabel] = ()) -> bytes:
    """The plot as the component reads it: length of the head, the head as JSON, coordinates, ends of texts, groups, texts.

    The texts are each paper's id and its title with the year, in turn.
    """
    coordinates = np.ascontiguousarray(plot.coordinates, dtype="<f4").tobytes()
    titles = [f"{title} ({year})" if year else title for title, year in zip(plot.titles, plot.years.tolist(), strict=True)]
    texts = [text.encode("utf-8", "replace") for row in zip(plot.ids, titles, strict=True) for text in row]
    ends = np.cumsum([len(text) for text in texts], dtype="<u4").tobytes()
    body = b"".join([coordinates, ends, plot.groups.tobytes(), *texts])
    shown = len(plot.names) - plot.dimmed
    named = shown - plot.rest
    facts = {
        "n": len(plot),
        "names": plot.names,
        "rest": shown if plot.dimmed else named,
        "dimmed": shown if plot.dimmed else -1,
        "colours": [*PALETTE[:named], *([REST] if plot.rest else []), *([REST] if plot.dimmed else [])],
        "labels": [[label.name, label.x, label.y, label.level] for label in labels],
        "digest": md5(body).hexdigest(),
    }
    head = json.dumps(facts).encode()
    return struct.pack("<I", len(head)) + head + body


def _area(value: object) -> Area | None:
    """The rectangle that the browser sent; `None` for anything else."""
    match value:
        case [int() | float() as left, int() | float() as top, int() | float() as right, int() | float() as bottom]:
            return Area(left, top, right, bottom)
        case _:
            return None


def _nothing() -> None:
    """Streamlit passes on only those events for which there is a callback; the page is run again anyway."""
