#!/usr/bin/env bash
# Everything that only a machine with a GPU can tell, in at most eight minutes: the tests of devices, what training and
# propagation cost, and a short training with its score. Options: bash tools/gpu_check.sh --help
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
case " $* " in
    *' -h '* | *' --help '*)
        PYTHON="$(find_python)" || exit 1
        exec "$PYTHON" "$REPOSITORY/tools/gpu_check.py" --help
        ;;
esac
prepare_environment
exec "$PYTHON" tools/gpu_check.py "$@"
