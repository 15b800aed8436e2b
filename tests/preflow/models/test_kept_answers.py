"""The file of kept answers: threads, processes, damage."""

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from preflow.models.kept_answers import KeptAnswers


def add_many(path: str, writer: int) -> None:
    kept = KeptAnswers(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: kept.add(f"{writer}/{number}", {"answer": "é" * 2000}), range(25)))


def test_threads_and_processes_append_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "answers.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=add_many, args=(str(path), writer)) for writer in range(3)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    keys = {json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()}
    assert len(keys) == 75
    found = KeptAnswers(path)
    assert all(found.get(key) == {"answer": "é" * 2000} for key in keys)


def test_damage_costs_no_more_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    kept = KeptAnswers(path)
    kept.add("a", {"answer": "first"})
    kept.add("a", {"answer": "second"})
    path.write_bytes(path.read_bytes() + b'[1]\n"text"\n\xff\xfe\n{"answer": "no key"}\n\n{"key": "b", "ans')
    after = KeptAnswers(path)
    assert after.get("a") == {"answer": "first"}, "the first record of a key stands"
    assert after.get("b") is None
    after.add("b", {"answer": "line\nbreak"})
    assert KeptAnswers(path).get("b") == {"answer": "line\nbreak"}
