"""One optimiser step, and many of them compiled into one call, for one seed or several."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from qbm_jax import objective
from qbm_jax.feed.minibatches import DeviceCounts, gather, stack_counts
from qbm_jax.model.relaxations import GrowingSharpness
from qbm_jax.model.vae import VAE, Params
from qbm_jax.objective.free_bits import with_free_bits
from qbm_jax.samplers.base import Sampler
from qbm_jax.training.options import TrainOptions
from qbm_jax.training.sharding import keep_places
from qbm_jax.training.state import TrainState, build_optimiser
from qbm_jax.training.tunable import Tunable, tunable_of


def train_step(
    vae: VAE,
    sampler: Sampler | None,
    optimiser: optax.GradientTransformation,
    kl_schedule: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    data: DeviceCounts,
    state: TrainState,
    rows: jax.Array,
    *,
    loss: Callable[..., tuple[jax.Array, objective.Terms]] = objective.surrogate_loss,
    num_cells: jax.Array | int = 1,
    sharpness_schedule: Callable[[jax.Array], GrowingSharpness] | None = None,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One optimiser step on the cells `rows` [minibatch].

    Args:
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      optimiser: an optax transformation over the whole parameter tree.
      kl_schedule: step -> weight of the KL term.
      key: the run's training key; the step folds its number in.
      data: all counts.
      state: the state before the step.
      rows: the cells of the minibatch.
      loss: one of `objective.OBJECTIVES`.
      num_cells: number of training cells, which share the KL of variables that belong to genes;
        likelihoods without such variables do not use it.
      sharpness_schedule: step -> sharpness of the relaxation; None for the model's own.

    Returns:
      The next state and scalar metrics by name.
    """
    key_posterior, key_prior = jax.random.split(jax.random.fold_in(key, state.step))
    cells = gather(data, rows)

    negatives, chains, info = None, state.chains, {}
    if sampler is not None:
        negatives, chains, info = sampler.sample(key_prior, state.params["prior"], state.chains)

    def loss_fn(params: Params) -> tuple[jax.Array, objective.Terms]:
        weight = kl_schedule(state.step)
        sharpness = None if sharpness_schedule is None else sharpness_schedule(state.step)
        return loss(vae, params, key_posterior, cells, negatives, weight, num_cells, sharpness)

    (_, terms), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    updates, opt_state = optimiser.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
        **{name: value.mean() for name, value in terms._asdict().items()},
        "gradient_norm": optax.tree.norm(gradient),
        **{f"sampler/{name}": value for name, value in info.items()},
    }
    state = state.replace(step=state.step + 1, params=params, opt_state=opt_state, chains=chains)
    return state, metrics


def build_sharpness_schedule(
    options: TrainOptions, num_steps: int
) -> Callable[[jax.Array], GrowingSharpness] | None:
    """The function step -> sharpness, the model's own from half of the training on; None: always.

    It starts where bits are soft and gradients pass easily, and grows geometrically.
    """
    if not options.sharpness_start:
        return None

    def schedule(step: jax.Array) -> GrowingSharpness:
        return GrowingSharpness(options.sharpness_start, jnp.minimum(2 * step / num_steps, 1.0))

    return schedule


Dispatch = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def many_steps(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int,
    build_sampler: Callable[..., Sampler] | None = None,
    mesh: Mesh | None = None,
) -> Dispatch:
    """The function (key, data, state, rows [steps, minibatch], ...) of `build_dispatch`.

    With `build_sampler` the sampler is made of the tunable numbers. On a mesh, state and rows must
    lie on it (`sharding`).
    """
    num_steps = options.num_epochs * steps_per_epoch
    if options.free_bits:
        vae = with_free_bits(vae, options.free_bits)
    warmup_steps = max(options.kl_warmup_epochs * steps_per_epoch, 1)

    def dispatch(
        key: jax.Array,
        data: DeviceCounts,
        state: TrainState,
        rows: jax.Array,
        num_cells: jax.Array | int = 1,
        tunable: Tunable | None = None,
    ):
        tunable = tunable or tunable_of(options)
        optimiser = build_optimiser(options, num_steps, tunable)

        def kl_schedule(step: jax.Array) -> jax.Array:
            return tunable.kl_weight * jnp.minimum((step + 1) / warmup_steps, 1.0)

        sharpness_schedule = build_sharpness_schedule(options, num_steps)
        if tunable.sharpness is not None:
            sharpness_schedule = lambda step: tunable.sharpness  # noqa: E731
        machine = build_sampler(**tunable.sampler) if tunable.sampler else sampler
        step = functools.partial(
            train_step, vae, machine, optimiser, kl_schedule, key, data,
            loss=objective.OBJECTIVES[options.objective], num_cells=num_cells,
            sharpness_schedule=sharpness_schedule,
        )  # fmt: skip
        return keep_places(*jax.lax.scan(step, state, rows), mesh, machine)

    return dispatch


def build_dispatch(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int,
    mesh: Mesh | None = None,
) -> Dispatch:
    """Compiles (key, data, state, rows [steps, minibatch], num_cells, tunable) -> (state, metrics).

    Metrics are [steps]; `num_cells` is that of `train_step`; `tunable` stands for the numbers of
    `options` of the same names, None for those. The state is donated: its buffers are reused, so
    the caller must not read it again. `mesh` is that of `many_steps`.
    """
    return _compiled(vae, sampler, options, steps_per_epoch, mesh)


@functools.lru_cache(maxsize=32)  # trainings that differ in their seed share one compilation
def _compiled(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int,
    mesh: Mesh | None,
) -> Dispatch:
    steps = many_steps(vae, sampler, options, steps_per_epoch, mesh=mesh)
    return jax.jit(steps, donate_argnums=2)


@functools.lru_cache(maxsize=32)
def build_vmapped_dispatch(
    vae: VAE,
    sampler: Sampler | None,
    options: TrainOptions,
    steps_per_epoch: int,
    shared_data: bool = True,
    build_sampler: Callable[..., Sampler] | None = None,
    mesh: Mesh | None = None,
) -> Callable[..., tuple[tuple[TrainState, ...], tuple[dict[str, jax.Array], ...]]]:
    """As `build_dispatch` for several seeds in one program; arguments are tuples over seeds.

    Stacking is inside, so that outside each seed has a state of its own. With `shared_data` the
    data are one for all; `build_sampler` and `mesh` are those of `many_steps`.
    """
    over_seeds = jax.vmap(
        many_steps(vae, sampler, options, steps_per_epoch, build_sampler, mesh),
        in_axes=(0, None if shared_data else 0, 0, 0, 0, 0),
    )

    @functools.partial(jax.jit, donate_argnums=2)
    def dispatch(keys, data, states, rows, num_cells, tunable):
        keys, states, rows, num_cells, tunable = (
            jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
            for trees in (keys, states, rows, num_cells, tunable)
        )
        if not shared_data:
            data = stack_counts(data)
        stacked = over_seeds(keys, data, states, rows, num_cells, tunable)
        seeds = range(rows.shape[0])
        return tuple(
            tuple(jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in seeds) for tree in stacked
        )

    return dispatch
