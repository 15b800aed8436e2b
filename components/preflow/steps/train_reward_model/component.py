"""The KFP shell of `train_reward_model`."""

from kfp import dsl

from preflow.steps.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def train_reward_model(
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    trained: dsl.Output[dsl.Model],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    heldout: dsl.Input[dsl.Dataset] = None,
):
    """Train a reward model on the pairs `data`, from the language model `model`; its accuracy on the pairs `heldout`."""
    from preflow.steps.kit import running

    given = {"data": data, "model": model, "tokenizer": tokenizer, "heldout": heldout}
    inputs = {name: artifact for name, artifact in given.items() if artifact is not None}
    with running("train_reward_model", settings, key, journal, inputs, {"trained": trained}) as step:
        from preflow.steps.train_reward_model.step import run

        run(step, trained=trained.path, **{name: artifact.path for name, artifact in inputs.items()})
