"""Exchange of networks with other tools: state dicts of timm and torchvision, timm's block strings,
ONNX, stand-alone files.
"""
