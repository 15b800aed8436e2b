"""The judge section: who compares two completions of a prompt, and which of them are compared."""

from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import field_validator, model_validator

from preflow.settings.section import Section, setting

OWN_FIELDS = frozenset({"model", "messages", "stream", "n"})
ENDPOINT, REWARD_MODEL = "endpoint", "reward_model"
JudgeKind = Literal["function", "matrix", "endpoint", "reward_model"]


class EndpointSettings(Section):
    """A language model behind an OpenAI-compatible `/v1/chat/completions`."""

    url: str = setting(..., "the address, up to and including /v1", source="yours")
    model: str = setting(..., "the model, as the endpoint calls it", source="yours")
    key_variable: str | None = setting(
        None,
        "name of the environment variable that holds the key, which is never stored",
        source="a server of your own needs none",
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
    )
    temperature: float | None = setting(
        0.0, "softmax temperature; null: the endpoint's own", source="arXiv 2306.05685 (MT-bench) judges at 0", ge=0.0
    )
    max_tokens: int | None = setting(
        512, "longest answer; null: the endpoint's own limit", source="a few sentences and a verdict", ge=1
    )
    parameters: dict[str, Any] = setting({}, "further fields of the request, such as `seed`", source="none are needed")
    system: str | None = setting(None, "the system message", source="the template says it all")
    template: str | None = setting(
        None,
        "the question: a text with {prompt}, {first} and {second} that asks for a line `Winner: A` or `Winner: B`; "
        "null: the built-in one",
        source="arXiv 2306.05685, figure 5, shortened",
    )
    unparsed: Literal["stop", "tie"] = setting(
        "stop", "an answer without a verdict stops the step, or counts as 1/2", source="nothing is lost silently"
    )
    requests_per_minute: float | None = setting(
        None, "null: no limit but the endpoint's own, which is obeyed", source="endpoints say 429", gt=0.0
    )
    concurrency: int = setting(8, "questions asked at once", source="a usual endpoint's share", ge=1, le=256)
    timeout_seconds: float = setting(120.0, "longest wait for one whole answer", source="a slow model's answer", gt=0.0)
    attempts: int = setting(
        6, "how often a question is tried", source="with doubling waits, half a minute in all", ge=1
    )
    max_wait_seconds: float = setting(
        300.0,
        "longest wait that an endpoint may ask for; one that asks for more ends the step",
        source="five minutes: more is an outage",
        gt=0.0,
    )

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address such as https://host/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("an address is stored and shown: expected one without user, password or query")
        return url.rstrip("/").removesuffix("/chat/completions")

    @field_validator("parameters")
    @classmethod
    def _no_own_fields(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(OWN_FIELDS & set(parameters)):
            raise ValueError(f"{', '.join(taken)} cannot be set here")
        return parameters

    @field_validator("template")
    @classmethod
    def _both_texts(cls, template: str | None) -> str | None:
        if template is not None and not all(f"{{{name}}}" in template for name in ("first", "second")):
            raise ValueError("expected a text with {first} and {second}")
        return template


class JudgeOptions(Section):
    """What the run file says about judging, beside the judge itself."""

    schedule: Literal["all", "tournament", "versus_baseline"] = setting(
        "all",
        "all: every pair of a prompt's candidates; tournament: winners go on, k - 1 pairs; versus_baseline: each against "
        "one of them, drawn at random",
        source="SPPO section 5.1 judges all; SLiC-HF holds tournaments; RSO section 3.2 has a baseline",
    )
    both_orders: bool = setting(
        True, "ask every pair twice, each text once in the first place", source="judges have a taste for a place"
    )
    batch_size: int = setting(64, "questions given to the judge at once", source="memory", ge=1)
    seed: int = setting(0, "draws are keyed by (seed, prompt_id)", source="fixed", ge=0)
    endpoint: EndpointSettings | None = setting(None, "of `judge: endpoint`", source="no endpoint")


class JudgeSection(JudgeOptions):
    judge: str = setting(
        ...,
        "FILE.py:FUNCTION or MODULE:FUNCTION (the function takes prompts, firsts and seconds, returns P(first wins)), "
        "FILE.json (a preference matrix), endpoint, or reward_model",
        source="yours",
    )

    @model_validator(mode="after")
    def _endpoint_where_it_is_used(self) -> Self:
        if (self.judge == ENDPOINT) != (self.endpoint is not None):
            raise ValueError("`judge: endpoint` and the section `endpoint` go together")
        return self

    @property
    def kind(self) -> JudgeKind:
        if self.judge in (ENDPOINT, REWARD_MODEL):
            return self.judge  # type: ignore[return-value]
        return "matrix" if self.judge.endswith(".json") else "function"


class JudgeSettings(JudgeOptions):
    """What the step `judge_candidates` receives; a function's or matrix's file arrives as an input, by content."""

    kind: JudgeKind = setting("function", "what the judge is", source="the run file's `judge`")
    function: str = setting(
        "prefer", "name of the function in the judge's file", source="the run file's `judge: FILE:FUNCTION`"
    )


class VerifySettings(Section):
    """How a completion's final answer is compared with the prompt's `answer`."""

    rule: Literal["exact", "numeric"] = setting(
        "exact",
        "exact: the same text but for case, spaces and marks around it; numeric: the same number",
        source="GSM8K compares the last number",
    )
    tolerance: float = setting(
        1e-6,
        "numbers that differ by this share of the larger one, or by this much, are equal",
        source="rounding",
        ge=0.0,
    )
