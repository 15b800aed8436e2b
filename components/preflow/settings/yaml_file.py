"""YAML files of the user's, read strictly."""

from pathlib import Path
from typing import Any

import yaml

from preflow.errors import SettingsError


class _StrictLoader(yaml.SafeLoader):
    """YAML's own rules, but a key that stands twice is an error, not a silent replacement."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]  # `<<` brings another's keys
        keys = [self.construct_object(key, deep=True) for key in own]
        twice = [key for index, key in enumerate(keys) if key in keys[:index]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, example: str = "method: dpo", absent: str = "Check the path.") -> dict[str, Any]:
    """A YAML file that holds a mapping such as `example`. Raises SettingsError with the line."""
    try:
        content = read_yaml_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file. {absent}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}). Expected a YAML text file in UTF-8.") from None
    except yaml.YAMLError as error:
        raise SettingsError(
            f"{path}: not valid YAML: {' '.join(str(error).split())}. Mend the line and try again."
        ) from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise SettingsError(f"{path}: found {found}, expected settings such as `{example}`. {absent}")
    return content


def read_yaml_text(text: str) -> Any:
    """What a YAML text holds. Raises YAMLError, for values that look like a date or a number and are none as well."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except (ValueError, LookupError, RecursionError, AttributeError, TypeError) as error:
        raise yaml.YAMLError(str(error) or type(error).__name__) from None
