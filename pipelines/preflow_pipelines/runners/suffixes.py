"""The suffix of a data file says its format."""

from pathlib import Path

COMPOUND = (".jsonl.gz", ".json.gz", ".csv.gz")


def suffix_of(path: Path) -> str:
    """In lower case, e.g. `.jsonl.gz`."""
    name = path.name.lower()
    return next((suffix for suffix in COMPOUND if name.endswith(suffix)), path.suffix.lower())
