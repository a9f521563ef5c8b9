#!/usr/bin/env bash
# Train under Slurm, one task per GPU.
set -euo pipefail

if [ $# -lt 4 ]; then
    cat >&2 <<USAGE
usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
  Environment: GPUS (8), GPUS_PER_NODE (the smaller of GPUS and 8), CPUS_PER_TASK (5), SRUN_ARGS, PYTHON (python).
  Add --signal=SIGUSR1@120 to SRUN_ARGS to save a checkpoint two minutes before the time limit.
example: GPUS=4 tools/slurm_train.sh gpu stt configs/stt_r18_ytv.py work_dirs/stt_r18_ytv --resume
USAGE
    exit 2
fi

PARTITION=$1
JOB_NAME=$2
CONFIG=$3
WORK_DIR=$4
shift 4
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# SRUN_ARGS is split into words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/train.py" "$CONFIG" --work-dir "$WORK_DIR" --launcher slurm "$@"
