"""Prints how many images of a folder an exported Python file classifies correctly.

Uses the file, torch and Pillow only: `python classify_with_file.py FILE FOLDER`.
"""

import runpy
import sys
from pathlib import Path

import torch


def main(file, folder):
    network = runpy.run_path(file)
    model, classes = network["load"](), network["CLASSES"]
    correct = total = 0
    for path in sorted(Path(folder).glob("*/*.*")):
        with torch.inference_mode():
            logits = model(network["preprocess"](path)[None])
        correct += classes[logits.argmax()] == path.parent.name
        total += 1
    assert "phinas" not in sys.modules
    sys.stdout.write(f"{correct} {total}\n")


main(*sys.argv[1:])
