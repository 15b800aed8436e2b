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
):
    """Log-probs of every sequence of `data` under the reference model: sequence_logps/v1, reused by every run on the same data."""
    from preflow.steps.kit import running

    with running(
        "reference_logps",
        settings,
        key,
        journal,
        {"data": data, "model": model, "tokenizer": tokenizer},
        {"logps": logps},
    ) as step:
        from preflow.steps.reference_logps.step import run

        run(step, data=data.path, model=model.path, tokenizer=tokenizer.path, logps=logps.path)
