"""What connects results over seeds, batches and cells to the numbers of tables and reports."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sp
from command_line import config

from experiments import epochs
from experiments.comparison import summary
from experiments.kit import run_files
from experiments.kit.options import draws_of, main_name
from experiments.negatives import results as negatives
from experiments.sweep import results
from qbm_jax import training
from qbm_jax.data import check_likelihood
from qbm_jax.errors import InputError
from qbm_jax.fitted import document, generation
from qbm_jax.fitted import evaluate as evaluating
from qbm_jax.fitted import trainings as fitting
from qbm_jax.fitted.empty_cells import full_rows
from qbm_jax.fitted.model import FittedModel, Settings
from qbm_jax.fitted.scoring import score_seeds
from qbm_jax.fitted.tasks import model as tasks_of_models
from qbm_jax.machine import distance, mixing
from qbm_jax.machine.boltzmann import Boltzmann
from qbm_jax.model import inference, likelihoods, priors, vae
from qbm_jax.model.options import ModelOptions
from qbm_jax.report import tables, verdict
from qbm_jax.runtime.keys import key_of
from qbm_jax.samplers.base import Sampler
from qbm_jax.study.estimates import bootstrap_interval, estimate, paired_difference
from qbm_jax.training import Training, sampler_spec

KEY = jax.random.key(2)
T2 = 4.302652729911275  # 97.5 % quantile of Student's t with 2 degrees of freedom
GENES, N = 8, 4


def words(key):
    return np.asarray(jax.random.key_data(key)).tolist()


@pytest.fixture(scope="module")
def model():
    return vae.build(
        num_genes=GENES, num_batches=2, num_latents=N, likelihood="poisson", prior="bernoulli",
        encoder_widths=(4,), decoder_widths=(4,),
    )  # fmt: skip


@pytest.fixture(scope="module")
def settings():
    return Settings(
        genes=tuple("abcdefgh"), batch_names=("x", "y"), sampler="gibbs", sampler_options={},
        model={"num_latents": N, "likelihood": "poisson", "prior": "bernoulli",
               "encoder_widths": (4,), "decoder_widths": (4,)},
        median_library=(10.0, 1000.0),
    )  # fmt: skip


# Spreads: of 1, 2 and 6 the mean is 3 and the squares 4 + 1 + 9 over 2 are 7.


def test_a_run_tells_mean_and_sample_standard_deviation_over_seeds():
    found = document.mean_and_sd([{"a": 1.0}, {"a": 2.0}, {"a": 6.0}])
    assert found == {"a": 3.0, "a_sd": pytest.approx(math.sqrt(7))}
    assert document.mean_and_sd([{"a": 1.0}]) == {"a": 1.0, "a_sd": None}
    part = document.mean_and_sd([{"a": 1.0}, {"a": math.nan}, {"a": 3.0}])
    assert part == {"a": 2.0, "a_sd": pytest.approx(math.sqrt(2))}, "as in every other table"


def _rows(method, values):
    return [
        {"dataset": "set", "method": method, "setting": "matched", "task": "bound",
         "metric": "elbo", "seed": seed, "value": value}
        for seed, value in enumerate(values)
    ]  # fmt: skip


def test_a_comparison_tells_sample_deviations_and_ours_minus_theirs():
    rows = _rows("qbmvae", [1.0, 2.0, 6.0]) + _rows("gaussian_vae", [0.0, 1.0, 2.0])
    standings = {one.method: one for one in summary.summarise(rows) if one.against == "best"}
    ours = standings["qbmvae"]
    assert (ours.mean, ours.sd) == (3.0, pytest.approx(math.sqrt(7)))
    assert ours.baseline == "gaussian_vae (matched)"
    # Differences 1, 1, 4: variance 3; of unseen folds, so that of their mean is 3 (1/3 + 1/4).
    width = T2 * math.sqrt(7 / 4)
    assert (ours.difference, ours.low, ours.high) == pytest.approx((2, 2 - width, 2 + width))
    assert summary.HEADLINE["energy", "energy_spearman"] == 0
    assert summary.HEADLINE["energy", "energy_order"] == 1
    assert summary.HEADLINE["bound", "elbo"] == 1
    same = ("gaussian_vae", "mog_vae", "vamp_vae", "made_vae", "bernoulli_vae", "qbmvae")
    assert same == summary.SAME_LIKELIHOOD
    assert summary.OWN == ("qbmvae", "qbmvae_public", "kaiwu_qvae")
    assert set(summary.GAUSSIAN) >= {"vae", "scvi", "ldvae", "autozi", "gaussian_vae"}
    assert not {*summary.OWN, "bernoulli_vae", "mog_vae", "vamp_vae", "made_vae"} & {
        *summary.GAUSSIAN
    }


def test_negative_phases_tell_students_interval_and_what_they_cost():
    found, error = estimate([1.0, 2.0, 6.0, math.nan, None]), math.sqrt(7 / 3)
    assert found == pytest.approx((3.0, math.sqrt(7), error, T2 * error, 3))
    phases = {"exact": [{"elbo": v} for v in (-10.0, -11.0)],
              "x": [{"elbo": v} for v in (-12.0, -15.0)]}  # fmt: skip
    found = negatives.Found(None, {}, phases)
    assert found.cost("x").mean == 3.0
    assert found.cost("exact").mean == 0.0


def test_paired_intervals_by_hand():
    """Of differences 0, 0, 3 the error is 1; resamples have t = 0 (0, 0, 3) or 1 (0, 3, 3)."""
    found = paired_difference(np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert (found.mean, found.low, found.high) == pytest.approx((1.0, 1 - T2, 1 + T2))
    assert bootstrap_interval([0.0, 0.0, 3.0]) == pytest.approx((0.0, 1.0))


def test_the_verdict_is_ours_minus_the_reference_with_both_errors():
    ours = {"elbo": 6.0, "per_seed": [3.0, 5.0, 10.0], "log_z_standard_error": 0.5}
    gain, error, width, _ = verdict._gain(ours, {"elbo": 2.0, "per_seed": [1.0, 2.0, 3.0]})
    assert (gain, error) == pytest.approx((4.0, math.hypot(math.sqrt(7 / 3), 0.5)))
    # Student's t of 3 seeds, and two standard errors of log Z
    assert width == pytest.approx(math.hypot(4.302653 * math.sqrt(7 / 3), 2 * 0.5))


def test_seeds_without_a_bound_take_no_part_in_the_verdict():
    """Means over different seeds are no pair: the other seeds here differ by 9 and more."""
    ours = {"prior": "boltzmann", "elbo": 6.0, "per_seed": [3.0, 5.0, 10.0]}
    other = {"prior": "bernoulli", "elbo": 1.5, "per_seed": [1.0, 2.0, None]}
    assert verdict._gain(ours, other)[0] == pytest.approx(2.5)
    assert verdict._gain(ours, other | {"per_seed": [None, None, 1.0]})[0] == 9.0
    never = (ours | {"per_seed": [7.0, None, None]}, other | {"per_seed": [None, 2.0, 1.0]})
    assert "cannot be compared" in verdict.verdict(dict(zip("ab", never, strict=True)))


def test_the_band_of_scores_through_training_is_one_sample_deviation():
    rows = [(5, "total", seed, value) for seed, value in enumerate([0.1, 0.2, 0.6])]
    figure = epochs.draw([{"method": "qbmvae", "rows": rows}], "title")
    panel = figure.axes[epochs.SHOWN.index("total")]
    heights = panel.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.3 - 0.1 * math.sqrt(7))
    assert heights.max() == pytest.approx(0.3 + 0.1 * math.sqrt(7))
    one = epochs.draw([{"method": "qbmvae", "rows": rows[:1]}], "title")
    assert (
        np.ptp(one.axes[panel.get_subplotspec().num1].collections[0].get_paths()[0].vertices[:, 1])
        == 0
    )


def test_bands_and_errors_of_the_fidelity_study_are_sample_deviations():
    log_p = np.log([0.25, 0.75])
    found = distance.exact_band(log_p, 10, 3, 0)["total_variation"]
    draw = np.random.default_rng(0)
    distances = [abs(draw.multinomial(10, [0.25, 0.75])[0] / 10 - 0.25) for _ in range(3)]
    mean = sum(distances) / 3
    assert found.mean == pytest.approx(mean)
    squares = sum((value - mean) ** 2 for value in distances)
    assert found.deviation == pytest.approx(math.sqrt(squares / 2))
    assert mixing.mean_error(np.array([0.0, 2.0]), 1.0) == pytest.approx(1.0)


def sweep_results(monkeypatch):
    """Two widths at seeds 4 and 7: 0.2 and 0.6 against 0.9 and 0.8."""
    totals = [0.2, 0.6, 0.9, 0.8]
    sweep = SimpleNamespace(
        paths=["width", "seed"],
        settings=[
            SimpleNamespace(
                number=i, values={"width": (8, 16)[i // 2], "seed": (4, 7)[i % 2]},
                config=SimpleNamespace(seed=(4, 7)[i % 2]),
            )
            for i in range(4)
        ],
    )  # fmt: skip
    bound = {"elbo": -1.0, "log_z": 0.0}
    finished = {
        i: {"scores": {"total": total}, "bound": bound, "seconds": 1.0}
        for i, total in enumerate(totals)
    }
    outcomes = SimpleNamespace(
        finished=lambda _: finished, failures=lambda _: {}, stopped=lambda _: {}
    )
    monkeypatch.setattr(results, "Outcomes", lambda workdir: outcomes)
    return results.Results(sweep, None)


def test_a_sweep_ranks_the_highest_mean_first_and_tells_how_far_others_are_behind(monkeypatch):
    found = sweep_results(monkeypatch)
    best, worst = found.ranked()
    assert best.values == {"width": 16} and worst.values == {"width": 8}
    assert found.over(best, found.goal).mean == pytest.approx(0.85)
    behind = found.behind(worst, best)
    assert behind.mean == pytest.approx(-0.45)  # -0.7 and -0.2, deviation 0.5 / sqrt 2
    assert behind.standard_error == pytest.approx(0.25)


def test_the_table_of_bounds_has_every_number_in_its_column():
    bounds = {
        "a": {"prior": "boltzmann", "num_latents": 8, "elbo": -5.25, "elbo_sd": 0.5,
              "reconstruction": 4.0, "kl": 1.25, "log_z": 7.5, "log_z_standard_error": 0.125,
              "num_seeds": 3},
        "b": {"prior": "gaussian", "num_latents": 6, "elbo": -6.0, "reconstruction": 4.5,
              "kl": 1.5, "log_z": 0.0, "num_seeds": 2},
    }  # fmt: skip
    header, _, first, second = tables.bound_table(bounds).splitlines()
    names = [cell.strip() for cell in header.split("|")[2:-1]]
    assert names == ["prior", "latents", "−ELBO", "reconstruction", "KL", "log Z", "seeds"]
    assert [cell.strip() for cell in first.split("|")[2:-1]] == [
        "Boltzmann", "8", "**5.25 ± 0.50**", "4.00", "1.25", "7.500 ± 0.125", "3",
    ]  # fmt: skip
    assert [cell.strip() for cell in second.split("|")[2:-1]] == [
        "Gaussian", "6", "6.00", "4.50", "1.50", "0.000", "2",
    ]  # fmt: skip


# Cells, batches and libraries.


def test_generated_cells_have_each_their_own_library_size(model):
    flat = model._replace(
        decode=lambda params, latent, batch: {"scale_logits": jnp.zeros((len(batch), GENES))}
    )
    sizes = np.array([100.0, 10_000.0, 100.0, 2_500.0])
    params = {"prior": {"h": jnp.zeros(N)}, "genes": {}}
    batch = jnp.array([0, 1, 0, 1])
    counts = inference.generate(KEY, flat, params, None, batch, jnp.asarray(sizes, jnp.float32))
    totals = np.asarray(counts).sum(axis=1)
    assert np.all(np.abs(totals - sizes) < 5 * np.sqrt(sizes))  # Poisson totals


def test_generated_cells_have_the_median_library_of_the_batch_asked_for(monkeypatch, settings):
    fitted = FittedModel(settings, {})
    monkeypatch.setattr(generation, "generate_like", lambda model, *given: given)
    for name, code, median in (("x", 0, 10.0), ("y", 1, 1000.0), (None, 0, 10.0)):
        _, batch, library, temperature = fitted.generate(KEY, 3, batch=name, temperature=0.5)
        assert temperature == 0.5
        assert batch.tolist() == [code] * 3 and library.tolist() == [median] * 3


TOTALS = SimpleNamespace(
    totals=np.array([1.0, 10.0, 100.0, 4.0, 6.0, 11.0]),
    batch=np.array([0, 1, 0, 1, 0, 1]),
    batch_names=("x", "y"),
    genes=("g",),
    batch_column="batch",
)


def test_libraries_are_medians_and_log_moments_of_each_batch():
    options = training.TrainOptions()
    one = Training(ModelOptions(library="latent"), sampler_spec("gibbs", None), options)
    found = fitting.describe(fitting.of_cells(one, TOTALS), TOTALS)
    assert found.median_library == (6.0, 10.0)
    logs = [np.log([1.0, 100.0, 6.0]), np.log([10.0, 4.0, 11.0])]
    wanted = [[x.sum() / 3, math.sqrt(((x - x.sum() / 3) ** 2).sum() / 3)] for x in logs]
    np.testing.assert_allclose(found.model["library_prior"], wanted, rtol=1e-12)
    assert found.sampler_options == {"num_steps": 2}
    assert found.model["likelihood"] == "nb"


def test_values_of_some_rows_go_to_these_rows():
    full = full_rows(np.array([5.0, 6.0]), np.array([2, 0]), 3)
    np.testing.assert_array_equal(full, [6.0, np.nan, 5.0])


def test_a_fitted_model_has_the_best_parameters_and_not_the_last(monkeypatch, settings):
    best, last = {"w": 1}, SimpleNamespace(params={"w": 2}, best_elbo=-9.0)
    trained = training.Trained(best, last, np.arange(3), np.arange(3, 5), 1.0, 2.0)
    monkeypatch.setattr(training, "train_seeds", lambda *_, **__: [trained])
    monkeypatch.setattr(fitting, "check_likelihood", lambda *_: None)
    one = Training(
        ModelOptions(**settings.model), sampler_spec("gibbs", None),
        training.TrainOptions(num_retries=0),
    )  # fmt: skip
    cells = SimpleNamespace(**{**vars(TOTALS), "genes": settings.genes})
    ((fitted, result),) = fitting.fit_trainings([KEY], [one], cells, data=object())
    assert fitted.params is best and result == trained and fitted.measured.bound == -9.0


def test_dispersions_and_decoder_shifts_are_those_of_each_cells_batch(model):
    genes = {"genes": {"log_inverse_dispersion": jnp.arange(2.0 * GENES).reshape(2, GENES)}}
    rows = vae.gene_params(genes, jnp.array([1, 0, 1]))["log_inverse_dispersion"]
    np.testing.assert_array_equal(
        rows, genes["genes"]["log_inverse_dispersion"][jnp.array([1, 0, 1])]
    )
    params = jax.jit(model.init)(KEY)
    shifted = jax.tree.map(lambda leaf: leaf, params)
    kernel = params["decoder"]["params"]["shift"]["kernel"]
    values = jnp.arange(float(kernel.size)).reshape(kernel.shape)
    shifted["decoder"]["params"]["shift"]["kernel"] = kernel + values
    latent, batch = jnp.ones((3, N)), jnp.array([1, 0, 1])
    before, after = (model.decode(p, latent, batch)["scale_logits"] for p in (params, shifted))
    np.testing.assert_allclose(after - before, values[np.array([1, 0, 1])], rtol=1e-5, atol=1e-5)


def test_a_gaussian_posterior_is_embedded_by_its_means():
    embedded = priors.build("gaussian").embed(jnp.array([[1.0, 2.0, -0.5, -0.6]]))
    np.testing.assert_array_equal(embedded, [[1.0, 2.0]])


def test_values_are_normalised_to_ten_thousand_counts():
    empty = likelihoods.log_normalise(jnp.zeros((1, 2)), jnp.zeros(1))
    np.testing.assert_array_equal(empty, np.zeros((1, 2)))
    found = likelihoods.log_normalise(jnp.array([[2.0, 3.0]]), jnp.array([50.0]))
    np.testing.assert_allclose(found, np.log1p([[400.0, 600.0]]), rtol=1e-6)


def test_log_probabilities_are_sums_over_genes():
    """Poisson and negative binomial (r = 1, geometric) laws of two genes of mean 2 by hand."""
    counts, outputs = jnp.array([[0.0, 3.0]]), {"scale_logits": jnp.zeros((1, 2))}
    for name, wanted in (
        ("poisson", -4 + 3 * math.log(2) - math.log(6)),
        ("nb", 2 * math.log(1 / 3) + 3 * math.log(2 / 3)),
    ):
        law = likelihoods.LIKELIHOODS[name]
        found = law.log_prob(counts, outputs, law.init_gene_params(2), jnp.array([4.0]))
        np.testing.assert_allclose(found, [wanted], rtol=1e-5)


FRACTIONS = SimpleNamespace(
    is_integer=False,
    source="set",
    num_cells=2,
    largest=100.0,
    fractions=lambda: (0.5, 100.0),
    select=lambda rows: SimpleNamespace(counts=sp.csr_matrix([[0.5, 0.0], [0.0, 100.0]])),
)


@pytest.mark.parametrize("name", likelihoods.LIKELIHOODS)
def test_a_new_law_is_refused_fractions_by_its_own_entry_alone(monkeypatch, name):
    law = likelihoods.LIKELIHOODS[name]
    monkeypatch.setitem(likelihoods.LIKELIHOODS, "new_law", law)
    if name in ("normal", "squared_error"):
        check_likelihood(FRACTIONS, "new_law")
        return
    wanted = "bits or their means" if name == "bernoulli" else "whole-number counts"
    with pytest.raises(InputError, match=f"likelihood new_law expects {wanted}"):
        check_likelihood(FRACTIONS, "new_law")
    whole = SimpleNamespace(
        is_integer=True, source="set", num_cells=2, largest=1.0,
        select=lambda rows: SimpleNamespace(counts=sp.csr_matrix([[1.0, 0.0], [0.0, 1.0]])),
    )  # fmt: skip
    check_likelihood(whole, "new_law")


# The integration run.


@pytest.fixture(scope="module")
def smoke():
    return config(seed=11)


def test_a_final_bound_is_of_the_validation_cells_with_the_seeds_key(monkeypatch, smoke):
    asked = []
    monkeypatch.setattr(training, "bound", lambda *given, **named: asked.append((given, named)))
    fitted = SimpleNamespace(vae="vae", params="params")
    monkeypatch.setattr(training, "build_evaluation", lambda vae: "evaluate")
    source = SimpleNamespace(select=lambda rows: (("data", tuple(rows)), rows))
    trained = SimpleNamespace(train_cells=np.arange(9), validation_cells=np.array([3, 5]))
    for seed in range(2):
        evaluating.validation_bound(draws_of(smoke), (11, seed), source, fitted, trained)
    for seed, (given, named) in enumerate(asked):
        assert words(given[0]) == words(key_of(11, "bound", seed))
        assert given[3] == ("data", (3, 5)) and given[5].tolist() == [3, 5]
        assert given[4] == "params" and named == {
            "num_draws": smoke.evaluation.posterior_draws, "num_train_cells": 9,
            "num_temperatures": smoke.evaluation.log_z_temperatures,
        }  # fmt: skip


def test_bounds_of_held_out_cells_have_a_key_and_a_fold_each(monkeypatch, smoke):
    asked, weighted = [], []

    def bound(key, *given, **named):
        asked.append((words(key), given[4], named))
        return {"elbo": -1.0, "log_z": 2.5}

    def weighted_bound(key, *given, **named):
        weighted.append((words(key), given[3], given[4], named))
        return SimpleNamespace(mean=-0.5)

    monkeypatch.setattr(training, "bound", bound)
    monkeypatch.setattr(training, "build_evaluation", lambda vae: None)
    monkeypatch.setattr(tasks_of_models, "importance_weighted_bound", weighted_bound)
    monkeypatch.setattr(tasks_of_models, "has_bits", lambda vae: True)
    made = SimpleNamespace(seed=11, posterior_draws=3, log_z_temperatures=40, importance_samples=7)
    group = SimpleNamespace(
        label="x", models=[SimpleNamespace(vae=0, params=0)] * 2, held_out=["fold 0", "fold 1"],
        num_train_cells=[70, 80],
    )  # fmt: skip
    tasks_of_models.bound(made, SimpleNamespace(data=None), group, None)
    for seed in range(2):
        share = (70, 80)[seed]
        named = {"num_draws": 3, "num_train_cells": share, "num_temperatures": 40}
        assert asked[seed] == (words(key_of(11, "bound", seed)), f"fold {seed}", named)
        named = {"num_samples": 7, "num_train_cells": share}
        wanted = (words(key_of(11, "weighted bound", seed)), f"fold {seed}", 2.5, named)
        assert weighted[seed] == wanted


def test_scores_get_labels_batches_and_seeds_in_their_places(monkeypatch):
    given = {}

    def score_embeddings(embeddings, batch, labels, **named):
        given.update(embeddings=embeddings, batch=batch, labels=labels, **named)
        values = {name: {"total": float(value[0, 0])} for name, value in embeddings.items()}
        return SimpleNamespace(values=values, notes=["note"])

    monkeypatch.setattr("qbm_jax.metrics.score_embeddings", score_embeddings)
    cells = SimpleNamespace(
        num_cells=4, labels=np.array([1, -1, 0, 1]), label_names=("T", "B"),
        labelled=np.array([True, False, True, True]), batch=np.array([0, 0, 1, 1]),
        batch_names=("x", "y"),
    )  # fmt: skip
    one, two, pca = (np.full((4, 2), value) for value in (1.0, 2.0, 3.0))
    scores, notes = score_seeds(
        {"X_qbmvae": [one, two], "X_pca": [pca]}, cells, uncorrected=pca, max_cells=9, seed=11
    )
    assert [row["total"] for row in scores["X_qbmvae"]] == [1.0, 2.0]
    assert [row["total"] for row in scores["X_pca"]] == [3.0] and notes == ("note",)
    assert given["batch"].tolist() == ["x", "y", "y"]
    assert given["labels"].tolist() == ["B", "T", "B"]
    assert given["uncorrected"].shape == (3, 2) and given["seed"] == 11


def _fixed_draws(key, params, chains):
    """Chain 0 is up; chain 1 is up in the first three draws, then down."""
    down = jnp.where(chains < 3, 1.0, -1.0)
    spins = jnp.stack([jnp.ones(2), down * jnp.ones(2)])
    return spins, chains + 1, {}


def test_diagnostics_have_a_key_of_their_own_and_judge_the_second_half(monkeypatch, smoke):
    seen, judged = [], []

    def init(key, params, num_chains):
        seen.append((words(key), num_chains))
        return jnp.int32(0)

    sampler = Sampler(init, None, _fixed_draws, True)
    monkeypatch.setattr(document.samplers, "build", lambda *_, **__: sampler)
    monkeypatch.setattr(document.calibration, "fit_beta", lambda params, spins: spins[1, 0])
    monkeypatch.setattr(
        document.mixing, "autocorrelation",
        lambda values: judged.append(values) or np.ones(3),
    )  # fmt: skip
    monkeypatch.setattr(document.mixing, "integrated_autocorrelation_time", lambda values: 1.0)
    prior = Boltzmann(jnp.zeros((2, 2)), jnp.array([1.0, 0.5]))
    model = SimpleNamespace(
        vae=SimpleNamespace(prior=SimpleNamespace(log_z=None)), params={"prior": prior},
        settings=SimpleNamespace(sampler="gibbs", sampler_options={}),
    )  # fmt: skip
    monkeypatch.setattr(document, "compose", lambda *_, sampler, **__: sampler)
    monkeypatch.setattr(run_files.programmes, "of_embedding", lambda *_, **__: None)
    result = SimpleNamespace(
        model=model, embedding=None, bound={"log_z": 1.5, "log_z_standard_error": 0.25}
    )

    def summary(num_draws):
        fields = {"evaluation.diagnostic_draws": num_draws, "training.num_chains": 9}
        made = config(seed=11, **fields)
        runs = {main_name(made): [result]}
        return run_files.summarise(made, None, runs, {}, [], {})

    found = summary(6)
    wanted = jax.random.split(key_of(11, "sampler diagnostics"))[0]
    assert seen == [(words(wanted), 9)]
    assert found["energy_trace"] == [-1.5] * 3 + [0.0] * 3
    np.testing.assert_array_equal(judged[0], [[-1.5] * 3, [1.5] * 3])
    assert found["beta_eff"] == -1.0
    assert (found["log_z_value"], found["log_z_standard_error"]) == (1.5, 0.25)
    # The second half of four draws is 1 and -1: the s.d. is the root of 2, of two draws.
    assert summary(4)["beta_eff_standard_error"] == pytest.approx(1.0)


def test_a_summary_has_medians_counts_and_errors_under_their_names(monkeypatch, smoke):
    monkeypatch.setattr(document, "sampler_diagnostics", lambda *_, **__: {})
    monkeypatch.setattr(run_files.programmes, "of_embedding", lambda *_, **__: None)
    described = SimpleNamespace(
        settings=SimpleNamespace(model={"prior": "boltzmann"}), vae=SimpleNamespace(num_latents=8)
    )
    name = main_name(smoke)
    runs = {name: [
        document.Evaluated(described, None, None, {"elbo": elbo, "log_z": log_z,
                        "log_z_standard_error": error}, speed, seconds)
        for elbo, log_z, error, speed, seconds in (
            (-1.0, 5.0, 0.1, 10.0, 1.0), (-2.0, 6.0, 0.2, 20.0, 2.0), (-6.0, 7.0, 0.6, 90.0, 4.0))
    ]}  # fmt: skip
    cells = SimpleNamespace(
        labels=np.array([0, 1, 1, 1]), label_names=("T", "B"), batch=np.array([0, 0, 0, 1]),
        batch_names=("x", "y"), source="s", simulated=True, num_cells=4, num_genes=2,
        batch_column="b", label_column="l",
    )  # fmt: skip
    found = run_files.summarise(smoke, cells, runs, {}, [], {"training": 9.0})
    assert found["elbo"] == pytest.approx(
        {"value": -3.0, "log_z": 6.0, "log_z_standard_error": 0.3}
    )
    bounds = found["bounds"][name]
    assert bounds["elbo_sd"] == pytest.approx(math.sqrt(7))
    assert bounds["per_seed"] == [-1.0, -2.0, -6.0] and bounds["num_seeds"] == 3
    assert found["cells_per_second"] == {name: 20.0}
    assert found["seconds"] == {"training": 9.0, name: 7.0}
    assert found["data"]["batches"] == {"x": 3, "y": 1}
    assert found["data"]["labels"] == {"T": 1, "B": 3}
