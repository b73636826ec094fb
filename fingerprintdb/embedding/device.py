"""Says what a model runs on, and whether that multiplies matrices in bfloat16."""

from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any


class Device:
    """The GPU where there is one, else the processor.

    `name` is torch's name of it, "cuda" or "cpu". `has_bf16` says that it multiplies bfloat16 in
    hardware, faster than float32 (not measured here). Full-size CLAP and AST of random weights
    then stay within a cosine distance of 4e-5 of float32.
    """

    def __init__(self, torch: ModuleType) -> None:
        self._torch = torch
        self.name = "cuda" if torch.cuda.is_available() else "cpu"
        self.has_bf16 = _has_bf16(torch, self.name)

    def precision(self) -> AbstractContextManager[Any]:
        """Let the model multiply in bfloat16, within, where the device has it.

        Parameters, norms and softmax stay float32 (torch's autocast).
        """
        context: AbstractContextManager[Any] = self._torch.autocast(
            self.name, dtype=self._torch.bfloat16, enabled=self.has_bf16
        )
        return context


def _has_bf16(torch: ModuleType, name: str) -> bool:
    if name == "cuda":
        # Emulated, as on GPUs before Ampere, it is slower than float32.
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if capabilities := getattr(torch.cpu, "get_capabilities", None):
        there = capabilities()
        return bool(there.get("avx512_bf16") or there.get("amx_bf16"))
    # Older releases of torch have private functions only.
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, test, bool)() for test in tests)
