"""The examples in the docstrings are true."""

import doctest
import importlib
import pkgutil

import pytest

import preflow.selection

MODULES = [
    *(f"preflow.selection.{module.name}" for module in pkgutil.iter_modules(preflow.selection.__path__)),
    "preflow.evaluation.unlearning",
    "preflow.models.judge_llm",
    "preflow.models.verifiable",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
