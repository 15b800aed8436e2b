"""Defects of sampled texts that need no judge: loops, copies, truncation.

Rosset et al. 2024 (arXiv 2404.03715, section 5.1) make samples with heavy n-gram repetition automatic negatives, without
saying how heavy. The measure is the duplicate 5-gram rule of Rae et al. 2021 (arXiv 2112.11446, table A1), counted in
words. Their limit for web pages, 0.15, would flag 12 % of UltraFeedback's chosen answers (lists, code); half of the
words, the default here, flags 0.2 %.
"""

import re
from collections.abc import Hashable, Sequence

LONGEST_WORD = 40
REPETITIVE, DUPLICATE, TRUNCATED, EMPTY = "repetitive", "duplicate", "truncated", "empty"


def words(text: str) -> list[str]:
    """Words and single signs, in lower case.

    A word of more than LONGEST_WORD letters is a loop, or a script without spaces: it counts letter by letter.

    >>> words("Ha, ha!")
    ['ha', ',', 'ha', '!']
    """
    found = re.findall(r"\w+|[^\w\s]", text.lower())
    return [part for word in found for part in (word if len(word) > LONGEST_WORD else [word])]


def repeated_share(units: Sequence[Hashable], n: int) -> float:
    """The share of units (words, token ids) inside an n-gram that occurred before, in [0, 1]; 0 for short texts.

    A repeated n-gram counts as a whole and once: the next one starts behind it.

    >>> repeated_share("a b c a b c".split(), 3)
    0.5
    """
    seen: set[tuple[Hashable, ...]] = set()
    place, repeated = 0, 0
    while place + n <= len(units):
        gram = tuple(units[place : place + n])
        if gram in seen:
            repeated += n
            place += n
        else:
            seen.add(gram)
            place += 1
    return repeated / len(units) if units else 0.0


def defects(
    texts: Sequence[str],
    finish_reasons: Sequence[str | None],
    *,
    n: int = 5,
    max_repeated_share: float = 0.5,
) -> list[tuple[str, ...]]:
    """The flags of every sample of one prompt, in order; () for one without a defect.

    repetitive: more than `max_repeated_share` of its words are in a repeated n-gram; duplicate: an earlier sample has the
    same words and spaces between them; truncated: the sampler stopped it; empty: nothing but spaces.
    """
    flags, seen = [], set()
    for text, reason in zip(texts, finish_reasons, strict=True):
        plain = " ".join(text.split())
        found = {
            EMPTY: not plain,
            DUPLICATE: plain in seen,
            REPETITIVE: repeated_share(words(text), n) > max_repeated_share,
            TRUNCATED: reason == "length",
        }
        seen.add(plain)
        flags.append(tuple(name for name, here in found.items() if here))
    return flags
