"""What chooses cells: baselines, greedy ones, and QUBOs solved on the samplers of the library."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from qbm_jax.runtime.optional import installed
from qbm_jax.selection.coverage import width_by_coverage
from qbm_jax.selection.inputs import proportional
from qbm_jax.selection.kernels import SimilarityKernel, build
from qbm_jax.selection.selector import SampleSelector
from qbm_jax.selection.utilities import standardised

BASELINE, GREEDILY, ACTIVE, QUBO = "baseline", "greedy", "active", "qubo"
_STRATA, _FIRST, _ROUNDS = 20, 20, 3  # clusters; labels before the first query; rounds of queries


class SelectionRequest(NamedTuple):
    """What is chosen from.

    Attributes:
      points: coordinates of the pool [cells, dims].
      number: of cells to choose.
      seed: of the choice.
      labels: of every cell [cells]; read of chosen cells alone.
      utilities: of every cell [cells], by name.
      options: of sampler and blocks, see `SelectionOptions`.
    """

    points: np.ndarray
    number: int
    seed: int
    labels: np.ndarray
    utilities: dict[str, np.ndarray]
    options: dict[str, Any]

    @property
    def rng(self) -> np.random.Generator:
        """The choice's own generator."""
        return np.random.default_rng(self.seed)


class SelectionMethod(NamedTuple):
    """A way to choose.

    Attributes:
      choose: request -> indices [number].
      kind: what it is; "active" methods ask for labels on the way.
      needs: package that it needs; "" for none.
      utility: that it needs; "" for none.
      most: cells that it is asked for, where its time grows faster than their number; 0: any.
    """

    choose: Callable[[SelectionRequest], np.ndarray]
    kind: str
    needs: str = ""
    utility: str = ""
    most: int = 0


def at_random(request: SelectionRequest) -> np.ndarray:
    """Uniform; indices [number], as of all that follow."""
    return request.rng.choice(len(request.points), request.number, replace=False)


def stratified(request: SelectionRequest) -> np.ndarray:
    """Uniform within each of 20 clusters, in proportion; indices [number]."""
    from sklearn.cluster import KMeans

    number = min(_STRATA, request.number)
    means = KMeans(number, n_init=1, random_state=request.seed)
    clusters = means.fit_predict(request.points)
    shares = proportional(np.bincount(clusters, minlength=number), request.number)
    rng = request.rng
    return np.concatenate([
        rng.choice(np.flatnonzero(clusters == c), share, replace=False)
        for c, share in enumerate(shares)
    ])  # fmt: skip


def k_means_start(request: SelectionRequest) -> np.ndarray:
    """The start of k-means++ (Arthur and Vassilvitskii 2007); indices [number]."""
    from sklearn.cluster import kmeans_plusplus

    seed = request.seed
    _, chosen = kmeans_plusplus(request.points, request.number, random_state=seed)
    return filled(chosen, request)


def k_medoids(request: SelectionRequest) -> np.ndarray:
    """FasterPAM of the package kmedoids, on distances; indices [number]."""
    import kmedoids

    away = -SimilarityKernel("distance")(request.points, request.points)
    found = kmedoids.fasterpam(away, request.number, random_state=request.seed)
    return filled(np.asarray(found.medoids, int), request)


def farthest_first(request: SelectionRequest) -> np.ndarray:
    """Each time the cell farthest from all chosen (Gonzalez 1985; Hopper); indices [number]."""
    distance = SimilarityKernel("distance")
    chosen = [int(request.rng.integers(len(request.points)))]
    nearest = np.full(len(request.points), np.inf)
    while len(chosen) < request.number:
        away = -distance(request.points, request.points[chosen[-1:]])[:, 0]
        nearest = np.minimum(nearest, away)
        nearest[chosen] = -1
        chosen.append(int(np.argmax(nearest)))
    return np.array(chosen)


def herding(request: SelectionRequest) -> np.ndarray:
    """Kernel herding (Chen et al. 2010), each cell once; indices [number]."""
    K = _kernel(request)
    means, total = K.mean(axis=0), np.zeros(len(K))
    chosen: list[int] = []
    for step in range(request.number):
        worth = means - total / (step + 1)
        worth[chosen] = -np.inf
        chosen.append(int(np.argmax(worth)))
        total += K[chosen[-1]]
    return np.array(chosen)


def leverage(request: SelectionRequest) -> np.ndarray:
    """Drawn in proportion to leverage scores, as Seurat's sketch; indices [number]."""
    centred = request.points - request.points.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    scores = (left[:, sizes > 1e-6 * sizes[0]] ** 2).sum(axis=1) + 1e-12
    chances = scores / scores.sum()
    return request.rng.choice(len(scores), request.number, replace=False, p=chances)


def geometric_sketch(request: SelectionRequest) -> np.ndarray:
    """Geosketch (Hie et al. 2019); indices [number]."""
    from geosketch import gs

    found = gs(request.points, request.number, seed=request.seed, replace=False)
    return filled(np.array(found, int), request)


def thinned(request: SelectionRequest) -> np.ndarray:
    """Kernel thinning (goodpoints; Dwivedi and Mackey 2021) of random cells; indices [number]."""
    from goodpoints import kt

    rounds = int(np.log2(len(request.points) / request.number))
    start = request.rng.choice(len(request.points), request.number << rounds, replace=False)
    scale = build("rbf", request.points).scale

    def entries(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * ((first - second) ** 2).sum(axis=-1) / scale**2)  # row by row

    points = np.ascontiguousarray(request.points[start])
    found = kt.thin(points, rounds, entries, entries, seed=request.seed, unique=True)
    return start[found]


def spread_out(request: SelectionRequest) -> np.ndarray:
    """ScSampler (Song et al. 2022): as far from each other as can be; indices [number]."""
    import scsampler

    found = scsampler.scsampler(request.points, n_obs=request.number, random_state=request.seed)
    return np.asarray(found, int)


def queried(request: SelectionRequest, strategy: str) -> np.ndarray:
    """Rounds of queries of scikit-activeml with logistic regression, from up to 20 random cells.

    Indices [number].
    """
    from skactiveml.classifier import SklearnClassifier
    from skactiveml.pool import Badge, TypiClust, UncertaintySampling
    from sklearn.linear_model import LogisticRegression

    names, codes = np.unique(request.labels, return_inverse=True)
    known = np.full(len(codes), np.nan)
    size = min(_FIRST, max(2, request.number // 4))
    first = request.rng.choice(len(codes), min(size, request.number), replace=False)
    known[first] = codes[first]
    model = SklearnClassifier(
        LogisticRegression(max_iter=200), classes=np.arange(len(names)), random_state=request.seed
    )
    seed = request.seed
    query: Any = {
        "badge": lambda: Badge(random_state=seed),
        "typiclust": lambda: TypiClust(random_state=seed),
        "uncertainty": lambda: UncertaintySampling(method="least_confident", random_state=seed),
        "margin": lambda: UncertaintySampling(method="margin_sampling", random_state=seed),
    }[strategy]()
    for budget in np.linspace(len(first), request.number, _ROUNDS + 1).round().astype(int)[1:]:
        size = int(budget - np.isfinite(known).sum())
        if size < 1:
            continue
        given = {} if strategy == "typiclust" else {"clf": model}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of convergence, and of classes not seen yet
            new = query.query(request.points, known, batch_size=size, **given)
        known[new] = codes[new]
    return filled(np.flatnonzero(np.isfinite(known)), request)


def selected(
    request: SelectionRequest, utility: str = "", width: str = "", **options: Any
) -> np.ndarray:
    """The choice of `SampleSelector`, indices [number]; a utility is to the first term's scale."""
    if utility:
        options["utility"] = standardised(request.utilities[utility], request.number)
    if width:
        options["width"] = width_by_coverage(request.points, request.number, request.seed)
    selector = SampleSelector(
        request.number, **{"certify": False, **request.options, "seed": request.seed, **options}
    )
    return selector.fit(request.points).indices_


def filled(chosen: np.ndarray, request: SelectionRequest) -> np.ndarray:
    """The distinct cells [number] asked for: random ones more in place of equal ones."""
    chosen = np.unique(chosen)[: request.number]
    others = np.setdiff1d(np.arange(len(request.points)), chosen)
    more = request.rng.choice(others, request.number - len(chosen), replace=False)
    return np.concatenate([chosen, more])


def _kernel(request: SelectionRequest) -> np.ndarray:
    return build("rbf", request.points)(request.points, request.points)


def _dwave(name: str, **options: Any) -> Callable[[SelectionRequest], np.ndarray]:
    def choose(request: SelectionRequest) -> np.ndarray:
        import dwave.samplers

        return selected(request, solver=getattr(dwave.samplers, name)(), **options)

    return choose


METHODS: dict[str, SelectionMethod] = {
    "random": SelectionMethod(at_random, BASELINE),
    "stratified": SelectionMethod(stratified, BASELINE),
    "kmeans++": SelectionMethod(k_means_start, BASELINE),
    "kmedoids": SelectionMethod(k_medoids, BASELINE, "kmedoids"),
    "farthest_first": SelectionMethod(farthest_first, BASELINE),
    "herding": SelectionMethod(herding, BASELINE),
    "leverage": SelectionMethod(leverage, BASELINE),
    "geosketch": SelectionMethod(geometric_sketch, BASELINE, "geosketch"),
    "thinning": SelectionMethod(thinned, BASELINE, "goodpoints"),
    "scsampler": SelectionMethod(spread_out, BASELINE, "scsampler"),
    "facility_greedy": SelectionMethod(
        partial(selected, criterion="facility", solver="greedy"), GREEDILY
    ),
    "mmd_greedy": SelectionMethod(partial(selected, solver="greedy"), GREEDILY),
    "uncertainty": SelectionMethod(partial(queried, strategy="uncertainty"), ACTIVE, "skactiveml"),
    "margin": SelectionMethod(partial(queried, strategy="margin"), ACTIVE, "skactiveml"),
    "badge": SelectionMethod(partial(queried, strategy="badge"), ACTIVE, "skactiveml", most=250),
    "typiclust": SelectionMethod(
        partial(queried, strategy="typiclust"), ACTIVE, "skactiveml", most=250
    ),
    "qubo_mmd_swap": SelectionMethod(partial(selected, solver="swap"), QUBO),
    "qubo_mmd_bifurcation": SelectionMethod(selected, QUBO),
    "qubo_mmd_penalty": SelectionMethod(partial(selected, constraint="penalty", bits=8), QUBO),
    "qubo_facility": SelectionMethod(partial(selected, criterion="facility"), QUBO),
    "qubo_coverage_width": SelectionMethod(partial(selected, width="coverage"), QUBO),
    "qubo_distance": SelectionMethod(partial(selected, kernel="distance"), QUBO),
    "qubo_entropy": SelectionMethod(partial(selected, utility="entropy"), QUBO, utility="entropy"),
    "qubo_free_energy": SelectionMethod(
        partial(selected, utility="free_energy"), QUBO, utility="free_energy"
    ),
    "qubo_elbo": SelectionMethod(partial(selected, utility="elbo"), QUBO, utility="elbo"),
    "qubo_disagreement": SelectionMethod(
        partial(selected, utility="disagreement"), QUBO, utility="disagreement"
    ),
    "qubo_mmd_sa": SelectionMethod(_dwave("SimulatedAnnealingSampler"), QUBO, "dwave.samplers"),
    "qubo_mmd_tabu": SelectionMethod(_dwave("TabuSampler"), QUBO, "dwave.samplers"),
}


def available(names: list[str]) -> tuple[dict[str, SelectionMethod], list[str]]:
    """Those of the methods whose packages are installed, and a sentence on each other."""
    found, notes = {}, []
    for name in names:
        method = METHODS[name]
        if method.needs and (why := _hindrance(method.needs)):
            notes.append(f"{name} is left out: {why}.")
        else:
            found[name] = method
            if method.most:
                notes.append(f"{name} is asked for at most {method.most} cells: it is slow.")
    return found, notes


def _hindrance(package: str) -> str:
    """Why a package cannot be used; "" where it can."""
    if not installed(package):
        return f"the package {package} is not installed"
    if package == "scsampler" and np.lib.NumpyVersion(np.__version__) >= "2.4.0":
        return "scsampler 1.0.2 fails with numpy 2.4 and newer"
    return ""
