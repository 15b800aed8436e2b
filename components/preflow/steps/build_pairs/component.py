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
):
    """Turn scored completions into pairs/v1, with a report of margins, ties and lengths (`numbers`, JSON)."""
    from preflow.steps.kit import running

    inputs, outputs = {"prompts": prompts, "completions": completions}, {"pairs": pairs, "numbers": numbers}
    with running("build_pairs", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.build_pairs.step import run

        run(step, prompts=prompts.path, completions=completions.path, pairs=pairs.path, numbers=numbers.path)
