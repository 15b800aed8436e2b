"""The KFP shell of `evaluate`."""

from kfp import dsl

from preflow.steps.images import GENERATE_IMAGE


@dsl.component(base_image=GENERATE_IMAGE, install_kfp_package=False)
def evaluate(
    policy: dsl.Input[dsl.Model],
    reference: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    heldout: dsl.Input[dsl.Dataset],
    judge: dsl.Input[dsl.Artifact],
    samples: dsl.Output[dsl.Dataset],
    numbers: dsl.Output[dsl.Artifact],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Measure the policy against its reference on held-out rows: samples of both, and the headline numbers (JSON)."""
    from preflow.steps.kit import running

    inputs = {"policy": policy, "reference": reference, "tokenizer": tokenizer, "heldout": heldout, "judge": judge}
    outputs = {"samples": samples, "numbers": numbers}
    with running("evaluate", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.evaluate.step import run

        sources = {name: artifact.path for name, artifact in inputs.items()}
        run(step, **sources, **{name: artifact.path for name, artifact in outputs.items()})
