#!/bin/sh
# From nothing to a mask and a report: train on phantoms (or on the data set in $1), compress, predict, compare.
set -eu

data=${1:-}
out=runs/demo
epochs=${EPOCHS:-40}
rm -rf "$out"
mkdir -p "$out"

if [ -z "$data" ]; then
    data=$out/phantom
    embedded-vit phantom "$data" --cases 12 --layout nnunet
fi
embedded-vit data "$data"
embedded-vit train --data "$data" --network embedded-vit-64 --context-slices 3 --epochs "$epochs" --output "$out/run"
embedded-vit export "$out/run" --output "$out/model.onnx"
scan=$(find "$data/test_vol_h5" "$data/imagesTs" "$data/imagesTr" -type f 2>/dev/null | sort | head -n 1)
embedded-vit predict "$out/model.onnx" "$scan" --output "$out/mask.nii.gz"
embedded-vit evaluate "$out/model.onnx" --data "$data" --output "$out/evaluation"
embedded-vit compress "$out/run" --plan quick --output "$out/small"
embedded-vit report "$out/small" --output "$out/report.html"

echo
echo "artifact   $out/model.onnx"
echo "mask       $out/mask.nii.gz (volumes in $out/mask.json)"
echo "evaluation $out/evaluation/report.html"
echo "small      $out/small/model.onnx"
echo "report     $out/report.html (before and after compression)"
