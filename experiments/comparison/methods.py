"""What is trained for a method under a setting."""

from typing import NamedTuple

from ml_collections import ConfigDict

from experiments.comparison import scvi_tools
from experiments.kit.options import check_training, filled, names_of
from qbm_jax.errors import InputError
from qbm_jax.fitted.compare import training_of_method
from qbm_jax.model.presets import PRESETS, SCVI_EPOCHS
from qbm_jax.report.style import model_name
from qbm_jax.runtime.optional import EXTRAS, installed, lacking
from qbm_jax.runtime.options import check, whole
from qbm_jax.training import Training

OF_BATCHES = ("harmony", "scanorama")  # they take two batches and all cells at once: no encoder
UNTRAINED = ("pca", *OF_BATCHES)  # embeddings without a model
PEERS = (scvi_tools.NAME,)  # other software, if it is installed
SETTINGS = ("matched", "default")
MORE_LATENTS = "latents_"  # begins a setting: as matched, but so many Gaussian latents
WEIGHT_1 = "kl_weight_1"  # a setting of its own: as matched, but trained at KL weight 1
OURS = (  # one configuration: matched only
    "qbmvae", "bernoulli_vae", "gaussian_vae", "mog_vae", "vamp_vae", "made_vae",
)  # fmt: skip


class Method(NamedTuple):
    """One row of the comparison; `record` is None for the methods without a model of ours."""

    name: str
    setting: str
    record: Training | None
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The method with its setting, unique in a comparison."""
        return f"{self.name}-{self.setting}"

    @property
    def training(self) -> Training:
        """The record of a method with a model of ours."""
        assert self.record is not None, f"{self.name} has no model"
        return self.record


def methods(config: ConfigDict) -> list[Method]:
    """All rows of the comparison, in the config's order.

    Raises:
      InputError: an unknown method or setting, or an option that cannot be used.
    """
    settings = names_of(config, "settings", SETTINGS)
    names = names_of(config, "methods", (*UNTRAINED, *PRESETS, *PEERS))
    if not settings or not names:
        raise InputError("config.methods and config.settings must name one or more each")
    changed = scvi_tools.tuned(scvi_tools.fields_of(config)) if "scvi_tools" in config else ""
    if changed and scvi_tools.NAME not in names:
        raise InputError(
            f"config.scvi_tools ({changed}) is of method {scvi_tools.NAME}, which config.methods "
            "does not name; add it there"
        )
    rows = []
    for name in names:
        if name in UNTRAINED:
            if name in EXTRAS and not installed(name):
                raise InputError(f"{lacking(name)}, or leave {name} out of config.methods")
            rows.append(Method(name, "default", None))
            continue
        if name in PEERS:
            scvi_tools.check_installed()
            notes = [scvi_tools.NOTE, _length(name, SCVI_EPOCHS, config.num_steps)]
            if changed:
                notes.append(f"{name} is not at its defaults: {changed}.")
            rows.append(Method(name, "tuned" if changed else "default", None, tuple(notes)))
            continue
        own = ("matched",) if name in OURS else settings
        rows += [_trained(config, name, setting) for setting in own]
    at_1 = {"kl_weight": 1.0, "final_kl_weight": 1.0}
    if any(config.training[field] != weight for field, weight in at_1.items()):
        again = names_of(config, "kl_weight_1", OURS) if "kl_weight_1" in config else []
        rows += [_trained(config, name, WEIGHT_1, at_1) for name in again if name in names]
    more = config.get("more_gaussian_latents", ()) if "gaussian_vae" in names else ()
    for latents in filled(more):
        setting = f"{MORE_LATENTS}{check('config.more_gaussian_latents', latents, whole(2))}"
        rows.append(_trained(config, "gaussian_vae", setting, latents=latents))
    return rows


def weights(rows: list[Method]) -> dict[str, list[Method]]:
    """The methods with a model whose training weighs the KL otherwise than bounds do, by weight."""
    found: dict[str, list[Method]] = {}
    for row in rows:
        if row.record is not None:
            weight, factor = (getattr(row.record.options, f"{x}kl_weight") for x in ("", "final_"))
            if (weight, factor) != (1, 1):
                change = "" if factor == 1 else f", in the end {weight * factor:g}"
                found.setdefault(f"{weight:g}{change}", []).append(row)
    return found


def _trained(
    config: ConfigDict, name: str, setting: str, changed: dict[str, float] | None = None,
    latents: int | None = None,
) -> Method:  # fmt: skip
    chosen, published, notes = PRESETS[name], setting == "default", []
    training = training_of_method(
        chosen, config.model.to_dict(), config.training.to_dict() | (changed or {}),
        config.sampler.name, config.sampler.options.to_dict(),
        gaussian_latents=latents or config.gaussian_latents if name in OURS else None,
        published=published,
    )  # fmt: skip
    check_training(training)
    if published:
        notes.append(_length(name, training.options.num_epochs, config.num_steps))
        notes += [f"{chosen.title}, default, otherwise: {each}." for each in chosen.deviations]
    notes += [f"{chosen.title}, fault re-created on purpose: {fault}." for fault in chosen.faults]
    return Method(name, setting, training, tuple(notes))


def _length(name: str, num_epochs: int | None, num_steps: int) -> str:
    """One sentence on how long a method is trained at its defaults."""
    own = "as long as all" if num_epochs is None else f"up to {num_epochs} epochs"
    shorter = f", but here no longer than {num_steps} steps, the KL warm-up shortened in proportion"
    return f"{model_name(name)} at its defaults trains {own}{shorter if num_steps else ''}."
