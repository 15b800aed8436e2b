"""Two answers in one text: neither place has an advantage when room is short."""

from pathlib import Path

import pytest

from preflow.errors import ModelError
from preflow.text.comparison import Comparisons
from preflow.text.tokenizer import Tokenizer


def comparisons(max_completion: int = 100, positions: int | None = None) -> Comparisons:
    return Comparisons([1], [2, 2], [3], max_completion, positions)


def test_the_parts_stand_in_order() -> None:
    found = comparisons().sequence([7, 8], [10, 11], [20])
    assert found.prompt_ids == [7, 8]
    assert found.completion_ids == [1, 10, 11, 2, 2, 20, 3]
    assert found.completion_cut == 0


@pytest.mark.parametrize(("first", "second", "kept"), [(9, 9, (5, 5)), (9, 2, (8, 2)), (1, 30, (1, 9)), (4, 5, (4, 5))])
def test_what_is_too_long_is_cut_alike(first: int, second: int, kept: tuple[int, int]) -> None:
    """Of 16 positions two are the prompt's and four the template's: ten are left for both answers."""
    found = comparisons(positions=16).sequence([7, 8], [10] * first, [20] * second)
    assert (found.completion_ids.count(10), found.completion_ids.count(20)) == kept
    assert found.completion_cut == first + second - sum(kept)
    assert len(found.prompt_ids) + len(found.completion_ids) <= 16


def test_an_answer_is_never_longer_than_the_contract_says() -> None:
    found = comparisons(max_completion=3).sequence([7], [10] * 5, [20] * 4)
    assert found.completion_ids.count(10) == found.completion_ids.count(20) == 3


def test_no_room_at_all_is_said() -> None:
    with pytest.raises(ModelError, match="leaves no room for two answers"):
        comparisons(positions=8).sequence([7] * 4, [1], [1])


def test_the_template_is_text_of_the_tokenizers_own(tiny_tokenizer: Path) -> None:
    tokenizer = Tokenizer.load(tiny_tokenizer)
    found = Comparisons.of(tokenizer)
    assert tokenizer.decode(found.opening) == "[RESPONSE A]\n"
    assert tokenizer.decode(found.middle) == "\n[RESPONSE B]\n"
    assert tokenizer.decode(found.closing) == "\n[BETTER]"
    assert tokenizer.turn_end_id not in [*found.opening, *found.middle, *found.closing]
