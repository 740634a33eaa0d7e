"""What a linter cannot see: a heavy import behind a light one."""

import subprocess
import sys


def test_describing_a_network_loads_no_heavy_library():
    code = """
import phinas.space.spec, phinas.space.layers, phinas.space.cost, phinas.space.scaling, phinas.space.loading, phinas.space.search_spaces.cardinality, phinas.space.presets, sys
phinas.space.cost.cost(phinas.space.presets.preset("efficientnet_b0"))
mnasnet = phinas.space.loading.load_space("mnasnet")
phinas.space.search_spaces.cardinality.networks(phinas.space.loading.load_space("tiny"))
assert mnasnet.encode(mnasnet.base)
print(sorted({"torch", "optuna", "pandas", "matplotlib", "numpy", "sklearn", "scipy"} & set(sys.modules)))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
