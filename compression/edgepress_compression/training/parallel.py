"""Data-parallel training: each process computes on its part of a batch, and gradients are added up.

FireCaffe (Iandola et al. 2016, section 4): all processes hold the whole model; after each backward pass the
gradients are summed over the processes by a collective and every process makes the same step. The collective
is torch's all-reduce: gloo on processors (a ring: each process sends and receives 2 (n - 1) / n of the
gradients' bytes), NCCL on GPUs (a ring or a double binary tree, which it chooses by size).

All processes run the same passes from the same seed. What is random (dropout's masks too) is drawn for the
whole batch, and normalization's statistics and the variances of activations are over the whole batch. The sum
over processes is the same bits in each; only the order of additions differs from one process alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce

from edgepress_compression.errors import TrainingError


def world_size() -> int:
    """How many processes train together; 1 where none were started so."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, 0 to world_size() - 1; process 0 writes files."""
    return dist.get_rank() if world_size() > 1 else 0


def device() -> torch.device:
    """Where this process computes: its own GPU where there is one."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", rank() % torch.cuda.device_count())


def share_of(samples: int) -> slice:
    """This process's part of a batch of so many; parts differ by one at most, and may be empty."""
    n, r = world_size(), rank()
    return slice(samples * r // n, samples * (r + 1) // n)


def _wire() -> torch.device:
    """Where tensors must be for the collective: NCCL takes them from the GPU, gloo from memory."""
    nccl = torch.cuda.is_available() and "nccl" in dist.get_backend_config()
    return device() if nccl else torch.device("cpu")


def sum_gradients(parameters: Sequence[Tensor], value: Tensor) -> float:
    """Adds up the gradients of all processes in place, in one message with the loss `value`, a scalar.

    Returns the sum of the losses. A gradient that is None counts as zeros, and stays None where it is so in
    all processes: without data a weight is not trained by the optimizer's memory alone.
    """
    if world_size() == 1:
        return float(value.detach())
    flags = torch.tensor([float(p.grad is not None) for p in parameters], dtype=torch.float32)
    parts = [p.grad.reshape(-1) if p.grad is not None else p.new_zeros(p.numel()) for p in parameters]
    flat = torch.cat([value.detach().reshape(1).float(), flags, *(part.float() for part in parts)])
    flat = flat.to(_wire())
    dist.all_reduce(flat)
    flat = flat.cpu()
    position = 1 + len(parameters)
    for number, parameter in enumerate(parameters):
        if flat[1 + number] > 0:
            summed = flat[position : position + parameter.numel()]
            parameter.grad = summed.reshape(parameter.shape).to(parameter.dtype).clone()
        position += parameter.numel()
    return float(flat[0])


def sum_over_all(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, through which gradients pass."""
    if world_size() == 1:
        return value
    summed: Tensor = all_reduce(value)  # type: ignore[no-untyped-call]
    return summed


def mean_over_all(value: Tensor, samples: int) -> Tensor:
    """The mean over all processes of a tensor that is the mean over `samples` here. Without gradients."""
    if world_size() == 1:
        return value
    total = torch.cat([(value * samples).reshape(-1), value.new_tensor([float(samples)])])
    dist.all_reduce(total)
    return (total[:-1] / total[-1].clamp(min=1)).reshape(value.shape)


def drawn_for_all(shape: Sequence[int], random: torch.Generator) -> Tensor:
    """Uniform numbers 0..1 for this process's part of a batch, of that shape: all processes draw the whole
    batch, and so stay in step with each other and with one process alone."""
    n, r = world_size(), rank()
    if n == 1:
        return torch.rand(shape, generator=random)
    counts = torch.zeros(n, dtype=torch.int64, device=_wire())
    counts[r] = shape[0]
    dist.all_reduce(counts)
    first = int(counts[:r].sum())
    whole = torch.rand((int(counts.sum()), *shape[1:]), generator=random)
    return whole[first : first + shape[0]]


def check_agreement(parameters: Sequence[Tensor], what: str) -> None:
    """Raises TrainingError in every process where the processes do not hold the same numbers."""
    if world_size() == 1:
        return
    digest = hashlib.sha256()
    for parameter in parameters:
        digest.update(repr(tuple(parameter.shape)).encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    mine = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).clone()
    all_digests = [torch.empty_like(mine) for _ in range(world_size())]
    mine, all_digests = mine.to(_wire()), [one.to(_wire()) for one in all_digests]
    dist.all_gather(all_digests, mine)
    if any(not torch.equal(digest, all_digests[0]) for digest in all_digests):
        raise TrainingError(
            f"The processes that train together do not agree on the weights before {what}: a pass decided by "
            "something that differs between them, such as a measured time, or the machines are of different "
            "kinds. Run it with one process."
        )
