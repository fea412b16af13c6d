#!/usr/bin/env bash
# Everything there is to learn on a machine with a GPU, without network, in one command of nine minutes by default:
#
#   [LIMIT=535] [MOST_FILES=8] [OPERATORS="dictionary matching"] [TESTS=tests/ops] [VLP_FAST_COMMIT=abc1234] \
#       benchmarks/on_gpu.sh DESTDIR [WHEELS_DIR]
#
# Builds for the visible GPU, runs the tests that need one, every benchmark, and compute-sanitizer over the tests
# of the CUDA kernels, over the dictionary's directly after its benchmark. The most important comes first; a step that fails or runs out of time does not stop the
# rest, but for torch that does not import and the build. LIMIT is the time for all in seconds, MOST_FILES how many
# files may be left in DESTDIR, OPERATORS which benchmarks run and in which order, TESTS which tests, none if it is
# empty: not all of either fits in one such call. VLP_FAST_COMMIT is written into the rows where there is no .git to ask.
#
# WHEELS_DIR holds packages that the machine lacks; those in it win over installed ones. Needed are torch and what
# pyproject.toml lists, pytest and hypothesis, and setuptools, pybind11, cmake, ninja for the build; tyro brings
# docstring-parser and typeguard. matplotlib, lapx, torch-linear-assignment, flash-kmeans and vector-quantize-pytorch
# (with einops, einx, frozendict, loguru, torch-einops-utils; the tests want it too) are used where they are.
#
# DESTDIR gets log.txt, report.md, results/DEVICE/OPERATOR.csv, and as many pictures as MOST_FILES leaves room for.
# `vlp-fast bench --merge DESTDIR/results`, in a checkout, adds to its ledger the rows that are not in it yet.
# Without a GPU the benchmarks run in their quick form and leave no rows. The exit code is 1 if a step failed.
set -uo pipefail

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    sed -n '2,5s/^# \{0,1\}//p' "$0"
    exit 2
fi
LIMIT=${LIMIT:-535}          # seconds for all
RESERVE=${RESERVE:-30}       # of them for the report
OPERATORS=${OPERATORS-dictionary matching losses attention}
TESTS=${TESTS-tests}
MOST_FILES=${MOST_FILES:-8}  # log and report, then rows, then pictures
# Which kernels compute-sanitizer looks at: those of the namespace vlp. Set it empty if a version knows it not.
SANITIZER_FILTER=${SANITIZER_FILTER---kernel-regex kns=vlp}
DICTIONARY_TESTS=tests/ops/test_dictionary_gpu.py
OTHER_TESTS=(tests/ops/test_matching_gpu.py tests/ops/test_attention_gpu.py tests/ops/test_norm_gpu.py)
# Not for the sanitizer: what it does not allow or makes too slow, and what runs no kernel of the filter.
UNSANITIZED="graph or never_waits or hundred or 32_bits or same_bits or pytorch or bfloat16 or float32 or triton"
mkdir -p "$1" || exit 2
DEST=$(cd "$1" && pwd)
WHEELS=${2:+$(cd "$2" && pwd)} || exit 2
ROOT=$(cd "$(dirname "$0")/.." && pwd)
LOG=$DEST/log.txt
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
    if [ "$name" = tests ]; then patience=(-s INT -k 20); fi # pytest then sums up what it has
    # Into a file: a child that outlives the command would hold a pipe open.
    timeout "${patience[@]}" "$((most < left ? most : left))" "$@" </dev/null >>"$LOG" 2>&1
    code=$?
    tail -c "+$((said + 1))" "$LOG"
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

sanitizer() { # TOOL SECONDS FILE...: over some tests; without torch's cache of memory, which hides overruns and forbids graphs
    local tool=$1 seconds=$2 name options=(--tool "$1" --error-exitcode 9)
    shift 2
    name="$tool $(basename -s _gpu.py -a "$@" | sed 's/^test_//' | paste -sd ' ')"
    if [ -z "$DEVICE" ]; then
        skip "$name" "no CUDA device"
        return
    elif ! command -v compute-sanitizer >/dev/null; then
        skip "$name" "no compute-sanitizer on PATH"
        return
    fi
    if [ "$tool" = memcheck ]; then options+=(--report-api-errors no); fi # torch asks and expects some
    # shellcheck disable=SC2206  # the words of the filter
    options+=($SANITIZER_FILTER)
    step "$name" "$seconds" env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer "${options[@]}" \
        "$PY" -m pytest -q -p no:cacheprovider -m gpu -k "not ($UNSANITIZED)" "$@"
}

bench() { # OPERATOR: with the time that it needs
    local seconds=170
    case $1 in
        dictionary) seconds=260 ;;
        losses) seconds=40 ;;
        attention) seconds=300 ;; # 16 cases of up to ten ways for about a second each, and what they compile
    esac
    step "bench $1" "$seconds" vlp-fast bench "$1" "${BENCH[@]}"
}

finish() { # keep rows and pictures, as many files as allowed; say how each step went
    local file count=2 # the log and the report
    local pictures=("$ROWS"/*/{dictionary,matching,losses,attention}*.png)
    mv "$ROWS"/*/report.md "$DEST" 2>/dev/null
    for file in "$ROWS"/*/*.csv "${pictures[@]}"; do
        if [ ! -e "$file" ]; then continue; fi
        if [ $((++count)) -gt "$MOST_FILES" ]; then
            note "$(basename "$file")" "left out, MOST_FILES is $MOST_FILES"
        elif [ "${file##*.}" = png ]; then
            mv "$file" "$DEST"
        else
            mkdir -p "$DEST/results/$(basename "$(dirname "$file")")"
            mv "$file" "$DEST/results/$(basename "$(dirname "$file")")"
        fi
    done
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
    BENCH=(--device cuda --out "$ROWS")
    export VLP_FAST_CUDA=1
else
    fail device "no CUDA device: its tests are left out, benchmarks run in their quick form and leave no rows"
    DEVICE=""
    BENCH=(--device cpu --quick)
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
if [ -z "$DEVICE" ]; then
    skip tests "no CUDA device"
elif [ -z "$TESTS" ]; then
    skip tests "TESTS is empty"
else
    # shellcheck disable=SC2086  # the words of the list
    # Most of it compiles: attention's programs alone may take 200 s, not yet measured. pyproject.toml adds -ra.
    step tests 330 "$PY" -m pytest -q --durations=10 -p no:cacheprovider -m gpu $TESTS
fi
for operator in $OPERATORS; do
    bench "$operator"
    if [ "$operator" = dictionary ]; then sanitizer memcheck 60 "$DICTIONARY_TESTS"; fi
done
case " $OPERATORS " in
    *" dictionary "*) sanitizer memcheck 90 "${OTHER_TESTS[@]}" ;;
    *) sanitizer memcheck 90 "$DICTIONARY_TESTS" "${OTHER_TESTS[@]}" ;;
esac
sanitizer racecheck 60 "$DICTIONARY_TESTS" "${OTHER_TESTS[@]}"
sanitizer synccheck 60 "$DICTIONARY_TESTS" "${OTHER_TESTS[@]}"
if ! compgen -G "$ROWS/*/*.csv" >/dev/null; then skip report "no rows"; fi
for folder in "$ROWS"/*/; do
    if [ -d "$folder" ]; then step report 30 vlp-fast bench --report "$folder"; fi
done
finish
