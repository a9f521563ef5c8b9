# Sourced by quickstart.sh and run_tests.sh: prepare_environment makes sure that the package is installed and sets PYTHON.
#
# The active virtual environment is used if there is one, else .venv in the repository, which is made when missing. What
# was installed is noted in a stamp, so a second run installs nothing. PYTHON=... chooses the interpreter for .venv,
# STT_MM_VENV=... another place for it.
#
# prepare_environment --minimum: the oldest supported versions instead of the tested newest ones, in .venv-minimum or
# STT_MM_VENV; the active virtual environment stays as it is.

REPOSITORY="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
ENVIRONMENT_GB=7
DOWNLOAD_GB=4
VERSIONS=requirements/constraints.txt
PYTHONS='3.13 3.12 3.11 3.10'

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

is_supported() {
    "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv[1].split())' "$PYTHONS" >/dev/null 2>&1
}

python_range() {
    printf 'Python %s to %s' "${PYTHONS##* }" "${PYTHONS%% *}"
}

find_python() {
    local candidate found=''
    for candidate in ${PYTHON:-python3 ${PYTHONS//3./python3.}}; do
        if is_supported "$candidate"; then
            command -v "$candidate"
            return
        fi
        found="$found$("$candidate" --version 2>/dev/null | sed 's/^/ /')"
    done
    fail "$(python_range) is needed, found${found:- none}. Install one, or name it: PYTHON=/path/to/python3.11 bash $0"
}

free_gb() {
    df -Pk "$1" 2>/dev/null | awk 'NR == 2 { printf "%d", $4 / 1048576 }'
}

check_disk() {
    local temporary="${TMPDIR:-/tmp}" free
    free="$(free_gb "$1")"
    [ "${free:-$ENVIRONMENT_GB}" -ge "$ENVIRONMENT_GB" ] ||
        fail "the installation needs about $ENVIRONMENT_GB GB in $1, $free GB are free. Make room, or choose another place: STT_MM_VENV=/path/to/venv bash $0"
    free="$(free_gb "$temporary")"
    [ "${free:-$DOWNLOAD_GB}" -ge "$DOWNLOAD_GB" ] ||
        fail "pip needs about $DOWNLOAD_GB GB for downloads in $temporary, $free GB are free. Make room, or choose another place: TMPDIR=/path bash $0"
}

make_venv() {
    local python log="${TMPDIR:-/tmp}/stt_mm_venv_$$.log"
    python="$(find_python)" || exit 1
    # Only an environment is replaced, never a folder with something else in it.
    [ ! -e "$1" ] || [ -f "$1/pyvenv.cfg" ] || rmdir "$1" 2>/dev/null ||
        fail "$1 is not empty and no virtual environment. Choose another place: STT_MM_VENV=/path/to/venv bash $0"
    check_disk "$(dirname "$1")"
    echo "Making a virtual environment in $1 ($("$python" --version))"
    rm -rf "$1"
    if ! "$python" -m venv "$1" >"$log" 2>&1; then
        rm -rf "$1"
        fail "$python -m venv $1 failed, see $log. On Debian and Ubuntu: apt install python3-venv"
    fi
    rm -f "$log"
}

# What has to be installed anew when it changes: the requirements, the place of the checkout, the interpreter.
wanted_stamp() {
    (cd "$REPOSITORY" && "$PYTHON" - "$VERSIONS" <<'PY'
import hashlib
import sys
from pathlib import Path

files = (Path('setup.py'), Path(sys.argv[1]))
text = [str(Path.cwd()), sys.version, *(path.read_text(encoding='utf-8') for path in files)]
sys.stdout.write(hashlib.sha256('\n'.join(text).encode()).hexdigest())
PY
    )
}

is_installed() {
    "$PYTHON" - >/dev/null 2>&1 <<'PY'
import importlib.util
import sys

names = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain', 'cv2', 'av', 'tensorboard', 'scipy', 'pytest', 'stt_mm')
sys.exit(any(importlib.util.find_spec(name) is None for name in names))
PY
}

pip_install() {
    (cd "$REPOSITORY" && "$PYTHON" -m pip install --disable-pip-version-check --progress-bar off -e '.[tests]' "$@" 2>&1) |
        tee "$LOG" |
        sed -un -e 's/^Collecting \([^ ;(]*\).*/  finding \1/p' \
            -e 's/^ *Downloading \([^ ]*\)-[^- ]*-[^- ]*-[^- ]*whl[^(]*(\([0-9.]* [MG]B\)).*/  downloading \1, \2/p' \
            -e 's/^Installing collected packages.*/  unpacking everything, takes about a minute/p'
    return "${PIPESTATUS[0]}"
}

explain_failure() {
    if grep -qE 'different python version|ResolutionImpossible' "$LOG"; then
        return
    elif grep -qE 'NewConnectionError|NameResolutionError|ConnectTimeout|ReadTimeout|ProxyError|Network is unreachable|Connection refused' "$LOG"; then
        fail "the package index cannot be reached. Check the internet connection or proxy, then run this again. Log: $LOG"
    elif grep -q 'No space left' "$LOG"; then
        fail "the disk is full. Make room (about $ENVIRONMENT_GB GB), then run this again. Log: $LOG"
    fi
}

prepare_environment() {
    cd "$REPOSITORY" || exit 1
    local folder="${VIRTUAL_ENV:-${STT_MM_VENV:-$REPOSITORY/.venv}}"
    if [ "${1:-}" = --minimum ]; then
        folder="${STT_MM_VENV:-$REPOSITORY/.venv-minimum}"
        VERSIONS=requirements/minimum.txt
        PYTHONS='3.12 3.11 3.10'
    fi
    if [ "$folder" = "${VIRTUAL_ENV:-}" ]; then
        is_supported "$folder/bin/python" ||
            fail "the active virtual environment $folder has no $(python_range). Run 'deactivate', or make another."
        echo "Using the active virtual environment $folder"
    elif ! is_supported "$folder/bin/python" || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
        mkdir -p "$(dirname "$folder")" || fail "the folder $(dirname "$folder") cannot be made."
        make_venv "$folder"
    fi
    PYTHON="$folder/bin/python"
    local stamp="$folder/.stt_mm_installed" wanted
    wanted="$(wanted_stamp)" || fail "setup.py or $VERSIONS cannot be read in $REPOSITORY."
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && is_installed; then
        return
    fi
    LOG="$folder/stt_mm_install.log"
    if "$PYTHON" -c 'import torch' >/dev/null 2>&1; then
        echo "Updating the packages in $folder. Log: $LOG"
    else
        check_disk "$folder"
        echo "Installing into $folder: about 6 GB with CUDA, two to five minutes. Log: $LOG"
    fi
    if ! pip_install -c "$VERSIONS"; then
        explain_failure
        [ "$VERSIONS" = requirements/constraints.txt ] ||
            fail "the versions of $VERSIONS do not install with $("$PYTHON" --version). Log: $LOG"
        echo "The tested versions ($VERSIONS) do not install with $("$PYTHON" --version); taking the newest that fit."
        if ! pip_install; then
            explain_failure
            fail "the installation failed: $(grep -m 1 '^ERROR' "$LOG" || tail -n 1 "$LOG"). Log: $LOG"
        fi
    fi
    is_installed || fail "pip reports success, but a package is missing. See $LOG, or remove $folder and run this again."
    echo "$wanted" >"$stamp"
}

# Threads that wait without spinning: two programs on two cores otherwise slow each other down many times over.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
trap 'printf "\nStopped. Run it again to go on; what is installed stays.\n" >&2; exit 130' INT
