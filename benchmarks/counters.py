"""FLOP counters of other tools behind one interface.

A counter takes a network in eval mode and a batch of one image, and returns the count in the
convention of its tool. Each is made by a function that imports the tool, so that the import is not
timed with the count. The function raises ImportError if the tool is not installed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

Counter = Callable[[nn.Module, Tensor], int]


def fvcore() -> Counter:
    from fvcore.nn import FlopCountAnalysis

    def total(model: nn.Module, images: Tensor) -> int:
        analysis = (
            FlopCountAnalysis(model, images)
            .unsupported_ops_warnings(False)
            .uncalled_modules_warnings(False)
        )
        return int(analysis.total())

    return total


def ptflops(backend: str) -> Counter:
    from ptflops import get_model_complexity_info

    options: dict[str, Any] = {
        "as_strings": False,
        "print_per_layer_stat": False,
        "backend": backend,
    }
    return lambda model, images: int(
        get_model_complexity_info(model, tuple(images.shape[1:]), **options)[0]
    )


def thop() -> Counter:
    from thop import profile

    return lambda model, images: int(profile(model, (images,), verbose=False)[0])


def torchinfo() -> Counter:
    from torchinfo import summary

    return lambda model, images: int(summary(model, input_data=images, verbose=0).total_mult_adds)


def calflops(result_index: int) -> Counter:
    from calflops import calculate_flops

    options: dict[str, Any] = {"print_results": False, "output_as_string": False}
    return lambda model, images: int(
        calculate_flops(model, tuple(images.shape), **options)[result_index]
    )


def flop_counter_mode() -> Counter:
    from torch.utils.flop_counter import FlopCounterMode

    def total(model: nn.Module, images: Tensor) -> int:
        with FlopCounterMode(display=False) as flop_counter:
            model(images)
        return int(flop_counter.get_total_flops())

    return total


# Names in phinas.space.flop_conventions to the functions that make the counters.
COUNTERS: dict[str, Callable[[], Counter]] = {
    "fvcore": fvcore,
    "ptflops": partial(ptflops, "pytorch"),
    "ptflops_aten": partial(ptflops, "aten"),
    "thop": thop,
    "torchinfo": torchinfo,
    "calflops": partial(calflops, 0),
    "calflops_macs": partial(calflops, 1),
    "torch": flop_counter_mode,
}
