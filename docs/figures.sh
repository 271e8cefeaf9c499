#!/usr/bin/env bash
# Makes every figure of docs/ again, in about ten minutes on two cores. It needs MNIST and: pip install -e '.[bench]'
set -euo pipefail
cd "$(dirname "$0")/.."

python run.py -m experiment=mnist_lr
python run.py hydra.run.dir=outputs/docs-synth
python -m analysis.curves outputs/mnist-lr --metric train_loss,val_loss --log y --out docs/mnist-lr.png
python -m analysis.sensitivity outputs/mnist-lr --x lr --out docs/sensitivity.png
python -m analysis.dataset mnist --run outputs/mnist-lr/experiment=mnist_lr,lr=0.03,seed=0 --out docs/mnist.png
python -m analysis.dataset synth --run outputs/docs-synth --out docs/synth.png
python -m benchmarks.step --threads 1 --out outputs/benchmarks && cp outputs/benchmarks/step.png docs/
