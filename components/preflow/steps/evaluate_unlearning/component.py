"""The KFP shell of `evaluate_unlearning`."""

from kfp import dsl

from preflow.steps.images import GENERATE_IMAGE


@dsl.component(base_image=GENERATE_IMAGE, install_kfp_package=False)
def evaluate_unlearning(
    policy: dsl.Input[dsl.Model],
    reference: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    forget: dsl.Input[dsl.Dataset],
    answers: dsl.Output[dsl.Dataset],
    numbers: dsl.Output[dsl.Artifact],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    retain: dsl.Input[dsl.Dataset] = None,
    real_authors: dsl.Input[dsl.Dataset] = None,
    world_facts: dsl.Input[dsl.Dataset] = None,
    retained: dsl.Input[dsl.Model] = None,
):
    """TOFU's metrics of the policy and of the model before it; `retained` never saw what is to be forgotten."""
    from preflow.steps.kit import running

    given = {"policy": policy, "reference": reference, "tokenizer": tokenizer, "forget": forget, "retain": retain}
    given |= {"real_authors": real_authors, "world_facts": world_facts, "retained": retained}
    inputs = {name: artifact for name, artifact in given.items() if artifact is not None}
    outputs = {"answers": answers, "numbers": numbers}
    with running("evaluate_unlearning", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.evaluate_unlearning.step import run

        paths = {name: artifact.path for name, artifact in {**inputs, **outputs}.items()}
        run(step, **paths)
