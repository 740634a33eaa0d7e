"""Networks out to other tools and in from them: weights in other libraries' names, block strings,
ONNX, a stand-alone file.
"""
