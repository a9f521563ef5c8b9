#!/usr/bin/env bash
# Installs the toolbox, trains it shortly on the bundled clips, and compares the result with baselines on the bundled
# labelled videos. Options: bash tools/quickstart.sh --help
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
case " $* " in
    *' -h '* | *' --help '*)
        PYTHON="$(find_python)" || exit 1
        exec "$PYTHON" "$REPOSITORY/tools/quickstart.py" --help
        ;;
esac
prepare_environment
exec "$PYTHON" tools/quickstart.py "$@"
