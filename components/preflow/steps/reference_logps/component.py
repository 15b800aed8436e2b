"""The KFP shell of `reference_logps`."""

from kfp import dsl

from preflow.steps.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def reference_logps(
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    logps: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    samples: dsl.Input[dsl.Dataset] = None,
):
    """Log-probs of every sequence of `data` (and `samples`) under the reference: reused by every run on the same data."""
    from preflow.steps.kit import running

    given = {"data": data, "model": model, "tokenizer": tokenizer, "samples": samples}
    inputs = {name: artifact for name, artifact in given.items() if artifact is not None}
    with running("reference_logps", settings, key, journal, inputs, {"logps": logps}) as step:
        from preflow.steps.reference_logps.step import run

        run(step, logps=logps.path, **{name: artifact.path for name, artifact in inputs.items()})
