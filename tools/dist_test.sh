#!/usr/bin/env bash
# Evaluate in several processes with torchrun, on GPUs or, where there are none, on the CPU.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

if [ $# -lt 3 ]; then
    cat >&2 <<USAGE
usage: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
  CHECKPOINT is a file, or "none" for the untrained network. GPUS is the number of processes on this node.
  Several nodes: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set in the environment.
example: tools/dist_test.sh configs/stt_r18_ytv.py work_dirs/stt_r18_ytv/iter_90000.pth 4 --out davis.json
USAGE
    exit 2
fi
with_torchrun "$3" test.py "$1" "$2" "${@:4}"
