"""The text section: how messages become tokens. Staged with the tokenizer, so that every step reads the same contract."""

from preflow.settings.section import Section, setting


class TextSettings(Section):
    template: str = setting(
        "chat",
        "`chat`: the tokenizer's own chat template; `none`: the texts as they are; else a Jinja file.",
        source="the model's own format is what it was tuned on",
    )
    max_prompt_tokens: int = setting(
        512,
        "longer prompts lose their beginning; counted in the data report",
        source="DPO official config.yaml keeps the end",
        ge=1,
    )
    max_completion_tokens: int = setting(
        512,
        "longer completions lose their end, and their end-of-turn token with it",
        source="max_length 1024 of TRL 1.16, halved",
        ge=1,
    )
