"""Alarms: signatures of a training that failed, each one line that says what to do about it.

Every function returns None where nothing is wrong. Limits stand well away from what sound trainings
reach; those of 32 to 128 spins on simulated cells give the numbers beside them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax.data import UNLABELLED, Cells
from qbm_jax.data.names import some
from qbm_jax.errors import one_line
from qbm_jax.fitted.document import Model
from qbm_jax.fitted.history import History
from qbm_jax.machine.boltzmann import Boltzmann, energy
from qbm_jax.runtime.keys import key_of
from qbm_jax.samplers.gibbs import GibbsOptions, GibbsState, gibbs
from qbm_jax.study.estimates import ISLANDS, NEGLIGIBLE
from qbm_jax.training.spec import SamplerSpec

LEAST_SPREAD = 0.03
"""Standard deviation over cells of a latent's posterior mean, above which it is active.

Under every prior here a latent has a standard deviation of about 1 (spins are -1 or +1), so a
latent of spread d tells about d^2 / 2 nats about its cell: half a thousandth at 0.03. After a few
steps the encoder's random weights spread further than that, while collapsed models end orders of
magnitude below."""
LEAST_ACTIVE = 0.01  # of the latents; those above it are a model that tells cells apart
MOST_DEAD = 0.5  # of the latents; the KL removes what the data do not need, in 32 spins none
LARGEST_FIELD = 5.0  # kT, root of a spin's squared couplings; sound: 0.1 to 0.6, at most 1.7
LARGEST_SPIKE = 10.0  # of the median gradient norm; sound: 1.3 to 4
LARGEST_FALL = 5.0  # nats from the best validation bound to the last; sound: below 1
SETTLED = 0.1  # of the training, in which large gradients are usual
LEAST_MIXING = 0.1  # of what cells in random order have; sound: 0.3 to 0.8
LEAST_PURITY = 0.1  # of a rare type's nearest cells
LEAST_CELLS = 10  # of a batch or a type, to be judged
NUM_NEIGHBOURS = 15
MOST_CELLS = 4000  # whose neighbours are looked at
LARGEST_COST = 1.0  # nats of mean energy; sound: below 0.3
CHAINS, NUM_DRAWS, EXACT_SWEEPS = 256, 20, 100


def of_model(model: Model, embedding: np.ndarray, cells: Cells) -> list[str]:
    """All alarms that a trained model gives, and which could not be asked, and why.

    Args:
      model: with its history, if it has one.
      embedding: posterior means [cells, latents] of `cells`.
      cells: with their batches, and their types where they are known.
    """
    rung = [
        _asked(sampler_off_the_law, model),
        None if model.measured is None else _asked(gradient_spikes, model.measured),
        None if model.measured is None else _asked(overfitted, model.measured),
        None if model.J is None else _asked(runaway_couplings, model.J),
    ]
    return [*(alarm for alarm in rung if alarm), *of_embedding(embedding, cells)]


def of_embedding(embedding: np.ndarray, cells: Cells) -> list[str]:
    """The alarms that an embedding alone gives; beside a collapse, which explains them, no other.

    Args:
      embedding: as for `of_model`.
      cells: likewise.
    """
    if alarm := _asked(collapse_fault, embedding):
        return [alarm]
    batch = np.asarray(cells.batch_names)[cells.batch]
    labels = None if cells.labels is None else np.asarray(cells.label_names)[cells.labels]
    rung = [
        _asked(dead_latents, embedding),
        _asked(batch_islands, embedding, batch, labels),
        None if labels is None else _asked(intermingled_types, embedding, labels),
    ]
    return [alarm for alarm in rung if alarm]


def _asked(alarm: Callable[..., str | None], *given: Any) -> str | None:
    """The line of an alarm; that it cannot be asked is a line too, and loses no trained model."""
    try:
        return alarm(*given)
    except Exception as error:  # a package that is missing, memory that runs out, ...
        reason = f"{type(error).__name__}: {one_line(error)[:200]}"
        return f"The alarm {alarm.__name__} could not be asked ({reason})."


def num_active(embedding: np.ndarray) -> int:
    """Latents whose posterior mean [cells, latents] differs between cells, see `LEAST_SPREAD`.

    Cells whose entries are NaN are left out; fewer than two do not differ.
    """
    known = _known(embedding)
    if len(known) < 2:
        return 0
    return int(np.count_nonzero(known.std(axis=0, dtype=np.float64) > LEAST_SPREAD))


def _known(embedding: np.ndarray) -> np.ndarray:
    """The cells that have an embedding."""
    return embedding[~np.isnan(embedding).all(axis=1)]


def collapse_fault(embedding: np.ndarray) -> str | None:
    """KL collapse: posteriors that are the same for all cells, so that nothing is embedded.

    Sound models leave many latents inactive; a model with none that are active, or with one in a
    hundred or less, tells no cells apart.

    Args:
      embedding: posterior means [cells, latents], mean spins or means of a Gaussian. Cells whose
        entries are NaN are left out.
    """
    known = _known(embedding)
    if len(known) < 2:
        return None
    spread, active = known.std(axis=0, dtype=np.float64), num_active(known)
    if active > LEAST_ACTIVE * spread.size:
        return None
    return (
        f"Collapsed posterior: {active} of {spread.size} latents differ between cells (standard "
        f"deviation of the posterior mean above {LEAST_SPREAD:g}; the largest is "
        f"{spread.max():.2g}), so that the embedding tells no cells apart; try a smaller "
        f"learning_rate, more num_epochs, or a longer kl_warmup_epochs."
    )


def dead_latents(embedding: np.ndarray) -> str | None:
    """Dead spins: more than half of the latents are the same for all cells [cells, latents]."""
    size = embedding.shape[1]
    dead = size - num_active(embedding)
    if len(_known(embedding)) < 2 or dead <= MOST_DEAD * size:
        return None
    return (
        f"Dead latents: {dead} of {size} are the same for all cells (standard deviation of "
        f"the posterior mean at most {LEAST_SPREAD:g}); {size - dead} num_latents would do, "
        f"or try a smaller kl_weight, a longer kl_warmup_epochs, or free_bits."
    )


def sampler_off_the_law(model: Model) -> str | None:
    """A heuristic sampler's law: its chains' mean energy, and that after exact sweeps from there.

    Samplers whose law is the machine's are not asked.
    """
    if model.J is None:
        return None
    settings = model.settings
    sampler = SamplerSpec(settings.sampler, tuple(settings.sampler_options.items()))
    if sampler.build().targets_boltzmann:
        return None
    cost = float(_cost_of(sampler)(key_of(0, "sampler alarm"), model.params["prior"]))
    if not cost > LARGEST_COST:
        return None
    return (
        f"Sampler {settings.sampler} misses the machine's law: the mean energy of its chains is "
        f"{cost:.1f} nats from what it is after {EXACT_SWEEPS} exact sweeps, and J has learnt from "
        f"them; try sampler gibbs or auxiliary_cim, or more finishing_sweeps."
    )


@functools.lru_cache(maxsize=8)  # seeds of one model share a program
def _cost_of(spec: SamplerSpec) -> Callable[[jax.Array, Boltzmann], jax.Array]:
    sampler, exact = spec.build(), gibbs(GibbsOptions(num_steps=EXACT_SWEEPS))

    @jax.jit
    def cost_of(key: jax.Array, params: Boltzmann) -> jax.Array:
        key_init, key_draws, key_exact = jax.random.split(key, 3)

        def draw(chains: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            spins, chains, _ = sampler.sample(key, params, chains)
            return chains, spins

        start = sampler.init(key_init, params, CHAINS)
        spins = jax.lax.scan(draw, start, jax.random.split(key_draws, NUM_DRAWS))[1][-1]
        sound, _, _ = exact.sample(key_exact, params, GibbsState(spins=spins.T))
        return jnp.abs(jnp.mean(energy(params, spins) - energy(params, sound)))

    return cost_of


def runaway_couplings(couplings: np.ndarray) -> str | None:
    """Runaway J: spins so strongly coupled that no chain of the sampler flips them.

    Args:
      couplings: J [spins, spins], in units of kT.
    """
    fields = np.linalg.norm(np.asarray(couplings, np.float64), axis=1)
    if (largest := float(fields.max(initial=0.0))) <= LARGEST_FIELD:
        return None
    return (
        f"Runaway couplings: {np.count_nonzero(fields > LARGEST_FIELD)} of {fields.size} spins "
        f"feel more than {LARGEST_FIELD:g} kT (root of the squared couplings; the largest is "
        f"{largest:.3g}), where chains freeze and log Z is out of reach; try a smaller "
        f"couplings_rate, couplings_decay, or more sampler steps."
    )


def gradient_spikes(history: History) -> str | None:
    """Gradient norms far above their median, after the first tenth of the training."""
    norms = np.asarray(history.train.get("gradient_norm", ()), np.float64)
    first = int(np.ceil(SETTLED * norms.size))
    if not norms[first:].size or not (median := float(np.median(norms[first:]))) > 0:
        return None
    spikes = first + np.flatnonzero(norms[first:] > LARGEST_SPIKE * median)
    if not spikes.size:
        return None
    top = spikes[np.argmax(norms[spikes])]
    return (
        f"Gradient spikes: {spikes.size} of {norms.size} dispatches have a mean gradient norm "
        f"above {LARGEST_SPIKE:g} times the median of {median:.3g} (the largest is "
        f"{norms[top]:.3g}, at epoch {history.train['epoch'][top]:g}); try a smaller learning_rate "
        f"or gradient_clip."
    )


def overfitted(history: History) -> str | None:
    """A validation bound that falls after its best epoch: the decoder learns its cells by heart."""
    bounds = np.asarray(history.validation.get("elbo", ()), np.float64)
    if not np.isfinite(bounds).any() or not np.nanmax(bounds) - bounds[-1] > LARGEST_FALL:
        return None
    best = int(np.nanargmax(bounds))
    return (
        f"Overfitted: the validation bound was {bounds[best]:.1f} after epoch "
        f"{history.validation['epoch'][best]:g} and ended at {bounds[-1]:.1f}; try more cells or "
        f"narrower decoder_widths; report_epoch best keeps the best bound, while the last epoch, "
        f"in which the couplings have learnt, embeds few cells better."
    )


def batch_islands(
    embedding: np.ndarray, batch: np.ndarray, labels: np.ndarray | None = None
) -> str | None:
    """Batches whose cells lie among their own: integration failed for them.

    Mixing is the share of other batches among a cell's nearest cells, relative to their share of
    all cells. Where types are known, types of one batch alone are left out.

    Args:
      embedding: posterior means [cells, latents].
      batch: name of the batch of each cell [cells].
      labels: cell type of each cell [cells]; None: unknown.
    """
    batch = np.asarray(batch).astype(str)
    if labels is not None:
        labels = np.asarray(labels).astype(str)
        shared = [name for name in np.unique(labels) if len(set(batch[labels == name])) > 1]
        kept = np.isin(labels, shared)
        embedding, batch = embedding[kept], batch[kept]
    looked_at = np.linspace(0, len(batch) - 1, min(len(batch), MOST_CELLS)).astype(int)
    embedding, batch = embedding[looked_at], batch[looked_at]
    names, codes, sizes = np.unique(batch, return_inverse=True, return_counts=True)
    if len(names) < 2:
        return None
    others = codes[nearest(embedding, np.arange(len(codes)))] != codes[:, None]
    mixing = np.bincount(codes, others.mean(axis=1)) / sizes * (len(codes) - 1)
    mixing /= len(codes) - sizes
    islands = (mixing < LEAST_MIXING) & (sizes >= LEAST_CELLS)
    if not islands.any():
        return None
    return (
        f"{ISLANDS}cells of {some(names[islands])} lie among their own batch (other batches "
        f"are {mixing[islands].min():.0%} of what mixing would give); unless their types are in no "
        f"other batch, check batch_column, or try more num_epochs or a larger kl_weight."
    )


def intermingled_types(embedding: np.ndarray, labels: np.ndarray) -> str | None:
    """Rare types whose cells lie scattered among those of other types.

    Args:
      embedding: posterior means [cells, latents].
      labels: cell type of each cell, names [cells].
    """
    from qbm_jax.metrics.rare_types import MAX_SHARE, knn_purity  # extra "scores": labels need it

    labels = np.asarray(labels).astype(str)
    names, sizes = np.unique(labels, return_counts=True)
    lost = {}
    for name, size in zip(names, sizes, strict=True):
        if name == UNLABELLED or size < LEAST_CELLS or size >= MAX_SHARE * len(labels):
            continue
        rows = np.flatnonzero(labels == name)
        neighbours = np.zeros((len(labels), NUM_NEIGHBOURS + 1), int)
        neighbours[rows, 1:] = nearest(embedding, rows)
        if (purity := knn_purity(neighbours, labels == name)) < LEAST_PURITY:
            lost[str(name)] = purity
    if not lost:
        return None
    return (
        f"Rare types intermingled: of {some(lost)} at most {max(lost.values()):.0%} of the nearest "
        f"cells have the same type; try more num_latents, a smaller kl_weight, more num_genes, or "
        f"more num_epochs."
    )


def log_z_unknown(bound: dict[str, float]) -> str | None:
    """No bound, because the estimates of log Z do not meet; `bound` has its terms by name."""
    if not np.isnan(bound["elbo"]):
        return None
    return (
        f"Log Z unknown: bracket {bound['log_z_forward']:.1f} to {bound['log_z_reverse']:.1f} "
        f"nats, so there is no bound; use more temperatures of log Z."
    )


def couplings_lose(bound: dict[str, float], nested: float) -> str | None:
    """A worse bound than without couplings, by more than the error of log Z.

    J = 0 is nested in the Boltzmann prior, so this is a fault of training, not of the model.

    Args:
      bound: of the model with couplings, its terms by name.
      nested: bound of the same model with J = 0, in nats per cell.
    """
    loss = nested - bound["elbo"]
    if not loss > max(3 * bound["log_z_standard_error"], NEGLIGIBLE):
        return None
    return (
        f"Couplings that lose: the Boltzmann prior's bound is {loss:.1f} nats per cell below that "
        f"of J = 0; try a smaller couplings_rate or more sampler steps."
    )


def nearest(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The nearest others, nearest first, of some of the points [points, dims].

    Args:
      points: all of them.
      rows: whose neighbours are looked for, indices [rows].

    Returns:
      Indices [rows, neighbours].
    """
    points = np.asarray(points, np.float64)
    squares, count = np.sum(points**2, axis=1), min(NUM_NEIGHBOURS, len(points) - 1)
    found = []
    for start in range(0, len(rows), 512):
        some_rows = rows[start : start + 512]
        distances = squares - 2 * points[some_rows] @ points.T
        distances[np.arange(len(some_rows)), some_rows] = np.inf
        close = np.argpartition(distances, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(distances, close, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(close, order, axis=1))
    return np.concatenate(found)
