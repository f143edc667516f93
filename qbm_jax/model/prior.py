"""What a prior is: its law, its posterior family, and the functions that other modules need."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from qbm_jax.model.latent_laws import draw_spins
from qbm_jax.model.relaxations import Relax

CERTAIN = 1e6  # logits of a posterior that leaves nothing to chance but r(zeta | b)


class Prior(NamedTuple):
    """A prior and its posterior family, with every function that other modules need of it.

    `posterior` is the encoder's output [cells, outputs]: an array [cells, latents] for each of its
    `outputs_per_latent`, side by side. The latents are spins, of which it holds the logits, or real
    numbers. Every result is per cell, in nats.

    Attributes:
      title: its printed name.
      relax: how spins are relaxed on their way to the decoder; None where latents are numbers.
      couplings: whether the prior is a Boltzmann machine with couplings J.
      outputs_per_latent: how many numbers the encoder gives per latent.
      init: (key, num_latents, and `init_options` by name) -> parameters.
      project: params -> params that obey their constraints (J symmetric, zero diagonal); it changes
        no value that training reaches, but makes the gradient obey them too.
      entropy: posterior -> H(q) [cells].
      energy: (params, latents [cells, latents]) -> E [cells]; where `expected_energy` has a closed
        form, the energy of independent spins' means is that.
      expected_energy: (params, posterior) -> E_q[E] [cells]; None where it has no closed form, so
        that a draw of the posterior estimates it (`posteriors.factorial`). Of spins, it says that
        the energy is `multilinear`: J / T and h / T are then the machine at temperature T.
      log_z: params -> log Z where it has a closed form; None where it needs samples.
      log_q: (posterior, latents [cells, latents]) -> log q(latents) [cells].
      information: posterior -> what each cell tells of each latent [cells, latents]: the KL to the
        latent's law in the prior, of spins to fair ones, in a mixture to the standard normal.
      draw: (key, posterior, sharpness=None) -> what the decoder reads [cells, latents]; a sharpness
        overrides the relaxation's own.
      embed: posterior -> the deterministic embedding [cells, latents].
      sample: (key, params, shape) -> latents of the prior's law, of this shape [cells, latents];
        None where it needs a sampler.
      init_options: fields of `ModelOptions` and `Sizes` that `init` takes beside `num_latents`.
      of_encoder: (parameters, counts [cells, genes] -> posterior) -> the parameters that all other
        functions take, where they come from the encoder; None where the own ones are these.
      from_cells: (parameters, number -> counts [number, genes] of random training cells) -> the
        parameters that a training starts with; None where it does not start from cells.
      name: in `PRIORS`; `build` gives it.
      model_name: name under which results are kept of a model that has no name of its own; `build`
        gives it where there is none.
    """

    title: str
    relax: Relax | None
    couplings: bool
    outputs_per_latent: int
    init: Callable[..., Any]
    project: Callable[[Any], Any]
    entropy: Callable[[jax.Array], jax.Array]
    energy: Callable[[Any, jax.Array], jax.Array]
    expected_energy: Callable[[Any, jax.Array], jax.Array] | None
    log_z: Callable[[Any], jax.Array] | None
    log_q: Callable[[jax.Array, jax.Array], jax.Array]
    information: Callable[[jax.Array], jax.Array]
    draw: Callable[..., jax.Array]
    embed: Callable[[jax.Array], jax.Array]
    sample: Callable[[jax.Array, Any, tuple[int, int]], jax.Array] | None
    init_options: tuple[str, ...] = ()
    of_encoder: Callable[[Any, Callable[[jax.Array], Any]], Any] | None = None
    from_cells: Callable[[Any, Callable[[int], jax.Array]], Any] | None = None
    name: str = ""
    model_name: str = ""

    @property
    def binary(self) -> bool:
        """Whether the latents are spins."""
        return self.relax is not None

    @property
    def multilinear(self) -> bool:
        """Whether the latents are spins in each of which, and in the parameters, E is linear."""
        return self.binary and self.expected_energy is not None

    def draw_latents(self, key: jax.Array, posterior: jax.Array) -> jax.Array:
        """Latents from the posterior [cells, latents]; spins are not relaxed. Consumes the key."""
        return draw_spins(key, posterior) if self.binary else self.draw(key, posterior)

    def read(self, key: jax.Array, latents: jax.Array) -> jax.Array:
        """What the decoder reads for latents [cells, latents]: spins are smeared by r(zeta | b)."""
        return self.draw(key, CERTAIN * latents) if self.binary else latents
