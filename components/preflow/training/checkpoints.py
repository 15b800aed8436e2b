"""Checkpoints: a folder per optimizer step, published whole, outside artifacts.

Tensors are safetensors, the rest is JSON: nothing is unpickled. The two latest are kept, so that a kill while one is
written leaves the other. They lie in a folder whose name says what is trained, from what and how (`Step.checkpoints`);
each keeps that name, and is of no use under another.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from preflow.artifacts.files import publish_folder, write_json
from preflow.artifacts.manifest import verify_manifest, write_manifest
from preflow.errors import ArtifactError
from preflow.training.parallel import as_held, is_first, whole

KEPT, MORE = 2, "more.safetensors"


def save_checkpoint(
    folder: Path,
    step: int,
    parameters: Mapping[str, Tensor],
    optimizer: Optimizer,
    scheduler: LRScheduler,
    state: Mapping[str, Any],
    more: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Publish `folder`/step-NNNNNNNN: trained parameters, optimizer, scheduler, RNG, `state` (JSON) and `more` tensors. Of
    several processes all call it, and the first one writes."""
    trained = {name: whole(value.detach()).contiguous() for name, value in parameters.items()}
    tensors, scalars = _split_optimizer(optimizer)
    if not is_first():
        return
    with publish_folder(folder / f"step-{step:08d}") as temporary:
        save_file(trained, temporary / "parameters.safetensors")
        save_file(tensors, temporary / "optimizer.safetensors")
        save_file({"torch": torch.get_rng_state()}, temporary / "rng.safetensors")
        save_file({name: value.contiguous() for name, value in more.items()}, temporary / MORE)
        position = {name: value for name, value in scheduler.state_dict().items() if name != "lr_lambdas"}
        content = {"step": step, "scheduler": position, "optimizer": scalars, "state": dict(state)}
        write_json(temporary / "state.json", content)
        write_manifest(temporary, {"of": folder.name})
    for old in _steps(folder)[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(
    folder: Path, parameters: Mapping[str, Tensor], optimizer: Optimizer, scheduler: LRScheduler
) -> tuple[int, dict[str, Any]] | None:
    """(step, state) of the latest whole checkpoint, loaded in place; None if there is none. Others are passed over."""
    for path in reversed(_steps(folder)):
        if not is_whole(path):
            continue
        content = json.loads((path / "state.json").read_text(encoding="utf-8"))
        stored = load_file(path / "parameters.safetensors")
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(as_held(stored[name], value))
        _restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"), content["optimizer"])
        scheduler.load_state_dict(
            {**content["scheduler"], "lr_lambdas": [None]}
        )  # the schedule itself comes from the settings
        torch.set_rng_state(load_file(path / "rng.safetensors")["torch"])
        return int(content["step"]), content["state"]
    return None


def is_whole(checkpoint: Path) -> bool:
    """Whether all of a checkpoint is there, as it was written, and for what its folder is named after."""
    try:
        return bool(verify_manifest(checkpoint).facts.get("of") == checkpoint.parent.name)
    except ArtifactError:
        return False


def load_more(folder: Path, step: int) -> dict[str, Tensor]:
    """The further tensors of the checkpoint at `step`."""
    return load_file(folder / f"step-{step:08d}" / MORE)


def remove_checkpoints(folder: Path) -> None:
    """The result is published: its checkpoints are of no more use."""
    shutil.rmtree(folder, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _split_optimizer(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The optimizer's state as tensors by "<parameter>/<name>", and the plain numbers of its groups."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}/{name}": whole(value).contiguous()
        for index, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return tensors, {"param_groups": state["param_groups"]}


def _restore_optimizer(optimizer: Optimizer, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition("/")
        state.setdefault(int(index), {})[name] = as_held(value, parameters[int(index)])
    groups = [
        {**group, "betas": tuple(group["betas"])} if "betas" in group else group for group in scalars["param_groups"]
    ]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
