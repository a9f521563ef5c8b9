# Sourced by dist_train.sh and dist_test.sh: launch SCRIPT [ARGUMENTS] in $GPUS processes.
# PYTHON (default: python) names the interpreter.

launch() {
    local python=${PYTHON:-python} nnodes=${NNODES:-1} port=${PORT:-}
    if ! [[ $GPUS =~ ^[1-9][0-9]*$ ]]; then
        echo "error: GPUS must be a number of processes, got '$GPUS'" >&2
        exit 2
    fi
    if [ -z "$port" ]; then
        if [ "$nnodes" -gt 1 ]; then
            port=29500
        else
            port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
        fi
    fi
    if [ -z "${OMP_NUM_THREADS:-}" ]; then
        local threads=$(($(nproc) / GPUS))
        export OMP_NUM_THREADS=$((threads < 1 ? 1 : threads > 8 ? 8 : threads))
    fi
    exec "$python" -m torch.distributed.run --nnodes="$nnodes" --node-rank="${NODE_RANK:-0}" \
        --master-addr="${MASTER_ADDR:-127.0.0.1}" --master-port="$port" --nproc-per-node="$GPUS" "$@"
}
