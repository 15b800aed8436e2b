"""Chat templates, rendered as transformers renders them, without transformers."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from preflow.artifacts.ids import Message
from preflow.errors import ModelError

# What templates that write the date get: a prompt that changed overnight would have other tokens than its stored
# log-probs, and another cache key. The day that Llama 3's own templates fall back to.
TODAY = datetime(2024, 7, 26)


def render(template: str, messages: Sequence[Message], *, add_generation_prompt: bool, **names: Any) -> str:
    """Messages as one text. `names` are the special tokens that templates refer to. Raises ModelError."""
    try:
        return _compile(template).render(
            messages=[dict(message) for message in messages],
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **names,
        )
    except jinja2.TemplateError as error:
        raise ModelError(
            f"the chat template cannot render roles {[message['role'] for message in messages]}: {error}. "
            "Mend the data's roles, or give another template (text.template: none | FILE)."
        ) from None


def check_syntax(template: str) -> None:
    """Raises ModelError for a text that is no Jinja template."""
    try:
        _compile(template)
    except jinja2.TemplateSyntaxError as error:
        raise ModelError(
            f"the chat template is not valid Jinja (line {error.lineno}: {error.message}). "
            "Mend the file, or take the texts as they are (text.template: none)."
        ) from None


@lru_cache(maxsize=8)
def _compile(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = TODAY.strftime
    return environment.from_string(template)


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for transformers' masks; here they are words like others."""

    tags = {"generation"}  # noqa: RUF012 (jinja's own convention)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_as_it_is"), [], [], body).set_lineno(line)

    @staticmethod
    def _as_it_is(caller: Callable[[], str]) -> str:
        return caller()


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """Jinja's own filter escapes HTML; models were tuned on plain JSON."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
