"""The language model as judge, against a local server that speaks the protocol and misbehaves."""

import json
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

import chat_server
from chat_server import ChatServer, fails, raw, says
from preflow.errors import ScorerError, SettingsError
from preflow.models.judge_llm import LLMJudge, parse_verdict
from preflow.models.judges import both_orders
from preflow.settings.judge import EndpointSettings

PROMPT = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def judge(server: ChatServer, folder: Path, **settings: Any) -> LLMJudge:
    settings = {"url": server.url, "model": "tiny", "timeout_seconds": 5.0, "attempts": 4} | settings
    return LLMJudge(EndpointSettings(**settings), folder / "answers.jsonl", first_wait=0.01)


def ask(one: LLMJudge, firsts: list[str], seconds: list[str]) -> list[float]:
    return one.probabilities([PROMPT] * len(firsts), firsts, seconds)


def likes_red(question: str) -> chat_server.Behaviour:
    """A fair judge: the first answer wins if it is red."""
    return says("Reasons.\nWinner: " + ("A" if "red" in question.partition("<answer_B>")[0] else "B"))


def test_both_orders_of_every_question(tmp_path: Path) -> None:
    with ChatServer(always=likes_red) as server:
        one = judge(server, tmp_path)
        assert both_orders(one, [PROMPT] * 2, ["red", "blue"], ["blue", "red"]) == [(1.0, 0.0), (0.0, 1.0)]
        assert len(server.requests) == 2, "the same two questions, each asked once"
        assert (one.counts.asked, one.counts.requests, one.counts.tokens) == (2, 2, 14)
    request = server.requests[0]
    assert server.paths == ["/v1/chat/completions"] * 2
    assert request["model"] == "tiny" and request["temperature"] == 0 and request["max_tokens"] == 512
    assert "Name a colour." in server.questions[0]
    assert "Authorization" not in server.headers[0]


def test_answers_are_never_paid_twice(tmp_path: Path) -> None:
    with ChatServer(always=likes_red) as server:
        assert ask(judge(server, tmp_path), ["red", "green"], ["blue", "blue"]) == [1, 0]
        again = judge(server, tmp_path)
        assert ask(again, ["red", "pink", "green"], ["blue", "blue", "blue"]) == [1, 0, 0]
        assert len(server.requests) == 3
        assert (again.counts.kept, again.counts.asked) == (2, 1)
        assert ask(judge(server, tmp_path, model="other"), ["red"], ["blue"]) == [1]
        assert ask(judge(server, tmp_path, parameters={"seed": 1}), ["red"], ["blue"]) == [1]
        assert len(server.requests) == 5, "another model or parameter is another question"
    with ChatServer([fails(500)] * 99) as dead:
        assert ask(judge(dead, tmp_path), ["red"], ["blue"]) == [1], "the address is no part of the question"
        assert not dead.requests


def test_an_unfinished_line_of_a_killed_process(tmp_path: Path) -> None:
    with ChatServer(always=likes_red) as server:
        ask(judge(server, tmp_path), ["red", "green"], ["blue", "blue"])
        path = tmp_path / "answers.jsonl"
        path.write_bytes(path.read_bytes()[:-20])
        assert ask(judge(server, tmp_path), ["red", "green"], ["blue", "blue"]) == [1, 0]
        assert len(server.requests) == 3, "only the damaged answer was asked for again"
        assert ask(judge(server, tmp_path), ["red", "green"], ["blue", "blue"]) == [1, 0]
        assert len(server.requests) == 3, "the new line was not glued to the unfinished one"


@pytest.mark.parametrize(
    "bad",
    [
        fails(429),
        fails(500),
        fails(503, Retry_After="0"),
        fails(503, Retry_After=formatdate(0, usegmt=True)),
        fails(529, body="<html>overloaded</html>"),
        raw(b"<html>not json</html>"),
        raw(b"[1, 2]"),
        raw(b'{"choices": []}'),
        raw(b'{"choices": [{"message": {"content": 3}}]}'),
        raw(b'{"error": {"message": "try later"}}'),
        raw(b"\xff\xfe"),
        says(None),
        chat_server.truncated(),
        chat_server.drops,
    ],
)
def test_passing_failures_are_tried_again(tmp_path: Path, bad: chat_server.Behaviour) -> None:
    with ChatServer([bad, bad], always=likes_red) as server:
        one = judge(server, tmp_path, concurrency=1)
        assert ask(one, ["red"], ["blue"]) == [1]
        assert (len(server.requests), one.counts.requests, one.counts.asked) == (3, 3, 1)
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("bad", [chat_server.hangs, chat_server.drips])
def test_an_answer_that_is_late_is_given_up(tmp_path: Path, bad: chat_server.Behaviour) -> None:
    with ChatServer([bad], always=likes_red) as server:
        start = time.monotonic()
        assert ask(judge(server, tmp_path, timeout_seconds=0.3), ["red"], ["blue"]) == [1]
        assert time.monotonic() - start < 20, "a server would hold it for 30 s, or for ever"


def test_a_slow_answer_is_waited_for(tmp_path: Path) -> None:
    with ChatServer([chat_server.slow(0.3, "Winner: B")]) as server:
        assert ask(judge(server, tmp_path), ["red"], ["blue"]) == [0]
        assert len(server.requests) == 1


def test_gives_up_in_the_end(tmp_path: Path) -> None:
    with ChatServer(always=lambda question: fails(503, "down")) as server:
        with pytest.raises(ScorerError, match="no answer after 3 attempts; the last: answered 503 .*'down'"):
            ask(judge(server, tmp_path, attempts=3), ["red"], ["blue"])
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (fails(400, "max_tokens too large"), "answered 400 .*max_tokens too large.*Mend the endpoint section"),
        (fails(404), r"404.*Mend endpoint\.url or endpoint\.model"),
        (fails(429, '{"error": {"code": "insufficient_quota"}}'), "out of quota"),
        (fails(302, "", Location="http://127.0.0.1:9/steal"), "302"),
        (fails(307, "", Location="http://127.0.0.1:9/steal"), "307"),
    ],
)
def test_failures_for_good_are_not_tried_again(tmp_path: Path, bad: chat_server.Behaviour, message: str) -> None:
    with ChatServer([bad]) as server:
        with pytest.raises(ScorerError, match=message):
            ask(judge(server, tmp_path), ["red"], ["blue"])
        assert len(server.requests) == 1


def test_retry_after_holds_every_question(tmp_path: Path) -> None:
    with ChatServer([fails(429, Retry_After="0.4")], always=likes_red) as server:
        assert ask(judge(server, tmp_path, concurrency=1), ["red", "green"], ["blue", "blue"]) == [1, 0]
        assert server.times[1] - server.times[0] >= 0.39
    with ChatServer([fails(429, Retry_After="3600")]) as server:
        with pytest.raises(
            ScorerError, match=r"asks to wait 3600 s. Expected at most endpoint.max_wait_seconds \(300\)"
        ):
            ask(judge(server, tmp_path), ["pink"], ["blue"])


def test_rate_limit_and_concurrency(tmp_path: Path) -> None:
    texts = [f"colour {number}" for number in range(8)]
    with ChatServer(always=lambda question: chat_server.slow(0.1, "Winner: A")) as server:
        ask(judge(server, tmp_path / "few", concurrency=2), texts, ["blue"] * 8)
        assert server.most_open == 2
    with ChatServer() as server:
        one = judge(server, tmp_path / "limited", requests_per_minute=60 / 0.05)
        ask(one, texts[:3], ["blue"] * 3)
        ask(one, texts[3:6], ["blue"] * 3)
        gaps = [after - before for before, after in zip(server.times, server.times[1:], strict=False)]
        assert server.times[-1] - server.times[0] >= 0.2, f"six starts of 0.05 s each, over two batches: {gaps}"


def test_an_answer_that_names_no_winner(tmp_path: Path) -> None:
    with ChatServer([says("Winner: C"), says("Both are fine.")]) as server:
        with pytest.raises(
            ScorerError, match=r"cannot read a winner from the answer 'Winner: C'.*Expected a line `Winner: A`"
        ):
            ask(judge(server, tmp_path), ["red"], ["blue"])
        with pytest.raises(ScorerError, match="cannot read a winner from the answer 'Winner: C'"):
            ask(judge(server, tmp_path), ["red", "green"], ["blue", "blue"])
        assert len(server.requests) == 1, "neither asked again, nor is more asked before it is mended"
        lenient = judge(server, tmp_path, unparsed="tie")
        assert ask(lenient, ["red", "green"], ["blue", "blue"]) == [0.5, 0.5]
        assert lenient.counts.unparsed == 2
        assert lenient.verdicts([PROMPT], ["red"], ["blue"])[0].raw == "Winner: C"


def test_a_cut_answer_and_a_refusal(tmp_path: Path) -> None:
    with ChatServer([says("I think that", finish_reason="length"), says(None, refusal="I cannot judge.")]) as server:
        with pytest.raises(ScorerError, match=r"It was cut: raise endpoint.max_tokens"):
            ask(judge(server, tmp_path), ["red"], ["blue"])
        with pytest.raises(ScorerError, match="I cannot judge"):
            ask(judge(server, tmp_path), ["green"], ["blue"])


@pytest.mark.parametrize(
    "filtered",
    [fails(400, '{"error": {"code": "content_filter"}}'), says(None, finish_reason="content_filter")],
)
def test_texts_that_the_endpoint_does_not_let_pass(tmp_path: Path, filtered: chat_server.Behaviour) -> None:
    with ChatServer([filtered], always=likes_red) as server:
        one = judge(server, tmp_path, unparsed="tie", concurrency=1)
        assert ask(one, ["rude", "red"], ["blue", "blue"]) == [0.5, 1]
        assert (len(server.requests), one.counts.unparsed) == (2, 1)


def test_the_first_failure_stops_the_rest_and_keeps_what_came(tmp_path: Path) -> None:
    def behave(question: str) -> chat_server.Behaviour:
        return fails(400, "bad") if "colour 3" in question else says("Winner: A")

    texts = [f"colour {number}" for number in range(50)]
    with ChatServer(always=behave) as server:
        with pytest.raises(ScorerError, match="answered 400"):
            ask(judge(server, tmp_path, concurrency=2), texts, ["blue"] * 50)
        asked = len(server.requests)
        assert asked < 50
        kept = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
        assert len(kept) == asked - 1
        assert threading.active_count() < 20
        one = judge(server, tmp_path)
        with pytest.raises(ScorerError, match="answered 400"):
            ask(one, texts, ["blue"] * 50)
        assert one.probabilities([PROMPT], ["colour 1"], ["blue"]) == [1], "a judge that stopped can be asked again"


def test_the_key_is_sent_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-123\n")
    with ChatServer([says("I saw sk-secret-123. Winner: A"), chat_server.echoes_key]) as server:
        assert ask(judge(server, tmp_path, key_variable="MY_KEY"), ["red"], ["blue"]) == [1]
        assert server.headers[0]["Authorization"] == "Bearer sk-secret-123"
        with pytest.raises(ScorerError, match=r"401.*key_variable") as caught:
            ask(judge(server, tmp_path, key_variable="MY_KEY"), ["green"], ["blue"])
    assert "secret" not in str(caught.value)
    assert "secret" not in (tmp_path / "answers.jsonl").read_text()
    for value in ("", " ", "two words", "kéy"):
        monkeypatch.setenv("MY_KEY", value)
        with pytest.raises(ScorerError, match="MY_KEY"):
            judge(server, tmp_path, key_variable="MY_KEY")


def test_the_question_is_filled_in_one_pass(tmp_path: Path) -> None:
    template = "{prompt} | {first} | {second} | {other} { }"
    with ChatServer() as server:
        one = judge(server, tmp_path, template=template, system="You judge.", temperature=None, max_tokens=None)
        conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        assert one.probabilities([conversation], ["{second} {prompt}"], ["{0}"]) == [1]
    assert server.questions == ["system: Be brief.\n\nuser: Hi | {second} {prompt} | {0} | {other} { }"]
    assert server.requests[0]["messages"][0] == {"role": "system", "content": "You judge."}
    assert set(server.requests[0]) == {"model", "messages"}


def test_progress_counts_what_is_asked(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with ChatServer() as server:
        one = judge(server, tmp_path)
        one.progress = lambda done, total: seen.append((done, total))
        ask(one, ["red", "green"], ["blue", "blue"])
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("answer", "probability"),
    [
        ("Winner: A", 1.0),
        ("winner: b", 0.0),
        ("**Winner:** B", 0.0),
        ("The winner is A.", 1.0),
        ("Winner: Answer B", 0.0),
        ("Winner: A (A is more helpful)", 1.0),
        ("The winner is clear. Winner: B", 0.0),
        ("Winner: B at first. But then:\nWinner: A\nThanks.", 1.0),
        ("<think>Winner: A</think>\nB", 0.0),
        ("(A)", 1.0),
        ("My verdict is [[B]]", 0.0),
        ("[[C]]", 0.5),
        ("Winner: tie", 0.5),
        ("`Winner: A` or `Winner: B`", None),
        ("Winner: A or B", None),
        ("Winner: not A", None),
        ("Winner: both", None),
        ("Winner: C", None),
        ("A is better.", None),
        ("A winner is a matter of taste", None),
        ("", None),
    ],
)
def test_reading_a_verdict(answer: str, probability: float | None) -> None:
    assert parse_verdict(answer) == probability


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "host/v1"}, "expected an address"),
        ({"url": "https://me:secret@host/v1"}, "without user"),
        ({"url": "https://host/v1?key=secret"}, "without user"),
        ({"parameters": {"stream": True}}, "stream cannot be set"),
        ({"template": "Which? {first}"}, "{first} and {second}"),
    ],
)
def test_endpoint_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        EndpointSettings.parse(json.dumps({"url": "http://host/v1", "model": "tiny"} | settings))
    assert EndpointSettings(url="http://host/v1/chat/completions", model="tiny").url == "http://host/v1"
