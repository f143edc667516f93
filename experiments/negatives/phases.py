"""What draws the negatives of a training, at two sizes of the model."""

from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from experiments.kit.options import check_least, check_sampler, with_prior
from qbm_jax import training
from qbm_jax.errors import InputError
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import vae
from qbm_jax.model.vae import VAE
from qbm_jax.samplers.base import Info, Sampler

NO_COUPLINGS = "none"


class Phase(NamedTuple):
    """What draws the negatives of a training.

    Attributes:
      sampler: a `Sampler`, or `training.Restarted`; None for J = 0, whose log Z has a closed form.
      num_chains: negatives a step.
    """

    sampler: Any
    num_chains: int


class Size(NamedTuple):
    """One of the two sizes, and its phases by name.

    Attributes:
      name: "enumerable" or "real".
      num_latents: spins N.
      num_draws: of all chains, behind each measured error.
      phases: the first is the reference, which the others are compared to and which measures them.
    """

    name: str
    num_latents: int
    num_draws: int
    phases: dict[str, Phase]

    @property
    def reference(self) -> str:
        """Name of the first phase."""
        return next(iter(self.phases))

    @property
    def enumerated(self) -> bool:
        """Whether log Z and moments are sums over all states."""
        return self.num_latents <= training.LARGEST_ENUMERATED

    def model(
        self, config: ConfigDict, num_genes: int, num_batches: int, prior: str = "boltzmann"
    ) -> VAE:
        """The model of this size."""
        fields = {**with_prior(prior, config.model.to_dict()), "num_latents": self.num_latents}
        return vae.build(num_genes=num_genes, num_batches=num_batches, **fields)


def build_sizes(config: ConfigDict, options: training.TrainOptions) -> list[Size]:
    """The sizes that the config asks for, once all their phases are known to be usable.

    Raises:
      InputError: an unknown phase, sampler or option, or a reference that is not exact in law.
    """
    fields = config.negative_phase
    check_least(config, {"negative_phase.enumerable_draws": 1, "negative_phase.real_draws": 1})
    # Chains from data read the logits of a factorial posterior.
    for name, needed in (("prior", "boltzmann"), ("posterior", "factorial")):
        if config.model[name] != needed:
            raise InputError(f"config.model.{name} must be {needed}, got {config.model[name]!r}")
    latents = {"enumerable": fields.enumerable_latents, "real": config.model.num_latents}
    sizes = []
    for name, num_latents in latents.items():
        phases = {n: build_phase(config, n, options) for n in fields[f"{name}_phases"]}
        if phases:
            size = Size(name, num_latents, fields[f"{name}_draws"], phases)
            sizes.append(_checked(config, size))
    if not sizes:
        raise InputError("expected phases of at least one size in config.negative_phase, got none")
    for name in fields.repaired_phases:
        if build_phase(config, name, options).sampler is None:
            raise InputError(f"config.negative_phase.repaired_phases: {name} draws no spins")
    if fields.repaired_phases and min(fields.repair_sweeps, default=-1) < 0:
        raise InputError(
            f"config.negative_phase.repair_sweeps must not be negative or empty, "
            f"got {fields.repair_sweeps}"
        )
    return sizes


def build_phase(config: ConfigDict, name: str, options: training.TrainOptions) -> Phase:
    """The phase that config.phases calls `name`.

    Raises:
      InputError: there is none, an unknown sampler or option, or chains from data that are not
        Gibbs chains or more than the cells of a minibatch.
    """
    if name not in config.phases:
        raise InputError(f"unknown phase {name!r}; choose from {', '.join(sorted(config.phases))}")
    fields, where = config.phases[name], f"config.phases.{name}"
    num_chains, most = fields.num_chains or options.num_chains, options.minibatch_size
    if num_chains < 2:
        raise InputError(f"{where}.num_chains must be 0 or above 1, got {num_chains}")
    if fields.sampler == NO_COUPLINGS:
        return Phase(None, num_chains)
    if fields.from_data and fields.sampler != "gibbs":
        raise InputError(
            f"{where}: chains from data need the sampler gibbs, got {fields.sampler!r}"
        )
    if fields.from_data and num_chains > most:
        raise InputError(
            f"{where}: expected at most training.minibatch_size = {most} chains from data, "
            f"got {num_chains}"
        )
    sampler = training.sampler_spec(fields.sampler, fields.options.to_dict()).build()
    sampler = with_noise_stream(sampler, fields.noise_stream)
    return Phase(
        training.contrastive_divergence(sampler) if fields.from_data else sampler, num_chains
    )


def with_noise_stream(sampler: Sampler, stream: int) -> Sampler:
    """The sampler; with a stream other than 0 its draws take other noise from each key."""

    def sample(key: jax.Array, params: Boltzmann, state: Any) -> tuple[jax.Array, Any, Info]:
        return sampler.sample(jax.random.fold_in(key, stream), params, state)

    return sampler._replace(sample=sample) if stream else sampler


def _checked(config: ConfigDict, size: Size) -> Size:
    """The size, if its reference is exact and all its chains can start, which is tried in shapes.

    Raises:
      InputError: as in `build_sizes`.
    """
    sampler = size.phases[size.reference].sampler
    if sampler is None or not sampler.targets_boltzmann:
        raise InputError(
            f"config.negative_phase.{size.name}_phases: the first is the reference and must be "
            f"exact in law, got {size.reference}"
        )
    built = size.model(config, 2, 2)
    for phase in size.phases.values():
        if phase.sampler is not None:
            check_sampler(phase.sampler, built, phase.num_chains)
    return size
