"""Compiled pipelines: the golden files, hardware in the YAML, and nothing of the code in it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from preflow.errors import SettingsError
from preflow.methods.catalogue import catalogue
from preflow_pipelines.compile import pipeline_spec, write_pipeline
from preflow_pipelines.hardware import Hardware, load_hardware
from preflow_pipelines.runners.tasks import tasks_of
from starters import starter_plan

GOLDEN = Path(__file__).parent / "golden"
REGENERATE = os.environ.get("PREFLOW_REGENERATE") == "1" and not os.environ.get("CI")


@pytest.mark.parametrize("method", sorted(catalogue()))
def test_golden_files(method: str, tmp_path: Path) -> None:
    write_pipeline(starter_plan(method, tmp_path), Hardware(), tmp_path / "found.yaml")
    golden = GOLDEN / f"{method}.yaml"
    if REGENERATE:
        golden.write_text((tmp_path / "found.yaml").read_text())
    assert (tmp_path / "found.yaml").read_text() == golden.read_text(), (
        "the pipeline changed; if it should: make golden"
    )


def test_compiled_in_another_process_and_folder_it_is_the_same(tmp_path: Path) -> None:
    """Hash seeds and folders leave the YAML alone."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from starters import starter_plan;"
        "from preflow_pipelines.compile import write_pipeline; from preflow_pipelines.hardware import Hardware;"
        "write_pipeline(starter_plan('rso', Path(sys.argv[2])), Hardware(), Path(sys.argv[2]) / 'found.yaml')"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[1]), str(tmp_path)],
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        cwd=tmp_path,
    )
    assert (tmp_path / "found.yaml").read_text() == (GOLDEN / "rso.yaml").read_text()


PROFILE = {
    "train": {
        "accelerator": "nvidia.com/gpu", "accelerator_count": 2, "node_selector": {"gpu": "a100"}, "cpu": "8", "memory": "64Gi",
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}], "shared_memory": "16Gi", "retries": 3,
    },
    "data": {"memory": "2Gi"},
}  # fmt: skip


def test_hardware_lands_on_the_right_tasks(tmp_path: Path) -> None:
    (tmp_path / "gpu.yaml").write_text(yaml.safe_dump(PROFILE))
    write_pipeline(starter_plan("rso", tmp_path), load_hardware("gpu.yaml", tmp_path), tmp_path / "out.yaml")
    pipeline, platform = yaml.safe_load_all((tmp_path / "out.yaml").read_text())
    executors = pipeline["deploymentSpec"]["executors"]
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for task in ("train-preference", "reference-logps"):
        resources = executors[f"exec-{task}"]["container"]["resources"]
        assert resources["accelerator"] == {
            "count": "2",
            "resourceCount": "2",
            "resourceType": "nvidia.com/gpu",
            "type": "nvidia.com/gpu",
        }
        assert resources["resourceMemoryLimit"] == "64Gi"
        assert resources["resourceCpuLimit"] == "8"
        assert kubernetes[f"exec-{task}"]["nodeSelector"] == {"labels": {"gpu": "a100"}}
        assert kubernetes[f"exec-{task}"]["tolerations"] == PROFILE["train"]["tolerations"]
        assert kubernetes[f"exec-{task}"]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
        assert pipeline["root"]["dag"]["tasks"][task]["retryPolicy"]["maxRetryCount"] == 3
    assert "accelerator" not in executors["exec-generate-candidates"]["container"].get("resources", {})
    assert executors["exec-build-pairs"]["container"]["resources"]["resourceMemoryLimit"] == "2Gi"
    assert set(kubernetes) == {"exec-train-preference", "exec-reference-logps"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trian: {}", "Did you mean 'train'"),
        ("train: {accelerator_count: 0}", "accelerator_count"),
        ("[", "YAML"),
        ("", "found nothing, expected settings such as `train: "),
        ("train: {memory: 64GB}", "train.memory: found '64GB'; expected a size such as 64Gi"),
        ("data: {shared_memory: much}", "data.shared_memory: found 'much'; expected a size"),
        ("train: {cpu: eight}", "train.cpu: found 'eight'; expected a number of cores"),
        ("train: {accelerator: ''}", "train.accelerator: found ''"),
        ("train: {accelerator_count: 4}", "no effect without an accelerator"),
        ("train: {tolerations: {key: a}}", "expected a list"),
        ("train: {tolerations: [{}]}", "without a key needs operator: Exists"),
        ("train: {tolerations: [{key: a, operator: Exists, value: b}]}", "takes no value"),
    ],
)
def test_bad_profiles_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_hardware("h.yaml", tmp_path)
    with pytest.raises(SettingsError, match="no such file. Expected `hardware: cpu`, or a profile's path"):
        load_hardware("absent.yaml", tmp_path)


def test_numbers_of_cores_and_bytes_need_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "h.yaml").write_text("train: {cpu: 8, memory: 1000000000}\ngenerate: {cpu: 0.5}\ndata: {cpu: 500m}")
    found = load_hardware("h.yaml", tmp_path)
    assert (found.train.cpu, found.train.memory, found.generate.cpu, found.data.cpu) == (
        "8",
        "1000000000",
        "0.5",
        "500m",
    )


def test_own_evaluation_files_are_imported_by_themselves(tmp_path: Path) -> None:
    spec, _ = pipeline_spec(
        starter_plan(
            "rso",
            tmp_path,
            data={"prompts": "prompts.jsonl", "heldout_fraction": None},
            evaluate={"pairs": "pairs.jsonl"},
        ),
        Hardware(),
    )
    tasks = {task.name: task for task in tasks_of(spec)}
    assert tasks["import-data-2"].section == "evaluation_data"
    assert tasks["evaluate"].inputs["heldout"] == ("import-data-2", "heldout")


def test_steps_run_in_an_order_in_which_they_can(tmp_path: Path) -> None:
    spec, _ = pipeline_spec(starter_plan("rso", tmp_path), Hardware())
    done = {"input"}
    for task in tasks_of(spec):
        assert {producer for producer, _ in task.inputs.values()} <= done
        done.add(task.name)
    assert json.dumps(spec).count('"key"') >= len(done) - 1
