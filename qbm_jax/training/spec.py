"""The record of a training: its model, its sampler and its options.

It is a value: equal records are equal, hash alike, and go through JSON. What follows from it is
derived here and nowhere else: the numbers that its compiled program takes as arguments, the shape
of that program, and the keys of its random numbers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from qbm_jax import samplers
from qbm_jax.errors import InputError
from qbm_jax.model import relaxations, vae
from qbm_jax.model.options import ModelOptions
from qbm_jax.model.vae import VAE, Params
from qbm_jax.runtime import identity
from qbm_jax.runtime.options import check_mapping, from_dict
from qbm_jax.samplers import Sampler
from qbm_jax.training.options import (
    Schedule,
    TrainOptions,
    option_numbers,
    program_options,
    without_numbers,
)


@dataclasses.dataclass(frozen=True)
class SamplerSpec:
    """What draws the negative phase.

    Attributes:
      name: of `samplers.SAMPLERS`, or of a sampler that was given to `samplers.register`; a built
        `Sampler` is taken as well, and its name kept.
      options: pairs (option, plain value), by name; a mapping is taken as well.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Keeps plain options in the order of their names.

        Raises:
          InputError: an unknown sampler or option, or a value that is not of its kind.
        """
        object.__setattr__(self, "name", samplers.name_of(self.name))
        checked = samplers.check_options(self.name, dict(self.options))
        pairs = tuple(sorted(checked.items()))
        try:
            hash(pairs)
        except TypeError:
            raise InputError(
                f"sampler_options of a training must be plain values, got arrays: {pairs}"
            ) from None
        object.__setattr__(self, "options", pairs)

    @property
    def numbers(self) -> dict[str, float]:
        """The options that a compiled program may take as arguments, where they are given."""
        may_vary = samplers.traceable(self.name)
        return {k: v for k, v in self.options if k in may_vary and isinstance(v, float)}

    def build(self, **numbers: Any) -> Sampler:
        """The sampler, equal for equal specs; numbers, which may be traced, are added."""
        return samplers.build(self.name, **dict(self.options), **numbers)


def sampler_spec(name: str | Sampler, options: Mapping[str, Any] | None) -> SamplerSpec:
    """A sampler's spec with these options; None stands for those that suit a negative phase.

    Raises:
      InputError: as `SamplerSpec`.
    """
    name = samplers.name_of(name)
    samplers.check_options(name, {})
    if options is None:
        options = samplers.negative_phase().get(name, {})
    return SamplerSpec(name, tuple(check_mapping("sampler_options", options).items()))


def _sampler_from(fields: Any) -> SamplerSpec:
    """The spec that a record's JSON gives."""
    given = check_mapping("sampler", fields)
    if given.keys() != {"name", "options"}:
        raise InputError(f"sampler must have name and options, got {sorted(given)}")
    return sampler_spec(given["name"], check_mapping("sampler_options", given["options"]))


@dataclasses.dataclass(frozen=True)
class Training:
    """One training, without its cells and its key.

    Attributes:
      model: what is trained; a `library_prior` of None is computed from the cells where the
        library size is latent.
      sampler: draws the negative phase; priors with a closed log Z do not use it.
      options: how to train.
    """

    model: ModelOptions
    sampler: SamplerSpec | None
    options: TrainOptions

    @classmethod
    def of(
        cls,
        model: Mapping[str, Any],
        sampler: str | Sampler,
        sampler_options: Mapping[str, Any] | None,
        options: TrainOptions,
    ) -> "Training":
        """The record of plain options.

        Args:
          model: fields of `ModelOptions`.
          sampler: a name of `samplers.SAMPLERS`, or a `Sampler`; not used by priors with a closed
            log Z.
          sampler_options: its options; None: those that suit a negative phase.
          options: how to train.

        Raises:
          InputError: an unknown name, or a value that is not of its kind.
        """
        spec = sampler_spec(sampler, sampler_options)
        return cls(from_dict(ModelOptions, "model", model), spec, options)

    def to_json(self) -> dict[str, Any]:
        """The record as dicts, lists, numbers and text; `from_json` makes an equal one of it."""
        sampler = self.sampler and {
            "name": self.sampler.name,
            "options": dict(self.sampler.options),
        }
        return identity.plain({
            "model": dataclasses.asdict(self.model),
            "sampler": sampler,
            "options": dataclasses.asdict(self.options),
        })  # fmt: skip

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Training":
        """The record whose `to_json` gave these fields.

        Raises:
          InputError: the parts are not those of a record, or an option cannot have its value.
        """
        parts = check_mapping("a training", fields)
        if parts.keys() != {"model", "sampler", "options"}:
            raise InputError(
                f"a training must have model, sampler and options, got {sorted(parts)}"
            )
        return cls(
            from_dict(ModelOptions, "model", parts["model"]),
            None if parts["sampler"] is None else _sampler_from(parts["sampler"]),
            from_dict(TrainOptions, "training", parts["options"]),
        )

    def build(self, num_genes: int, num_batches: int) -> "Built":
        """Builds its model and sampler for cells of so many genes and batches.

        Raises:
          InputError: options do not go together, or the prior needs a sampler and there is none.
        """
        model = vae.build_sized(num_genes, num_batches, self.model)
        if model.prior.log_z is not None:
            return Built(model, None, self.options, dataclasses.replace(self, sampler=None))
        if self.sampler is None:
            raise InputError(f"prior {self.model.prior} needs a sampler, got none; name one")
        return Built(model, self.sampler.build(), self.options, self)


class Numbers(NamedTuple):
    """The scalars that a compiled training takes as arguments.

    Attributes:
      options: fields of `TrainOptions` by name.
      sharpness: of the relaxation; None for the one that the model was built with.
      sampler: options of the sampler by name; empty for those that it was built with.
      schedule: in steps; None for that of the options that the program was built with.
    """

    options: dict[str, jax.Array]
    sharpness: jax.Array | None
    sampler: dict[str, jax.Array]
    schedule: Schedule | None = None


class Shape(NamedTuple):
    """A training without its numbers: what is compiled, and what rows of one `vmap` share.

    Attributes:
      model: its options, with the sharpness at None where it is a number.
      has_sharpness: whether the sharpness is a number.
      sampler: its spec, with only the options that are no numbers.
      sampler_numbers: names of the options that are numbers.
      options: those of the training, with every number at its default.
    """

    model: ModelOptions
    has_sharpness: bool
    sampler: SamplerSpec | None
    sampler_numbers: tuple[str, ...]
    options: TrainOptions


def numbers(training: Training) -> Numbers:
    """The numbers that its compiled program takes as arguments."""
    sharpness = training.model.sharpness if _has_sharpness(training) else None
    given = training.sampler.numbers if training.sampler else {}
    return Numbers(
        option_numbers(training.options),
        None if sharpness is None else jnp.float32(sharpness),
        {name: jnp.float32(value) for name, value in given.items()},
    )


def shape(training: Training) -> Shape:
    """The shape of its compiled program: trainings of equal shape differ in numbers alone."""
    model, spec, given, has_sharpness = (
        training.model,
        training.sampler,
        {},
        _has_sharpness(training),
    )
    if spec is not None:
        given = spec.numbers
        spec = SamplerSpec(spec.name, tuple(pair for pair in spec.options if pair[0] not in given))
    if has_sharpness:
        model = dataclasses.replace(model, sharpness=None)
    return Shape(
        model, has_sharpness, spec, tuple(sorted(given)), without_numbers(training.options)
    )


def _has_sharpness(training: Training) -> bool:
    """Whether the sharpness is a number; some laws, and its growth, need it at compilation."""
    model = training.model
    given = model.sharpness is not None and model.relaxation in relaxations.those_that("traceable")
    return given and not training.options.sharpness_start


class Keys(NamedTuple):
    """The keys of a training's random numbers.

    Attributes:
      split: which cells validate.
      start: parameters and chains.
      order: of the cells in each epoch.
      steps: noise of the steps.
      validation: noise of the bounds at validation.
    """

    split: jax.Array
    start: jax.Array
    order: jax.Array
    steps: jax.Array
    validation: jax.Array


def keys(key: jax.Array) -> Keys:
    """The keys that a training takes from its root key. Consumes it."""
    return Keys(*jax.random.split(key, 5))


class Built(NamedTuple):
    """A training with its model and its sampler.

    Attributes:
      vae: the model.
      sampler: draws the negative phase; None where log Z has a closed form.
      options: how to train.
      record: the record that both were built from; None where somebody made them by hand.
    """

    vae: VAE
    sampler: Sampler | None
    options: TrainOptions
    record: Training | None = None

    @property
    def program(self) -> tuple[VAE, Sampler | None, TrainOptions]:
        """Trainings whose programs are equal are compiled once."""
        return self.vae, self.sampler, program_options(self.options)

    @property
    def numbers(self) -> Numbers:
        """All its numbers."""
        if self.record is None:
            return Numbers(option_numbers(self.options), None, {})
        return numbers(self.record)

    @property
    def row_of(self) -> Any:
        """What trainings must have equal to be rows of one `vmap`."""
        if self.record is None:
            return self.program
        found = shape(self.record)
        return found if found.has_sharpness or found.sampler_numbers else self.program


class Seed(NamedTuple):
    """A built training with its root key, and the cells that it leaves out.

    Attributes:
      key: the root key; it fixes the split, the start, the order and all noise.
      built: what is trained.
      held_out: indices [held-out cells] of cells that take no part in training or in the choice of
        the epoch; None: there are none.
      params: the parameters to go on from, without checkpoints; None: fresh ones.
    """

    key: jax.Array
    built: Built
    held_out: np.ndarray | None = None
    params: Params | None = None
