#!/usr/bin/env bash
# Train under Slurm, one task per GPU.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

if [ $# -lt 4 ]; then
    cat >&2 <<USAGE
usage: tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [arguments of tools/train.py]
  Environment: GPUS (8), GPUS_PER_NODE (the smaller of GPUS and 8), CPUS_PER_TASK (5), SRUN_ARGS, PYTHON (python).
  Add --signal=SIGUSR1@120 to SRUN_ARGS to save a checkpoint two minutes before the time limit.
example: GPUS=4 tools/slurm_train.sh gpu stt configs/stt_r18_ytv.py work_dirs/stt_r18_ytv --resume
USAGE
    exit 2
fi
with_slurm "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
