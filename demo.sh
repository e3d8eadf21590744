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
# One scan: a file, or the files CASE_0000, CASE_0001, ... of a case with several channels.
scan=$(find "$data/test_vol_h5" "$data/imagesTs" "$data/imagesTr" -type f ! -name '.*' 2>/dev/null | sort | head -n 1)
mkdir "$out/scan"
case $scan in
    *_0000.nii*) cp "${scan%_0000.nii*}"_[0-9][0-9][0-9][0-9].nii* "$out/scan" ;;
    *) cp "$scan" "$out/scan" ;;
esac
embedded-vit predict "$out/model.onnx" "$out/scan" --output "$out/masks"
embedded-vit evaluate "$out/model.onnx" --data "$data" --output "$out/evaluation"
embedded-vit compress "$out/run" --plan quick --output "$out/small"
embedded-vit report "$out/small" --output "$out/report.html"

echo
echo "artifact   $out/model.onnx"
echo "mask       $out/masks (volumes in the JSON file beside it)"
echo "evaluation $out/evaluation/report.html"
echo "small      $out/small/model.onnx"
echo "report     $out/report.html (before and after compression)"
