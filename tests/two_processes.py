"""Work that two processes share as torchrun's do, forked from this one: no library is imported a second time."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

can_fork = pytest.mark.skipif(torch.cuda.is_available(), reason="a process with threads for a GPU cannot be forked")


def in_two_processes(work: Callable[[Accelerator], Any], folder: Path) -> list[Any]:
    """What `work` returns in each of two processes, by rank. It must be what torch.load reads back safely."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=_work, args=(work, rank, port, folder / f"rank{rank}")) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    assert [process.exitcode for process in processes] == [0, 0]
    return [torch.load(folder / f"rank{rank}", weights_only=True) for rank in range(2)]


def _work(work: Callable[[Accelerator], Any], rank: int, port: int, out: Path) -> None:
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    torch.save(work(accelerator), out)
    accelerator.end_training()
