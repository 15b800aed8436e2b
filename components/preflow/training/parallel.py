"""Several processes that train one model: what they decide together, and weights in shards (FSDP2).

With `ddp` each process has all weights. With `fsdp` each holds a share of every parameter, its gradient and its optimizer
state, and a layer is whole only while it is at work. Checkpoints hold whole tensors in both cases, so a training may go on
with another number of processes.
"""

import os
from collections.abc import Mapping
from datetime import timedelta

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from preflow.models.load import device
from preflow.settings.train import TrainOptions

PATIENCE = timedelta(hours=4)
"""How long the others wait for the first process while it moves a checkpoint to a bucket or back."""


def make_accelerator() -> Accelerator:
    """The processes of this training, found by the environment that torchrun sets; alone without it."""
    patience, wrapper = InitProcessGroupKwargs(timeout=PATIENCE), DistributedDataParallelKwargs(broadcast_buffers=False)
    cpu = not torch.cuda.is_available()
    return Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[patience, wrapper])


def in_shards(settings: TrainOptions) -> bool:
    """Whether this process will hold a share of the weights only."""
    return settings.parallel == "fsdp" and int(os.environ.get("WORLD_SIZE", 1)) > 1


def start_device(settings: TrainOptions) -> torch.device:
    """Where trained weights are loaded to: those that go into shards, which may not fit a device whole, to the CPU."""
    return torch.device("cpu") if in_shards(settings) else device()


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return not dist.is_initialized() or dist.get_rank() == 0


def any_of_us(asked: bool, device: torch.device) -> bool:
    """Whether any process was asked; all call it at the same place, and get the same answer."""
    if not dist.is_initialized():
        return asked
    answer = torch.tensor(int(asked), device=device)
    dist.all_reduce(answer, op=dist.ReduceOp.MAX)
    return bool(answer.item())


def shard(module: nn.Module, parameters: Mapping[str, nn.Parameter], device: torch.device) -> dict[str, nn.Parameter]:
    """Leave each process its share of `module` on its device, a layer at a time; the `parameters` as they are then."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    names = {id(value): name for name, value in module.named_parameters()}
    places = {name: names[id(value)] for name, value in parameters.items()}
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    layers = {kind for each in module.modules() for kind in getattr(each, "_no_split_modules", None) or ()}
    for each in list(module.modules()):
        if type(each).__name__ in layers:
            fully_shard(each, mesh=mesh)
    fully_shard(module, mesh=mesh)
    found = dict(module.named_parameters())
    return {name: found[place] for name, place in places.items()}


def whole(value: Tensor) -> Tensor:
    """A tensor that may be in shards, for the first process; all call it."""
    if not isinstance(value, DTensor):
        return value
    full = value.full_tensor()
    return full.cpu() if is_first() else full.new_empty(0)


def as_held(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as this process holds one like `like`: in shards, if that is."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gather(module: nn.Module) -> None:
    """Put whole weights in the place of shards, for the first process to publish; the others are left with none."""
    from torch.distributed.fsdp import FSDPModule

    for each in module.modules():
        if isinstance(each, FSDPModule):
            each.reshard()
    done: dict[int, tuple[DTensor, nn.Parameter]] = {}  # tied weights stay tied
    for each in module.modules():
        for name, value in list(each._parameters.items()):
            if isinstance(value, DTensor):
                if id(value) not in done:
                    done[id(value)] = value, nn.Parameter(whole(value.detach()), value.requires_grad)
                each._parameters[name] = done[id(value)][1]
