"""Where an input came from, as JSON, so that a rerun finds it again."""

from typing import Any


def source_as_json(source: Any) -> Any:
    """An `InputSpec`'s source."""
    if isinstance(source, dict):
        return {name: source_as_json(value) for name, value in source.items()}
    return source.model_dump() if hasattr(source, "model_dump") else source
