"""Encode the arrays of a measurement as text: correctly classified images, bootstrap replicates."""

import base64
import binascii
from typing import TYPE_CHECKING

from phinas.experiment.executors.interface import NonRetryableError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def encode_correct(correct: "NDArray[np.bool_]") -> str:
    """Encode which images are classified correctly as text.

    One bit per image (numpy.packbits), then base64. 10,000 images take 1.7 kB.
    """
    import numpy as np

    return base64.b64encode(np.packbits(correct).tobytes()).decode("ascii")


def decode_correct(text: str, images: int) -> "NDArray[np.bool_]":
    """Decode the text of `encode_correct`.

    Raises:
        NonRetryableError: the text is not base64, or is for another number of images.
    """
    import numpy as np

    packed = np.frombuffer(_decode_base64("correct", text), dtype=np.uint8)
    if images <= 0 or len(packed) != -(-images // 8):
        raise NonRetryableError(f"correct: {len(packed)} bytes do not match {images} images")
    bits = np.unpackbits(packed)
    if bits[images:].any():
        raise NonRetryableError(f"correct: bits after the last of {images} images are set")
    return bits[:images].astype(bool)


def encode_resamples(scores: "NDArray[np.float32]") -> str:
    """Encode bootstrap replicates as text: little-endian float32, then base64. 200 take 1.1 kB."""
    return base64.b64encode(scores.astype("<f4").tobytes()).decode("ascii")


def decode_resamples(text: str) -> "NDArray[np.float32]":
    """Decode the text of `encode_resamples`.

    Raises:
        NonRetryableError: the text does not hold two or more numbers from 0 to 1.
    """
    import numpy as np

    content = _decode_base64("resampled_scores", text)
    if len(content) % 4 or len(content) < 8:
        raise NonRetryableError(
            f"resampled_scores: {len(content)} bytes are not two or more float32 numbers"
        )
    scores = np.frombuffer(content, dtype="<f4").astype(np.float32)
    if not ((scores >= 0) & (scores <= 1)).all():
        raise NonRetryableError("resampled_scores: some numbers are not from 0 to 1")
    return scores


def _decode_base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise NonRetryableError(f"{name}: {text!r:.40} is not base64") from None
