#!/usr/bin/env bash
# MAST and both stages of LIIR at a small size on the bundled data; then the scores of the untrained network, of MAST and of
# both stages, the loss curves, and what each takes for the same points.
set -euo pipefail

case "${1:-}" in -h | --help)
    cat <<USAGE
usage: bash tools/liir.sh [WORK_DIR]
Trains on demo/data/clips and evaluates on the first 12 frames of demo/data/davis, with a short side of 192 as in
docs/ablations.md: less than 20 minutes on 2 CPU cores after the installation.
WORK_DIR (default: work_dirs/liir) gets the checkpoints, the logs, losses.png, matches.png and the results. Run it again
after an interruption, and it goes on. The trainings at full size: configs/liir/README.md
USAGE
    exit
    ;;
esac
if [[ $# -gt 1 || "${1:-}" == -* ]]; then
    echo "error: expected one folder at most, got: $*. usage: bash tools/liir.sh [WORK_DIR]" >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
work="${1:-$REPOSITORY/work_dirs/liir}"
[[ "$work" == /* ]] || work="$PWD/$work"
prepare_environment

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

# evaluate NAME CONFIG CHECKPOINT: under the protocol that the config trains for
evaluate() {
    run "$PYTHON" tools/test.py "$2" "$3" --work-dir "$work/eval/$1" --out "$work/$1.json" --skip-done --cfg-options \
        test_dataloader.dataset.max_frames=12 model.propagator.protocol.short_side=192
}

# train NAME CONFIG [KEY=VALUE ...]: with batches smaller than the config's 8
train() {
    run "$PYTHON" tools/train.py "$2" --work-dir "$work/$1" --no-validate --resume --cfg-options \
        train_dataloader.batch_size=6 "${@:3}"
}

train mast configs/mast/mast_r18_demo.py
train warmup configs/liir/liir_r18_demo_warmup.py
# In quotes, a path with a comma is text and no list. They are of the kind that it does not have itself.
quote="'"
[[ "$work" != *"'"* ]] || quote='"'
train liir configs/liir/liir_r18_demo.py "model.backbone.init_cfg.checkpoint=$quote$work/warmup/iter_100.pth$quote"

evaluate untrained configs/liir/liir_r18_demo_warmup.py none
evaluate mast configs/mast/mast_r18_demo.py "$work/mast/iter_100.pth"
evaluate warmup configs/liir/liir_r18_demo_warmup.py "$work/warmup/iter_100.pth"
evaluate liir configs/liir/liir_r18_demo.py "$work/liir/iter_50.pth"
run "$PYTHON" tools/analysis/plot_losses.py "$work/mast" "$work/warmup" "$work/liir" --out "$work/losses.png"
frames=demo/data/davis/JPEGImages/480p/soccer masks=demo/data/davis/Annotations/480p/soccer
run "$PYTHON" tools/analysis/show_matches.py \
    --network configs/liir/liir_r18_demo_warmup.py none --network configs/mast/mast_r18_demo.py "$work/mast/iter_100.pth" \
    --network configs/liir/liir_r18_demo_warmup.py "$work/warmup/iter_100.pth" \
    --network configs/liir/liir_r18_demo.py "$work/liir/iter_50.pth" --labels untrained MAST 'LIIR, warm-up' LIIR \
    --frames "$frames/00000.jpg" "$frames/00012.jpg" --masks "$masks/00000.png" "$masks/00012.png" \
    --point 68,105 192,80 --out "$work/matches.png"
run "$PYTHON" tools/analysis/compare_results.py "$work"/{untrained,mast,warmup,liir}.json
