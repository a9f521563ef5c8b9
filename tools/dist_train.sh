#!/usr/bin/env bash
# Train in several processes with torchrun, on GPUs or, where there are none, on the CPU.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"

if [ $# -lt 2 ]; then
    cat >&2 <<USAGE
usage: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
  GPUS is the number of processes on this node.
  Several nodes: run it on each with NNODES, NODE_RANK, MASTER_ADDR and PORT set in the environment.
example: tools/dist_train.sh configs/stt_r18_ytv.py 4 --amp
USAGE
    exit 2
fi
with_torchrun "$2" train.py "$1" "${@:3}"
