"""What the pairs look like: margins, lengths, how far their sides lie apart."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from preflow.selection.editing import edit_report, normalised_edit_distance

Row = Mapping[str, Any]
MEASURED = 2000  # pairs whose edit distance is measured: a millisecond or two each


def pairs_report(rows: Sequence[Row], margins: Sequence[float]) -> dict[str, float]:
    """Of at least one pair; lengths in characters, edit distances as shares of the longer side's characters."""
    sources = Counter(f"pairs_of_{row['source']}" for row in rows)
    return {**sources, **_margins(margins), **_lengths(rows), **_edits(rows)}


def _margins(margins: Sequence[float]) -> dict[str, float]:
    found = sorted(margins)
    places = {"margin_p10": 0.1, "margin_median": 0.5, "margin_p90": 0.9}
    return {name: found[round(share * (len(found) - 1))] for name, share in places.items()}


def _lengths(rows: Sequence[Row]) -> dict[str, float]:
    return {
        "chosen_longer_share": sum(len(row["chosen"]) > len(row["rejected"]) for row in rows) / len(rows),
        "chosen_characters_mean": fmean(len(row["chosen"]) for row in rows),
        "rejected_characters_mean": fmean(len(row["rejected"]) for row in rows),
    }


def _edits(rows: Sequence[Row]) -> dict[str, float]:
    """Of the first pairs by id, so that the sample hangs on the pairs alone."""
    sample = sorted(rows, key=lambda row: row["pair_id"])[:MEASURED]
    return edit_report([normalised_edit_distance(row["chosen"], row["rejected"]) for row in sample])
