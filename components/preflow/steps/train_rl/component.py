"""The KFP shell of `train_rl`."""

from kfp import dsl

from preflow.steps.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def train_rl(
    prompts: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    scorer: dsl.Input[dsl.Artifact],
    trained: dsl.Output[dsl.Model],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Train `model` on its own answers to `prompts`, scored by `scorer` (a function's file or a reward model); `model` is the
    reference too."""
    from preflow.steps.kit import running

    inputs = {"prompts": prompts, "model": model, "tokenizer": tokenizer, "scorer": scorer}
    with running("train_rl", settings, key, journal, inputs, {"trained": trained}) as step:
        from preflow.steps.train_rl.step import run

        run(step, trained=trained.path, **{name: artifact.path for name, artifact in inputs.items()})
