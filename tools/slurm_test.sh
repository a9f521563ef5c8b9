#!/usr/bin/env bash
# Evaluate under Slurm, one task per GPU.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

if [ $# -lt 4 ]; then
    cat >&2 <<USAGE
usage: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
  Environment: GPUS (8), GPUS_PER_NODE (the smaller of GPUS and 8), CPUS_PER_TASK (5), SRUN_ARGS, PYTHON (python).
example: GPUS=4 tools/slurm_test.sh gpu stt-test configs/stt_r18_ytv.py stt_r18.pth --out davis.json
USAGE
    exit 2
fi
with_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
