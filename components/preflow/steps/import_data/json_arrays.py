"""A JSON array read element by element, so that a file of any size takes the memory of one of its rows."""

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from preflow.steps.import_data.problems import RowError

CHUNK = 1 << 20
SPACE = re.compile(r"[ \t\r\n]*")
LONGEST_LITERAL = 16
"""Longer than any token that a chunk's end may cut (an escape, `false`), so an error before it is a true one."""


def read_json_array(file: IO[str]) -> Iterator[tuple[Any, str]]:
    """(element, its source) for each element; after a syntax error (a RowError as the element) nothing more is read."""
    text = _Window(file)
    if text.next_character() != "[":
        yield _broken("expected an array of objects", text), ""
        return
    text.position += 1
    if text.next_character() == "]":
        text.position += 1
    else:
        while True:
            try:
                value, source = text.decode()
            except (ValueError, RecursionError) as error:
                yield _broken(str(error), text), text.shown()
                return
            yield value, source
            mark = text.next_character()
            text.position += 1
            if mark == "]":
                break
            if mark != ",":
                yield _broken(f"expected ',' or ']' after an element, found {mark or 'the end'!r}", text), text.shown()
                return
    if text.next_character():
        yield _broken("more text after the array's end", text), text.shown()


def _broken(what: str, text: "_Window") -> RowError:
    message = f"not valid JSON ({what})."
    return RowError("broken_json", message, "Mend the file; nothing behind this place can be read.", whole_file=True)


class _Window:
    """The part of a text file that is being looked at."""

    def __init__(self, file: IO[str]):
        self.file, self.buffer, self.position, self.ended = file, "", 0, False
        self.decoder = json.JSONDecoder()

    def more(self, size: int = CHUNK) -> bool:
        """Read on; what lies before the position is let go."""
        added = self.file.read(size)
        self.ended = not added
        self.buffer, self.position = self.buffer[self.position :] + added, 0
        return bool(added)

    def next_character(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = SPACE.match(self.buffer, self.position)
            assert match
            self.position = match.end()
            if self.position < len(self.buffer):
                return self.buffer[self.position]
            if not self.more():
                return ""

    def decode(self) -> tuple[Any, str]:
        """The element at the position, and its source. Raises ValueError."""
        self.next_character()
        size = CHUNK
        while True:
            try:
                value, end = self.decoder.raw_decode(self.buffer, self.position)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.buffer) - LONGEST_LITERAL
                if not cut or not self.more(size):
                    raise ValueError(error.msg) from None
                size *= 2
                continue
            if end == len(self.buffer) and isinstance(value, int | float) and self.more():
                continue  # a number may go on behind the chunk's end
            source, self.position = self.buffer[self.position : end], end
            return value, source

    def shown(self) -> str:
        return self.buffer[self.position : self.position + 200]
