"""Our samplers behind dimod's interface."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann, local_field, scale
from qbm_jax.machine.calibration import BETA_RANGE, NO_FIELD, beta_with_error
from qbm_jax.machine.opposite_sign import check_pairs
from qbm_jax.problems.bqm import check_quadratic, from_bqm
from qbm_jax.runtime import keys
from qbm_jax.runtime.optional import needed
from qbm_jax.runtime.options import LARGEST_SEED, check, positive, shown
from qbm_jax.runtime.options import seed as kind_of_seed
from qbm_jax.samplers.auxiliary_cim import AuxiliaryState
from qbm_jax.samplers.base import Sampler, check_count
from qbm_jax.samplers.gibbs import GibbsState
from qbm_jax.samplers.metropolis_cim import MetropolisState

_READS_AT_ONCE = 64  # between two looks at whether somebody interrupts


class _Sampling:
    """A `dimod.Sampler` that draws with one of `qbm_jax.samplers`.

    The samples of a `SampleSet` are reads of independent chains, in the order in which they were
    drawn. Its info has `beta`, the inverse temperature that explains the reads best as draws of
    exp(-beta E), `beta_standard_error`, `effective_sample_size` (chains are independent: the
    number of reads), `targets_boltzmann`, `num_reads` and `interrupted`. The first two are NaN
    where reads do not tell them: no field acts on them, or the best fit is not within a factor of
    32 of the beta asked for, as that of ground states.

    Args:
      name: a sampler's, or a `Sampler`.
      **options: of the sampler by name, such as those of `samplers.optimising(name)`.
    """

    def __init__(self, name: str | Sampler, **options: Any):
        self._sampler = samplers.build(name, **options)
        self._given = name, options
        self._made_of = {"sampler": name if isinstance(name, str) else "custom", "options": options}
        self._draw = jax.jit(self._sampler.sample)

    def __reduce__(self) -> tuple[Any, ...]:
        return _built, self._given

    @property
    def properties(self) -> dict[str, Any]:
        """What it is: name, options, and whether it claims the Boltzmann law."""
        return self._made_of | {"targets_boltzmann": self._sampler.targets_boltzmann}

    @property
    def parameters(self) -> dict[str, list]:
        """What `sample` takes."""
        names = ("num_reads", "seed", "beta", "initial_states", "interrupt_function")
        return {name: [] for name in names}

    def sample(
        self,
        bqm: Any,
        *,
        num_reads: int | None = None,
        seed: int | None = None,
        beta: float = 1.0,
        initial_states: Any = None,
        interrupt_function: Callable[[], bool] | None = None,
    ) -> Any:
        """Draws from exp(-beta E) of a binary quadratic model, as well as the sampler does.

        Args:
          bqm: the model; energies in its own unit.
          num_reads: independent chains, of one draw each; None: as many as initial states, or 1.
          seed: of all randomness; None: another one each time.
          beta: inverse temperature.
          initial_states: what `dimod.as_samples` takes, used in turns; for samplers whose chains
            persist between draws: gibbs, auxiliary_cim, metropolis_cim.
          interrupt_function: called after every 64 reads; True ends the draw with what there is.
            Beyond 64, reads with it are others than without it at one seed.

        Returns:
          A `dimod.SampleSet`.

        Raises:
          InputError: what `from_bqm` raises, values out of range, or other initial states.
        """
        dimod = needed("dimod")
        params, names = _machine(dimod, bqm)
        starts = None
        if initial_states is not None:
            beside = params.num_spins - len(names)  # the spin of a lone variable, which is free
            starts = np.pad(_starts(dimod, initial_states, names), ((0, 0), (0, beside)), "edge")
        num_reads = (1 if starts is None else len(starts)) if num_reads is None else num_reads
        check_count(num_reads=num_reads)
        if interrupt_function is not None and not callable(interrupt_function):
            got = shown(interrupt_function)
            raise InputError(f"interrupt_function must be a function, got {got}")
        if seed is None:
            seed = int(np.random.default_rng().integers(LARGEST_SEED))
        key = keys.root(check("seed", seed, kind_of_seed()))
        beta = check("beta", beta, positive())
        cold = scale(params, beta)
        spins = self._reads(key, cold, num_reads, starts, interrupt_function)
        measured, error = _measured(cold, beta, spins)
        info = {
            "beta": measured,
            "beta_standard_error": error,
            "effective_sample_size": float(len(spins)),
            "targets_boltzmann": self._sampler.targets_boltzmann,
            "num_reads": len(spins),
            "interrupted": len(spins) < num_reads,
        }
        rows = spins[:, : len(names)]
        values = rows if bqm.vartype is dimod.SPIN else (rows + 1) // 2
        return dimod.SampleSet.from_samples_bqm((values, names), bqm, info=info)

    def sample_ising(self, h: Any, J: Any, **parameters: Any) -> Any:
        """Samples from biases of spins and pairs; dimod would add a self-loop to the offset.

        Raises:
          InputError: a pair of a variable with itself, or what `sample` raises.
        """
        if isinstance(J, np.ndarray):
            J = {(int(u), int(v)): J[u, v] for u, v in np.argwhere(J)}
        pairs = _pairs("J", J)
        check_pairs("pairs of J", [u for u, _ in pairs], [v for _, v in pairs])
        return super().sample_ising(h, J, **parameters)  # type: ignore[misc]

    def sample_qubo(self, Q: Any, **parameters: Any) -> Any:
        """Samples from a QUBO, a dict of values by (label, label).

        Raises:
          InputError: keys that are no pairs, or what `sample` raises.
        """
        _pairs("Q", Q)
        return super().sample_qubo(Q, **parameters)  # type: ignore[misc]

    def _reads(
        self,
        key: jax.Array,
        params: Boltzmann,
        num_reads: int,
        starts: np.ndarray | None,
        interrupt: Callable[[], bool] | None,
    ) -> np.ndarray:
        """Spins int8 [reads, spins], fewer than asked for where somebody interrupts."""
        at_once = num_reads if interrupt is None else min(num_reads, _READS_AT_ONCE)
        drawn: list[np.ndarray] = []
        for batch in range(math.ceil(num_reads / at_once)):
            key_init, key_draw = jax.random.split(jax.random.fold_in(key, batch))
            state = self._sampler.init(key_init, params, at_once)
            if starts is not None:
                chosen = np.arange(batch * at_once, (batch + 1) * at_once) % len(starts)
                state = _with_spins(state, jnp.asarray(starts[chosen], jnp.float32))
            with samplers.device_errors():
                spins, _, info = jax.block_until_ready(self._draw(key_draw, params, state))
            samplers.check_draw(info)
            drawn.append(np.asarray(spins).astype(np.int8))
            if interrupt is not None and interrupt():
                break
        return np.concatenate(drawn)[:num_reads]


def _pairs(name: str, given: Any) -> list[tuple[Any, Any]]:
    """The keys of a dict by pairs of variables."""
    pairs: list[Any] = list(given) if isinstance(given, Mapping) else [()]
    if wrong := [key for key in pairs if not isinstance(key, tuple) or len(key) != 2]:
        got = shown(wrong[0] if isinstance(given, Mapping) else given)
        raise InputError(
            f"expected {name} by pairs of variables, got {got}; reduce higher orders with dimod"
        )
    return pairs


def _measured(cold: Boltzmann, beta: float, spins: np.ndarray) -> tuple[float, float]:
    """The inverse temperature of reads [reads, spins], drawn at `beta`, and its standard error.

    NaN where they do not tell it.
    """
    reads = jnp.asarray(spins, jnp.float32)
    found, error = map(float, beta_with_error(cold, reads[:, None]))
    low, high = BETA_RANGE
    if not low < found < high or jnp.mean(local_field(cold, reads) ** 2) <= NO_FIELD:
        return math.nan, math.nan
    return beta * found, beta * error


def _built(name: str | Sampler, options: dict[str, Any]) -> Any:
    """A `DimodSampler`, out of a pickle."""
    return sampler_class()(name, **options)


@functools.cache
def sampler_class() -> type:
    """`DimodSampler`: the class above on dimod's base.

    Raises:
      InputError: dimod is not installed.
    """
    return type(
        "DimodSampler", (_Sampling, needed("dimod").Sampler), {"__doc__": _Sampling.__doc__}
    )


def _machine(dimod: Any, bqm: Any) -> tuple[Boltzmann, list]:
    """The machine of a model and its labels; a lone variable gets a spin beside it."""
    check_quadratic(bqm)
    names = list(bqm.variables)
    if len(names) != 1:
        return from_bqm(bqm)[0], names
    padded = bqm.copy()
    padded.add_variable(next(label for label in (0, 1) if label != names[0]), 0)
    return from_bqm(padded)[0], names


def _starts(dimod: Any, initial_states: Any, names: list) -> np.ndarray:
    """Spins [states, spins] in the order of the names.

    Raises:
      InputError: other variables, or values other than those of spins or of bits.
    """
    try:
        values, labels = dimod.as_samples(initial_states)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected initial states as dimod.as_samples takes them: {error}"
        ) from error
    if set(labels) != set(names) or not len(values):
        raise InputError(f"expected initial states of the {len(names)} variables of the model")
    place = {label: number for number, label in enumerate(labels)}
    values = np.asarray(values)[:, [place[name] for name in names]]
    if np.isin(values, (-1, 1)).all():
        return values
    if np.isin(values, (0, 1)).all():
        return 2 * values.astype(np.int8) - 1
    raise InputError("expected initial states of -1 and +1, or of 0 and 1, got other values")


def _with_spins(state: Any, spins: jax.Array) -> Any:
    """The state with these spins [chains, spins] in its chains.

    Raises:
      InputError: the sampler forgets its chains between draws.
    """
    if isinstance(state, GibbsState):
        return state.replace(spins=spins.T)
    if isinstance(state, AuxiliaryState | MetropolisState):
        return state.replace(spins=spins)
    raise InputError(
        "initial_states are for samplers whose chains persist (gibbs, auxiliary_cim, "
        f"metropolis_cim), got the state {type(state).__name__}"
    )
