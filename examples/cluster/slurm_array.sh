#!/bin/bash
#SBATCH --job-name=hlmat
#SBATCH --array=1-8
#SBATCH --gpus=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#
# A run in parts, one for each task of an array, without Ray. Takes the folder of the parts and the options of
# `hlmat-bench run` but --out. The parts are put together when all tasks have ended:
#
#     job=$(sbatch --parsable slurm_array.sh /shared/runs/qwen --model qwen2.5-vl-7b --task res_refcoco_val)
#     sbatch --dependency=afterany:$job --wrap 'hlmat-bench merge /shared/runs/qwen/part-* --out /shared/runs/qwen/whole'
#
# Submit it again with the same options, and an array of the same size, to continue. Activate your environment here, or
# before sbatch.
set -euo pipefail
folder=$1
shift
part=$SLURM_ARRAY_TASK_ID parts=$SLURM_ARRAY_TASK_COUNT
exec hlmat-bench run "$@" --shard "$part/$parts" --out "$folder/part-$part"
