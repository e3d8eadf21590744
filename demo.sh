#!/bin/sh
# From nothing to a mask and a report: build a model from phantoms (or from the data set in $1), segment a scan.
set -eu

data=${1:-}
out=runs/demo
minutes=${MINUTES:-4}
rm -rf "$out"
mkdir -p "$out"

if [ -z "$data" ]; then
    data=$out/phantom
    embedded-vit phantom "$data" --cases 12 --layout nnunet
fi
embedded-vit data "$data"
embedded-vit build --data "$data" --output "$out" --minutes "$minutes"
# One scan: all files of a case, whatever the layout, without its mask.
python - "$data" "$out/scan" <<'END'
import shutil
import sys
from pathlib import Path

from embedded_vit.datasets import open_data_set

data_set, folder = open_data_set(sys.argv[1]), Path(sys.argv[2])
case = next((case for case in data_set.cases if case.reserved_for_test), data_set.cases[-1])
folder.mkdir()
for file in data_set.files_of(case)[: len(data_set.channels)]:
    shutil.copy(file, folder)
END
embedded-vit predict "$out/model.onnx" "$out/scan" --output "$out/masks"

echo
echo "artifact   $out/model.onnx"
echo "report     $out/report.html (how good it is on patients that were held out)"
echo "plan       $out/build-plan.yaml (every decision, with its reason)"
echo "mask       $out/masks (volumes in the JSON file beside it)"
