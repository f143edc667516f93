"""New cells, and what may be asked of one: its experimental batch and its total count."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.errors import InputError
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.settings import sampler_of_fresh_chains
from qbm_jax.model import inference
from qbm_jax.model.likelihoods import Likelihood
from qbm_jax.model.prior import Prior
from qbm_jax.model.vae import Params
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import LARGEST_WHOLE, check, plain, positive, shown, whole

# The largest total count. Deep cells have 1e6; far beyond 1e8 single counts, drawn around shares of
# it with overdispersion, pass the 2^31 that a draw of int32 can hold.
LARGEST_LIBRARY = 1e8


def generate(
    model: Model,
    key: jax.Array,
    num_cells: int,
    batch: Any = None,
    library_size: float | None = None,
    temperature: float = 1.0,
) -> np.ndarray:
    """New cells from the prior through the sampler and the decoder.

    Args:
      model: the fitted model.
      key: fixes the draw.
      num_cells: how many.
      batch: experimental batch they should look like, by its name or the number that the name
        is the text of; None for the first.
      library_size: their total count; None for the batch's median. Likelihoods normal,
        squared_error, bernoulli and categorical have none.
      temperature: of the prior, exp(-E(s) / temperature): below 1 the states it finds common
        become more so, above 1 rare ones come up more often.

    Returns:
      Counts float32 [num_cells, genes], columns in the order of `settings.genes`. Under the
      likelihoods normal and squared_error these are no counts but log-normalised values,
      log(1 + counts / total * 1e4), which may be negative; under bernoulli they are bits,
      under categorical one-hot tokens.

    Raises:
      InputError: an unknown batch, a library size, number of cells or temperature that cannot
        be, or a sampler that diverged.
    """
    code = batch_code(batch, model.settings.batch_names)
    num_cells = check("num_cells", num_cells, whole(1))
    check_library_size(library_size, model.vae.likelihood)
    of_batch = model.settings.median_library[code] if model.vae.likelihood.of_counts else 1.0
    total = of_batch if library_size is None else library_size
    codes, totals = np.full(num_cells, code), np.full(num_cells, total)
    return generate_like(model, key, codes, totals, temperature)


def generate_like(
    model: Model,
    key: jax.Array,
    batch: np.ndarray,
    library_size: np.ndarray,
    temperature: float = 1.0,
) -> np.ndarray:
    """One new cell for each batch code [cells] and total count [cells]; as `generate`.

    Likelihoods without a library size do not use the total counts.

    Raises:
      InputError: codes of no batch, total counts that cannot be, other numbers of them, or a
        sampler that diverged.
    """
    keys.check_key(key)
    batch = check_codes(batch, model.settings.batch_names)
    library_size = check_totals(library_size, batch.size)
    params = at_temperature(model.vae.prior, model.params, temperature)
    sampler = sampler_of_fresh_chains(model.vae, model.settings)
    drawn = inference.generate(
        key, model.vae, params, sampler,
        jnp.asarray(batch, jnp.int32), jnp.asarray(library_size, jnp.float32),
    )  # fmt: skip
    counts = np.array(drawn, np.float32)
    if not np.isfinite(counts).all():
        raise InputError(
            f"drawn cells are not finite: sampler {model.settings.sampler} diverged on this "
            "machine, or the decoder is not finite there; generate with another sampler"
        )
    if model.vae.likelihood.of_counts and counts.min() < 0:
        raise InputError(
            f"a count above {LARGEST_WHOLE} was drawn for a library size of "
            f"{library_size.max():g}, which int32 cannot hold; use a smaller one"
        )
    return counts


def batch_code(batch: Any, names: Sequence[str]) -> int:
    """The code of a batch, given by its name or by the number that the name is the text of.

    Args:
      batch: the batch; None for the first.
      names: batches of the model, in the order of their codes.

    Raises:
      InputError: the model has no such batch.
    """
    if batch is None:
        return 0
    name = str(plain(batch))
    if name not in names:
        raise InputError(
            f"unknown batch {shown(batch)}; the model knows {', '.join(names)} (names are text)"
        )
    return list(names).index(name)


def check_library_size(library_size: Any, likelihood: Likelihood) -> None:
    """Checks that cells of this likelihood can have this total count; None leaves it open.

    Raises:
      InputError: it is not a number above 0 and at most `LARGEST_LIBRARY`, or what the likelihood
        draws has no total count.
    """
    if library_size is None:
        return
    if not likelihood.of_counts:
        raise InputError(
            f"likelihood {likelihood.name} draws values without a library size, no counts; "
            f"leave library_size out, got {shown(library_size)}"
        )
    value = plain(library_size)
    if isinstance(value, bool) or not isinstance(value, int | float) or not _possible(value):
        raise InputError(
            f"library_size must be a number above 0 and at most {LARGEST_LIBRARY:g}, got "
            f"{shown(library_size)}"
        )


def _possible(totals: Any) -> Any:
    return (totals > 0) & (totals <= LARGEST_LIBRARY)  # false for NaN


def at_temperature(prior: Prior, params: Params, temperature: Any) -> Params:
    """The model's parameters with the prior exp(-E(s) / temperature), E that of the prior.

    Raises:
      InputError: the temperature is not a number above 0, or the prior's energy is not linear in
        its parameters: mixtures, autoregressive and normal ones.
    """
    value = check("temperature", temperature, positive())
    if value == 1:
        return params
    if not prior.multilinear:
        raise InputError(
            f"expected temperature 1 for prior {prior.name}, got {value:g}; Boltzmann machines and "
            "independent spins have another"
        )
    return {**params, "prior": jax.tree.map(lambda leaf: leaf / value, params["prior"])}


def check_codes(batch: Any, names: Sequence[str]) -> np.ndarray:
    """Batch codes [cells], int32.

    Raises:
      InputError: no cells, no whole numbers, or codes that no batch has.
    """
    codes = _as_array(batch)
    if codes.ndim != 1 or not codes.size or not np.issubdtype(codes.dtype, np.integer):
        raise InputError(f"batch must be an array of batch codes [cells], got {shown(batch)}")
    if not 0 <= codes.min() <= codes.max() < len(names):
        raise InputError(
            f"batch codes must be between 0 and {len(names) - 1}, got {codes.min()} to "
            f"{codes.max()}; they are places in settings.batch_names"
        )
    return codes.astype(np.int32)


def check_totals(library_size: Any, num_cells: int) -> np.ndarray:
    """Total counts [cells], float32.

    Raises:
      InputError: they are not as many, no numbers, or out of range.
    """
    totals = _as_array(library_size)
    if totals.shape != (num_cells,) or totals.dtype.kind not in "iuf":
        raise InputError(
            f"library_size must be an array of {num_cells} total counts, one for each batch code, "
            f"got {shown(library_size)} of shape {totals.shape}"
        )
    wrong = totals[~_possible(totals)]
    if wrong.size:
        raise InputError(
            f"library_size must be above 0 and at most {LARGEST_LIBRARY:g} for every cell, got "
            f"{wrong[0]:g}"
        )
    return totals.astype(np.float32)


def _as_array(values: Any) -> np.ndarray:
    """As numpy's; lists of unequal lengths and what is no number become texts."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.asarray(shown(values))
