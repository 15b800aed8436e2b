"""The KFP shell of `build_pairs`."""

from kfp import dsl

from preflow.steps.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def build_pairs(
    prompts: dsl.Input[dsl.Dataset],
    completions: dsl.Input[dsl.Dataset],
    pairs: dsl.Output[dsl.Dataset],
    numbers: dsl.Output[dsl.Artifact],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
    judgments: dsl.Input[dsl.Dataset] = None,
    teacher: dsl.Input[dsl.Dataset] = None,
    rule_file: dsl.Input[dsl.Artifact] = None,
):
    """Turn scored or judged candidates into pairs/v1, with a report of margins, ties, lengths and edit distances (JSON)."""
    from preflow.steps.kit import running

    given = {"prompts": prompts, "completions": completions, "judgments": judgments, "teacher": teacher}
    given |= {"rule_file": rule_file}
    inputs = {name: artifact for name, artifact in given.items() if artifact is not None}
    outputs = {"pairs": pairs, "numbers": numbers}
    with running("build_pairs", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.build_pairs.step import run

        run(step, **{name: artifact.path for name, artifact in (inputs | outputs).items()})
