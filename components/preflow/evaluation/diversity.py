"""How varied texts are: distinct n-grams (Li et al. 2016, arXiv 1510.03055, section 5.2)."""

from collections.abc import Sequence


def distinct_ngrams(texts: Sequence[str], n: int) -> float | None:
    """Different word n-grams over all of them, in [0, 1]; None where there is none. Comparable for equal numbers of words.

    >>> distinct_ngrams(["a b a b"], 1), distinct_ngrams(["a b a b"], 2)
    (0.5, 0.6666666666666666)
    """
    total, different = 0, set()
    for text in texts:
        words = text.lower().split()
        grams = [tuple(words[place : place + n]) for place in range(len(words) - n + 1)]
        total += len(grams)
        different.update(grams)
    return len(different) / total if total else None
