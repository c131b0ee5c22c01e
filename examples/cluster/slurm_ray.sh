#!/bin/bash
#SBATCH --job-name=hlmat
#SBATCH --nodes=4
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#
# One run on all GPUs of an allocation. Takes the options of `hlmat-bench run` but those of workers:
#
#     sbatch slurm_ray.sh --model qwen2.5-vl-7b --task res --segmenter sam_h,checkpoint=... --out /shared/runs/qwen
#
# Submit it again with the same options to continue a run. Activate your environment here, or before sbatch.
set -euo pipefail

# Whoever can reach Ray's ports can run code as you, so Ray asks for the token in ~/.ray/auth_token, which all nodes share.
export RAY_AUTH_MODE=token
ray get-auth-token --generate >/dev/null

head=$(hostname --ip-address)
head=${head%% *}:$((20000 + SLURM_JOB_ID % 10000))
srun --overlap --nodes=1 --ntasks=1 --nodelist="$SLURMD_NODENAME" \
    ray start --head --node-ip-address="${head%:*}" --port="${head#*:}" --block &
until ray status --address="$head" >/dev/null 2>&1; do sleep 2; done

others=$((SLURM_JOB_NUM_NODES - 1))
if ((others > 0)); then
    srun --overlap --nodes=$others --ntasks=$others --exclude="$SLURMD_NODENAME" ray start --address="$head" --block &
fi

# Slurm sends SIGTERM 120 seconds before the time is over. The run then ends in order, and its folder is whole.
hlmat-bench run "$@" --ray-address "$head" --workers $((SLURM_JOB_NUM_NODES * SLURM_GPUS_ON_NODE)) &
run=$!
trap 'kill -TERM $run' TERM
code=0
wait $run || code=$?
if ((code > 128)) && kill -0 $run 2>/dev/null; then # the signal ended the waiting, not the run
    code=0
    wait $run || code=$?
fi
exit $code
