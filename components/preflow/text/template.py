"""Chat templates, rendered as transformers renders them, without transformers."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from preflow.artifacts.ids import Message
from preflow.errors import ModelError


def render(template: str, messages: Sequence[Message], *, add_generation_prompt: bool, **names: Any) -> str:
    """Messages as one text. `names` are the special tokens that templates refer to. Raises ModelError."""
    try:
        return _compile(template).render(
            messages=[dict(message) for message in messages], add_generation_prompt=add_generation_prompt, **names
        )
    except jinja2.TemplateError as error:
        raise ModelError(
            f"the chat template cannot render roles {[message['role'] for message in messages]}: {error}. "
            "Mend the data's roles, or give another template (text.template: none | FILE)."
        ) from None


@lru_cache(maxsize=8)
def _compile(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment.from_string(template)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Jinja's own filter escapes HTML; models were tuned on plain JSON."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
