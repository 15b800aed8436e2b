"""The KFP shell of `train_preference`."""

from kfp import dsl

from preflow.steps.images import TRAIN_IMAGE


@dsl.component(base_image=TRAIN_IMAGE, install_kfp_package=False)
def train_preference(
    data: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    trained: dsl.Output[dsl.Model],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    logps: dsl.Input[dsl.Dataset] = None,
    companion: dsl.Input[dsl.Dataset] = None,
    samples: dsl.Input[dsl.Dataset] = None,
    sample_logps: dsl.Input[dsl.Dataset] = None,
    reference: dsl.Input[dsl.Model] = None,
    loss_file: dsl.Input[dsl.Artifact] = None,
):
    """Train the policy from `model` on `data`; what else the loss needs: the reference's log-probs, a second stream, samples."""
    from preflow.steps.kit import running

    given = {"data": data, "model": model, "tokenizer": tokenizer, "logps": logps, "companion": companion}
    given |= {"samples": samples, "sample_logps": sample_logps, "reference": reference, "loss_file": loss_file}
    inputs = {name: artifact for name, artifact in given.items() if artifact is not None}
    with running("train_preference", settings, key, journal, inputs, {"trained": trained}) as step:
        from preflow.steps.train_preference.step import run

        run(step, trained=trained.path, **{name: artifact.path for name, artifact in inputs.items()})
