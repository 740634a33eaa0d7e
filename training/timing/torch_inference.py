"""Inferences in eager PyTorch, for latency measurements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from phinas.space.network import Network

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]


@contextmanager
def inference_settings() -> Iterator[None]:
    """Inference mode with torch's settings for fixed shapes, whatever the process did before: a
    training leaves `cudnn.benchmark` and deterministic algorithms as it needed them.
    """
    import torch

    cudnn = torch.backends.cudnn
    benchmark, deterministic = cudnn.benchmark, torch.are_deterministic_algorithms_enabled()
    cudnn.benchmark = True
    torch.use_deterministic_algorithms(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        cudnn.benchmark = benchmark
        torch.use_deterministic_algorithms(deterministic)


def make_inference(
    spec: Network, device: "torch.device", *, batch: int, precision: Precision = "fp32"
) -> Callable[[], object]:
    """Return a function that runs one inference of a randomly initialized network.

    Weights and images are in channels-last format. Call the function in inference mode.

    Args:
        spec: the network.
        device: device of the inference.
        batch: images in one inference.
        precision: "fp32", or "bf16" for autocast. Autocast is entered in each call, so the time
            includes casting the weights.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        model = spec.build().eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = torch.Generator(device).manual_seed(0)
        images = torch.randn(
            batch,
            spec.channels,
            spec.resolution,
            spec.resolution,
            device=device,
            generator=generator,
        )
        images = images.to(memory_format=torch.channels_last)
    if precision == "fp32":
        return lambda: model(images)

    def infer() -> object:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            return model(images)

    return infer
