"""The run's page."""

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from preflow.artifacts.io import write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.errors import ArtifactError
from preflow.steps.kit import Step
from preflow.steps.report.page import NO_WIN_RATE, render_page
from preflow.steps.report.step import run

ATTACK = "</div><script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" {{ 7 * 7 }}"
NUMBERS = {
    "eval/win_rate": 0.625,
    "eval/win_rate_low": 0.55,
    "eval/win_rate_high": 0.675,
    "eval/kl_to_reference": 1.25,
    "eval/kl_to_reference_se": 0.125,
    "eval/distinct_2": 0.8,
    "eval/baseline_distinct_2": 0.9,
    "heldout_prompts": 20,
}


class Tags(HTMLParser):
    """Every tag with its attributes, and the text between."""

    def __init__(self, page: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "polyline", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def journal(step: str, **parts: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"seed": 0}
    if step == "train_preference":
        settings |= {"objective": [{"loss": "preflow.losses.dpo:dpo", "arguments": {"beta": 0.1}}]}
    inputs = {"data": {"path": "/somewhere/pairs", "kind": "pairs/v1", "rows": 1234}}
    empty = {"metrics": [], "facts": {}, "warnings": []}
    return {"step": step, "key": "code=abc", "settings": settings, "inputs": inputs, **empty, **parts}


def points(name: str, *values: float) -> list[dict[str, Any]]:
    return [{"name": name, "step": step, "value": value, "time": 0.0} for step, value in enumerate(values, 1)]


def samples(count: int, text: str = "fine", scored: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "completion_id": f"{number}{side}", "prompt_id": f"p{number // 2:03}", "sample_index": number % 2, "source": side,
            "prompt": [{"role": "user", "content": f"prompt {number // 2} {text}"}], "text": f"{side} {number} {text}",
            "score": float(number + (side == "policy")) if scored else None, "finish_reason": "length" if number == 0 else "stop",
        }
        for number in range(count)
        for side in ("policy", "baseline")
    ]  # fmt: skip


def page(train: Any = None, evaluate: Any = None, numbers: Any = None, rows: Any = None, **more: Any) -> str:
    return render_page(
        train
        or journal(
            "train_preference", metrics=points("train/loss", 0.69, 0.6, 0.5), facts={"examples": 1234, "steps": 3}
        ),
        evaluate or journal("evaluate", settings={"confidence": 0.95}),
        NUMBERS if numbers is None else numbers,
        samples(40) if rows is None else rows,
        **more,
    )


def test_it_says_what_was_run_and_found() -> None:
    found = Tags(page())
    for text in (
        "dpo(beta=0.1)",
        "1,234 examples in 3 steps",
        "20 held-out prompts",
        "0.625",
        "0.550 to 0.675 (95%)",
        "± 0.125",
    ):
        assert text in found.text
    for text in ("baseline 0.900", "loss: last 0.5", "1,234 rows", "policy 0 fine", "cut at the limit", "(preferred)"):
        assert text in found.text
    assert NO_WIN_RATE not in found.text
    assert found.open == []


def test_at_least_eight_samples_of_different_prompts() -> None:
    text = Tags(page()).text
    assert "12 of 40" in text
    assert len(set(re.findall(r"user: prompt (\d+)", text))) == 12


def test_texts_of_models_and_data_cannot_act() -> None:
    attacked = page(
        journal("train_preference", warnings=[ATTACK], settings={"note": ATTACK}),
        journal("evaluate", inputs={ATTACK: {"path": ATTACK, "kind": ATTACK}}),
        rows=samples(3, ATTACK),
    )
    harmless = Tags(page(rows=samples(3)))
    found = Tags(attacked)
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in harmless.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    assert (
        found.text.count(ATTACK) == 3 * 2 + 3 + 2 + 3
    )  # texts, prompts, warning and setting, input name, kind and path


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = page()
    assert not {tag for tag, _ in Tags(text).tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("values", [(0.5,), (0.5, 0.5), (float("nan"), 0.5), (float("nan"),), (1e-9, 1e9)])
def test_odd_curves_are_drawn(values: tuple[float, ...]) -> None:
    drawn = page(journal("train_preference", metrics=points("train/loss", *values)))
    lines = [attributes["points"] for tag, attributes in Tags(drawn).tags if tag == "polyline"]
    assert len(lines) == 1
    places = [tuple(map(float, each.split(","))) for each in (lines[0] or "").split()]
    assert all(0 <= x <= 300 and 0 <= y <= 120 for x, y in places)


def test_without_a_judge_it_says_so() -> None:
    numbers = {name: value for name, value in NUMBERS.items() if "win" not in name}
    text = Tags(page(numbers=numbers, rows=samples(4, scored=False))).text
    assert NO_WIN_RATE in text
    assert "judge " not in text.replace(NO_WIN_RATE, "")


def test_without_held_out_rows_it_says_so() -> None:
    assert "Nothing was measured" in Tags(page(numbers={"heldout_prompts": 0}, rows=[])).text


def test_the_step_writes_it_without_torch(tmp_path: Path) -> None:
    paths = {name: str(tmp_path / name) for name in ("train_journal", "evaluate_journal", "samples", "numbers", "page")}
    for name, step in (("train_journal", "train_preference"), ("evaluate_journal", "evaluate")):
        Path(paths[name]).write_text(json.dumps(journal(step)))
    Path(paths["numbers"]).write_text(json.dumps(NUMBERS))
    write_rows(paths["samples"], COMPLETIONS, samples(5))
    program = f"""
import sys
from pathlib import Path
from preflow.steps.kit import Step
from preflow.steps.report.step import run
run(Step.detached(Path({str(tmp_path)!r})), **{paths!r})
print(sorted({{"torch", "transformers", "mlflow", "pandas", "kfp"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
    assert "policy 0 fine" in Path(paths["page"]).read_text(encoding="utf-8")


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "numbers").write_text("{}")
    (tmp_path / "journal").write_text("nothing")
    write_rows(tmp_path / "samples", COMPLETIONS, [])
    paths = {"train_journal": "journal", "evaluate_journal": "journal", "samples": "samples", "numbers": "numbers"}
    with pytest.raises(ArtifactError, match="not a journal"):
        run(
            Step.detached(tmp_path),
            **{n: str(tmp_path / each) for n, each in paths.items()},
            page=str(tmp_path / "page"),
        )


def evaluated(**numbers: float) -> dict[str, Any]:
    metrics = [point for name, value in numbers.items() for point in points(f"eval/{name}", value)]
    return journal("evaluate", metrics=metrics)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.6, 0.7, "Staging shows no effect beyond the control: win rate 0.625 against the control's 0.650"),
        (0.2, 0.3, "Staging helped beyond the control: win rate 0.625 against the control's 0.250"),
        (0.8, 0.9, "Staging did worse than the control"),
    ],
)
def test_stages_against_their_control(low: float, high: float, words: str) -> None:
    control = evaluated(win_rate=(low + high) / 2, win_rate_low=low, win_rate_high=high, kl_to_reference=3.25)
    text = Tags(page(control=control)).text
    assert words in text and "Against the control" in text
    assert "0.625 (0.550 to 0.675)" in text and f"({low:.3f} to {high:.3f})" in text
    assert "3.250" in text
    assert "Against the control" not in Tags(page()).text


def test_nothing_to_compare_by() -> None:
    assert "Nothing was measured by which" in Tags(page(control=evaluated(length_ratio=1.0))).text


def test_what_is_still_known_stands_on_the_page() -> None:
    numbers = {"forget_quality": 0.4321, "model_utility": 0.55, "baseline_model_utility": 0.61}
    unlearning = evaluated(**numbers) | {"step": "evaluate_unlearning", "warnings": ["few questions"]}
    text = Tags(page(unlearning=unlearning)).text
    for words in ("forget quality", "0.432", "baseline 0.610", "few questions", "evaluate unlearning"):
        assert words in text


def test_completions_have_a_tile_of_their_own() -> None:
    text = Tags(page(numbers={"eval/reward_concordance": 0.71, "eval/reward_concordance_se": 0.02})).text
    assert "reward concordance" in text and "0.710" in text and "± 0.020" in text
