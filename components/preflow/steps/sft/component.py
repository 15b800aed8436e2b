"""The KFP shell of `sft`."""

from kfp import dsl

from preflow.steps.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def sft(
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    trained: dsl.Output[dsl.Model],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Fine-tune `model` on the demonstrations `data` (completions/v1)."""
    from preflow.steps.kit import running

    inputs = {"data": data, "model": model, "tokenizer": tokenizer}
    with running("sft", settings, key, journal, inputs, {"trained": trained}) as step:
        from preflow.steps.sft.step import run

        run(step, data=data.path, model=model.path, tokenizer=tokenizer.path, trained=trained.path)
