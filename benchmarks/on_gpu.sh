#!/usr/bin/env bash
# Everything there is to learn on a machine with a GPU, without network, in one command of nine minutes:
#
#   benchmarks/on_gpu.sh OUTDIR [WHEELS_DIR]
#
# Builds for the visible GPU, runs the tests that need one, every benchmark, and compute-sanitizer over the tests
# of the CUDA kernels. The most important comes first; a step that fails or runs out of time does not stop the
# rest, but for the build.
#
# WHEELS_DIR holds packages that the machine lacks; those in it win over installed ones. Needed are torch and what
# pyproject.toml lists, pytest and hypothesis, and setuptools, pybind11, cmake, ninja for the build; tyro brings
# docstring-parser and typeguard. matplotlib, lapx and torch-linear-assignment are used where they are.
#
# OUTDIR gets log.txt, report.md, a picture of each operator, and results.tgz: `tar xzf results.tgz -C benchmarks`
# adds its rows where there are none yet. The exit code is 1 if a step failed.
set -uo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,4s/^# \{0,1\}//p' "$0"
    exit 2
fi
mkdir -p "$1" || exit 2
OUT=$(cd "$1" && pwd)
WHEELS=${2:+$(cd "$2" && pwd)} || exit 2
ROOT=$(cd "$(dirname "$0")/.." && pwd)
LOG=$OUT/log.txt
RESULTS=$OUT/results
LIMIT=535        # seconds for all
RESERVE=30       # of them for the report
MOST_PICTURES=5  # so that there are at most eight files
SUMMARY=()
FAILED=0
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$ROOT" || exit 2
: >"$LOG"

note() { # STEP RESULT
    SUMMARY+=("$(printf '%-24s %s' "$1" "$2")")
}

skip() { # STEP REASON
    note "$1" "skipped: $2"
}

fail() { # STEP REASON
    note "$1" "FAILED: $2"
    FAILED=1
}

step() { # STEP SECONDS COMMAND...: runs a command within its time and what is left of all; says how it went
    local name=$1 most=$2 left=$((LIMIT - RESERVE - SECONDS)) began=$SECONDS code
    shift 2
    if [ "$name" = report ]; then left=$((LIMIT - SECONDS)); fi
    if [ "$left" -lt 5 ]; then
        fail "$name" "no time left"
        return 1
    fi
    printf '\n===== %s: %s\n' "$name" "$*" | tee -a "$LOG"
    timeout -k 5 "$((most < left ? most : left))" "$@" 2>&1 | tee -a "$LOG"
    code=${PIPESTATUS[0]}
    case $code in
        0) note "$name" "ok, $((SECONDS - began)) s" ;;
        124 | 137) fail "$name" "stopped after $((SECONDS - began)) s" ;;
        *) fail "$name" "exit code $code after $((SECONDS - began)) s" ;;
    esac
    return "$code"
}

make_environment() { # an environment of our own over the machine's packages, which stay as they are
    local here=${PYTHON:-python3}
    "$here" -m venv --without-pip "$WORK/env" || return
    "$here" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
        >"$("$WORK/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/machine.pth"
}

sanitizer() { # TOOL: over the tests of the CUDA kernels; without torch's cache of memory, which hides overruns
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$1" --error-exitcode 9 \
        "$PY" -m pytest -q -p no:cacheprovider -m gpu tests/test_native.py tests/ops
}
export -f sanitizer

finish() { # pack what there is, say how each step went
    local picture count=0
    for picture in "$RESULTS"/*/*.png; do
        if [ -e "$picture" ] && [ $((count++)) -lt $MOST_PICTURES ]; then mv "$picture" "$OUT"; fi
    done
    mv "$RESULTS"/*/report.md "$OUT" 2>/dev/null
    if [ -d "$RESULTS" ]; then tar czf "$OUT/results.tgz" -C "$OUT" results && rm -r "$RESULTS"; fi
    printf '\n===== summary, %d s\n' "$SECONDS" | tee -a "$LOG"
    printf '%s\n' "${SUMMARY[@]}" | tee -a "$LOG"
    exit "$FAILED"
}

# The machine, and a place to install into.
if ! make_environment >>"$LOG" 2>&1; then
    fail environment "no virtual environment, see log.txt"
    finish
fi
export PY=$WORK/env/bin/python PATH=$WORK/env/bin:$PATH:/usr/local/cuda/bin OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1
PIP=("$PY" -m pip --disable-pip-version-check install --quiet --no-index --no-deps)
if DEVICE=$("$PY" -c 'import torch; print(torch.cuda.get_device_name())' 2>/dev/null); then
    note device "$DEVICE"
    BENCH=(--device cuda)
else
    fail device "no CUDA device: tests and benchmarks of the GPU are left out, the others run in their quick form"
    BENCH=(--device cpu --quick)
fi
if command -v nvidia-smi >/dev/null; then nvidia-smi >>"$LOG" 2>&1; fi

# Most important first.
if [ -n "$WHEELS" ]; then
    step wheels 40 "${PIP[@]}" "$WHEELS"/*.whl
else
    skip wheels "no WHEELS_DIR given"
fi
if [ -n "$DEVICE" ]; then export VLP_FAST_CUDA=1; fi
if ! step build 150 "${PIP[@]}" --no-build-isolation --verbose --editable .; then finish; fi
step doctor 40 vlp-fast doctor
if [ -n "$DEVICE" ]; then
    step "tests" 120 "$PY" -m pytest -q -p no:cacheprovider -m gpu tests
else
    skip tests "no CUDA device"
fi
step "bench matching" 200 vlp-fast bench matching "${BENCH[@]}" --out "$RESULTS"
step "bench losses" 40 vlp-fast bench losses "${BENCH[@]}" --out "$RESULTS"
for tool in memcheck racecheck synccheck; do
    if [ -z "$DEVICE" ]; then
        skip "$tool" "no CUDA device"
    elif ! command -v compute-sanitizer >/dev/null; then
        skip "$tool" "no compute-sanitizer on PATH"
    else
        step "$tool" 50 bash -c "sanitizer $tool"
    fi
done
step "bench attention" 30 vlp-fast bench attention "${BENCH[@]}" --out "$RESULTS"
step "bench dictionary" 30 vlp-fast bench dictionary "${BENCH[@]}" --out "$RESULTS"
for folder in "$RESULTS"/*/; do
    if [ -d "$folder" ]; then step report 30 vlp-fast bench --report "$folder"; else skip report "no rows"; fi
done
finish
