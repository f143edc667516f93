"""Residual energies: p(x) = p_diffusion(x) exp(-E(x)) / Z, trained by telling texts from proposals.

E is a sum over places of a head (`heads`) on bounded features v in (-1, 1) of a transformer that
sees the whole sequence.

Noise-contrastive estimation (Gutmann and Hyvarinen 2010; arXiv 2004.11714) with M negatives also
learns the constant log Z, which starts at 0. Reported likelihoods take log Z from both sides.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from qbm_jax.diffusion import bound, latent, sampling, text
from qbm_jax.diffusion.bound import Interval, in_chunks, log_mean_interval
from qbm_jax.diffusion.heads import HEADS, READOUTS
from qbm_jax.diffusion.model import MaskedDiffusion
from qbm_jax.diffusion.network import NetworkShape, Params, num_parameters
from qbm_jax.errors import InputError
from qbm_jax.runtime import keys
from qbm_jax.runtime.options import (
    check,
    check_fields,
    choice,
    documented,
    field,
    from_dict,
    positive,
    whole,
)

LN2 = math.log(2)
NUM_DRAWS = 64  # of masks for each of the few texts whose likelihood is told from two sides


@documented
@dataclasses.dataclass(frozen=True)
class ResidualOptions:
    """How a residual energy is built and trained."""

    head: str = field("rbm", choice(HEADS), "what gives the energy of features")
    num_features: int = field(16, whole(1), "bounded features of each place")
    num_hidden: int = field(8, whole(2, 12), "hidden spins of each place")
    num_steps: int = field(300, whole(1), "optimiser steps")
    minibatch_size: int = field(16, whole(1), "texts per step, each with all its negatives")
    learning_rate: float = field(1e-3, positive(), "of Adam")

    def __post_init__(self) -> None:
        """Checks every field by its kind. Raises an InputError for a value out of range."""
        check_fields(self)


class Program(NamedTuple):
    """What a compiled energy depends on."""

    shape: NetworkShape
    options: ResidualOptions


class ResidualEnergy:
    """An energy of whole sequences, low where a text is more probable than the diffusion says.

    Attributes:
      model: the diffusion that it corrects.
      options: how it is built and trained.
      params: what was trained.
      losses: of the training, in nats a text.
    """

    def __init__(self, model: MaskedDiffusion, **options: Any):
        """Builds an untrained energy, whose features start as those of the diffusion's network.

        Raises:
          InputError: an option that cannot be, no masked diffusion, or one with latents.
        """
        _check_model(model)
        self.options = from_dict(ResidualOptions, "residual", options)
        self.model, self.losses = model, np.zeros(0)
        self._program = Program(model.shape, self.options)
        self.params = self._start()

    def _start(self) -> Params:
        return init(self._program, keys.key_of(0, "residual"), self.model.trained)

    @property
    def num_parameters(self) -> int:
        """How many numbers the head has, without the network of the features."""
        return num_parameters(self.params["head"])

    def fit(self, rows: np.ndarray, negatives: np.ndarray, seed: int = 0) -> "ResidualEnergy":
        """Trains on texts [n, length] and M negatives for each [n, M, length]; returns itself.

        A second call begins anew. One that fails leaves the energy as it was.

        Raises:
          InputError: tokens of another shape or vocabulary, or a loss that is not finite.
        """
        rows, negatives = _shaped(rows), _shaped(negatives)
        if rows.ndim != 2 or negatives.ndim != 3 or negatives.shape[::2] != rows.shape:
            raise InputError(
                f"expected texts [n, length] and negatives [n, M, length], got shapes {rows.shape} "
                f"and {negatives.shape}"
            )
        for tokens in (rows, negatives.reshape(-1, rows.shape[1])):
            _sequences(self.model, tokens)
        key = keys.key_of(seed, "residual training")
        params, told = _train(self._program)(
            self._start(), key, jnp.asarray(rows), jnp.asarray(negatives)
        )
        losses = np.asarray(told, np.float64)
        if not np.isfinite(losses).all():
            raise InputError("the residual energy diverged; lower its learning_rate")
        self.params, self.losses = params, losses
        return self

    def energy(self, rows: np.ndarray, readout: str = "free") -> np.ndarray:
        """E of sequences [n, length] in nats, float64 [n]; or the mean energy, for ranking.

        Raises:
          InputError: no sequences of the model's tokens, or no such readout.
        """
        program = _energy(self._program, check("readout", readout, choice(READOUTS)))
        return in_chunks(lambda part: program(self.params, part), _sequences(self.model, rows))

    def log_z(self, proposals: np.ndarray, seed: int = 0) -> Interval:
        """Log Z in nats from two sides, by independent draws of the diffusion [n, length].

        The lower side is importance sampling; the upper one is NaN where too few draws carry the
        weight, see `Interval`.

        Raises:
          InputError: fewer than 4 draws, or no sequences of the model's tokens.
        """
        rng = np.random.default_rng(keys.seed_of(seed, "residual log Z"))
        return log_mean_interval(-self.energy(proposals), rng)

    def nll(
        self, rows: np.ndarray, proposals: np.ndarray, seed: int = 0, num_orders: int = 64
    ) -> Interval:
        """-log p of sequences [n, length] in nats per token, from two sides.

        The lower side needs log p of the diffusion from above, the upper one log Z from above:
        either is NaN where the draws do not reach. Errors are those of the estimates for these
        sequences; the spread between sequences is not in them. Within them the sides may cross.

        Args:
          rows: the texts.
          proposals: independent draws of the diffusion [draws, length], for log Z; none of the
            negatives that the energy has learnt from.
          seed: of all draws.
          num_orders: random orders behind the lower side of the diffusion's own -log p, at least 4.

        Raises:
          InputError: fewer draws or orders than 4, or no sequences of the model's tokens.
        """
        num_orders = check("num_orders", num_orders, whole(bound.LEAST_DRAWS))
        rows = _sequences(self.model, rows)
        shape, length = self.model.shape, self.model.length
        log_z, energy = self.log_z(proposals, seed), float(self.energy(rows).mean())
        above = self.model.nll_bound(rows, seed=seed, num_draws=NUM_DRAWS)
        rng = np.random.default_rng(keys.seed_of(seed, "residual orders"))
        own = bound.order_interval(shape, self.model.trained, rows, rng, num_orders)
        return Interval(
            (energy + log_z.low - own.high) / length,
            math.hypot(log_z.low_standard_error, own.high_standard_error) / length,
            (energy + log_z.high) / length + above.value,
            math.hypot(log_z.high_standard_error / length, above.standard_error),
            min(log_z.reach, own.reach),
        )


def denoised(
    model: MaskedDiffusion, rows: np.ndarray, num_negatives: int, seed: int = 0
) -> np.ndarray:
    """Negatives [n, M, length] for guidance: texts [n, length] with a random part drawn anew.

    A random number of tokens is masked, and the network draws all of them at once, as the
    candidates of a guided step are drawn.

    Raises:
      InputError: no sequences of the model's tokens, no number of negatives, or a diffusion with
        latents, whose law given a part of a text is not known.
    """
    _check_model(model)
    num_negatives = check("num_negatives", num_negatives, whole(1))
    rows = _sequences(model, rows)
    rng = np.random.default_rng(keys.seed_of(seed, "negatives"))
    mask = model.vocabulary.size
    counts = rng.integers(1, model.length + 1, len(rows))
    ranks = np.argsort(rng.random(rows.shape), axis=1)
    unknown = ranks < counts[:, None]
    predict = model.predictor(keys.root(seed), bound.ROWS)
    laws = in_chunks(predict, np.where(unknown, mask, rows))[unknown]
    found = np.repeat(rows[:, None], num_negatives, axis=1)
    for number in range(num_negatives):
        found[:, number][unknown] = sampling.draw_symbols(rng, laws)
    return found


def _shaped(given: Any) -> np.ndarray:
    """An array; one without axes where the parts are of unequal lengths."""
    try:
        return np.asarray(given)
    except ValueError:
        return np.zeros(())


def _sequences(model: MaskedDiffusion, given: Any) -> np.ndarray:
    """Tokens [n, length] of the model's vocabulary, of whole numbers.

    Raises:
      InputError: they are something else; a long row is cut nowhere.
    """
    tokens = text.as_tokens(model.vocabulary, given, model.length)
    if tokens.ndim != 2:
        raise InputError(
            f"expected sequences [n, {model.length}], got one row of {tokens.size} tokens; cut it "
            f"with text.windows"
        )
    return tokens


def _check_model(model: Any) -> None:
    if not isinstance(model, MaskedDiffusion):
        raise InputError(
            f"a residual energy needs a MaskedDiffusion, got a value of type {type(model).__name__}"
        )
    if latent.has_latents(model.shape):
        raise InputError(
            f"a residual energy needs a diffusion without latents, got latents "
            f"{model.options.latents}; fit one with latents none"
        )


def init(program: Program, key: jax.Array, trained: Params) -> Params:
    """Parameters: features as in the trained network where they can be, a head near 0."""
    own = program.options
    key_features, key_head, key_outputs = jax.random.split(key, 3)
    tokens = jnp.zeros((1, program.shape.length), jnp.int32)
    features = _features(program).init(key_features, tokens)["params"]
    known = trained["network"]
    features = jax.tree_util.tree_map_with_path(
        lambda path, leaf: _same(known, path, leaf), features
    )
    hidden = own.num_hidden
    if own.head == "mlp":  # as many parameters as the machine without couplings
        hidden = max(1, round((own.num_features + 1) * hidden / (own.num_features + 2)))
    head = {
        "visible": jnp.zeros(own.num_features),
        "weights": 0.1 * jax.random.normal(key_head, (own.num_features, hidden)),
        "hidden": jnp.zeros(hidden),
    }
    if own.head == "mlp":
        head["outputs"] = 0.1 * jax.random.normal(key_outputs, (hidden,))
    if own.head == "boltzmann":
        head["J"] = jnp.zeros((hidden, hidden))
    return {"features": features, "head": head, "constant": jnp.zeros(())}


def _same(known: Params, path: tuple, leaf: jax.Array) -> jax.Array:
    """The leaf of the trained network at this path, if there is one of this shape."""
    for part in path:
        if not isinstance(known, dict) or part.key not in known:
            return leaf
        known = known[part.key]
    return jnp.array(known) if known.shape == leaf.shape else leaf


def _features(program: Program) -> Any:
    return program.shape.network(program.options.num_features)


def energy_of(program: Program, params: Params, rows: jax.Array, readout: str) -> jax.Array:
    """E of sequences [n, length], [n], up to what it is at fair hidden spins."""
    outputs = _features(program).apply({"params": params["features"]}, rows)
    features, head = jnp.tanh(outputs), params["head"]
    fields = features @ head["weights"] + head["hidden"][None, None]
    own = HEADS[program.options.head](head, fields, readout)
    at_rest = 0.0 if program.options.head == "mlp" else fields.shape[-1] * LN2
    return jnp.sum(own + at_rest - features @ head["visible"], axis=-1) + params["constant"]


@functools.lru_cache(maxsize=32)
def _energy(program: Program, readout: str) -> Callable[..., jax.Array]:
    return jax.jit(lambda params, rows: energy_of(program, params, rows, readout))


@functools.lru_cache(maxsize=32)
def _train(program: Program) -> Callable[..., tuple[Params, jax.Array]]:
    """Compiles (params, key, texts [n, L], negatives [n, M, L]) -> params, losses [steps]."""
    own, optimiser = program.options, optax.adam(program.options.learning_rate)

    def loss(params: Params, rows: jax.Array, negatives: jax.Array) -> jax.Array:
        number = negatives.shape[1]
        together = jnp.concatenate([rows[:, None], negatives], axis=1)
        energies = energy_of(program, params, together.reshape(-1, rows.shape[1]), "free")
        logits = -energies.reshape(together.shape[:2]) - math.log(number)
        real, drawn = jax.nn.softplus(-logits[:, 0]), jax.nn.softplus(logits[:, 1:])
        return jnp.mean(real) + jnp.mean(jnp.sum(drawn, axis=1))

    @jax.jit
    def train(
        params: Params, key: jax.Array, rows: jax.Array, negatives: jax.Array
    ) -> tuple[Params, jax.Array]:
        def step(
            carried: tuple[Params, optax.OptState], key: jax.Array
        ) -> tuple[tuple[Params, optax.OptState], jax.Array]:
            params, state = carried
            chosen = jax.random.randint(key, (own.minibatch_size,), 0, rows.shape[0])
            value, gradient = jax.value_and_grad(loss)(params, rows[chosen], negatives[chosen])
            updates, state = optimiser.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), value

        every = jax.random.split(key, own.num_steps)
        (params, _), losses = jax.lax.scan(step, (params, optimiser.init(params)), every)
        return params, losses

    return train
