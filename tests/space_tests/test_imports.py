"""What a linter cannot see: a heavy import behind a light one."""

import subprocess
import sys


def test_describing_a_network_loads_no_heavy_library():
    code = """
import space.spec, space.layers, space.cost, space.scaling, space.loading, space.counting, space.presets, sys
space.cost.cost(space.presets.preset("efficientnet_b0"))
mnasnet = space.loading.load_space("mnasnet")
space.counting.networks(space.loading.load_space("tiny"))
assert mnasnet.encode(mnasnet.base)
print(sorted({"torch", "optuna", "pandas", "matplotlib", "numpy", "sklearn", "scipy"} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
