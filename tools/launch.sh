# Sourced by dist_*.sh and slurm_*.sh: how a script of tools/ is launched in several processes.
# PYTHON (default: python) names the interpreter.
set -euo pipefail

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
PYTHON=${PYTHON:-python}

# with_torchrun PROCESSES SCRIPT [ARGUMENTS]
with_torchrun() {
    local gpus=$1 script=$2 nnodes=${NNODES:-1} meeting
    shift 2
    if ! [[ $gpus =~ ^[1-9][0-9]*$ ]]; then
        echo "error: GPUS must be a number of processes, got '$gpus'" >&2
        exit 2
    fi
    if ! "$PYTHON" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
        echo "error: $PYTHON has no torch. Activate the environment of stt_mm (source .venv/bin/activate), or name its" \
            "interpreter: PYTHON=.venv/bin/python" >&2
        exit 2
    fi
    if [ "$nnodes" != 1 ] && [ -z "${MASTER_ADDR:-}" ]; then
        echo "error: NNODES=$nnodes needs MASTER_ADDR, the address of the node with NODE_RANK=0" >&2
        exit 2
    fi
    if [ "$nnodes" = 1 ] && [ -z "${PORT:-}" ]; then
        # Who listens chooses the port, so that nobody can take it before.
        meeting=(--standalone --local-addr=127.0.0.1)
    else
        meeting=(--nnodes="$nnodes" --node-rank="${NODE_RANK:-0}" --master-addr="${MASTER_ADDR:-127.0.0.1}"
            --master-port="${PORT:-29500}")
    fi
    if [ -z "${OMP_NUM_THREADS:-}" ]; then
        local threads=$(($(nproc) / gpus))
        export OMP_NUM_THREADS=$((threads < 1 ? 1 : threads > 8 ? 8 : threads))
    fi
    exec "$PYTHON" -m torch.distributed.run "${meeting[@]}" --nproc-per-node="$gpus" "$TOOLS/$script" \
        --launcher pytorch "$@"
}

# with_slurm PARTITION JOB_NAME SCRIPT [ARGUMENTS]
with_slurm() {
    local partition=$1 job=$2 script=$3 gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    shift 3
    # SRUN_ARGS is split into words on purpose.
    # shellcheck disable=SC2086
    exec srun --partition="$partition" --job-name="$job" --gres=gpu:"$per_node" --ntasks="$gpus" \
        --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "$PYTHON" -u "$TOOLS/$script" --launcher slurm "$@"
}
