"""A sweep: 8 seeds x 4 weights of the KL term on human pancreas, with intervals over the seeds.

python run.py --config=configs/sweep_pancreas.py --workdir=runs/sweep_pancreas --sweep
python run.py --config=configs/sweep_pancreas.py:smoke --workdir=runs/sweep-smoke --sweep

`sweep` yields dicts of overrides by dotted path. Settings that differ in numbers alone train
together; those of other shapes are jobs of their own. The smoke sweep has both. Without --sweep
the config runs as an ordinary experiment at its own setting.
"""

from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from configs import base

SEEDS = 8
KL_WEIGHTS = (0.3, 1.0, 3.0, 10.0)


def get_config(arg: str = "full") -> ConfigDict:
    """What all settings share: QBM-VAE alone, once a setting."""
    config = base.get_config()
    config.num_seeds = 1
    return base.variant(base.alone(config), arg)


def sweep(arg: str = "full") -> Iterator[dict[str, Any]]:
    """The settings; in smoke fewer, at two sizes of the machine."""
    smoke = "smoke" in arg.split(",")
    for seed in range(2 if smoke else SEEDS):
        for weight in KL_WEIGHTS[1:3] if smoke else KL_WEIGHTS:
            for num_latents in (8, 16) if smoke else (None,):
                size = {"model.num_latents": num_latents} if smoke else {}
                yield {"seed": seed, "training.kl_weight": weight, **size}
