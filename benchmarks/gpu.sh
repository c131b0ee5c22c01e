#!/usr/bin/env bash
# Measures what a GPU does, with random weights of the sizes of published models: nothing is downloaded.
#
#     benchmarks/gpu.sh [--tiny]
#
# Run it from a checkout with hlmat-bench[all] installed; PYTHON names another Python. It takes less than 9 minutes,
# 24 GB of disk in TMPDIR and, at its full batches, most of an 80 GB card. Each table has a time limit of its own; a table
# that could not be made says why, and the exit code is then 1. --tiny tries the script on a CPU, with tiny weights.
# SECONDS_IN_ALL (530) is the time after which no table is begun and none continues.
set -u
cd "$(dirname "$0")/.." || exit
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
python=${PYTHON:-python3}
total=${SECONDS_IN_ALL:-530}
weights=$(mktemp -d) || exit
trap 'rm -rf "$weights"' EXIT

if [[ ${1-} == --tiny ]]; then
    export OMP_NUM_THREADS=1 # more threads make such small networks slower
    tiny=(--tiny) rounds=1 batches=(1 2) episodes=2 played=6 workers=2
    sam=sam,pretrained=$weights/sam_tiny simpleclick=simpleclick,checkpoint=$weights/simpleclick.pth,input_size=224
else
    tiny=() rounds=3 batches=(1 8 32) episodes=32 played=96 workers=auto
    sam=sam_h,checkpoint=$weights/sam_h.pth simpleclick=simpleclick_h,checkpoint=$weights/simpleclick.pth
fi
failed=0

# section TITLE SECONDS MODULE ARGUMENT...: prints what the module prints, or why there is nothing.
section() {
    local title=$1 limit=$2 code=0 left=$((total - SECONDS))
    shift 2
    ((limit < left)) || limit=$left
    printf '\n## %s\n\n' "$title"
    if ((limit > 0)); then
        timeout --kill-after=10 "$limit" "$python" -m "$@" 2>"$weights/errors" || code=$?
    else
        code=124
    fi
    case $code in
        0) ;;
        124 | 137) echo "Not made: it did not end within its time, $((limit > 0 ? limit : 0)) seconds." ;;
        *) echo "Not made: exit code $code. $(grep -v '^ *$' "$weights/errors" | tail -n 1)" ;;
    esac
    ((code == 0)) || failed=1
    echo "(after $SECONDS s)"
}

left_out() { printf '\n## %s\n\nLeft out: %s\n' "$1" "$2"; }

machine=$("$python" -c '
import torch, transformers
gpus, device = torch.cuda.device_count(), torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
print(f"{gpus} GPUs: {device}; torch {torch.__version__}, transformers {transformers.__version__}")') || exit
gpus=${machine%% *}
echo "# $machine"

section 'Weights of the segmenters' 60 benchmarks.checkpoints "$weights" segmenters "${tiny[@]}"
section 'Clicks per second' 100 benchmarks.segmenters --throughput "$sam" "$simpleclick" --episodes $episodes
section 'Weights of the model' 110 benchmarks.checkpoints "$weights" model "${tiny[@]}"
section 'Requests per second of hf' 120 benchmarks.hf --pretrained "$weights/vlm" --rounds $rounds --batches "${batches[@]}"

whole_run=(benchmarks.throughput "./benchmarks/clicking_hf.py,pretrained=$weights/vlm,batch_size=${batches[-1]}" "$sam")
section 'Episodes per second of a run' 170 "${whole_run[@]}" --episodes $played

all='Episodes per second on all GPUs'
if ! "$python" -m hlmat_bench run --help | grep -q -e --workers; then
    left_out "$all" 'this version of hlmat-bench has no option --workers.'
elif [[ -z ${tiny[*]} ]] && ((gpus < 2)); then
    left_out "$all" 'there is one GPU.'
else
    section "$all" 170 "${whole_run[@]}" --episodes $((played * (gpus > 1 ? gpus : 1))) \
        --executor ray --workers $workers
fi
exit $failed
