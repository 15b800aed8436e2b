"""One test for every defect that an import must find: its code, its row and a fix, before anything is written."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from import_files import assistant, import_files, pair, pairs, problems_of, user, write
from preflow.errors import DataError
from preflow.steps.import_data.problems import CODES

MESSAGES = {
    "prompt": [user("Tell me something, please.")],
    "chosen": [assistant("Yes.")],
    "rejected": [assistant("No.")],
}

# code, what row 3 of five rows has instead
ROW_DEFECTS = {
    "null": ("null", {"chosen": None}),
    "null prompt": ("null", {"prompt": None}),
    "null content": ("null", {"prompt": [{"role": "user", "content": None}]}),
    "number": ("wrong_type", {"chosen": 7}),
    "object as prompt": ("wrong_type", {"prompt": {"text": "hello"}}),
    "number as message": ("wrong_type", {"prompt": [3]}),
    "parts as content": ("wrong_type", {"prompt": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}),
    "score that is no number": ("wrong_type", {"chosen_score": "high"}),
    "score that is a truth value": ("wrong_type", {"chosen_score": True}),
    "score that is NaN": ("wrong_type", {"chosen_score": float("nan")}),
    "unknown role": ("unknown_role", {"prompt": [{"role": "customer", "content": "hello"}]}),
    "role missing": ("unknown_role", {"prompt": [{"content": "hello"}]}),
    "tool calls": ("tool_calls", {"prompt": [{"role": "assistant", "content": "x", "tool_calls": [{"id": 1}]}]}),
    "empty prompt": ("empty_prompt", {"prompt": ""}),
    "blank prompt": ("empty_prompt", {"prompt": " \n\t"}),
    "prompt without messages": ("empty_prompt", {"prompt": []}),
    "empty turn": ("empty_prompt", {"prompt": [user("  ")]}),
    "empty completion": ("empty_completion", {"chosen": ""}),
    "blank rejected": ("empty_completion", {"rejected": "\u00a0 "}),
    "empty answer turn": ("empty_completion", MESSAGES | {"chosen": [assistant("")]}),
    "equal": ("chosen_equals_rejected", {"chosen": "The same.", "rejected": "The same."}),
    "equal but for spaces": ("chosen_equals_rejected", {"chosen": "The same.", "rejected": " The same.\n"}),
    "prompt repeated": ("prompt_repeated", {"chosen": "What is 3 plus one? It is 4."}),
    "short prompt repeated on a line": ("prompt_repeated", {"prompt": "Say hi.", "chosen": "Say hi.\nHi!"}),
    "prompt's turn repeated": (
        "prompt_repeated",
        {"prompt": [user("Hello.")], "chosen": [user("Hello."), assistant("Hi.")], "rejected": [assistant("No.")]},
    ),
    "transcripts beside their prompt": (
        "prompt_repeated",
        {"prompt": "Hello.", "chosen": "\n\nHuman: Hello.\n\nAssistant: A.", "rejected": "B."},
    ),
    "conversation without its answer": (
        "empty_completion",
        {"prompt": ..., "chosen": [user("Hello."), assistant("Hi.")], "rejected": [user("Hello.")]},
    ),
    "user in completion": ("user_in_completion", MESSAGES | {"chosen": [user("And this?"), assistant("Yes.")]}),
    "user after completion": ("user_in_completion", MESSAGES | {"chosen": [assistant("Yes."), user("Thanks!")]}),
    "two answers": ("several_turns", MESSAGES | {"chosen": [assistant("Yes."), assistant("Or no.")]}),
    "ends with assistant": ("prompt_ends_with_assistant", {"prompt": [user("Hello."), assistant("Hi.")]}),
    "half a character": ("undecodable_bytes", {"chosen": "cut \ud83d here"}),
    "half a character in the source": ("undecodable_bytes", {"source": "\udc80"}),
    "messages as Python shows them": ("broken_json", {"prompt": "[{'role': 'user', 'content': 'Hello.'}]"}),
    "instruction with an input": ("ambiguous_columns", {"instruction": "Sum up.", "input": "A text.", "prompt": ...}),
    "chosen missing": ("missing_column", {"chosen": ...}),
    "prompt missing": ("missing_column", {"prompt": ...}),
    "prompt missing, sides alike": ("missing_column", {"prompt": ..., "chosen": "It is 4.", "rejected": "It is 5."}),
    "pair repeated": ("duplicate", pair(1)),
    "pair the other way round": ("opposite_pair", {**pair(1), "chosen": "No idea, 1.", "rejected": "It is 2."}),
}


@pytest.mark.parametrize("name", ROW_DEFECTS)
def test_row(name: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    code, changes = ROW_DEFECTS[name]
    rows = pairs(5, {3: changes})
    rows[2] = {column: value for column, value in rows[2].items() if value is not ...}
    path = write(tmp_path, rows)
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert (found.code, found.row, found.file) == (code, 3, str(path))
    assert found.message.endswith(".") and found.fix.endswith((".", "}"))


# code, row, and the bytes of the file
GOOD = b'{"prompt": "a b?", "chosen": "c", "rejected": "d"}\n'
FILE_DEFECTS = {
    "broken line": ("broken_json", 2, "jsonl", GOOD + b'{"prompt": "a"\n'),
    "nested too deeply": ("broken_json", 2, "jsonl", GOOD + b"[" * 200_000 + b"\n"),
    "a list on a line": ("wrong_type", 2, "jsonl", GOOD + b"[1, 2]\n"),
    "bytes": ("undecodable_bytes", 2, "jsonl", GOOD + b'{"prompt": "caf\xe9", "chosen": "c", "rejected": "d"}\n'),
    "blank lines are counted": ("broken_json", 4, "jsonl", b"\n" + GOOD + b"\n{\n"),
    "array in jsonl": ("wrong_suffix", 0, "jsonl", b"[\n" + GOOD.strip() + b"]"),
    "Parquet in jsonl": ("wrong_suffix", 0, "jsonl", b"PAR1...."),
    "text in Parquet": ("unreadable_file", 0, "parquet", GOOD),
    "cut Parquet": ("unreadable_file", 0, "parquet", b"PAR1...."),
    "cut gzip": ("unreadable_file", 0, "jsonl.gz", gzip.compress(GOOD * 5)[:-12]),
    "no gzip": ("unreadable_file", 0, "jsonl.gz", GOOD),
    "no rows": ("empty_file", 0, "jsonl", b""),
    "only blank lines": ("empty_file", 0, "jsonl", b"\n\n"),
    "empty array": ("empty_file", 0, "json", b"[]"),
    "only a header": ("empty_file", 0, "csv", b"prompt,chosen,rejected\n"),
    "no header": ("empty_file", 0, "csv", b""),
    "empty Parquet": ("unreadable_file", 0, "parquet", b""),
    "suffix": ("unknown_format", 0, "xlsx", b"x"),
    "element": ("broken_json", 2, "json", b"[" + GOOD + b', {"prompt": "a" "b"}]'),
    "array cut": ("broken_json", 2, "json", b"[" + GOOD + b', {"prompt": "a'),
    "comma missing": ("broken_json", 2, "json", b"[" + GOOD + GOOD + b"]"),
    "comma at the end": ("broken_json", 2, "json", b"[" + GOOD + b",]"),
    "number in array": ("wrong_type", 2, "json", b"[" + GOOD + b", 5]"),
    "bytes in array": ("undecodable_bytes", 1, "json", b"[" + GOOD.replace(b"c", b"\xff", 2) + b"]"),
    "ragged": ("ragged_row", 2, "csv", b"prompt,chosen,rejected\na,b,c\na,b\n"),
    "too many cells": ("ragged_row", 1, "csv", b"prompt,chosen,rejected\na,b,c,d\n"),
    "open quote": ("broken_csv", 2, "csv", b'prompt,chosen,rejected\na,b,c\n"a,b,c\n'),
    "text behind a quote": ("broken_csv", 1, "csv", b'prompt,chosen,rejected\n"a"x,b,c\nd,e,f\n'),
    "broken header": ("broken_csv", 0, "csv", b'"prompt"x,chosen,rejected\na,b,c\n'),
    "semicolons": ("broken_csv", 0, "csv", b"prompt;chosen;rejected\na;b;c\n"),
    "column twice": ("duplicate_column", 0, "csv", b"prompt,chosen,chosen\na,b,c\n"),
    "bytes in a cell": ("undecodable_bytes", 2, "csv", b"prompt,chosen,rejected\na,b,c\nd,caf\xe9,f\n"),
    "empty cell": ("empty_completion", 1, "csv", b"prompt,chosen,rejected\na,,c\n"),
    "column misnamed": ("missing_column", 1, "csv", b"prompt,choosen,rejected\na,b,c\nd,e,f\n"),
}


@pytest.mark.parametrize("name", FILE_DEFECTS)
def test_file(name: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    code, row, suffix, data = FILE_DEFECTS[name]
    path = tmp_path / "train" / f"000.{suffix}"
    path.parent.mkdir()
    path.write_bytes(data)
    found = problems_of(tmp_path, tiny_tokenizer)
    assert [(each.code, each.row, each.file) for each in found] == [(code, row, str(path))]


def row_of(changes: dict[str, Any], **settings: Any) -> Callable[[Path, Path], Any]:
    def check(folder: Path, tokenizer: Path) -> Any:
        write(folder, [changes])
        return problems_of(folder, tokenizer, **settings)

    return check


def leak(folder: Path, tokenizer: Path) -> Any:
    write(folder, pairs(3))
    write(folder, [pair(9), pair(2, chosen="Another answer.")][::-1], split="heldout")
    return problems_of(folder, tokenizer)


OTHER_DEFECTS = {
    "no_common_prompt": row_of({"chosen": "Yes it is.", "rejected": "No it is not."}),
    "no_completion": row_of({"messages": [user("Hello.")]}, kind="sft"),
    "unknown_split": row_of(pair(1, part="spare"), split_column="part"),
    "prompt_in_both_splits": leak,
    "unknown_label": row_of({"prompt": "One?", "completion": "1", "label": "neither"}, kind="labelled"),
    "no_answer": row_of({"prompt": "One?", "answer": " "}, kind="prompts", answer="text"),
    "wrong_answer_is_right": row_of(
        {"question": "One?", "answer": "1", "perturbed_answer": ["2", " 1"]}, kind="questions"
    ),
}


@pytest.mark.parametrize("code", OTHER_DEFECTS)
def test_other(code: str, tmp_path: Path, tiny_tokenizer: Path) -> None:
    (found,) = OTHER_DEFECTS[code](tmp_path, tiny_tokenizer)
    assert (found.code, found.row) == (code, 1)


def test_an_answer_that_holds_no_number(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"prompt": "One?", "answer": "1"}, {"prompt": "Two?", "answer": "two"}])
    (found,) = problems_of(tmp_path, tiny_tokenizer, kind="prompts", answer="number")
    assert (found.code, found.row) == ("no_answer", 2) and "set verify.rule to exact" in found.fix


def test_prompt_that_fills_the_model_leaves_nothing_of_the_completion(tmp_path: Path, tiny_model: Path) -> None:
    import tiny

    limit = 2048  # the tiny model's positions
    tokenizer = tiny.stage(tiny_model, tmp_path / "tokenizer", max_prompt_tokens=limit)
    write(tmp_path, [pair(1), pair(2, prompt="cat " * 3000)])
    (found,) = problems_of(tmp_path, tokenizer)
    assert (found.code, found.row) == ("completion_truncated_away", 2)
    assert "text.max_prompt_tokens below 2048" in found.fix


def test_completion_that_the_tokenizer_drops(tmp_path: Path, tiny_tokenizer: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "tokenizer"
    shutil.copytree(tiny_tokenizer, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Replace", "pattern": {"Regex": "[*]"}, "content": ""}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    write(tmp_path, [pair(1), pair(2, chosen="***")])
    (found,) = problems_of(tmp_path, folder)
    assert (found.code, found.row) == ("empty_completion", 2)


def test_roles_that_the_template_refuses(tmp_path: Path, tiny_model: Path) -> None:
    import tiny

    template = tmp_path / "strict.jinja"
    template.write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        + tiny.CHATML
    )
    tokenizer = tiny.stage(tiny_model, tmp_path / "tokenizer", template=str(template))
    system = {"role": "system", "content": "Be brief."}
    write(tmp_path, [pair(1), pair(2, prompt=[system, user("Hello there.")]), pair(3)])
    (found,) = problems_of(tmp_path, tokenizer)
    assert (found.code, found.row) == ("template_refused", 2) and "System role not supported" in found.message


def test_every_code_has_a_test() -> None:
    tested = {code for code, *_ in [*ROW_DEFECTS.values(), *FILE_DEFECTS.values()]} | set(OTHER_DEFECTS)
    elsewhere = {"completion_truncated_away", "template_refused", "contradiction"}
    assert tested | elsewhere == set(CODES)


def test_misnamed_column_is_guessed(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"Prompt": "a b?", "choosen": "c", "rejected": "d"}])
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert (
        found.message.startswith("no column 'chosen'")
        and "set columns: {chosen: choosen} beside the files" in found.fix
    )


def test_fix_for_a_name_that_yaml_would_trim(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"prompt": "a b?", " chosen": "c", "rejected": "d"}], "csv")
    (found,) = problems_of(tmp_path, tiny_tokenizer)
    assert found.fix.endswith('set columns: {chosen: " chosen"} beside the files.')


def test_mapped_column_that_is_not_there(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [{"question_text": "a b?", "chosen": "c", "rejected": "d"}])
    (found,) = problems_of(tmp_path, tiny_tokenizer, columns={"prompt": "question_txt"})
    assert found.code == "missing_column" and "set columns: {prompt: question_text} beside the files" in found.fix


def test_assistant_prefix_is_accepted_if_asked_for(tmp_path: Path, tiny_tokenizer: Path) -> None:
    write(tmp_path, [pair(1, prompt=[user("Count."), assistant("One, two,")])])
    assert import_files(tmp_path, tiny_tokenizer, allow_assistant_prefix=True).numbers["rows"] == 1


def test_many_defects_of_one_kind_do_not_hide_the_others(tmp_path: Path, tiny_tokenizer: Path) -> None:
    changes: dict[int, dict[str, Any]] = {number: {"chosen": None} for number in range(1, 200)}
    changes |= {200: {"prompt": ""}, 201: {"rejected": 4}}
    write(tmp_path, pairs(300, changes))
    with pytest.raises(DataError) as caught:
        import_files(tmp_path, tiny_tokenizer)
    problems = caught.value.problems
    assert caught.value.total == 201 and len(problems) == 20
    assert [each.code for each in problems] == ["null"] * 18 + ["empty_prompt", "wrong_type"]
    assert [each.row for each in problems] == [*range(1, 19), 200, 201]
    assert "... and 181 more rows with problems." in str(caught.value)
