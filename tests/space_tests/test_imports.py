"""Tests that light modules import no heavy library; import-linter cannot check lazy imports."""

import subprocess
import sys


def test_listing_the_spaces_imports_no_heavy_library():
    code = """
import sys
from phinas.space.search_spaces.definitions import space_summaries
assert "tiny" in space_summaries()
print(sorted({"torch", "optuna", "pandas", "matplotlib", "numpy", "pydantic"} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_describing_a_network_imports_no_heavy_library():
    code = """
import sys
import phinas.space.cost, phinas.space.layers, phinas.space.presets, phinas.space.scaling
import phinas.space.search_spaces.cardinality, phinas.space.search_spaces.encoding
import phinas.space.search_spaces.loading
cardinality, loading = phinas.space.search_spaces.cardinality, phinas.space.search_spaces.loading
phinas.space.cost.network_cost(phinas.space.presets.preset("efficientnet_b0"))
mnasnet = loading.load_space("mnasnet")
cardinality.count_networks(loading.load_space("tiny"))
assert phinas.space.search_spaces.encoding.encode(mnasnet, mnasnet.base)
heavy = {"torch", "optuna", "pandas", "matplotlib", "numpy", "sklearn", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
