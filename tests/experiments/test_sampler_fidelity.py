"""The fidelity experiment: its statistics on draws of known law, its resume, its report."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import exact_spins

from configs import sampler_fidelity as manual
from experiments import sampler_fidelity
from experiments.fidelity import energies as fidelity_energies
from experiments.fidelity import laws as fidelity_laws
from experiments.fidelity import long_run as fidelity_long_run
from experiments.fidelity import mixing as fidelity_mixing
from experiments.fidelity import planted as fidelity_planted
from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity import tables as fidelity_tables
from experiments.kit import runner
from qbm_jax.errors import InputError
from qbm_jax.machine import instances, planted
from qbm_jax.runtime.sealed import SEAL
from qbm_jax.samplers import base, energy_draws, law


def test_exact_draws_are_at_the_floor_and_slightly_warm_ones_are_not():
    dense = law.enumerated(instances.dense(0, 10), num_draws=50_000, num_exact_sets=50)
    right = law.distances(exact_spins(dense.params, 50_000), dense)
    warm = law.distances(exact_spins(dense.params, 50_000, beta=0.93), dense)
    assert fidelity_laws.at_floor(right | {"finite_share": 1})
    assert not fidelity_laws.at_floor(right | {"finite_share": 0.999})
    assert not fidelity_laws.at_floor(warm | {"finite_share": 1})
    assert warm["beta_eff"] == pytest.approx(0.93, abs=0.01)
    assert warm["residual_total_variation"] < 1.1 * warm["residual_floor"]


def test_what_is_not_mixed_gives_no_independent_draws_and_what_is_not_finite_is_not_steady():
    stuck = {"energy_mixed": False, "seconds_per_step": 1}
    assert fidelity_mixing.effective_per_second(stuck) is None
    assert not fidelity_long_run.is_steady({"finite": True, "moments": {"energy": {"z": None}}})


def test_a_sampler_that_never_gives_a_finite_draw_fails():
    assert not fidelity_laws.at_floor({"finite_share": 0.0})
    assert not fidelity_planted.within_error({"finite_share": 0.0})


def test_moments_of_exact_draws_agree_with_quadrature_and_of_warm_ones_do_not():
    model = planted.random_planted(0, 10, (1.3, 0.8), field=0.3, bias=0.1)
    params, exact = planted.machine(model), planted.moments(model)
    right, warm = (
        planted.compare(
            exact_spins(params, 20_000, beta).astype(float), params, model, exact, num_pairs=30
        )
        for beta in (1.0, 0.9)
    )
    assert fidelity_planted.within_error(right)
    assert 0.6 < right["mean_rms_z"] < 1.6 and 0.6 < right["pair_rms_z"] < 1.6
    assert right["mean_slope"] == pytest.approx(1, abs=0.03)
    assert not fidelity_planted.within_error(warm)


def tiny():
    """Every section with next to no work."""
    config = manual.get_config("smoke")
    for label in [label for label in config.samplers if label not in ("exact", "gibbs", "cim")]:
        del config.samplers[label]
    config.samplers.gibbs.options.num_steps = 10
    config.samplers.cim.options.num_steps = 10
    config.laws.kinds = ("dense",)
    config.laws.num_draws, config.laws.chains_per_batch = 500, 250
    config.energies.samplers = ("cim", "gibbs")
    config.planted.num_spins = 16
    config.planted.strengths = (0.8,)
    config.mixing.num_spins, config.mixing.strengths = 16, (0.5,)
    config.step_size.grids = {"cim": {"time": 2.0, "dts": (0.1,)}}
    config.step_size.schemes = ("mean_field",)
    config.step_size.order.num_chains, config.step_size.order.num_steps = 50, 4
    config.long_run.num_steps, config.long_run.num_records = 200, 100
    config.log_z.num_spins, config.log_z.strengths = 16, (0.5,)
    config.log_z.methods = {"ais": {"num_temperatures": 10, "num_chains": 8}}
    return config


def run(config, workdir):
    runner.run(sampler_fidelity, config, workdir, lambda: False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("fidelity") / "run"
    run(tiny(), workdir)
    return workdir


@pytest.mark.slow
def test_a_run_writes_its_table_report_and_figures(finished):
    names = {path.name for path in (finished / "figures").iterdir()}
    sections = ("laws", "lines", "energies", "planted", "mixing", "step_size", "long_run")
    assert names == {f"{name}.png" for name in sections}
    report = (finished / "report.md").read_text()
    first_table = report.split("\n\n")[2].splitlines()
    assert [line.split("|")[1].strip() for line in first_table[2:]] == ["exact", "gibbs", "cim"]
    assert all(f"figures/{name}" in report for name in names)
    rows = list(csv.DictReader((finished / "results.csv").open()))
    assert {row["section"] for row in rows} == {
        *("laws", "energies", "planted", "mixing", "step_size", "weak_order", "long_run", "log_z")
    }
    laws = {row["sampler"] for row in rows if row["quantity"] == "total_variation"}
    assert laws == {"exact", "gibbs", "cim"}
    assert {row["sampler"] for row in rows if row["section"] == "mixing"} == {"gibbs"}
    assert not list(finished.rglob("*.tmp"))


def piece_of(finished, sampler):
    """The file of the law of one sampler; its name ends in a hash of the names as they are."""
    (path,) = (finished / "results").glob(f"laws-dense_8-{sampler}~*.json")
    return path


def measured_in(path):
    """What a piece holds, without what differs between two measurements of the same."""
    return {k: v for k, v in json.loads(path.read_text()).items() if k not in ("seconds", SEAL)}


@pytest.mark.slow
def test_a_second_run_measures_only_what_is_missing(finished, monkeypatch):
    pieces = {path: path.stat().st_mtime_ns for path in (finished / "results").iterdir()}
    before = (finished / "results.csv").read_text()
    missing = piece_of(finished, "exact")
    old = measured_in(missing)
    missing.unlink()
    measured = []
    measure_law = fidelity_laws.measure_law
    monkeypatch.setattr(
        fidelity_laws, "measure_law", lambda *a: measured.append(1) or measure_law(*a)
    )
    run(tiny(), finished)
    assert measured == [1]
    again = {path: path.stat().st_mtime_ns for path in (finished / "results").iterdir()}
    assert {p for p in pieces if again[p] != pieces[p]} == {missing}
    assert measured_in(missing) == old
    rows = [line for line in before.splitlines() if ",seconds," not in line]
    after = (finished / "results.csv").read_text().splitlines()
    assert rows == [line for line in after if ",seconds," not in line]


@pytest.mark.slow
def test_a_damaged_piece_is_made_again_and_said(finished, caplog):
    path = piece_of(finished, "gibbs")
    whole, old = path.read_text(), measured_in(path)
    path.write_text(whole[: len(whole) // 2])
    with caplog.at_level("WARNING", logger="qbm_jax"):
        run(tiny(), finished)
    assert path.name in caplog.text
    assert measured_in(path) == old


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("samplers.gibbs.name", "gibs", r"sampler name in \[.*'gibbs'.*\], got 'gibs'"),
        ("samplers.gibbs.options", {"sweeps": 3}, r"options of sampler gibbs .*sweeps"),
        ("samplers.gibbs", {"name": "gibbs"}, "config.samplers.gibbs to hold name and options"),
        ("laws.kinds", ("glass",), r"kind of machine in .*'dense'.*, got 'glass'"),
        ("laws.num_spins", (30,), "config.laws.num_spins from 2 to 24, got 30"),
        ("laws.num_draws", 0, "config.laws.num_draws must be at least 2, got 0"),
        ("planted.strengths", (1.0, -0.5), "expected positive strengths"),
        ("mixing.num_steps", 2, "config.mixing.num_steps must be at least 8, got 2"),
        ("mixing.num_steps", 2**31 - 1, "config.mixing.num_steps .* GiB"),
        ("planted.num_spins", 2**30, "config.planted.num_spins, got 1073741824: .* GiB"),
        ("planted.num_chains", 2**31 - 1, "config.planted.num_chains, got 2147483647: .* GiB"),
        ("step_size.grids", {"x": {"time": 1.0, "dts": (0.1,)}}, r"expected a label in .*'cim'"),
        ("step_size.grids", {"cim": {"time": 1.0, "dts": (-0.1,)}}, "expected 0 < dt <= 1.0"),
        ("step_size.schemes", ("milstein",), r"expected a scheme in .*got 'milstein'"),
        (
            "long_run.samplers",
            ("gibbs",),
            "config.long_run.samplers: expected a machine with amplitudes",
        ),
        ("long_run.num_steps", 5, "must be at least num_records = 100, got 5"),
        ("log_z.methods", {"sum": {}}, r"unknown log Z method 'sum'; choose from .*ais"),
    ],
)
def test_a_bad_config_is_one_line_and_writes_nothing(tmp_path, field, value, message):
    config = tiny()
    *sections, name = field.split(".")
    node = config
    for section in sections:
        node = node[section]
    with node.unlocked():
        node[name] = value
    with pytest.raises(InputError, match=message) as error:
        run(config, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("variant", ["full", "smoke"])
def test_the_config_passes_its_own_checks_in_both_variants(variant):
    config = manual.get_config(variant)
    sampler_fidelity.check(config)
    labels = fidelity_samplers.labels(config)
    assert labels[0] == "exact" and sorted(labels) == sorted(config.samplers)


def test_an_unknown_variant_lists_the_variants():
    with pytest.raises(InputError, match=r"'fast'.*full, smoke"):
        manual.get_config("fast")


@pytest.mark.slow
def test_a_sampler_that_claims_the_law_and_misses_it_fails_in_the_verdict(finished):
    config = tiny()
    sections = {"laws": [], "planted": [], "mixing": []}
    for path in sorted((finished / "results").glob("*.json")):
        piece = json.loads(path.read_text())
        if piece["section"] == "laws":
            wrong = {"total_variation_z": 5.0} if piece["sampler"] == "gibbs" else {}
            sections["laws"].append(piece | wrong)
    lines = fidelity_tables.verdict(config, sections).splitlines()
    found = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines[2:]}
    assert found["gibbs"] == "**FAILS** (0/1)"
    assert found["exact"] == "yes (1/1)" and found["cim"] == "heuristic"
    assert "these fail: gibbs." in fidelity_tables.summary(config, sections)


def test_energies_of_exact_draws_are_those_of_the_exact_law_and_of_warm_ones_lie_higher():
    params = instances.gaussian(0, 8, 0.8)
    law = energy_draws.exact(params)
    energies = instances.energies(params)
    weights = np.exp(-energies) / np.exp(-energies).sum()
    assert law["mean"] == pytest.approx(weights @ energies / 8)
    middle = np.sort(energies)[np.searchsorted(weights[np.argsort(energies)].cumsum(), 0.5)] / 8
    assert law["quantiles"][199] - 1e-5 <= middle <= law["quantiles"][201] + 1e-5

    def drawn(beta):
        spins = exact_spins(params, 20_000, beta)
        exact = base.Sampler(
            init=lambda key, params, num_chains: jnp.asarray(spins[:num_chains], jnp.float32),
            step=lambda key, params, state: (state, {}),
            sample=lambda key, params, state: (state, state, {}),
            targets_boltzmann=True,
        )
        return energy_draws.drawn(jax.random.key(0), exact, params, 20_000)

    right, warm = drawn(1.0), drawn(0.8)
    assert abs(right["mean"] - law["mean"]) < 4 * right["standard_error"]
    assert right["slope"] == pytest.approx(-1, abs=0.05) and right["correlation"] < -0.95
    assert warm["mean"] - law["mean"] > 10 * warm["standard_error"]
    assert warm["beta_eff"] == pytest.approx(0.8, abs=0.03)


def test_a_sampler_that_enumerates_or_is_not_there_has_no_histogram():
    config = tiny()
    for label, words in (("exact", "samplers with chains"), ("nobody", "expected a label")):
        config.energies.samplers = (label,)
        with pytest.raises(InputError, match=words):
            fidelity_energies.check(config)
