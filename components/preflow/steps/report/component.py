"""The KFP shell of `report`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def report(
    train_journal: dsl.Input[dsl.Metrics],
    evaluate_journal: dsl.Input[dsl.Metrics],
    samples: dsl.Input[dsl.Dataset],
    numbers: dsl.Input[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    control: dsl.Input[dsl.Metrics] = None,
    unlearning: dsl.Input[dsl.Metrics] = None,
    reward_model: dsl.Input[dsl.Metrics] = None,
):
    """The run's page: what was run, the headline numbers, the training curves, samples side by side."""
    from preflow.steps.kit import running

    inputs = {
        "train_journal": train_journal,
        "evaluate_journal": evaluate_journal,
        "samples": samples,
        "numbers": numbers,
    }
    more = {"control": control, "unlearning": unlearning, "reward_model": reward_model}
    inputs |= {name: artifact for name, artifact in more.items() if artifact is not None}
    outputs = {"page": page}
    with running("report", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.report.step import run

        sources = {name: artifact.path for name, artifact in inputs.items()}
        run(step, **sources, **{name: artifact.path for name, artifact in outputs.items()})
