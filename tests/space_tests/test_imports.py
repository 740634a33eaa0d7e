"""What a linter cannot see: a heavy import behind a light one."""

import subprocess
import sys


def test_describing_a_network_loads_no_heavy_library():
    code = """
import space.spec, space.layers, space.cost, space.scaling, space.search_space, space.presets, sys
space.cost.cost(space.presets.preset("efficientnet_b0"))
space.search_space.load_space("mnasnet")
print(sorted({"torch", "optuna", "pandas", "matplotlib", "numpy", "sklearn", "scipy"} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
