"""bfloat16 is used where the hardware multiplies it, and nowhere else."""

from types import SimpleNamespace
from typing import Any

import pytest

from fingerprintdb.embedding.device import Device


def torch_of(cpu: Any, *, gpu: bool | None = None) -> Any:
    """A torch with these CPU functions; `gpu` says whether there is one and has bfloat16."""
    cuda = SimpleNamespace(
        is_available=lambda: gpu is not None,
        is_bf16_supported=lambda *, including_emulation: including_emulation or gpu,
    )
    return SimpleNamespace(cuda=cuda, cpu=cpu)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False}, False),
        ({"avx512_f": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
    ],
)
def test_a_processor_says_what_it_can(capabilities: dict[str, bool], expected: bool) -> None:
    device = Device(torch_of(SimpleNamespace(get_capabilities=lambda: capabilities)))
    assert (device.name, device.has_bf16) == ("cpu", expected)


@pytest.mark.parametrize("has_it", [False, True])
def test_an_older_torch_is_asked_otherwise(has_it: bool) -> None:
    cpu = SimpleNamespace(_is_avx512_bf16_supported=lambda: has_it)
    assert Device(torch_of(cpu)).has_bf16 is has_it
    assert Device(torch_of(SimpleNamespace())).has_bf16 is False


@pytest.mark.parametrize("has_it", [False, True])
def test_a_gpu_that_only_emulates_it_stays_with_float32(has_it: bool) -> None:
    device = Device(torch_of(SimpleNamespace(), gpu=has_it))
    assert (device.name, device.has_bf16) == ("cuda", has_it)
