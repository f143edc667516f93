"""One optimiser step, and many of them compiled into one call, for one seed or several."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from qbm_jax import objective
from qbm_jax.feed.minibatches import DeviceCounts, Minibatch, gather, scan_some, stack_counts
from qbm_jax.model.relaxations import GrowingSharpness, Sharpness
from qbm_jax.model.vae import VAE, Params, redrawn, while_training
from qbm_jax.objective.bound import weight_at
from qbm_jax.objective.free_bits import with_free_bits
from qbm_jax.runtime import keys
from qbm_jax.samplers.base import InitFn, SampleFn, Sampler, StepFn
from qbm_jax.training import adam
from qbm_jax.training.options import TrainOptions, option_numbers, schedule_of, with_numbers
from qbm_jax.training.sharding import keep_places
from qbm_jax.training.spec import Numbers, SamplerSpec
from qbm_jax.training.state import TrainState, build_optimiser, of_the_loss


class Restarted(NamedTuple):
    """A sampler whose chains start anew at the cells of each minibatch.

    Contrastive divergence (Hinton 2002, Neural Computation 14, 1771) is such a sampler of few
    sweeps.

    Attributes:
      init: as in `Sampler`.
      step: likewise.
      sample: likewise.
      targets_boltzmann: likewise.
      restart: (key, vae, params, cells, state) -> the state that the draw of a step goes on from;
        `params` are the whole model's, `state` is that after the last draw.
    """

    init: InitFn
    step: StepFn
    sample: SampleFn
    targets_boltzmann: bool
    restart: Callable[[jax.Array, VAE, Params, Minibatch, Any], Any]

    @classmethod
    def of(cls, sampler: Sampler, restart: Callable[..., Any]) -> "Restarted":
        """The sampler with its chains restarted."""
        return cls(sampler.init, sampler.step, sampler.sample, sampler.targets_boltzmann, restart)


def train_step(
    vae: VAE,
    sampler: Sampler | Restarted | None,
    optimiser: optax.GradientTransformation,
    kl_schedule: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    data: DeviceCounts,
    state: TrainState,
    rows: jax.Array,
    *,
    loss: Callable[..., tuple[jax.Array, objective.Terms]] = objective.surrogate_loss,
    num_cells: jax.Array | int = 1,
    sharpness_schedule: Callable[[jax.Array], Sharpness] | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step on the cells `rows` [minibatch].

    Args:
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      optimiser: an optax transformation over the whole parameter tree.
      kl_schedule: step -> weight of the KL term.
      key: the run's training key; the step folds its number in.
      data: all counts, or means of bits that each step draws anew (`vae.redrawn`).
      state: the state before the step.
      rows: the cells of the minibatch.
      loss: one of `objective.OBJECTIVES`.
      num_cells: number of training cells, which share the KL of variables that belong to genes;
        likelihoods without such variables do not use it.
      sharpness_schedule: step -> sharpness of the relaxation; None for the model's own.

    Returns:
      The next state and scalar metrics by name.
    """
    own = jax.random.fold_in(key, state.step)
    key_posterior, key_prior = jax.random.split(own)
    key_networks = jax.random.fold_in(keys.named(key, "networks"), state.step)
    with jax.named_scope("gather"):
        cells = redrawn(vae, own, gather(data, rows))

    negatives, chains = None, state.chains
    info: dict[str, jax.Array] = {}
    with jax.named_scope("sampler"):
        if isinstance(sampler, Restarted):
            key_restart = jax.random.fold_in(keys.named(key, "chains from data"), state.step)
            chains = sampler.restart(key_restart, vae, state.params, cells, chains)
        if sampler is not None:
            negatives, chains, info = sampler.sample(key_prior, state.params["prior"], chains)

    def loss_fn(params: Params) -> tuple[jax.Array, objective.Terms]:
        weight = kl_schedule(state.step)
        sharpness = None if sharpness_schedule is None else sharpness_schedule(state.step)
        used = while_training(vae, params, key_networks)
        return loss(vae, used, key_posterior, cells, negatives, weight, num_cells, sharpness)

    (_, terms), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    with jax.named_scope("optimiser"):
        updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = adam.global_norm(of_the_loss(gradient))
    metrics = {
        **{name: value.mean() for name, value in terms._asdict().items()},
        "gradient_norm": norm,
        **{f"sampler/{name}": value for name, value in info.items()},
    }
    state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, chains=chains)
    return state, metrics


def build_sharpness_schedule(
    options: TrainOptions, num_steps: int
) -> Callable[[jax.Array], Sharpness] | None:
    """The function step -> sharpness; None where the sharpness does not grow.

    The sharpness starts where bits are soft and gradients pass easily. It grows geometrically and
    reaches the model's own at half of the training.
    """
    if not options.sharpness_start:
        return None

    def schedule(step: jax.Array) -> Sharpness:
        part = 2 * step * (jnp.float32(1) / num_steps)  # as in `weight_at`
        return GrowingSharpness(options.sharpness_start, jnp.minimum(part, 1.0))

    return schedule


Dispatch = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def many_steps(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int | None,
    sampler_of: SamplerSpec | None = None,
    mesh: Mesh | None = None,
) -> Dispatch:
    """The function (key, data, state, rows [steps, minibatch], ...) of `build_dispatch`.

    With `sampler_of`, that spec and the numbers make the sampler. With a mesh, state and rows must
    lie on it (`sharding`).
    """

    def dispatch(
        key: jax.Array,
        data: DeviceCounts,
        state: TrainState,
        rows: jax.Array,
        num_cells: jax.Array | int = 1,
        numbers: Numbers | None = None,
        count: jax.Array | int | None = None,
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        numbers = numbers or Numbers(option_numbers(options), None, {})
        used = with_numbers(options, numbers.options)
        schedule = numbers.schedule or schedule_of(options, steps_per_epoch or 1)
        num_steps, warmup_steps, delay_steps = schedule

        def kl_schedule(step: jax.Array) -> jax.Array:
            return weight_at(step, used.kl_weight, warmup_steps, num_steps, used.final_kl_weight)

        sharpness_schedule = build_sharpness_schedule(used, num_steps)
        if numbers.sharpness is not None:
            sharpness_schedule = lambda step: numbers.sharpness  # noqa: E731
        drawn_by = sampler_of.build(**numbers.sampler) if sampler_of else sampler
        step = functools.partial(
            train_step, with_free_bits(vae, used.free_bits) if used.free_bits else vae, drawn_by,
            build_optimiser(used, num_steps, delay_steps), kl_schedule, key, data,
            loss=objective.OBJECTIVES[used.objective], num_cells=num_cells,
            sharpness_schedule=sharpness_schedule,
        )  # fmt: skip
        count = rows.shape[0] if count is None else count
        state, metrics = scan_some(step, state, rows, count)
        return keep_places(state, metrics, mesh, drawn_by)

    return dispatch


def build_dispatch(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int | None,
    mesh: Mesh | None = None,
) -> Dispatch:
    """Compiles (key, data, state, rows [steps, minibatch], num_cells, numbers, count).

    It returns the next state and metrics [steps]. `num_cells` is that of `train_step`; `numbers`
    (`spec.numbers`) stand for those of `options`, None for these, and must have a schedule where
    `steps_per_epoch` is None. Only the first `count` steps are taken, None for all; one program
    does for every count. The state is donated: its buffers are reused, so the caller must not read
    it again. `mesh` is that of `many_steps`.
    """
    return _compiled(vae, sampler, options, steps_per_epoch, mesh)


@functools.lru_cache(maxsize=32)  # trainings that differ in their seed share one compilation
def _compiled(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int | None,
    mesh: Mesh | None,
) -> Dispatch:
    steps = many_steps(vae, sampler, options, steps_per_epoch, mesh=mesh)
    return jax.jit(steps, donate_argnums=2)


@functools.lru_cache(maxsize=32)
def build_vmapped_dispatch(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int | None,
    shared_data: bool = True,
    sampler_of: SamplerSpec | None = None,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[tuple[TrainState, ...], tuple[dict[str, jax.Array], ...]]]:
    """Builds a dispatch of several seeds in one program; arguments are tuples over seeds.

    Stacking is inside, so that outside each seed has a state of its own. With `shared_data` the
    data are one for all; `sampler_of` and `mesh` are those of `many_steps`.
    """
    over_seeds = jax.vmap(
        many_steps(vae, sampler, options, steps_per_epoch, sampler_of, mesh),
        in_axes=(0, None if shared_data else 0, 0, 0, 0, 0, None),
    )

    @functools.partial(jax.jit, donate_argnums=2)
    def dispatch(
        keys: tuple[jax.Array, ...],
        data: Any,  # counts for all seeds, or those of each
        states: tuple[TrainState, ...],
        rows: tuple[jax.Array, ...],
        num_cells: tuple[jax.Array, ...],
        numbers: tuple[Numbers, ...],
        count: jax.Array | int,
    ) -> tuple[tuple[TrainState, ...], tuple[dict[str, jax.Array], ...]]:
        own_keys, *others = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
            for trees in (keys, states, rows, num_cells, numbers)
        )
        counts = data if shared_data else stack_counts(data)

        def apart(tree: Any) -> tuple[Any, ...]:
            return tuple(jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(len(keys)))

        stepped, metrics = over_seeds(own_keys, counts, *others, count)
        return apart(stepped), apart(metrics)

    return dispatch
