"""What rebuilds a model around its parameters, and the checks of it."""

import dataclasses
import math
from typing import Any

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.model import vae
from qbm_jax.model.options import check_options
from qbm_jax.runtime.options import check, from_dict, optional, text, whole
from qbm_jax.training import TrainOptions
from qbm_jax.training.spec import SamplerSpec


@dataclasses.dataclass(frozen=True)
class Settings:
    """What rebuilds a model around its parameters.

    Attributes:
      genes: gene names, in the order of the model's columns.
      batch_names: experimental batches, in the order of their codes.
      model: keyword arguments of `vae.build`, but for the numbers of genes and batches.
      sampler: name of the sampler of the negative phase.
      sampler_options: its options.
      median_library: median total count of each batch, the default of `generate`; genes that a
        query lacked are in it with their expected counts.
      batch_column: column of `obs` that told the batches of the cells trained on; None: none did.
      missing_genes: genes that the cells of a query lacked, of each that was mapped; `embed`
        imputes those that its cells lack.
      layer: layer that the counts trained on were read from; None: `X`, or not recorded.
      num_mapped: batches, the last ones, that `map_query` added; the others were trained on.
      training: fields of `TrainOptions` that it was trained with; empty: not recorded.
    """

    genes: tuple[str, ...]
    batch_names: tuple[str, ...]
    model: dict[str, Any]
    sampler: str
    sampler_options: dict[str, Any]
    median_library: tuple[float, ...]
    batch_column: str | None = None
    missing_genes: tuple[str, ...] = ()
    layer: str | None = None
    num_mapped: int = 0
    training: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Keeps plain options, which are equal to themselves after JSON.

        Raises:
          InputError: an option that is unknown or not of its kind, or an unknown sampler.
        """
        check("batch_column", self.batch_column, optional(text()))
        check("layer", self.layer, optional(text()))
        check("num_mapped", self.num_mapped, whole(0))
        object.__setattr__(self, "model", check_options(self.model))
        object.__setattr__(self, "sampler", samplers.name_of(self.sampler))
        options = samplers.check_options(self.sampler, self.sampler_options)
        object.__setattr__(self, "sampler_options", options)
        if self.training:
            trained = from_dict(TrainOptions, "training", self.training)
            object.__setattr__(self, "training", dataclasses.asdict(trained))


def build_model(settings: Settings) -> vae.VAE:
    """The VAE that the settings describe."""
    sizes = {"num_genes": len(settings.genes), "num_batches": len(settings.batch_names)}
    return vae.build(**sizes, **settings.model)


def as_tuples(value: Any) -> Any:
    """Lists, as JSON has them, as tuples at every level: those can be compared by hash."""
    if isinstance(value, dict):
        return {name: as_tuples(item) for name, item in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def build_sampler(model: vae.VAE, name: str, options: dict[str, Any]) -> samplers.Sampler | None:
    """The sampler of the negative phase, or None where the prior's log Z has a closed form."""
    if model.prior.log_z is not None:
        return None
    return SamplerSpec(name, tuple(options.items())).build()


def sampler_of_fresh_chains(model: vae.VAE, settings: Settings) -> samplers.Sampler | None:
    """That of the training with the sampler's own number of steps.

    Fresh chains need more steps than persistent ones.
    """
    options = {name: each for name, each in settings.sampler_options.items() if name != "num_steps"}
    return build_sampler(model, settings.sampler, options)


def check_settings(settings: Settings) -> None:
    """Raises an InputError that names the first field that no trained model has.

    The errors of `vae.build` and of the sampler's factory pass through.
    """
    for field in ("genes", "batch_names"):
        names = getattr(settings, field)
        if not names or not all(isinstance(name, str) for name in names):
            raise InputError(f"expected {field} as a list of texts, got {str(names)[:60]}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(f"expected every name in {field} once, got {twice!r} more than once")
    medians, num_batches = settings.median_library, len(settings.batch_names)
    usable = all(isinstance(m, int | float) and math.isfinite(m) and m > 0 for m in medians)
    if len(medians) != num_batches or not usable:
        raise InputError(
            f"expected median_library as one finite number above 0 for each of {num_batches} "
            f"batches, got {', '.join(map(str, medians[:8]))}"
        )
    model = build_model(settings)
    build_sampler(model, settings.sampler, settings.sampler_options)
