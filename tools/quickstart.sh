#!/usr/bin/env bash
# Installs the toolbox, trains it shortly on the bundled clips, and compares the result with baselines on the bundled
# labelled videos.
set -uo pipefail
case " $* " in *' -h '* | *' --help '*)
    cat <<USAGE
usage: bash tools/quickstart.sh [--iters N] [--work-dir DIR]
Installs the toolbox, trains it for N iterations (default: 150) on demo/data/clips, and scores the result, two baselines and
the shipped checkpoint on demo/data/davis. DIR (default: work_dirs/quickstart) gets everything; each run starts afresh.
USAGE
    exit
    ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment
exec "$PYTHON" tools/quickstart.py "$@"
