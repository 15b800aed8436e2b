"""A language model as judge, behind an OpenAI-compatible endpoint. Every answer is kept: none is paid for twice."""

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preflow.artifacts.ids import Message, content_id
from preflow.errors import ScorerError
from preflow.models.chat_client import FIRST_WAIT, ChatAnswer, ChatClient, Stopped
from preflow.models.judges import Judge, Prompts, Verdict
from preflow.models.kept_answers import KeptAnswers
from preflow.settings.judge import EndpointSettings

TEMPLATE = """Which of two answers to the conversation below serves the user better? Look at whether they are correct, \
helpful and harmless and do what was asked. Neither their order nor their length counts.

<conversation>
{prompt}
</conversation>

<answer_A>
{first}
</answer_A>

<answer_B>
{second}
</answer_B>

Give your reasons in a sentence or two. Then end with one line: `Winner: A` or `Winner: B`."""
EXPECTED = "a line `Winner: A` or `Winner: B`, or one letter"
FILLERS = "is|the|answer|response|option|assistant|completion"
MARKS = " \t\n*_`'\".,:;!()[]{}<>"
SHOWN = 500

Question = dict[str, Any]
Progress = Callable[[int, int], None]


def parse_verdict(answer: str) -> float | None:
    """P(first wins) of an answer: 1 for A, 0 for B, 1/2 for a tie; None where it names no winner, or both.

    What counts is the last line that says "winner", else the last `[[A]]`, else an answer that is a letter and no more.

    >>> parse_verdict("B is vague.\\n**Winner: A**"), parse_verdict("B."), parse_verdict("Winner: A or B")
    (1.0, 0.0, None)
    """
    text = answer.rpartition("</think>")[2]
    lines = [line for line in text.splitlines() if re.search(r"\bwinner\b", line, re.IGNORECASE)]
    if lines:
        named = {_named(part) for part in re.split(r"\bwinner\b", lines[-1], flags=re.IGNORECASE)[1:]} - {None}
        return named.pop() if len(named) == 1 else None
    bracketed = re.findall(r"\[\[([ABC])\]\]", text)
    if bracketed:
        return {"A": 1.0, "B": 0.0, "C": 0.5}[bracketed[-1]]
    alone = text.strip(MARKS).upper()
    return {"A": 1.0, "B": 0.0}.get(alone)


def _named(rest: str) -> float | None:
    """Whom the rest of a line behind "winner" names."""
    rest = rest.strip(MARKS)
    if re.fullmatch(r"(is )?(it's )?(a )?(tie|draw)", rest, re.IGNORECASE):
        return 0.5
    if rest in ("a", "b"):
        return float(rest == "a")
    found = re.fullmatch(rf"(?:(?i:{FILLERS})\W+)*([AB])\b(.*)", rest)
    if found is None or re.search(r"\b[AB]\b", found[2].replace(found[1], "")):
        return None
    return float(found[1] == "A")


@dataclass
class Counts:
    """What judging took so far: `kept` answers were there already, `requests` include those that failed."""

    asked: int = 0
    kept: int = 0
    requests: int = 0
    tokens: int = 0
    unparsed: int = 0


class LLMJudge(Judge):
    """Asks `settings.concurrency` questions at once. `answers` is the file of kept answers, which may be shared.

    An answer is kept under the content of its question: model, messages and parameters, not the address. Raises
    ScorerError where the variable that should hold the key does not.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        answers: str | Path,
        progress: Progress = lambda done, total: None,
        first_wait: float = FIRST_WAIT,
    ):
        self.settings, self.progress, self.counts = settings, progress, Counts()
        self.template = settings.template or TEMPLATE
        self.name, self.version = settings.model, content_id("judge", self._question("", "", ""))[:12]
        self._kept, self._key = KeptAnswers(answers), read_key(settings.key_variable)
        self._client = ChatClient(
            settings.url,
            key=self._key,
            timeout=settings.timeout_seconds,
            attempts=settings.attempts,
            max_wait=settings.max_wait_seconds,
            requests_per_minute=settings.requests_per_minute,
            first_wait=first_wait,
        )

    def verdicts(self, prompts: Prompts, firsts: Sequence[str], seconds: Sequence[str]) -> list[Verdict]:
        texts = [_conversation(each) for each in prompts]
        questions = [self._question(*each) for each in zip(texts, firsts, seconds, strict=True)]
        keys = [content_id("question", each) for each in questions]
        missing = {key: each for key, each in zip(keys, questions, strict=True) if self._kept.get(key) is None}
        known = set(keys) - set(missing)
        self.counts.kept += len(known)
        for key in known:
            self._verdict(key)  # an answer that cannot be read had better be found before more is paid for
        if missing:
            self._ask(missing)
        found = [self._verdict(key) for key in keys]
        self.counts.unparsed += sum(each is None for each in found)
        return [each or Verdict(0.5, self._answer(key)["answer"]) for each, key in zip(found, keys, strict=True)]

    def _question(self, prompt: str, first: str, second: str) -> Question:
        """The body of a request. Places are filled in one pass: a text may hold braces of its own."""
        places = {"{prompt}": prompt, "{first}": first, "{second}": second}
        asked = re.sub(r"\{(?:prompt|first|second)\}", lambda found: places[found[0]], self.template)
        system = [{"role": "system", "content": self.settings.system}] if self.settings.system else []
        own = {"temperature": self.settings.temperature, "max_tokens": self.settings.max_tokens}
        return {
            "model": self.settings.model,
            "messages": [*system, {"role": "user", "content": asked}],
            **{name: value for name, value in own.items() if value is not None},
            **self.settings.parameters,
        }

    def _ask(self, missing: dict[str, Question]) -> None:
        """Ask and keep. The first failure for good stops the rest; answers on their way are still kept."""
        self._client.resume()
        pool = ThreadPoolExecutor(self.settings.concurrency, "judge")
        try:
            futures = [pool.submit(self._ask_one, key, question) for key, question in missing.items()]
            for done, future in enumerate(as_completed(futures), 1):
                answer = future.result()
                self.counts.asked += answer is not None
                self.counts.tokens += answer.tokens if answer else 0
                self.progress(done, len(futures))
        finally:
            self._client.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            self.counts.requests = self._client.requests

    def _ask_one(self, key: str, question: Question) -> ChatAnswer | None:
        try:
            answer = self._client.complete(question)
            self._kept.add(key, self._record(answer))
            self._verdict(key)
        except Stopped:
            return None
        except Exception:
            self._client.stop()
            raise
        return answer

    def _record(self, answer: ChatAnswer) -> dict[str, Any]:
        text = answer.text.replace(self._key, "***") if self._key else answer.text
        return {"model": self.settings.model, "answer": text, "finish_reason": answer.finish_reason}

    def _answer(self, key: str) -> dict[str, Any]:
        found = self._kept.get(key)
        assert found is not None, "every question of a batch has been answered"
        return found

    def _verdict(self, key: str) -> Verdict | None:
        """The verdict of a kept answer; None where it cannot be read and `unparsed` is tie. Raises ScorerError."""
        kept = self._answer(key)
        probability = parse_verdict(kept["answer"])
        if probability is not None:
            return Verdict(probability, kept["answer"])
        if self.settings.unparsed == "tie":
            return None
        cut = " It was cut: raise endpoint.max_tokens." if kept.get("finish_reason") == "length" else ""
        raise ScorerError(
            f"judge {self.name}: cannot read a winner from the answer {kept['answer'][:SHOWN]!r} "
            f"(key {key} of {self._kept.path}). Expected {EXPECTED}.{cut} Mend endpoint.template, or set endpoint.unparsed to tie."
        )


def _conversation(messages: Sequence[Message]) -> str:
    """The prompt as text: a lone user message as it is, a longer conversation with the roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)


def read_key(variable: str | None) -> str | None:
    """The endpoint's key, from an environment variable; None without one. Raises ScorerError."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ScorerError(
            f"the environment variable {variable} (endpoint.key_variable) is {'unusable' if key else 'not set'}. "
            "Expected the endpoint's key: set it where the step runs, on a cluster through a secret."
        )
    return key
