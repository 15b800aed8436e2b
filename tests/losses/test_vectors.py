"""Every case of the vector files, claimed by exactly one adapter."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from losses.vector_algorithms import ALGORITHMS
from losses.vector_beta_dpo import BETA_DPO
from losses.vector_files import Case, all_cases, load
from losses.vector_laws import LAWS
from losses.vector_losses import LOSSES
from losses.vector_streams import STREAMS

WITH_DTYPE = LOSSES, STREAMS
WITHOUT_DTYPE: tuple[dict[str, Callable[[Any], None]], ...] = BETA_DPO, LAWS, ALGORITHMS
CASES = all_cases()


def adapters_of(case: Case) -> list[Callable[..., None]]:
    return [table[case.key] for table in (*WITH_DTYPE, *WITHOUT_DTYPE) if case.key in table]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_vector(case: Case) -> None:
    (adapter,) = adapters_of(case)
    if any(case.key in table for table in WITH_DTYPE):
        adapter(case, torch.float64)
    else:
        adapter(case.content)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if any(case.key in table for table in WITH_DTYPE) and not case.float64_only],
    ids=lambda case: case.id,
)
def test_vector_in_float32(case: Case) -> None:
    (adapter,) = adapters_of(case)
    adapter(case, torch.float32)


def test_every_case_is_claimed_once() -> None:
    unclaimed = Counter(case.key for case in CASES if len(adapters_of(case)) != 1)
    assert not unclaimed, f"claimed by no adapter, or by several: {dict(unclaimed)}"


def test_no_case_is_left_out() -> None:
    """The flat list against the files' own lengths."""
    first, second, third = load(1), load(2), load(3)
    beta_dpo = first.pop("beta_dpo")
    parts = [value for key, value in (first | beta_dpo).items() if key not in ("meta", "trl_crosscheck")]
    count = sum(len(part) if isinstance(part, list) else 1 for part in parts)
    assert len(CASES) == count + len(second["cases"]) + len(third["losses"]) + len(third["algorithms"])
    assert len({case.id for case in CASES}) == len(CASES)
    for method, most in second["counts"].items():
        assert sum(case.file == 2 and case.key == method for case in CASES) <= most


def test_an_unknown_name_fails() -> None:
    case = next(case for case in CASES if case.key == "dpo")
    for change in ({"params": {"gamma": 1.0}}, {"inputs": {"strange": [1.0]}}, {"expected": {"strange": 0.0}}):
        content = {key: value | change.get(key, {}) for key, value in case.content.items() if isinstance(value, dict)}
        changed = Case(case.file, case.key, case.id, content, case.tolerances)
        with pytest.raises((KeyError, TypeError, AssertionError)):
            LOSSES["dpo"](changed, torch.float64)
