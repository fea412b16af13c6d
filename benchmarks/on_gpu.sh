#!/usr/bin/env bash
# Everything there is to learn on a machine with a GPU, without network, in two calls of nine minutes by default:
#
#   [LIMIT=535] [OPERATORS="dictionary matching"] [VLP_FAST_COMMIT=abc1234] \
#       benchmarks/on_gpu.sh tests|bench DESTDIR [WHEELS_DIR]
#
# Both build for the visible GPU. `tests` runs the tests that need one, then compute-sanitizer over those of the CUDA
# kernels; `bench` runs the benchmarks and draws a report. A step that fails or runs out of time does not stop the rest,
# but for torch that does not import and the build. LIMIT is the time for all in seconds. OPERATORS are those whose tests
# or benchmarks run, in this order (norm has tests only); all by default, and then tests of layers and models too. `step`,
# whole steps of pre-training beside a composition of what people have, fills a call: OPERATORS=step. `latency`, a pair of
# picture and text beside a two-stage baseline, is a short one: OPERATORS=latency.
# VLP_FAST_COMMIT is written into the rows where there is no .git to ask.
#
# WHEELS_DIR holds packages that the machine lacks; those in it win over installed ones. Needed are torch and what
# pyproject.toml lists, pytest, pytest-benchmark (with py-cpuinfo2) and hypothesis, and setuptools, pybind11, cmake,
# ninja for the build; tyro brings docstring-parser and typeguard. matplotlib, lapx, torch-linear-assignment,
# flash-kmeans, nvidia-dali-cuda130, rfdetr (with transformers, pydeprecate, pydantic, requests) and
# vector-quantize-pytorch (with einops, einx, frozendict, loguru, torch-einops-utils; the tests want it too) are used
# where they are.
#
# DESTDIR gets tests.txt or bench.txt, and from `bench` report.md, results/DEVICE/OPERATOR.csv and pictures: eight files
# at most. `vlp-fast bench --merge DESTDIR/results`, in a checkout, adds to its ledger the rows that are not in it yet.
# Without a GPU the benchmarks run in their quick form and leave no rows. The exit code is 1 if a step failed.
set -uo pipefail

WHAT=${1:-}
if [ $# -lt 2 ] || [ $# -gt 3 ] || { [ "$WHAT" != tests ] && [ "$WHAT" != bench ]; }; then
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit 2
fi
LIMIT=${LIMIT:-535}    # seconds for all
RESERVE=${RESERVE:-30} # of them for the report
ALL="dictionary matching losses attention data_loading step latency"
# Who does whole steps besides ours; what is compiled comes after all that is not.
EAGER=("DETR + BERT" "published SOHO" "published SOHO, not checkpointed")
COMPILED=("DETR + BERT, compiled" "published SOHO, not checkpointed, compiled")
OPERATORS=${OPERATORS:-$ALL}
# Which kernels compute-sanitizer looks at: those of the namespace vlp. Set it empty if a version knows it not.
SANITIZER_FILTER=${SANITIZER_FILTER---kernel-regex kns=vlp}
# Not for the sanitizer: what it does not allow or makes too slow, and what runs no kernel of the filter.
UNSANITIZED="graph or never_waits or hundred or 32_bits or same_bits or pytorch or bfloat16 or float32 or triton"
mkdir -p "$2" || exit 2
DEST=$(cd "$2" && pwd)
WHEELS=${3:+$(cd "$3" && pwd)} || exit 2
ROOT=$(cd "$(dirname "$0")/.." && pwd)
LOG=$DEST/$WHAT.txt
SUMMARY=()
FAILED=0
WORK=$(mktemp -d)
ROWS=$WORK/results
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
    local name=$1 most=$2 left=$((LIMIT - RESERVE - SECONDS)) began=$SECONDS said code patience=(-k 5)
    shift 2
    if [ "$name" = report ]; then left=$((LIMIT - SECONDS)); fi
    if [ "$left" -lt 5 ]; then
        fail "$name" "no time left"
        return 1
    fi
    printf '\n===== %s: %s\n' "$name" "$*" | tee -a "$LOG"
    said=$(wc -c <"$LOG")
    case $name in tests* | bench*) patience=(-s INT -k 20) ;; esac # pytest then sums up what it has
    # Into a file: a child that outlives the command would hold a pipe open.
    timeout "${patience[@]}" "$((most < left ? most : left))" "$@" </dev/null >>"$LOG" 2>&1
    code=$?
    tail -c "+$((said + 1))" "$LOG"
    case $code in
        0) note "$name" "ok, $((SECONDS - began)) s" ;;
        5) fail "$name" "there is none" ;;
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

chosen() { # tests whose names or files say an operator that was chosen; all by default
    if [ "$OPERATORS" = "$ALL" ]; then return; fi
    printf -- '-k\n%s\n' "${OPERATORS// / or }"
}

sanitizer() { # TOOL SECONDS: without torch's cache of memory, which hides overruns and forbids graphs
    local files=() operator options=(--tool "$1" --error-exitcode 9)
    for operator in $OPERATORS norm; do
        if [ -e "tests/ops/test_${operator}_gpu.py" ]; then files+=("tests/ops/test_${operator}_gpu.py"); fi
    done
    if ! command -v compute-sanitizer >/dev/null; then
        skip "$1" "no compute-sanitizer on PATH"
        return
    fi
    if [ "$1" = memcheck ]; then options+=(--report-api-errors no); fi # torch asks and expects some
    # shellcheck disable=SC2206  # the words of the filter
    options+=($SANITIZER_FILTER)
    step "$1" "$2" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer "${options[@]}" \
        "$PY" -m pytest -q -p no:cacheprovider -m gpu -k "not ($UNSANITIZED)" "${files[@]}"
}

run_tests() {
    local words=()
    if [ -z "$DEVICE" ]; then
        skip tests "no CUDA device"
        return
    fi
    mapfile -t words < <(chosen)
    # Most of it compiles: attention's programs alone may take 200 s, not yet measured. pyproject.toml adds -ra.
    step tests 330 "$PY" -m pytest -q --durations=10 -p no:cacheprovider -m gpu "${words[@]}" tests
    sanitizer memcheck 150
    sanitizer racecheck 60
    sanitizer synccheck 60
}

run_benchmarks() {
    local operator seconds options=(--device cuda --out "$ROWS")
    if [ -z "$DEVICE" ]; then options=(--device cpu --quick); fi
    for operator in $OPERATORS; do
        case $operator in
            dictionary) seconds=260 ;;
            losses) seconds=40 ;;
            data_loading) seconds=60 ;;
            attention) seconds=300 ;; # 16 cases of up to ten ways for about a second each, and what they compile
            matching) seconds=170 ;;
            latency) seconds=120 ;; # four models come up, and nothing is compiled; not yet measured
            step) # three models by up to four processes, each of which takes a quarter of a minute to come up
                step "bench step" 240 vlp-fast bench step "${options[@]}" --step.providers "${EAGER[@]}"
                if [ -z "$DEVICE" ]; then continue; fi
                step "bench step compiled" 240 vlp-fast bench step "${options[@]}" --step.providers "${COMPILED[@]}"
                continue
                ;;
            *)
                skip "bench $operator" "it has none"
                continue
                ;;
        esac
        step "bench $operator" "$seconds" vlp-fast bench "$operator" "${options[@]}"
    done
    if ! compgen -G "$ROWS/*/*.csv" >/dev/null; then skip report "no rows"; fi
    for folder in "$ROWS"/*/; do
        if [ ! -d "$folder" ]; then continue; fi
        step report 30 vlp-fast bench --report "$folder"
        mv "$folder"/report.md "$folder"/*.png "$DEST" 2>>"$LOG"
    done
    if [ -d "$ROWS" ]; then cp -r "$ROWS" "$DEST"; fi
}

finish() { # say how each step went
    printf '\n===== summary, %d s\n' "$SECONDS" | tee -a "$LOG"
    printf '%s\n' "${SUMMARY[@]}" | tee -a "$LOG"
    exit "$FAILED"
}

# The machine, and a place to install into.
if ! make_environment >>"$LOG" 2>&1; then
    fail environment "no virtual environment, see $WHAT.txt"
    finish
fi
export PY=$WORK/env/bin/python PATH=$WORK/env/bin:$PATH:/usr/local/cuda/bin OMP_WAIT_POLICY=passive PYTHONUNBUFFERED=1
PIP=("$PY" -m pip --disable-pip-version-check install --no-index --no-deps)
if [ -z "$WHEELS" ]; then
    skip wheels "no WHEELS_DIR given"
elif ! compgen -G "$WHEELS/*.whl" >/dev/null; then
    fail wheels "$WHEELS holds no .whl"
else
    step wheels 40 "${PIP[@]}" --quiet "$WHEELS"/*.whl
fi
if ! step torch 60 "$PY" -c 'import torch; print(torch.__version__, torch.version.cuda)'; then
    fail torch "does not import in ${PYTHON:-python3}, see above; nothing can be measured"
    finish
fi
if DEVICE=$("$PY" -c 'import torch; print(torch.cuda.get_device_name())' 2>>"$LOG"); then
    note device "$DEVICE"
    export VLP_FAST_CUDA=1
else
    fail device "no CUDA device: its tests are left out, benchmarks run in their quick form and leave no rows"
    DEVICE=""
    export VLP_FAST_CUDA=0 # no GPU would run what nvcc makes
fi
if [ -e .git ] && COMMIT=$(git rev-parse --short HEAD 2>>"$LOG"); then
    note commit "$COMMIT"
elif [ -n "${VLP_FAST_COMMIT:-}" ]; then
    note commit "$VLP_FAST_COMMIT, as VLP_FAST_COMMIT says"
else
    fail commit "UNKNOWN, and so in every row: set VLP_FAST_COMMIT"
fi
if command -v nvidia-smi >/dev/null; then nvidia-smi >>"$LOG" 2>&1; fi

# Most important first.
if ! step build 150 "${PIP[@]}" --no-build-isolation --verbose --editable .; then finish; fi
step doctor 40 vlp-fast doctor
if [ "$WHAT" = tests ]; then run_tests; else run_benchmarks; fi
finish
