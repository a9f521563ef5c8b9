#!/usr/bin/env bash
# Evaluate under Slurm, one task per GPU.
set -euo pipefail

if [ $# -lt 4 ]; then
    cat >&2 <<USAGE
usage: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
  Environment: GPUS (8), GPUS_PER_NODE (the smaller of GPUS and 8), CPUS_PER_TASK (5), SRUN_ARGS, PYTHON (python).
example: GPUS=4 tools/slurm_test.sh gpu stt-test configs/stt_r18_ytv.py stt_r18.pth --out davis.json
USAGE
    exit 2
fi

PARTITION=$1
JOB_NAME=$2
CONFIG=$3
CHECKPOINT=$4
shift 4
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# SRUN_ARGS is split into words on purpose.
# shellcheck disable=SC2086
exec srun --partition="$PARTITION" --job-name="$JOB_NAME" --gres=gpu:"$GPUS_PER_NODE" --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher slurm "$@"
