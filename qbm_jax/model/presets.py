"""Published methods as points of one grid: prior, decoder, likelihood, latents, optimisation.

Sources of the defaults: scVI (Lopez et al. 2018), LDVAE (Svensson et al. 2020), AUTOZI (Clivio et
al. 2019) and sysVI (Hrovatin et al. 2023) as scvi-tools 1.4 ships them; QBM-VAE from arXiv
2508.11190. What is called `matched` in a comparison keeps what defines a method, its prior, decoder
and likelihood, and takes latents, widths, epochs and optimiser from the config, so that only the
method differs.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from qbm_jax.model import priors
from qbm_jax.samplers.annealing import PLUGIN

_QUICK_PLUGIN = PLUGIN | {"num_steps": 20}  # one sweep a temperature: 10 times faster


class Parts(NamedTuple):
    """Options of a training, not yet checked.

    Attributes:
      model: fields of `ModelOptions`.
      training: fields of `TrainOptions`.
      sampler: (name or None, options or None) of the negative phase; None: not said.
    """

    model: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}
    sampler: tuple[Any, Mapping[str, Any] | None] | None = None


_NOTHING = Parts()


@dataclasses.dataclass(frozen=True)
class Preset:
    """One method.

    Attributes:
      title: its printed name, see `report.style.model_name`.
      model: arguments of `vae.build` that define the method.
      published: further arguments, at the values that its authors ship.
      training: fields of `TrainOptions` that define the method.
      published_training: further fields, at the values that its authors ship.
      sampler: (name, options) of the negative phase; None for the comparison's own.
      faults: what a re-creation of a public code gets wrong on purpose.
      deviations: where the authors' defaults differ from the code that ships them.
      epochs_of: number of cells given -> epochs that the authors' code trains; None where
        `published_training` says it for all.
    """

    title: str
    model: Mapping[str, Any]
    published: Mapping[str, Any]
    training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    published_training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampler: tuple[str, Mapping[str, Any]] | None = None
    faults: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    epochs_of: Callable[[int], int] | None = None

    def parts(self, shared: Parts = _NOTHING, given: Parts = _NOTHING, *, published: bool) -> Parts:
        """What is trained; of two that name a field, the later one counts.

        The order is: what is shared, what defines the method, what its authors ship, what is given.
        Options of a sampler are merged where both name the same one.

        Args:
          shared: by all methods of a comparison.
          given: for this method.
          published: whether the rest is as its authors ship it.
        """
        training = {**shared.training, **self.training}
        if published:
            training |= self.published_training
        if "num_steps" in given.training:
            training.pop("num_epochs", None)  # which would go before it
        if "kl_warmup" in given.training:
            training.pop("kl_warmup_epochs", None)  # likewise
        return Parts(
            {**shared.model, **self.model, **(self.published if published else {}), **given.model},
            {**training, **given.training},
            _sampler_of(given.sampler, self.sampler) or shared.sampler,
        )


def _sampler_of(given: Any, own: Any) -> tuple[Any, Mapping[str, Any] | None] | None:
    """What is given, before the method's own: its options are kept where it is the same sampler."""
    if given is None or own is None:
        return given or own
    name, options = given
    return (own[0], {**own[1], **(options or {})}) if name in (None, own[0]) else given


def scvi_epochs(num_cells: int) -> int:
    """Epochs of scvi-tools on so many cells, those that validate included.

    Source: `get_max_epochs_heuristic` of scvi-tools 1.4.
    """
    return max(1, min(round(SCVI_LARGE_SET / num_cells * SCVI_EPOCHS), SCVI_EPOCHS))


SCVI_EPOCHS, SCVI_LARGE_SET = 400, 20_000  # epochs; fewer with more cells than this
_NO_CLIP = 1e30  # no gradient has this norm
_SMALL_NETWORKS = {
    "num_latents": 10, "encoder_widths": (128,), "decoder_widths": (128,), "start": "pytorch",
}  # fmt: skip
_SCVI_NETWORKS = _SMALL_NETWORKS | {
    "start": "scvi_tools", "encoder_input": "log_counts", "encoder_output": "log_variance",
    "normalisation": "batch", "dropout": 0.1,
    "dispersion_start": "normal", "gene_shift": False,
}  # fmt: skip
# Adam at a constant rate, KL weight growing over the whole training.
_CONSTANT_RATE = {
    "num_epochs": SCVI_EPOCHS,
    "minibatch_size": 128,
    "learning_rate": 1e-3,
    "final_learning_rate": 1.0,
    "kl_weight": 1.0,
    "final_kl_weight": 1.0,
    "kl_warmup_epochs": 400.0,
    "patience": None,
}
_SCVI_TRAINING = _CONSTANT_RATE | {
    "adam_epsilon": 0.01, "weight_decay": 1e-6, "gradient_clip": _NO_CLIP, "report_epoch": "last",
}  # fmt: skip
_SCVI_DEVIATIONS = (
    "the KL weight grows with every step, not with every epoch",
    "an epoch leaves out the cells that fill no minibatch; scvi-tools takes a smaller minibatch",
)
_BINARY = {"prior": "boltzmann", "decoder": "mlp"}
_PUBLIC = {"posterior": "factorial", "couplings_scale": 0.0}

PRESETS: dict[str, Preset] = {
    "vae": Preset(
        title="VAE",
        model={"prior": "gaussian", "decoder": "mlp", "likelihood": "normal"},
        published=_SMALL_NETWORKS,
        published_training=_CONSTANT_RATE,
    ),
    "scvi": Preset(
        title="scVI",
        model={"prior": "gaussian", "decoder": "mlp", "likelihood": "zinb"},
        published=_SCVI_NETWORKS,
        published_training=_SCVI_TRAINING,
        deviations=_SCVI_DEVIATIONS,
        epochs_of=scvi_epochs,
    ),
    "ldvae": Preset(
        title="LDVAE",
        model={"prior": "gaussian", "decoder": "linear", "likelihood": "nb"},
        published=_SCVI_NETWORKS | {"library": "latent"},
        published_training=_SCVI_TRAINING,
        deviations=(
            *_SCVI_DEVIATIONS,
            "the KL of library sizes is weighted as that of latents; scvi-tools weights it by 1",
        ),
        epochs_of=scvi_epochs,
    ),
    "autozi": Preset(
        title="AUTOZI",
        model={"prior": "gaussian", "decoder": "mlp", "likelihood": "autozi"},
        published=_SCVI_NETWORKS,
        published_training=_SCVI_TRAINING,
        deviations=(
            *_SCVI_DEVIATIONS,
            "concentrations of the gates are positive and start at their prior's; scvi-tools' are"
            " below 1 and start at random",
        ),
        epochs_of=scvi_epochs,
    ),
    "gaussian_vae": Preset(
        title="Gaussian VAE",
        model={"prior": "gaussian", "decoder": "mlp", "likelihood": "nb"},
        published=_SMALL_NETWORKS,
        published_training={},
    ),
    "mog_vae": Preset(
        title="Gaussian mixture VAE",
        model={"prior": "gaussian_mixture", "decoder": "mlp", "likelihood": "nb"},
        published={},
    ),
    "vamp_vae": Preset(
        title="VampPrior VAE",
        model={"prior": "vamp", "decoder": "mlp", "likelihood": "nb"},
        published={},
    ),
    "sysvi": Preset(
        title="sysVI",
        model={"prior": "vamp_factorised", "decoder": "mlp", "likelihood": "normal"},
        published=_SCVI_NETWORKS | {
            "num_latents": 15, "num_components": 5, "encoder_widths": (256, 256),
            "decoder_widths": (256, 256), "encoder_input": "log_normalised",
            "decoder_dropout": 0.1, "dispersion_start": "zero",
        },
        published_training=_SCVI_TRAINING | {"kl_warmup_epochs": 0.0},
        deviations=(
            _SCVI_DEVIATIONS[1],
            "there is no loss of cycle-consistency, which scvi-tools' weights by 2",
            "neither the encoder nor a pseudo-cell sees the batch",
            "1e-4 is added to the variances of latents",
            "pseudo-cells are shares of genes; sysVI's are log-normalised values",
        ),
        epochs_of=scvi_epochs,
    ),
    "made_vae": Preset(
        title="Autoregressive VAE",
        model={"prior": "made", "decoder": "mlp", "likelihood": "nb"},
        published={},
    ),
    "bernoulli_vae": Preset(
        title="Bernoulli VAE",
        model={"prior": "bernoulli", "decoder": "mlp", "likelihood": "nb"},
        published={},
    ),
    "qbmvae": Preset(
        title="QBM-VAE",
        model=_BINARY | {"likelihood": "nb"},
        published={},
    ),
    "qbmvae_public": Preset(
        title="QBM-VAE as in the public code",
        model=_BINARY
        | _PUBLIC
        | {"likelihood": "squared_error", "relaxation": "spike_exponential", "sharpness": 0.5},
        published={"num_latents": 256, "encoder_widths": (512,), "decoder_widths": (512,)},
        training={"objective": "qbmvae_public", "kl_weight": 1e-4, "num_chains": 10},
        published_training={
            "num_epochs": 100,
            "learning_rate": 1e-4,
            "final_learning_rate": 1.0,
            "couplings_rate": 100.0,
            "couplings_delay": 0.0,
            "kl_warmup_epochs": 0.0,
            "patience": None,
        },
        sampler=("annealing", _QUICK_PLUGIN),
        faults=(
            "energy at a hard threshold: the prior sends the encoder no gradient",
            "log Z replaced by plus the mean energy of the negatives: wrong sign",
            "KL weight 1e-4, squared error of log-normalised values, sharpness 0.5",
            "negatives from an annealer run to T near 0 (the code itself takes one update of all"
            " units at once from random bits)",
        ),
    ),
    "kaiwu_qvae": Preset(
        title="Kaiwu Q-VAE as in the public plug-in",
        model={
            "prior": "rbm", "decoder": "mlp", "likelihood": "squared_error",
            "relaxation": "overlapping_exponential", "sharpness": 10.0, **_PUBLIC,
        },
        published={"num_latents": 256},
        training={"objective": "kaiwu_qvae", "kl_weight": 1e-5, "num_chains": 10},
        sampler=("annealing", _QUICK_PLUGIN),
        faults=(
            "KL weight 1e-5, with a weight decay on the machine that this does not scale",
            "squared error of log-normalised values",
            "negatives from an annealer run to T near 0",
        ),
    ),
}  # fmt: skip


def with_prior(prior: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `vae.build` with this prior, without those that only other priors can have."""
    fitting, law = {**arguments, "prior": prior}, priors.build(prior)
    if not law.couplings:
        fitting["couplings_scale"] = 0.0
    if not law.multilinear:
        fitting["posterior"] = "factorial"
    return fitting
