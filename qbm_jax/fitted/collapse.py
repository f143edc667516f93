"""A collapsed posterior: latents that are the same for all cells, so that nothing is embedded.

A latent is counted as active if the standard deviation d over cells of its posterior mean is above
`LEAST_SPREAD`. Under every prior here a latent has a standard deviation of about 1 (spins are -1 or
+1), so a latent of spread d tells about d^2 / 2 nats about its cell: half a thousandth at 0.03.
After a few steps the encoder's random weights spread further than that, while collapsed models end
orders of magnitude below. Sound models leave many latents inactive, since the KL removes what the
data do not need; a model with none, or with one in a hundred or less, tells no cells apart.
"""

import numpy as np

LEAST_SPREAD = 0.03
LEAST_ACTIVE = 0.01  # of the latents; those above it are a model that tells cells apart


def collapse_fault(embedding: np.ndarray) -> str | None:
    """One line that says that the posterior collapsed, and what to try; None if it did not.

    Args:
      embedding: posterior means [cells, latents], mean spins or means of a Gaussian. Cells whose
        entries are NaN are left out.
    """
    known = embedding[~np.isnan(embedding).all(axis=1)]
    if len(known) < 2:
        return None
    spread = known.std(axis=0, dtype=np.float64)
    active = int(np.count_nonzero(spread > LEAST_SPREAD))  # NaN is not above it
    if active > LEAST_ACTIVE * spread.size:
        return None
    return (
        f"Collapsed posterior: {active} of {spread.size} latents differ between cells (standard "
        f"deviation of the posterior mean above {LEAST_SPREAD:g}; the largest is "
        f"{spread.max():.2g}), so that the embedding tells no cells apart; try a smaller "
        f"learning_rate, more num_epochs, or a longer kl_warmup_epochs."
    )
