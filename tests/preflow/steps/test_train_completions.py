"""Training on single completions: labelled, scored, unwanted with samples, forgotten beside retained."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import completion_rows
import tiny
from preflow.artifacts.io import read_rows, write_rows
from preflow.artifacts.kinds import COMPLETIONS
from preflow.artifacts.manifest import read_manifest
from preflow.errors import SettingsError
from preflow.models.values import load_values
from preflow.settings.generate import GenerateSettings
from preflow.settings.losses.completions import D2OLoss, DROLoss, GradientAscentLoss, KTOLoss, NPOLoss
from preflow.settings.reference import ReferenceSettings
from preflow.settings.train import LoraSettings, TrainSettings
from preflow.steps.generate_candidates import step as generate_step
from preflow.steps.kit import Step
from preflow.steps.reference_logps import step as reference_step
from preflow.steps.train_preference import step as train_step
from preflow.tracking.journal import Journal, read_journal, series

Paths = dict[str, str]


@pytest.fixture
def paths(tmp_path: Path, tiny_model: Path, tiny_tokenizer: Path) -> Paths:
    return {"model": str(tiny_model), "tokenizer": str(tiny_tokenizer)}


def prepared(folder: Path, paths: Paths, rows: Any, samples: str | None = None) -> Paths:
    """`rows` as data, with the start model's log-probs of them."""
    write_rows(folder / "data", COMPLETIONS, rows)
    given = {**paths, "data": str(folder / "data"), **({"samples": samples} if samples else {})}
    step = Step.detached(folder / "reference", ReferenceSettings(micro_batch_tokens=512).canonical())
    reference_step.run(step, **given, logps=str(folder / "logps"))
    return {**given, "logps": str(folder / "logps")}


def train(given: Paths, folder: Path, loss: Any, **settings: Any) -> Journal:
    values = {
        "batch_size": 6,
        "learning_rate": 3e-3,
        "micro_batch_tokens": 256,
        "objective": loss.terms(),
        "standardise_scores": loss.standardise_scores,
        "beta_equivalent": loss.beta_equivalent,
        **settings,
    }
    step = Step.detached(folder, TrainSettings(**values).canonical(), "train_preference")
    train_step.run(step, **given, trained=str(folder / "trained"))
    step.write_journal({})
    return read_journal(folder / "journal.json")


def first(journal: Journal, name: str = "train/loss") -> float:
    return dict(series(journal, name))[1]


def last(journal: Journal, name: str) -> float:
    return series(journal, name)[-1][1]


class TestLabelled:
    def test_first_loss_is_half_and_labels_are_learned(self, paths: Paths, tmp_path: Path) -> None:
        """Also with a last batch of a single row: 13 rows in batches of 6."""
        given = prepared(tmp_path, paths, completion_rows.labelled(13))
        journal = train(given, tmp_path / "a", KTOLoss(beta=0.5), epochs=6)
        assert first(journal) == pytest.approx(0.5, abs=1e-6)
        assert first(journal, "train/reference_point") == pytest.approx(0, abs=1e-4)
        losses = [value for _, value in series(journal, "train/loss")]
        assert len(losses) == 18 and losses[-2] < 0.45
        assert all(value >= 0 for _, value in series(journal, "train/reference_point"))
        assert "train/mismatched_log_ratio" in {point["name"] for point in journal["metrics"]}

    def test_weights_multiply(self, paths: Paths, tmp_path: Path) -> None:
        """2 of 8 desirable: (2 * 3 + 6 * 1) / 8 / 2."""
        rows = completion_rows.completions(8, desirable=lambda number: number < 2)
        given = prepared(tmp_path, paths, rows)
        journal = train(given, tmp_path / "a", KTOLoss(desirable_weight=3.0), batch_size=8)
        assert first(journal) == pytest.approx(12 / 8 / 2, abs=1e-6)
        assert not journal["warnings"], "3 * 2 / 6 = 1 keeps the rule"

    @pytest.mark.parametrize(
        ("good", "words"),
        [(1, "is 0.143, expected 1 to 1.33. Set loss.desirable_weight to 7 to 9.33"), (0, "all 8 training completions")],
    )  # fmt: skip
    def test_imbalance_is_said(self, good: int, words: str, paths: Paths, tmp_path: Path) -> None:
        rows = completion_rows.completions(8, desirable=lambda number: number < good)
        journal = train(prepared(tmp_path, paths, rows), tmp_path / "a", KTOLoss(), max_steps=1)
        assert words in journal["warnings"][0]

    def test_adapter_is_its_own_reference(self, paths: Paths, tmp_path: Path) -> None:
        """The base without the adapter answers for mismatched pairs: as a reference of its own would."""
        given = prepared(tmp_path, paths, completion_rows.labelled(12))
        lora = LoraSettings(rank=2)
        alone = train(given, tmp_path / "a", KTOLoss(), epochs=2, lora=lora)
        beside = train({**given, "reference": paths["model"]}, tmp_path / "b", KTOLoss(), epochs=2, lora=lora)
        for name in ("train/loss", "train/mismatched_log_ratio"):
            found = [value for _, value in series(alone, name)]
            assert found == pytest.approx([value for _, value in series(beside, name)], abs=1e-5)

    def test_a_resumed_run_ends_alike(self, paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Mismatched pairs of earlier batches leave no trace."""
        given = prepared(tmp_path, paths, completion_rows.labelled(13))
        settings = {"epochs": 3, "checkpoint_steps": 1}
        train(given, tmp_path / "whole", KTOLoss(), **settings)
        from preflow.training.loop import Trainer

        steps = iter([False] * 9 + [True] * 99)
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_leave_if_asked", lambda self: next(steps) and self._stop())
            patch.setattr(Trainer, "_stop", lambda self: (_ for _ in ()).throw(KeyboardInterrupt), raising=False)
            with pytest.raises(KeyboardInterrupt):
                train(given, tmp_path / "cut", KTOLoss(), **settings)
        shutil.copytree(tmp_path / "cut" / "checkpoints", tmp_path / "resumed" / "checkpoints")
        resumed = train(given, tmp_path / "resumed", KTOLoss(), **settings)
        assert len(series(resumed, "train/loss")) == 9
        digests = [read_manifest(tmp_path / name / "trained").digest for name in ("whole", "resumed")]
        assert digests[0] == digests[1]


class TestScored:
    def test_value_and_policy_learn_apart(self, paths: Paths, tmp_path: Path) -> None:
        """First loss: V = 0 and h = 0, so mean r^2 (1 / (2 tau) + 1 / 2) = 1 / (2 tau) + 1 / 2 over standardised scores."""
        rows = list(completion_rows.scored(12))
        given = prepared(tmp_path, paths, rows)
        journal = train(given, tmp_path / "a", DROLoss(tau=0.5), batch_size=12, epochs=12, value_learning_rate=3e-3)
        assert first(journal) == pytest.approx(1 / (2 * 0.5) + 0.5, abs=1e-5)
        assert last(journal, "train/loss") < 0.6 * first(journal)
        assert last(journal, "train/value_grad_norm") != last(journal, "train/grad_norm")
        scores = np.array([row["score"] for row in rows])
        facts = read_manifest(tmp_path / "a" / "trained").facts
        assert (facts["score_mean"], facts["score_std"]) == pytest.approx((scores.mean(), scores.std()))
        assert load_values(tmp_path / "a" / "trained") is not None
        assert load_values(paths["model"]) is None

    def test_the_value_rate_moves_the_value_alone(self, paths: Paths, tmp_path: Path) -> None:
        """At the first step V = 0 whatever its rate, so the policy's first update is the same."""
        given = prepared(tmp_path, paths, completion_rows.scored(8))
        for name, rate in (("a", 1e-2), ("b", 1e-4)):
            train(given, tmp_path / name, DROLoss(), max_steps=1, batch_size=8, value_learning_rate=rate)
        policies, values = (
            [load_file(tmp_path / name / "trained" / place / "model.safetensors") for name in "ab"] for place in ("", "value")
        )  # fmt: skip
        assert all(torch.equal(policies[0][name], policies[1][name]) for name in policies[0])
        assert any(not torch.equal(values[0][name], values[1][name]) for name in values[0])

    def test_equal_scores_are_refused(self, paths: Paths, tmp_path: Path) -> None:
        given = prepared(tmp_path, paths, completion_rows.completions(4, score=2.0))
        with pytest.raises(SettingsError, match="all 4 scores are 2"):
            train(given, tmp_path / "a", DROLoss())

    def test_labels_are_no_scores(self, paths: Paths, tmp_path: Path) -> None:
        given = prepared(tmp_path, paths, completion_rows.labelled(4))
        with pytest.raises(SettingsError, match=r"needs \['scores'\] in every row, but the data has \['desirable'\]"):
            train(given, tmp_path / "a", DROLoss())


def sampled(folder: Path, paths: Paths, rows: Any, count: int) -> str:
    """`count` samples of the prompts of `rows`, under an instruction."""
    write_rows(folder / "data", COMPLETIONS, rows)
    settings = GenerateSettings(candidates_per_prompt=count, max_new_tokens=8, instruction="Be kind.", temperature=1.0)
    step = Step.detached(folder / "generate", settings.canonical())
    generate_step.run(step, **paths, prompts=str(folder / "data"), completions=str(folder / f"samples{count}"))
    return str(folder / f"samples{count}")


class TestUnwanted:
    def test_first_loss_is_log_two_and_the_unwanted_falls(self, paths: Paths, tmp_path: Path) -> None:
        rows = list(completion_rows.completions(6, desirable=False))
        samples = sampled(tmp_path, paths, rows, 3)
        given = prepared(tmp_path, paths, rows, samples)
        journal = train(given, tmp_path / "a", D2OLoss(), epochs=6)
        assert first(journal) == pytest.approx(math.log(2), abs=1e-5)
        assert last(journal, "train/completion_log_ratio") < -1
        assert last(journal, "train/self_sample_log_ratio") > last(journal, "train/completion_log_ratio")

    def test_a_prompt_is_sampled_once_for_all_its_rows(self, paths: Paths, tmp_path: Path) -> None:
        """And what is trained on stands behind the prompt alone, without the instruction."""
        rows = list(completion_rows.completions(2, desirable=False))
        rows += [row | {"completion_id": f"{number}", "text": f"another {number}"} for number, row in enumerate(rows)]
        found = list(read_rows(sampled(tmp_path, paths, rows, 4), COMPLETIONS))
        assert len(found) == 8
        assert {json.dumps(row["prompt"]) for row in found} == {json.dumps(row["prompt"]) for row in rows}

    def test_two_references(self, paths: Paths, tmp_path: Path) -> None:
        """z = beta * mean(log pi/harmful of samples) - alpha * log pi/helpful of the unwanted; the policy is `helpful`."""
        rows = list(completion_rows.completions(4, desirable=False))
        samples = sampled(tmp_path, paths, rows, 2)
        given = prepared(tmp_path, paths, rows)
        other = tiny.make_model(tmp_path / "other", seed=5)
        (tmp_path / "harmful").mkdir()
        harmful = prepared(tmp_path / "harmful", {**paths, "model": str(other)}, rows, samples)
        journal = train(
            {**given, "samples": samples, "sample_logps": harmful["logps"]},
            tmp_path / "a",
            D2OLoss(beta=0.2),
            max_steps=1,
        )
        assert first(journal, "train/completion_log_ratio") == pytest.approx(0, abs=1e-4)
        assert first(journal, "train/self_sample_log_ratio") > 1, "its own samples are likelier under the policy"
        assert first(journal) < math.log(2)


class TestForget:
    def companions(self, folder: Path) -> str:
        write_rows(folder / "retain", COMPLETIONS, completion_rows.completions(9, seed=3))
        return str(folder / "retain")

    @pytest.mark.parametrize("retain", ["none", "nll", "kl"])
    def test_first_loss_and_both_streams(self, retain: str, paths: Paths, tmp_path: Path) -> None:
        given = prepared(tmp_path, paths, completion_rows.completions(8))
        loss = NPOLoss(beta=0.5, retain=retain)
        more = {"companion": self.companions(tmp_path)} if loss.needs_companion else {}
        journal = train({**given, **more}, tmp_path / "a", loss, epochs=6, batch_size=8)
        forget = first(journal, "train/loss" if retain == "none" else "train/loss_npo")
        assert forget == pytest.approx(2 / 0.5 * math.log(2), abs=1e-4)
        assert last(journal, "train/completion_log_ratio") < -3
        if retain == "kl":
            assert first(journal, "train/loss_forward_kl") == pytest.approx(0, abs=1e-5)
        if retain == "nll":
            assert first(journal) == pytest.approx(forget + first(journal, "train/loss_nll"), abs=1e-5)
            assert last(journal, "train/companion_completion_logps") > first(
                journal, "train/companion_completion_logps"
            )

    def test_gradient_ascent_has_no_reference_and_no_end(self, paths: Paths, tmp_path: Path) -> None:
        given = prepared(tmp_path, paths, completion_rows.completions(8))
        del given["logps"]
        journal = train(given, tmp_path / "a", GradientAscentLoss(retain="none"), epochs=6, batch_size=8)
        assert first(journal) == pytest.approx(first(journal, "train/completion_logps"), rel=1e-6)
        assert last(journal, "train/loss") < first(journal) - 3

    def test_a_retain_term_without_rows(self, paths: Paths, tmp_path: Path) -> None:
        given = prepared(tmp_path, paths, completion_rows.completions(4))
        with pytest.raises(SettingsError, match="reads the stream 'companion'"):
            train(given, tmp_path / "a", NPOLoss())
