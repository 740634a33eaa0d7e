#!/usr/bin/env bash
# Run all checks and measurements that need a GPU, in one call of at most nine minutes.
#
#   bash benchmarks/gpu_check.sh OUT [DATA]
#
# OUT    Folder that receives results.jsonl (one JSON object a line, written as soon as it is
#        measured; the last line of each part has its time and exit code) and log.txt (all output).
#        Both are replaced.
# DATA   Folder with CIFAR-10 as Parquet files (train*.parquet, test*.parquet), for a short search.
#        Default: no search. All other parts use random images.
#
# Environment variables:
#   PYTHON        Interpreter that has phinas and its dependencies. Default: python3.
#   SMALL=1       Tiny sizes on the CPU, to try this script. Nothing is captured then.
#   TIME_FACTOR   Integer that multiplies all time limits, for a slow machine. Default: 1.
#
# Each part is a process with a time limit, so a part that hangs, crashes or leaves the CUDA context
# unusable does not affect the others. Time that a part does not use is available to the later ones.
# The exit code is 1 if a part fails, and all other parts run nevertheless.
#
# On a machine without network, carry these wheels (11 MB), in the versions of constraints.txt:
#   phinas itself, as a wheel of the commit that is checked (its version is read from the metadata
#   of the installed package), and fvcore and iopath, of which PyPI has no wheels:
#     pip wheel --no-deps --wheel-dir wheels . fvcore iopath
#   and, for the Python version and platform of that machine:
#     pip download --no-deps --only-binary=:all: --python-version 3.12 \
#         --platform manylinux_2_17_x86_64 --platform manylinux_2_28_x86_64 \
#         --constraint constraints.txt --dest wheels \
#         alembic annotated-types click colorlog filelock Mako MarkupSafe markdown-it-py mdurl \
#         optuna portalocker pydantic pydantic_core Pygments rich SQLAlchemy tabulate termcolor \
#         typing_extensions typing-inspection yacs
#   The machine itself is expected to have torch 2.11 or newer, torchvision, timm, numpy, pandas,
#   scipy, scikit-learn, pyarrow, pillow, safetensors, matplotlib, Jinja2, PyYAML, threadpoolctl,
#   packaging, tqdm, pytest and hypothesis. Carry what it lacks.
# Install them there:
#   pip install --no-index --no-deps --target site wheels/*.whl && export PYTHONPATH=$PWD/site
set -uo pipefail

out=$(mkdir -p "${1:?usage: bash benchmarks/gpu_check.sh OUT [DATA]}" && cd "$1" && pwd) || exit 2
data=${2:+$(realpath "$2")}
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python3}
small=${SMALL:-0}
options=(--out "$out")
[ "$small" = 1 ] && options+=(--small --device cpu)
# The sources of this tree are checked, even if phinas is installed. No image cache is written.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PHINAS_CACHE_GB=0
: >"$out/log.txt"
: >"$out/results.jsonl"
deadline=0 # of the current part, in seconds after the start; the sum of all limits so far
failures=0

# run_part LIMIT NAME COMMAND...: run a command for at most LIMIT seconds and record how it ended.
run_part() {
    local name=$2 start=$SECONDS code=0 limit
    deadline=$((deadline + $1 * ${TIME_FACTOR:-1}))
    limit=$((deadline - SECONDS))
    shift 2
    echo "== $name (at most $limit s)" | tee -a "$out/log.txt"
    timeout -k 5 "$limit" "$@" >>"$out/log.txt" 2>&1 || code=$?
    [ "$code" = 0 ] || failures=$((failures + 1))
    echo "{\"part\": \"$name\", \"seconds\": $((SECONDS - start)), \"exit_code\": $code}" \
        >>"$out/results.jsonl"
}

check() { run_part "$1" "$2" "$python" benchmarks/gpu_check.py "$2" "${options[@]}"; }

# A short search. On a GPU all trials must complete with accuracies well above 0.1 (chance).
search() {
    local run=$1 images=20000 validation_images=5000 trials=6 epochs=3 device=auto
    [ "$small" = 1 ] && images=400 validation_images=200 trials=2 epochs=1 device=cpu
    run_part 75 search "$python" -m phinas search --data "$data" --out "$run" --device "$device" \
        --trials "$trials" --epochs "$epochs" --reward-exponent -0.05 \
        --set "data.max_train_images=$images" \
        --set "data.max_validation_images=$validation_images" \
        --set search.finalists=1 --set search.finalist_seeds=1 \
        --set "search.finalist_recipe.epochs=$epochs"
    run_part 10 search_results "$python" benchmarks/gpu_search_results.py "$run" "$out"
}

# The limits add up to 535 s, and the last part may take 5 s more to be killed: nine minutes.
check 20 machine
# Tests that need a GPU, selected by name. Warnings of other library versions are not errors here.
run_part 60 tests "$python" -m pytest tests/training_tests -k "gpu or cuda" -q -rs \
    -p no:cacheprovider -W default -W "ignore::DeprecationWarning"
check 60 equivalence
check 20 failed_capture
check 100 throughput
check 25 cold_start
check 40 cold_start_autotune
check 35 streams
check 35 stacked_seeds
if [ -n "$data" ]; then
    directory=$(mktemp -d)
    search "$directory/run"
    rm -rf "$directory"
fi
check 55 processes
echo "== finished after $SECONDS s, $failures failed"
cat "$out/results.jsonl"
[ "$failures" = 0 ]
