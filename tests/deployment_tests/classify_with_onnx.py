"""Prints how many images of a folder an exported ONNX file classifies correctly.

Uses the file, onnxruntime, Pillow and numpy only: `python classify_with_onnx.py MODEL FOLDER`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def open_image(path, size):
    """An image upright and in RGB; a large JPEG is reduced by its decoder."""
    image = Image.open(path)
    if min(image.size) >= 4 * size:
        image.draft(None, (2 * size, 2 * size))
    return ImageOps.exif_transpose(image).convert("RGB")


def make_square(image, size, mode):
    if mode == "crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    if mode == "squash":
        return image.resize((size, size), Image.Resampling.BICUBIC)
    return ImageOps.pad(image, (size, size), Image.Resampling.BICUBIC, color=0)


def bilinear_weights(size, new_size):
    scale = size / new_size
    centers = (np.arange(new_size) + 0.5) * scale
    distances = np.abs(np.arange(size) + 0.5 - centers[:, None]) / max(scale, 1)
    weights = np.maximum(1 - distances, 0)
    return weights / weights.sum(1, keepdims=True)


def normalized_input(image, steps):
    """float32 (1, channels, resolution, resolution)."""
    image = make_square(image, steps["image_size"], steps["resize_mode"])
    image = image.convert(steps["channel_order"])
    pixels = np.asarray(image, np.float64).reshape(*image.size, -1)
    if steps["resolution"] != steps["image_size"]:
        weights = bilinear_weights(steps["image_size"], steps["resolution"])
        pixels = np.einsum("ij,jkc,lk->ilc", weights, pixels, weights).round().clip(0, 255)
    pixels = (pixels / 255 - steps["mean"]) / steps["std"]
    return pixels.transpose(2, 0, 1)[None].astype(np.float32)


def main(model, folder):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    classes, steps = json.loads(metadata["classes"]), json.loads(metadata["preprocessing"])
    correct = total = 0
    for path in sorted(Path(folder).glob("*/*.*")):
        image = open_image(path, steps["image_size"])
        if metadata["input"] == "uint8 NHWC":
            pixels = np.asarray(image.convert(steps["channel_order"]))
            images = pixels.reshape(1, image.height, image.width, -1)
        else:
            images = normalized_input(image, steps)
        logits = session.run(None, {"images": images})[0]
        correct += classes[logits[0].argmax()] == path.parent.name
        total += 1
    assert not {"phinas", "torch"} & sys.modules.keys()
    sys.stdout.write(f"{correct} {total}\n")


main(*sys.argv[1:])
