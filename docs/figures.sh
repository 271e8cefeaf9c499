#!/usr/bin/env bash
# Makes every figure of docs/ again, in about fifteen minutes on two cores. It needs MNIST and: pip install -e '.[bench,page]'
set -euo pipefail
cd "$(dirname "$0")/.."

made=outputs/docs
python run.py -m experiment=mnist_lr
python run.py hydra.run.dir=$made/synth
python -m analysis.curves outputs/mnist-lr --metric train_loss,val_loss --log y --out $made/mnist-lr.png
python -m analysis.sensitivity outputs/mnist-lr --x lr --out $made/sensitivity.png
python run.py -m experiment=seeds
python -m analysis.seeds outputs/seeds --out $made/seeds.png
python -m analysis.dataset mnist --run outputs/mnist-lr/experiment=mnist_lr,lr=0.03,seed=0 --out $made/mnist.png
python -m analysis.dataset synth --run $made/synth --out $made/synth.png
python -m analysis.page outputs/mnist-lr # pictures by Chromium (apt install chromium)
look() { chromium --headless --no-sandbox --hide-scrollbars --virtual-time-budget=4000 "$@" "file://$PWD/outputs/mnist-lr/sweep.html"; }
look --window-size=1366,1130 --screenshot=$made/page.png
look --window-size=390,1440 --force-dark-mode --screenshot=$made/page-phone.png
python -m benchmarks.step --threads 1 --out $made
python -m benchmarks.stack --table --out $made
cp $made/*.png docs/
