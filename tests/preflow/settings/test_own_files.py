"""A user's own loss and rule in a run file: what is read from their files, what is refused, what a cache key covers."""

from pathlib import Path
from typing import Any

import pytest

from preflow.errors import SettingsError
from preflow.settings.plan import Plan, make_plan
from preflow.settings.runfile import RunFile, parse_run_file

LOSSES = """
from preflow.losses.logps import margin


def margin_loss(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps, *,
                beta=0.3, target: float):
    return (beta * margin(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps,
                          reference_rejected_logps) - target) ** 2


def nll(policy_chosen_logps, chosen_num_tokens, *, power=1.0):
    return -policy_chosen_logps / chosen_num_tokens**power


def weighted(policy_completion_logps, scores): ...
def stateful(policy_chosen_logps, state): ...
def strange(policy_chosen_logps, beta): ...
def many(*logps): ...
def wrong_role(policy_winner_logps): ...
def no_policy(reference_chosen_logps): ...
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my_losses.py").write_text(LOSSES)
    (tmp_path / "my_rules.py").write_text(
        "def ends(scores, order):\n    return []\n\ndef one(scores):\n    return []\n"
    )
    (tmp_path / "broken.py").write_text("x = 1\ndef f(:\n")
    (tmp_path / "model").mkdir()
    for name in ("pairs.jsonl", "scored.jsonl", "prompts.jsonl", "scorers.py"):
        (tmp_path / name).touch()
    return tmp_path


def parse(folder: Path, name: str, method: str = "dpo", data: str = "pairs", **more: Any) -> RunFile:
    loss = {"name": f"my_losses.py:{name}" if ":" not in name else name, **more}
    content = {"method": method, "model": "./model", "data": {data: f"{data}.jsonl"}, "loss": loss}
    return parse_run_file(content, where="run.yaml", folder=folder)


def plan(folder: Path, *given: Any, **more: Any) -> Plan:
    return make_plan(parse(folder, *given, **more), folder)


def test_what_is_read_from_the_file(folder: Path) -> None:
    loss: Any = parse(folder, "margin_loss", arguments={"target": 2}).loss
    assert loss.keyword_arguments() == {"beta": 0.3, "target": 2}, "the function's own defaults are filled in"
    assert loss.beta_equivalent == 0.3 and loss.needs_reference
    (term,) = loss.terms()
    assert term.loss == "loss_file:margin_loss" and term.roles == {"chosen": "chosen", "rejected": "rejected"}
    free: Any = parse(folder, "nll").loss
    assert not free.needs_reference and free.terms()[0].roles == {"chosen": "chosen"} and free.beta_equivalent is None
    scored: Any = parse(folder, "weighted", "dro", "scored").loss
    assert scored.terms()[0].roles == {"completion": "completion"} and scored.standardise_scores and not scored.values
    coupled: Any = parse(folder, "stateful", coupled=True).loss
    assert coupled.terms()[0].coupled


def test_the_run_file_survives_its_record(folder: Path) -> None:
    """A rerun reads it from run.json, without the user's file."""
    run = parse(folder, "margin_loss", arguments={"target": 2}, coupled=True)
    record = run.model_dump(mode="json")
    assert record["loss"]["name"] == "my_losses.py:margin_loss" and record["loss"]["coupled"] is True
    assert RunFile.model_validate(record) == run


def test_names_and_places_of_the_file_count_for_nothing(folder: Path) -> None:
    (folder / "other").mkdir()
    (folder / "other" / "renamed.py").write_text(LOSSES)
    first, second = plan(folder, "nll"), plan(folder, "other/renamed.py:nll")
    assert first.sections == second.sections
    assert first.inputs["loss_file"].source == f"{folder}/my_losses.py:nll"
    assert first.inputs["loss_file"].kind == "scorer"
    assert "loss_file" not in plan(folder, "nll").sections


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("absent", {}, r"no function 'absent', found margin_loss, nll.* Mend the name"),
        ("absent.py:f", {}, r"cannot be read .* Mend the path"),
        ("broken.py:f", {}, r"broken.py line 2: .* Expected Python. Mend the file"),
        ("my_losses:nll", {}, "expected FILE.py:FUNCTION"),
        ("margin_loss", {}, "loss.arguments.target: missing, .* Add it"),
        ("nll", {"arguments": {"powr": 1}}, "arguments.powr: my_losses.py:nll has no such argument. It takes power"),
        ("nll", {"argument": {}}, "loss.argument: unknown setting. Did you mean 'arguments'"),
        ("nll", {"coupled": "perhaps"}, "loss.coupled: found 'perhaps'"),
        ("nll", {"takes": ["x"]}, "loss.takes has no effect: it is read from the file. Remove it"),
        ("stateful", {}, "takes state, which a coupled loss has. Set loss.coupled: true"),
        ("strange", {}, "takes beta, but the method's rows have chosen_scores, .* a setting stands behind the"),
        ("many", {}, r"line \d+: many takes \*args or \*\*kwargs.* Write them out"),
        ("wrong_role", {}, "takes policy_winner_logps, but the method's rows have the roles chosen, rejected"),
        ("no_policy", {}, "expected something of the policy"),
        ("weighted", {}, "takes policy_completion_logps, but"),
    ],
)
def test_what_does_not_fit_is_found_when_the_run_file_is_read(
    folder: Path, name: str, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        parse(folder, name, **more)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"name": "dpp"}, "loss 'dpp' is none of ours, so it does not fit dpo. Did you mean 'dpop'"),
        ({"name": "dpo", "betta": 1}, "loss.dpo.betta: unknown setting. Did you mean 'beta'"),
        ({"name": "dpo", "beta": -1}, "loss.dpo.beta: found -1"),
        (3, "loss: found 3"),
    ],
)
def test_messages_about_our_own_losses_are_as_before(loss: Any, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_run_file({"method": "dpo", "model": "m", "data": {"pairs": "p"}, "loss": loss})


RSO: dict[str, Any] = {
    "method": "rso",
    "model": "./model",
    "data": {"prompts": "prompts.jsonl"},
    "score": {"scorer": "scorers.py:short"},
}


def rule(folder: Path, name: str, **more: Any) -> RunFile:
    return parse_run_file(RSO | {"pairs": {"rule": name, **more}}, where="run.yaml", folder=folder)


def test_a_rule_from_a_file(folder: Path) -> None:
    made = make_plan(rule(folder, "my_rules.py:ends", labels="soft"), folder)
    assert '"rule":"rule_file:ends"' in made.sections["pairs"]
    assert made.inputs["rule_file"].source == f"{folder}/my_rules.py:ends"
    assert RunFile.model_validate(made.run_file.model_dump(mode="json")) == made.run_file


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("my_rules.py:one", {}, r"takes \(scores\), expected \(scores, order\).* Change its parameters"),
        ("my_rules.py:two", {}, "no function 'two', found ends, one"),
        ("my_rules.py:ends", {"num_pairs": 3}, "pairs.num_pairs has no effect"),
        ("frist_round", {}, "expected one of first_round, .* or FILE.py:FUNCTION; did you mean 'first_round'"),
    ],
)
def test_rules_that_do_not_fit(folder: Path, name: str, more: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        rule(folder, name, **more)
