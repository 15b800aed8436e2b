"""The data report: its numbers by hand, its page whole and harmless."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from import_files import import_files, pair, pairs, write
from preflow.steps.kit import Step


def test_numbers_of_a_handful(tmp_path: Path, tiny_model: Path) -> None:
    """Four pairs whose lengths are known: the tokenizer makes one token of " cat"; one more ends the turn."""
    import tiny

    tokenizer = tiny.stage(tiny_model, tmp_path / "tokenizer", max_completion_tokens=6)
    lengths = [(1, 2), (8, 3), (4, 4), (5, 2)]
    scores = [(0.5, 0.5), (0.9, 0.1), (None, None), (None, 0.2)]
    rows = []
    for number, ((chosen, rejected), (high, low)) in enumerate(zip(lengths, scores, strict=True)):
        texts = {"chosen": " cat" * chosen, "rejected": " dog" * rejected}
        rows.append(pair(number, **texts, chosen_score=high, rejected_score=low, source="one" if number else "other"))
    write(tmp_path, rows[:2])
    rows[2]["rejected"] = " bird" * 4
    write(tmp_path, rows[2:], number=1)
    found = import_files(tmp_path, tokenizer).numbers
    assert (found["rows"], found["rows_read"], found["train"] + found["heldout"]) == (4, 4, 4)
    assert found["chosen_longer_share"] == pytest.approx(2 / 3) and found["equal_length_pairs"] == 1
    assert (found["scored_pairs"], found["score_ties"]) == (2, 1)
    assert found["completions_truncated"] == 1 and found["prompts_truncated"] == 0
    chosen = found["tokens"]["chosen"]
    assert (chosen["p1"], chosen["p50"], chosen["p100"], chosen["mean"]) == (pytest.approx(2.09), 5.5, 9.0, 5.5)
    assert found["sources"] == {"one": 3, "other": 1}


class Tags(HTMLParser):
    """Counts tags and collects what would be loaded or run."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: dict[str, int] = {}
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened[tag] = self.opened.get(tag, 0) + 1
        self.loaded += [f"{name}={value}" for name, value in attrs if name in {"src", "href"} or name.startswith("on")]


def test_edit_distances_of_pairs(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """By which DPOP's data are told from others."""
    write(tmp_path, [pair(0, chosen="abcd", rejected="abxd"), pair(1, chosen="a" * 40, rejected="a" * 39 + "b")])
    found = import_files(tmp_path, tiny_tokenizer).numbers
    assert found["edit_distance_mean"] == pytest.approx((1 / 4 + 1 / 40) / 2)
    assert found["edit_distance_low_share"] == 0.5


def test_page_is_whole_and_loads_nothing(tmp_path: Path, tiny_tokenizer: Path) -> None:
    source = "<script>alert(1)</script>"
    write(tmp_path, [{**pair(number), "source": source, "chosen": "Longer, much longer. " * 3} for number in range(80)])
    found = import_files(tmp_path, tiny_tokenizer)
    tags = Tags()
    tags.feed(found.page)
    assert not tags.loaded and "script" not in tags.opened and "url(" not in found.page
    assert "&lt;script&gt;" in found.page
    assert tags.opened["svg"] >= 4 and tags.opened["rect"] > 5
    assert f"{found.numbers['heldout']:,}" in found.page and "length bias" in found.page
    assert not re.search(r"\bnan\b", found.page)


def test_page_of_nothing(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Held-out files alone leave no row to train on; a page is written all the same."""
    write(tmp_path, pairs(1), split="heldout")
    assert "1 rows of 1" in import_files(tmp_path, tiny_tokenizer).page


def test_facts_and_warnings_reach_the_journal(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(number, chosen="A longer answer than the other one.") for number in range(60)])
    step: Step = import_files(tmp_path, tiny_tokenizer).step
    step.write_journal({})
    journal = json.loads(step.journal_path.read_text())
    assert journal["facts"]["rows"] == 60 and journal["facts"]["chosen_longer_share"] == 1.0
    assert any("length bias" in text for text in journal["warnings"])


def test_progress_is_told(tmp_path: Path, tiny_tokenizer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    (run / "steps").mkdir(parents=True)
    monkeypatch.setenv("PREFLOW_RUN_DIR", str(run))
    write(tmp_path, pairs(3000))
    import_files(tmp_path, tiny_tokenizer)
    (path,) = run.glob("steps/*.progress.json")
    progress = json.loads(path.read_text())
    assert 0 < progress["done"] <= 3000 and progress["unit"] == "rows"


def test_the_same_files_make_the_same_bytes(tmp_path: Path, tiny_tokenizer: Path) -> None:
    """Wherever they lie: what is written says nothing of the place."""
    written = []
    for place in ("here", "there/else"):
        write(tmp_path / place, pairs(300, {7: {"chosen": None}}))
        out = import_files(tmp_path / place, tiny_tokenizer, on_bad_row="drop").folder
        written.append({name: (out / name).read_bytes() for name in ("data", "heldout", "rejects", "numbers", "page")})
    assert written[0] == written[1]
