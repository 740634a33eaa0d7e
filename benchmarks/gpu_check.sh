#!/usr/bin/env bash
# Run all checks and measurements that need a GPU, in one call of at most nine minutes.
#
#   bash benchmarks/gpu_check.sh OUT [DATA]
#
# OUT    Folder that receives results.jsonl (one JSON object a line, written as soon as it is
#        measured; the last line of each part has its time and exit code) and log.txt (all output).
#        Both are replaced.
# DATA   Folder with CIFAR-10 as Parquet files (train*.parquet, test*.parquet), for a whole run.
#        Default: no run. All other parts use random images.
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

# All stages on CIFAR-10, up to a validated family. On a GPU all trainings must complete with
# accuracies well above 0.1 (chance). The run directory comes back without images, packed into
# at most 8 files of 16 MiB: cat run.tar.gz.* | tar xz
real_run() {
    local run=$1 options=(--device auto)
    [ "$small" = 1 ] && options=(--device cpu --trials 2 --epochs 1 --workers 2
        --set data.max_train_images=400 --set data.max_validation_images=200
        --set search.finalist_recipe.epochs=1 --set scaling.max_grid_members=2
        --set scaling.recipe.epochs=1 --set validation.recipe.epochs=1
        --set validation.max_flops_multiple=2.5 --set validation.seeds=1)
    run_part 180 run "$python" -m phinas run experiment/configs/cifar10_gpu.yaml \
        --data "$data" --out "$run" "${options[@]}"
    run_part 10 run_results "$python" benchmarks/gpu_run_results.py "$run" "$out"
    pack "$run"
}

# pack RUN: the largest weights are left out if all files together are too large.
pack() {
    local exclude=(--exclude data --exclude '*.checkpoint' --exclude paused)
    tar -C "$(dirname "$1")" "${exclude[@]}" -czf "$1.tar.gz" "$(basename "$1")"
    if [ "$(stat -c %s "$1.tar.gz")" -gt $((8 * 16 << 20)) ]; then
        tar -C "$(dirname "$1")" "${exclude[@]}" --exclude '*.safetensors' \
            -czf "$1.tar.gz" "$(basename "$1")"
    fi
    split -b 16M -d "$1.tar.gz" "$out/run.tar.gz."
}

# The limits add up to 520 s, packing takes some seconds, and the last part may take 5 s more to be
# killed: nine minutes.
check 20 machine
# Tests that need a GPU, selected by name. Warnings of other library versions are not errors here.
run_part 45 tests "$python" -m pytest tests/training_tests -k "gpu or cuda" -q -rs \
    -p no:cacheprovider -W default -W "ignore::DeprecationWarning"
if [ -n "$data" ]; then
    directory=$(mktemp -d)
    real_run "$directory/run"
    rm -rf "$directory"
fi
check 45 equivalence
check 20 failed_capture
check 75 throughput
check 15 cold_start
check 25 cold_start_autotune
check 25 streams
check 25 stacked_seeds
check 35 processes
echo "== finished after $SECONDS s, $failures failed"
cat "$out/results.jsonl"
[ "$failures" = 0 ]
