"""A model of fewer steps and no guidance, taught by the one it starts from (losses/distilled.py).

    python -m stemphonic_jax.main --config=configs/distilled.py --config.init_from=runs/ensemble
    python -m stemphonic_jax.main --config=configs/distilled.py:demo \
      --config.init_from=runs/demo_ensemble --config.data.records=runs/demo_ensemble/records

Not the paper's. `distil` says how the teacher is asked, `sample` how the student is.
"""

from ml_collections import ConfigDict

from configs import demo, ensemble


def get_config(size: str = "") -> ConfigDict:
  config = demo.get_config("ensemble") if size == "demo" else ensemble.get_config(size)
  if size == "demo":
    config.text.own_tokenizer = config.sample.own_alignment = False  # but those of the teacher
    config.train.update(steps=1_500, learning_rate=3e-4, warmup=50, decay=500, save_every=250)
    config.distil.guidance = 2.0
  config.distil.to = 8
  config.sample.update(steps=8, order=1, guidance=1.0, interval=(1, 8))
  config.dropout.text = 0.1  # without words nothing is guided, so there is little to learn
  if size == "tiny":
    config.dit.depth = 1
    config.distil.update(to=2, of=4, interval=(2, 3))
    config.sample.update(steps=2, interval=(1, 2))
  return config
