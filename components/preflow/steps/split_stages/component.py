"""The KFP shell of `split_stages`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def split_stages(
    data: dsl.Input[dsl.Dataset],
    logps: dsl.Input[dsl.Dataset],
    tokenizer: dsl.Input[dsl.Artifact],
    part: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """The pairs of one stage: `data` (pairs/v1) sorted from easy to hard by the start model's log-probs, and cut."""
    from preflow.steps.kit import running

    inputs = {"data": data, "logps": logps, "tokenizer": tokenizer}
    with running("split_stages", settings, key, journal, inputs, {"part": part}) as step:
        from preflow.steps.split_stages.step import run

        run(step, data=data.path, logps=logps.path, tokenizer=tokenizer.path, part=part.path)
