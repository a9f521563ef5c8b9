#!/usr/bin/env bash
# The whole test suite, in the same environment as the quickstart. Arguments go to pytest: bash tools/run_tests.sh -k davis
# --minimum, as the first argument: with the oldest versions that setup.py allows, in an environment of its own.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
if [ "${1:-}" = --minimum ]; then
    prepare_environment --minimum
    shift
else
    prepare_environment
fi
"$PYTHON" -m ruff check . || fail "ruff found the above. Most of it is repaired by: $PYTHON -m ruff check --fix ."
"$PYTHON" -m ruff format --check . || fail "The above is laid out otherwise. It is repaired by: $PYTHON -m ruff format ."
# One thread per process: the tests start many small processes, which would fight over the cores. A file stays in one of
# the processes, because its tests share what was trained for them.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
workers="$("$PYTHON" -c 'import os; print(min(os.cpu_count() or 1, 4))')" || fail "$PYTHON does not start."
exec "$PYTHON" -m pytest -n "$workers" --dist loadfile "$@"
