"""The KFP shell of `train_preference`."""

from kfp import dsl

from preflow.steps.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def train_preference(
    data: dsl.Input[dsl.Dataset],
    logps: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    trained: dsl.Output[dsl.Model],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Train the policy on `data` from `model`, with the reference's log-probs `logps`."""
    from preflow.steps.kit import running

    inputs = {"data": data, "logps": logps, "model": model, "tokenizer": tokenizer}
    with running("train_preference", settings, key, journal, inputs, {"trained": trained}) as step:
        from preflow.steps.train_preference.step import run

        run(step, data=data.path, logps=logps.path, model=model.path, tokenizer=tokenizer.path, trained=trained.path)
