"""The fidelity experiment: its statistics on draws of known law, its resume, its report.

Guards experiments.fidelity.report.
"""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from laws import exact_spins
from ml_collections import ConfigDict
from scipy import stats

from configs import sampler_fidelity as manual
from experiments import sampler_fidelity
from experiments.fidelity import energies as fidelity_energies
from experiments.fidelity import figures as fidelity_figures
from experiments.fidelity import laws as fidelity_laws
from experiments.fidelity import log_z as fidelity_log_z
from experiments.fidelity import long_run as fidelity_long_run
from experiments.fidelity import mixing as fidelity_mixing
from experiments.fidelity import planted as fidelity_planted
from experiments.fidelity import samplers as fidelity_samplers
from experiments.fidelity import step_size as fidelity_step_size
from experiments.fidelity import tables as fidelity_tables
from experiments.kit import runner
from qbm_jax.errors import InputError
from qbm_jax.machine import instances, planted
from qbm_jax.machine.enumeration import enumerate_spins
from qbm_jax.runtime.sealed import SEAL
from qbm_jax.samplers import base, energy_draws, law
from qbm_jax.study.figures import NotDrawn


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


def law_of(model, sampler, ratio, residual):
    """A piece of the laws of two machines and samplers; no ratio where the sampler diverged."""
    piece = {"model": model, "sampler": sampler, "total_variation_floor": 0.1,
             "residual_floor": 0.1}  # fmt: skip
    if ratio is not None:
        piece |= {"total_variation": 0.1 * ratio, "residual_total_variation": 0.1 * residual}
    return piece


def test_the_heat_map_of_laws_says_how_many_floors_a_sampler_is_off():
    ratios = {("exact", "dense 8"): (1.0, 1.1), ("gibbs", "dense 8"): (1.9, 1.2),
              ("cim", "dense 8"): (5.0, 2.04), ("exact", "strong_field 8"): (1.2, 1.0),
              ("gibbs", "strong_field 8"): (None, None),
              ("cim", "strong_field 8"): (31.4, 12.6)}  # fmt: skip
    pieces = [law_of(model, sampler, *both) for (sampler, model), both in ratios.items()]
    raw, fitted, _ = fidelity_figures.draw_laws(tiny(), {"laws": pieces}).axes
    for axes, texts in (
        (raw, ["", "", "", "diverged", "5.0", "31"]),
        (fitted, ["", "", "", "diverged", "2.0", "13"]),
    ):
        assert [text.get_text() for text in axes.texts] == texts
        assert [text.get_text() for text in axes.get_yticklabels()] == ["exact", "gibbs", "cim"]
    names = [text.get_text() for text in raw.get_xticklabels()]
    assert names == ["dense\nN = 8", "strong field\nN = 8"]
    assert raw.lines[0].get_ydata()[0] == 1.5  # below it are heuristics
    with pytest.raises(NotDrawn):
        fidelity_figures.draw_laws(tiny(), {})


def test_lines_of_states_stand_beside_the_law():
    piece = {"model": "trained 8", "sampler": "gibbs", "scatter_energy": [-3.0, 1.0],
             "scatter_log_frequency": [-2.0, -6.5], "log_z": 5.0, "slope": -1.1,
             "correlation": -0.9}  # fmt: skip
    (axes,) = fidelity_figures.draw_lines(tiny(), {"laws": [piece]}).axes
    states, law = axes.lines
    np.testing.assert_array_equal(states.get_xydata(), [[-3, -2], [1, -6.5]])
    np.testing.assert_array_equal(law.get_xydata(), [[-3, -2], [1, -6]])  # -E - log Z
    assert axes.get_title() == "gibbs\nslope -1.100, correlation -0.900"


def test_what_is_not_mixed_has_a_triangle_and_no_speed():
    pieces = [
        {"sampler": "gibbs", "b": b, "energy_tau": tau, "spin_tau": 2 * tau, "energy_mixed": mixed,
         "spin_mixed": mixed and b < 1, "num_chains": 8, "seconds_per_step": 0.5}
        for b, tau, mixed in ((0.5, 2.0, True), (1.0, 4.0, True), (2.0, 9.0, False))
    ]  # fmt: skip
    energy, spin, speed = fidelity_figures.draw_mixing(tiny(), {"mixing": pieces}).axes

    def shown(axes):
        return [(line.get_marker(), line.get_xydata().tolist()) for line in axes.lines]

    assert shown(energy)[1:] == [
        ("o", [[0.5, 2], [1, 4]]), ("o", [[0.5, 2]]), ("^", [[2, 9]])
    ]  # fmt: skip
    assert shown(spin)[1:] == [("o", [[0.5, 4]]), ("o", [[0.5, 4]]), ("^", [[1, 8], [2, 18]])]
    assert shown(speed)[0] == ("o", [[0.5, 8], [1, 4]])  # 8 chains, half a second, tau steps


def test_log_z_of_the_planted_machine_is_that_of_quadrature():
    config = tiny()
    config.log_z.methods = {"exact": {}}
    works = {work.names["model"]: work for work in fidelity_log_z.pieces(config)}
    assert list(works) == ["b = 0.5, N = 16", "planted, N = 16"]
    found = {name: work.compute(jax.random.key(0)) for name, work in works.items()}
    random, known = found.values()
    assert random["exact"] is None and known["bracket"] == 0
    assert known["value"] == pytest.approx(known["exact"], abs=1e-3)
    assert random["value"] != pytest.approx(known["exact"], abs=0.1)


def test_the_bias_of_a_time_step_has_its_sign_and_its_number_of_steps(monkeypatch):
    """A machine of long steps is at twice the temperature; all draws are of enumerated laws."""
    params, asked = instances.dense(0, 6), []
    spins = np.asarray(enumerate_spins(6), np.int8)

    def draw_function(strength, num_draws, chains_per_batch):
        law = np.exp(-strength * instances.energies(params))
        states = np.random.default_rng(0).choice(len(law), num_draws, p=law / law.sum())
        return lambda key, machine: (spins[states], {})

    def build(**options):
        asked.append(options)
        return 0.5 if options["dt"] > 0.3 else 1.0

    monkeypatch.setattr(fidelity_step_size, "draw_function", draw_function)
    grid = ConfigDict({"time": 2.0, "dts": (0.1, 0.5)})
    found = fidelity_step_size.bias_against_dt(jax.random.key(1), build, grid, params, 4000)
    assert asked == [{"dt": 0.1, "num_steps": 20}, {"dt": 0.5, "num_steps": 4}]
    right, warm = found["rows"]
    assert abs(right["energy_error"]) < 4 * right["energy_standard_error"]
    law = np.exp(-instances.energies(params))
    drawn = np.random.default_rng(0).choice(len(law), 4000, p=law / law.sum())
    exact = stats.sem(instances.energies(params)[drawn])
    assert right["energy_standard_error"] == pytest.approx(exact, rel=2e-5)  # 1e-4 with ddof 0
    assert right["total_variation"] < 1.3 * right["total_variation_floor"]
    assert right["beta_eff"] == pytest.approx(1, abs=0.1)
    assert warm["energy_error"] > 10 * warm["energy_standard_error"]
    assert warm["beta_eff"] == pytest.approx(0.5, abs=0.1)
    assert warm["total_variation"] > 2 * warm["total_variation_floor"]
