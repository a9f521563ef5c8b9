#!/usr/bin/env bash
# Both stages of STT at a small size on the bundled data: MoCo v2 on frames, conversion, the temporal stage with that
# student and teacher; then the scores of the untrained network and of both stages, and the loss curves.
set -euo pipefail

case "${1:-}" in -h | --help)
    cat <<USAGE
usage: bash tools/two_stages.sh [WORK_DIR]
Trains on demo/data/clips and evaluates on demo/data/davis, about ten minutes on 2 CPU cores after the installation.
WORK_DIR (default: work_dirs/two_stages) gets the checkpoints, the logs, losses.png and the results. Run it again after an
interruption, and it goes on. Both trainings, at full size and on other data: docs/pretraining.md
USAGE
    exit
    ;;
esac
if [[ $# -gt 1 || "${1:-}" == -* ]]; then
    echo "error: expected one folder at most, got: $*. usage: bash tools/two_stages.sh [WORK_DIR]" >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
work="${1:-$REPOSITORY/work_dirs/two_stages}"
[[ "$work" == /* ]] || work="$PWD/$work"
prepare_environment

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

evaluate() {
    run "$PYTHON" tools/test.py "$2" "$3" --work-dir "$work/eval/$1" --out "$work/$1.json" --skip-done --cfg-options \
        test_dataloader.dataset.data_root=demo/data/davis test_dataloader.dataset.max_frames=25 \
        model.propagator.protocol.short_side=320
}

run "$PYTHON" tools/train.py configs/pretrain/mocov2_r18_demo.py --work-dir "$work/stage1" --no-validate --resume
run "$PYTHON" tools/convert_checkpoint.py "$work/stage1/iter_600.pth" "$work/stage1.pth" --depth 18 --overwrite
export STT_STAGE1_R18="$work/stage1.pth"
run "$PYTHON" tools/train.py configs/stt/stt_r18_demo_full.py --work-dir "$work/stage2" --no-validate --resume

evaluate untrained configs/eval/davis_r18_s8.py none
evaluate stage1 configs/eval/davis_spatial_r18_rgb.py "$work/stage1.pth"
evaluate stage2 configs/eval/davis_r18_s8.py "$work/stage2/iter_300.pth"
run "$PYTHON" tools/analysis/plot_losses.py "$work/stage1" "$work/stage2" --out "$work/losses.png"
run "$PYTHON" tools/analysis/compare_results.py "$work/untrained.json" "$work/stage1.json" "$work/stage2.json"
