"""Loss sections: their fields are the functions' arguments, their roles fit, their terms bind."""

import inspect
from typing import Any

import pytest
from pydantic import TypeAdapter

from loss_inputs import find, parameters
from preflow.settings.loss import LOSSES, LossSettings, loss_arguments, loss_function, loss_names
from preflow.settings.objective import LossSection
from preflow.training.objectives import bind_terms

every_section = pytest.mark.parametrize("model", LOSSES, ids=lambda model: model.__name__)


def test_names_are_unique_and_parse() -> None:
    assert len(set(loss_names())) == len(LOSSES)
    for name, model in zip(loss_names(), LOSSES, strict=True):
        found: Any = TypeAdapter(LossSettings).validate_python({"name": name})
        assert type(found) is model and loss_function(found) == model.function


@every_section
def test_fields_are_the_keyword_arguments(model: type[LossSection]) -> None:
    signature = inspect.signature(find(model.function)).parameters.values()
    keywords = {each.name: each.default for each in signature if each.kind is each.KEYWORD_ONLY}
    fields = {key: each.default for key, each in model.model_fields.items() if key not in ("name", *model.extras)}
    assert fields == keywords == loss_arguments(model())
    assert set(model.extras) <= set(model.model_fields)


@every_section
def test_every_field_has_a_meaning_and_a_source(model: type[LossSection]) -> None:
    for field in model.model_fields.values():
        assert field.description and (field.json_schema_extra or {}).get("source")  # type: ignore[union-attr]


@every_section
def test_terms_bind_and_say_what_is_needed(model: type[LossSection]) -> None:
    terms = bind_terms(model().terms())
    main = next(each for each in terms if each.term.loss == model.function)
    assert main.term.coupled == model.coupled
    assert {each.role for each in main.arguments if each.role} <= set(model.roles)
    asks = any(name.startswith("reference_") for name in parameters(find(model.function)))
    assert asks == (model.reference != "none")
    assert model().beta_equivalent is None or model().beta_equivalent > 0


def section(name: str, **values: Any) -> Any:
    return TypeAdapter(LossSettings).validate_python({"name": name, **values})


def coefficients(loss: LossSection) -> dict[str, tuple[float, str, str]]:
    return {each.loss.partition(":")[2]: (each.coefficient, each.reduction, each.stream) for each in loss.terms()}


def test_terms_beside_the_loss() -> None:
    assert coefficients(section("cpo")) == {"cpo": (1.0, "example_mean", "data"), "nll": (1.0, "token_mean", "data")}
    assert coefficients(section("cpo", alpha=0)) == {"cpo": (1.0, "example_mean", "data")}
    sums = coefficients(section("cpo", alpha=2, nll_reduction="sum"))
    assert sums["nll"] == (2.0, "example_mean", "data")
    assert coefficients(section("simpo")) == {"simpo": (1.0, "example_mean", "data")}
    means = coefficients(section("simpo", alpha=0.05, nll_reduction="seq_mean"))
    assert means["nll_per_token"] == (0.05, "example_mean", "data")
    assert coefficients(section("orpo"))["nll"] == (1.0, "token_mean", "data")
    assert coefficients(section("slic")) == {"slic": (1.0, "example_mean", "data")}
    targets = section("slic", regularization=0.1, target="targets")
    assert coefficients(targets)["nll"] == (0.1, "example_mean", "companion")
    assert targets.terms()[1].roles == {"target": "completion"}
    assert coefficients(section("npo", forget_weight=3.0, retain_weight=2.0)) == {
        "npo": (3.0, "example_mean", "data"),
        "nll": (2.0, "token_mean", "companion"),
    }
    assert coefficients(section("npo", retain="kl", retain_reduction="sequence_sum"))["forward_kl"] == (
        1.0,
        "example_mean",
        "companion",
    )
    assert set(coefficients(section("gradient_ascent", retain="none"))) == {"gradient_ascent"}
    assert not section("gradient_ascent").needs_reference and section("npo").needs_companion
    assert section("beta_dpo").terms()[0].reduction == "kept_mean"


def test_strength_in_units_of_beta() -> None:
    assert section("ipo", tau=0.2).beta_equivalent is None, "per token"
    summed = section("ipo", tau=0.1, length_normalization="sum").beta_equivalent
    assert summed == section("gpo", f="squared", beta=0.2).beta_equivalent == pytest.approx(0.4)
    assert section("gpo", f="savage", beta=0.2).beta_equivalent == section("dpo", beta=0.2).beta_equivalent
    assert section("dno", beta=0.1, reward_scale=10).beta_equivalent == pytest.approx(0.01)
    assert section("orpo").beta_equivalent is section("ppo_seq").beta_equivalent is None
    assert section("sppo", eta=1000).beta_equivalent == pytest.approx(1e-3)
    assert section("sppo_hard").beta_equivalent == pytest.approx(1e-3)
    assert section("dro", tau=5).beta_equivalent == 5
    assert section("slic", delta=4).beta_equivalent == 0.25


@pytest.mark.parametrize(
    ("loss", "idle"),
    [
        (section("tdpo", variant=1), {"alpha"}),
        (section("tdpo"), set()),
        (section("simpo"), {"nll_reduction"}),
        (section("cpo", alpha=0), {"nll_reduction"}),
        (section("cpo"), set()),
        (section("npo", retain="none"), {"retain_weight", "retain_reduction"}),
        (section("slic"), {"target"}),
    ],
)
def test_settings_that_change_nothing_are_known(loss: LossSection, idle: set[str]) -> None:
    assert loss.idle().keys() == idle
    other = {"nll_reduction": "sum", "retain_weight": 3.0, "retain_reduction": "sequence_sum", "target": "best"}
    changed = loss.model_copy(update={name: other[name] for name in idle if name in other})
    assert changed.terms() == loss.terms()
