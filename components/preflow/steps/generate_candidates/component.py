"""The KFP shell of `generate_candidates`."""

from kfp import dsl

from preflow.steps.images import GENERATE_IMAGE


@dsl.component(base_image=GENERATE_IMAGE, install_kfp_package=False)
def generate_candidates(
    prompts: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    tokenizer: dsl.Input[dsl.Artifact],
    completions: dsl.Output[dsl.Dataset],
    journal: dsl.Output[dsl.Metrics],
    settings: str,
    key: str,
):
    """Sample completions of every training prompt from `model`: completions/v1."""
    from preflow.steps.kit import running

    inputs, outputs = {"prompts": prompts, "model": model, "tokenizer": tokenizer}, {"completions": completions}
    with running("generate_candidates", settings, key, journal, inputs, outputs) as step:
        from preflow.steps.generate_candidates.step import run

        run(step, prompts=prompts.path, model=model.path, tokenizer=tokenizer.path, completions=completions.path)
