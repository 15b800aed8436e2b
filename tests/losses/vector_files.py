"""The vector files as a flat list of cases. A case's `key` is what an adapter claims.

vectors_1.json: the method of a loss, else the section's name (`beta_dpo.` and its part); vectors_2.json: the method;
vectors_3.json: the method of a loss, else the kind. Files are those of the folder $PREFLOW_VECTORS, else tests/vectors.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

FOLDER = Path(os.environ.get("PREFLOW_VECTORS") or Path(__file__).parents[1] / "vectors")
NO_CASES = {
    1: {"meta", "trl_crosscheck"},
    2: {"schema_version", "conventions", "counts"},
    3: {"meta"},
}
Tolerance = tuple[float, float]


@dataclass(frozen=True)
class Case:
    """`content` as the file has it; `tolerances` are (relative, absolute) by dtype."""

    file: int
    key: str
    id: str
    content: dict[str, Any]
    tolerances: dict[torch.dtype, Tolerance]

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    @property
    def float64_only(self) -> bool:
        """The note says so, or a number is beyond what our exponentials reach in float32 (`bounded_exp`)."""
        return "float64 only" in self.content.get("note", "") or largest(self.content.get("expected")) > 1e18

    def close(self, found: Any, wanted: Any, dtype: torch.dtype, what: str) -> None:
        """Compare in the case's tolerance; shapes must agree."""
        relative, absolute = self.tolerances[dtype]
        wanted = torch.tensor(wanted, dtype=torch.float64)
        found = found.detach().double() if isinstance(found, torch.Tensor) else torch.tensor(found, dtype=torch.float64)
        torch.testing.assert_close(
            found, wanted, rtol=relative, atol=absolute, msg=lambda text: f"{self.id}: {what}: {text}"
        )


def largest(value: Any) -> float:
    """Of the numbers in nested lists and dicts, the largest magnitude."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return max((largest(each) for each in value), default=0.0)
    return abs(value) if isinstance(value, (int, float)) else 0.0


def load(number: int) -> dict[str, Any]:
    return json.loads((FOLDER / f"vectors_{number}.json").read_text(encoding="utf-8"))


def all_cases() -> list[Case]:
    return [*_first(load(1)), *_second(load(2)), *_third(load(3))]


def _first(content: dict[str, Any]) -> Iterator[Case]:
    tolerances = {torch.float64: (1e-10, 1e-12), torch.float32: (2e-5, 1e-6)}
    assert content["meta"]["conventions"]["tolerances"].startswith(
        "float64: rtol 1e-10, atol 1e-12; float32: rtol 2e-5, atol 1e-6"
    )
    sections = dict(content)
    sections |= {f"beta_dpo.{part}": value for part, value in sections.pop("beta_dpo").items()}
    for section, value in sections.items():
        if section in NO_CASES[1]:
            continue
        for place, each in enumerate(value if isinstance(value, list) else [value]):
            key = each["method"] if section == "losses" else section
            name = each.get("id") or each.get("f") or place
            yield Case(1, key, f"1/{section}/{name}", each, tolerances)


def _second(content: dict[str, Any]) -> Iterator[Case]:
    assert set(content) == {*NO_CASES[2], "cases"}
    for each in content["cases"]:
        given = each["tolerance"]
        tolerances = {
            dtype: (given[name]["rtol"], given[name]["atol"])
            for dtype, name in ((torch.float64, "float64"), (torch.float32, "float32"))
        }
        yield Case(2, each["method"], f"2/{each['id']}", each, tolerances)


def _third(content: dict[str, Any]) -> Iterator[Case]:
    assert set(content) == {*NO_CASES[3], "losses", "algorithms"}
    given = content["meta"]["tolerance_suggestion"]
    tolerances = {
        dtype: (given[name]["rel"], given[name]["abs"])
        for dtype, name in ((torch.float64, "float64"), (torch.float32, "float32"))
    }
    for each in content["losses"]:
        yield Case(3, each["method"], f"3/{each['id']}", each, tolerances)
    for each in content["algorithms"]:
        yield Case(3, each["kind"], f"3/{each['id']}", each, tolerances)
