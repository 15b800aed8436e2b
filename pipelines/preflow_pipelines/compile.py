"""From a plan to a Kubeflow pipeline. Compiling needs neither torch nor transformers nor mlflow.

The pipeline's parameters are the sections of the run file and the URIs of its inputs. Its name is one constant, because
the cluster's cache is scoped by it: so steps are shared across methods. What a task's `key` parameter must be is bound
into the compiled spec afterwards (`preflow_pipelines.runners.binding`), so the golden files never change with the code.
"""

import importlib
import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp import compiler, dsl

from preflow.settings.plan import Plan
from preflow_pipelines.hardware import Hardware
from preflow_pipelines.pods import apply_pod
from preflow_pipelines.profile import ClusterProfile
from preflow_pipelines.resources import apply_hardware, role_of
from preflow_pipelines.subgraphs.context import import_inputs

PIPELINE_NAME = "preflow"


def make_pipeline(
    plan: Plan, hardware: Hardware, profile: ClusterProfile | None = None, remote: Collection[str] = ()
) -> Any:
    """The kfp pipeline of a plan; for the cluster of `profile`, with what its pods need, and tracking as the last task.

    The inputs in `remote` are fetched by a step of the pipeline.
    """
    names = [*plan.sections, *(f"{name}_uri" for name in plan.inputs)]

    def pipeline(*values: Any) -> None:
        parameters = dict(zip(names, values, strict=True))
        _workflow(plan.method)(import_inputs(plan, parameters, remote))
        tasks = dsl.pipeline_context.Pipeline.get_default_pipeline().tasks
        if profile:
            _track_after([task for task in tasks.values() if role_of(task)])
        for task in tasks.values():
            apply_hardware(task, hardware)
            if profile:
                apply_pod(task, profile, hardware)

    pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=str) for name in names]
    )
    pipeline.__annotations__ = dict.fromkeys(names, str)
    pipeline.__name__ = plan.method
    return dsl.pipeline(name=PIPELINE_NAME, description=f"{plan.method}, by preflow")(pipeline)


def _track_after(steps: list[dsl.PipelineTask]) -> None:
    """One of its own per run: it is never reused."""
    from preflow.steps.track.component import track

    track(settings="{}", key="").after(*steps).set_caching_options(False).set_display_name("record in MLflow")


def _workflow(method: str) -> Callable[..., None]:
    workflow: Callable[..., None] = importlib.import_module(f"preflow_pipelines.{method}").workflow
    return workflow


def pipeline_spec(
    plan: Plan, hardware: Hardware, profile: ClusterProfile | None = None, remote: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(pipeline spec, platform spec) as plain dicts; task keys are not bound yet."""
    pipeline = make_pipeline(plan, hardware, profile, remote)
    platform = json_format.MessageToDict(pipeline.platform_spec) if pipeline.platform_spec else {}
    return json_format.MessageToDict(pipeline.pipeline_spec), platform


def write_pipeline(plan: Plan, hardware: Hardware, target: Path, defaults: Mapping[str, str] | None = None) -> None:
    """Compile to YAML (kfp's own writer), with parameter defaults where given."""
    compiler.Compiler().compile(make_pipeline(plan, hardware), str(target), pipeline_parameters=dict(defaults or {}))
