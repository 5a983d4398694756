"""In which numbers products of matrices are formed; weights and optimisers stay in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

PRECISIONS = ("fp32", "tf32", "bf16")


def set_up(precision: str) -> None:
    """What holds for the whole process: whether a GPU may round float32 factors to TF32."""
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def slow_bf16(device: str) -> bool:
    """Whether this is an x86 processor without instructions for bf16, which then emulates them."""
    ask = getattr(torch.cpu, "get_capabilities", None)  # a young part of torch
    if device != "cpu" or ask is None:
        return False
    able = ask()
    known = ("avx512_bf16", "amx_bf16", "avx10_2")
    return able["architecture"] == "x86_64" and not any(map(able.get, known))


def products_in(precision: str, device: str) -> AbstractContextManager[Any]:
    """Where losses are computed: under bf16, with factors rounded to 8 bits of mantissa.

    What autocast leaves alone, losses and norms among it, stays in float32.
    """
    if precision == "bf16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()


def exact(x: Tensor) -> AbstractContextManager[Any]:
    """Where products of `x` are formed as they are, whatever is around."""
    return torch.autocast(x.device.type, enabled=False)


def full(x: Tensor) -> Tensor:
    """`x` in float32 at least: for sums and differences that bf16 is too coarse for."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
