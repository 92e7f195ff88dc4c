"""What the stages cost that read features: how many fits, on how many rows, of what width.

Each stage is a sum of parts that are timed by themselves (`sdiag.study.clocks`):

| clock | unit | where the time goes |
| :--- | :--- | :--- |
| class probe | those of `class_units` | rows, and the eigenbasis of their covariance |
| gaze probe | those of `gaze_units` | the cells of every row |
| gaze heat | rows x cells | the point and the errors of every heatmap |
| tally | rows | one comparison of sides whose metric adds up over rows |
| ranking | rows x classes x times ranked | average precision in every draw |
| network | those of `network_units` | forward and backward passes |
| attention | rows x tokens x width x lanes | the same |
| matrices | those of `drift_units` | products and decompositions in float64 |
| drawing | figures | drawing and saving |

Left out are tallies, tables and files, and the disk: features are taken to be read as quickly as
they are used. How long a fit takes depends on what the features hold; made-up ones stand for it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from degradation.tasks.task import TaskSpec
from probes.controls import SHUFFLES
from probes.diagnosis.capacity import Grid
from probes.diagnosis.networks import BATCH, FEWEST, MOST, PASSES, ROUNDS
from probes.diagnosis.online_code import DOUBLINGS, PRECISIONS
from probes.diagnosis.settings import FULL, QUICK
from probes.drift.jackknife import GROUPS
from probes.selection import FOLDS, STRENGTHS
from probes.slices.tokens import MOST_VALUES
from probes.statistics.jackknife import GROUPS as LEFT_OUT
from probes.summary import RANKED_SWAPS
from probes.table import COARSE_GRID
from sdiag.study.costs import Clock, Cost
from sdiag.study.encoders import EncoderFacts, StudyPair
from sdiag.study.schema import Diagnose, Drift, Probe, Where
from sdiag.study.world import TaskRows

__all__ = [
    "class_units",
    "diagnosis_cost",
    "drift_cost",
    "drift_units",
    "gaze_units",
    "network_units",
    "probe_cost",
    "report_cost",
    "slices_cost",
    "where_cost",
]

Work = Counter[Clock]

STEP = 1e7
"""Multiplications in the time of a solver's step that does not depend on the rows."""
FINAL = 1.7
"""Steps of a fit that predicts over those of one that only chooses a strength."""
PICTURES = 768 + 64
"""Width of the references without an encoder, coarse pixels and colours, which are probed too."""
TRIED, KEPT = 5, 2
"""Rounds after which a network seldom is any better, and those that it then is trained for."""
SPARE_METRICS = 0.4
"""A ranking of a reference costs this share of one of the sides: it has no draws of its own."""
ATTRIBUTES = 4
"""By which rows are sliced: class, size of the box, and about two of the task's own."""
SLICE = 12
"""Comparisons of all rows in the time of reading predictions and cutting them by one attribute."""
FIGURES = {"probe": 5, "diagnose": 6, "drift": 6, "slices": 6, "where": 6, "gcd": 35, "fusion": 6}
"""Figures of each record in a report, and what takes as long as drawing one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question of a task on a pair, and the plan of its fits.

    Attributes:
        task: Its name.
        classes: Or cells of the gaze grid.
        gaze: Whether it asks for a point.
        ranked: Whether its first metric ranks rows.
        stages: Final fits; one but where a task has no splits.
        trials: Fits that choose the strength of one of them.
        fitted: Rows of a final fit.
        predicted: Rows predicted.
    """

    task: str
    classes: int
    gaze: bool
    ranked: bool
    stages: int
    trials: int
    fitted: float
    predicted: int

    @property
    def clock(self) -> Clock:
        """Of a probe of it."""
        return Clock("gaze probe" if self.gaze else "class probe")

    def fits(self, strengths: float, width: int, share: float = 1.0) -> float:
        """Units of fits of so many strengths on a share of the rows, side by side."""
        units = gaze_units if self.gaze else class_units
        return self.stages * units(self.fitted * share, width, self.classes, strengths)

    def choice(self, width: int, share: float = 1.0) -> float:
        """Units of choosing a strength."""
        return self.fits(len(STRENGTHS) * self.trials, width, share)

    def reading(self, width: int, share: float = 1.0) -> float:
        """Units of choosing a strength and fitting with it."""
        return self.choice(width, share) + FINAL * self.fits(1, width, share)

    def heat(self, predictions: float) -> Work:
        """Turning probabilities of cells into points and errors."""
        units = predictions * self.predicted * self.classes
        return Counter({Clock("gaze heat", self.task): units} if self.gaze else {})

    def compared(self, comparisons: float, draws: int) -> Work:
        """Draws, swaps and clusters left out of so many comparisons of two sides."""
        if not self.ranked:
            return Counter({Clock("tally"): comparisons * self.predicted})
        swaps = 4 * min(draws, RANKED_SWAPS)  # two passes over both sides
        times = 2 * draws + swaps + 2 * min(LEFT_OUT, self.predicted)
        return Counter({Clock("ranking"): comparisons * times * self.predicted * self.classes})


def class_units(rows: float, width: int, classes: int, strengths: float) -> float:
    """Multiplications of one step of the solver of class probes.

    Four for each number of a pass over the rows (there and back), and the preconditioner goes there
    and back through the eigenbasis twice; and what a step costs whatever the rows are.
    """
    return STEP + 4.0 * strengths * classes * width * (rows + 2 * min(rows, width))


def gaze_units(rows: float, width: int, cells: int, strengths: float) -> float:
    """Numbers that a pass of the solver of gaze probes goes through: axes and cells of each row."""
    return rows * strengths * (4 * cells + min(rows, width))


def network_units(rows: float, width: int) -> float:
    """Multiplications of a network with 128 hidden units, and what a step costs beside."""
    return rows * (136.0 * width + 12_000)


def _asked(pair: StudyPair, spec: TaskSpec, rows: TaskRows) -> list[Asked]:
    """The questions of a task, with the plan that `probes.selection.make_plan` makes."""
    train, val, every = (rows.counts.get(name, 0) for name in ("train", "val", "all"))
    test = list(rows.counts.values())[-1]
    stages, trials = (FOLDS, FOLDS) if every else (1, 1 if val else FOLDS)
    fitted = every * (FOLDS - 1) / FOLDS if every else train + val
    grids = {one.tokens(pair.choice.size) for one in (pair.pre, pair.post)}
    cells = grids.pop() if len(grids) == 1 else COARSE_GRID[0] * COARSE_GRID[1]
    return [
        Asked(
            task=spec.name,
            classes=len(spec.label_sets.get(name, ())) or cells,
            gaze=name not in spec.label_sets,
            ranked="average_precision" in metrics[0],
            stages=stages,
            trials=trials,
            fitted=fitted,
            predicted=test,
        )
        for name, metrics in spec.metrics.items()
    ]


def _sides(pair: StudyPair) -> tuple[EncoderFacts, EncoderFacts]:
    return pair.pre, pair.post


def probe_cost(pair: StudyPair, spec: TaskSpec, rows: TaskRows, asked: Probe) -> Cost:
    """Every block and side in the declared arm; beside it arms, curve, refits and references."""
    work: Work = Counter()
    blocks = len(asked.blocks or pair.choice.blocks)
    beside = (len(asked.blocks) if asked.blocks else 1) * len(spec.arms) * asked.arms
    curve = len(STRENGTHS) * asked.curve
    for one in _asked(pair, spec, rows):
        for side in _sides(pair):
            width = side.width * len(spec.regions)
            work[one.clock] += (blocks + beside) * one.reading(width)
            work[one.clock] += FINAL * one.fits(curve, width) * asked.curve
            work[one.clock] += FINAL * one.fits(asked.refits, width) * bool(asked.refits)
            work[one.clock] += FINAL * SHUFFLES * one.fits(1, width)
            work += one.heat(blocks + beside + curve + asked.refits + 1)
        width = pair.pre.width * len(spec.regions)
        work[one.clock] += one.reading(PICTURES)
        work += one.heat(3) + one.compared(blocks + beside + curve + SPARE_METRICS * 5, asked.draws)
    return Cost(work=+work)


def diagnosis_cost(pair: StudyPair, spec: TaskSpec, rows: TaskRows, asked: Diagnose) -> Cost:
    """Probes on portions of the rows, networks, the online code, and maps between the sides."""
    settings = QUICK if asked.quick else FULL
    blocks = len(asked.blocks) if asked.blocks else 1
    work: Work = Counter()
    for one in _asked(pair, spec, rows):
        for side in _sides(pair):
            width = side.width * len(spec.regions)
            again = FINAL * (1 + one.trials) * one.fits(1, width)
            portions = sum(
                one.reading(width, share) * (settings.subsets if share < 1 else 1)
                for share in settings.portions
            )
            code = 0.0
            if not one.gaze:
                doublings = [2.0**-k for k in range(1, DOUBLINGS + 1)]
                code = sum(FINAL * one.fits(len(PRECISIONS), width, s) for s in doublings)
            # The linear probe and the anchor of the networks are read apart, and so is transfer.
            readings = 2.5 * one.reading(width)
            work[one.clock] += readings + again + portions + settings.orders * code
            work += _networks(one, settings.mlp, Clock("network"), network_units(1, width))
            if settings.attentive and pair.choice.token_blocks and not one.gaze:
                tokens = side.tokens(pair.choice.size) * rows.frames * len(spec.regions)
                work += _networks(one, settings.attentive, Clock("attention"), tokens * side.width)
            seen = one.fitted + one.predicted
            work[Clock("matrices")] += one.stages * _map_units(seen, width)
        work += one.heat(2 * (4 + settings.mlp.seeds + len(settings.portions) * settings.subsets))
        work += one.compared(4 + len(settings.portions), asked.draws)
    return Cost(work=Counter({clock: blocks * count for clock, count in work.items()}))


def _networks(one: Asked, grid: Grid, clock: Clock, each: float) -> Work:
    """Batches of a network, to choose by the held-out rows and to train again, in its units."""
    steps = min(max(PASSES * one.fitted / BATCH, FEWEST), MOST) / ROUNDS
    rounds = one.trials * TRIED * len(grid.decays) + KEPT
    return Counter({clock: one.stages * grid.seeds * rounds * steps * BATCH * each})


def _map_units(rows: float, width: int) -> float:
    """Two maps from one side to the other, and the scatter of classes in what they leave."""
    return 10.0 * rows * width * (width + 200) + 30.0 * width**3


def drift_cost(pair: StudyPair, spec: TaskSpec, rows: TaskRows, asked: Drift) -> Cost:
    """All measures at the blocks asked for, and maps of similarity over all blocks of both."""
    n = rows.counts.get(asked.split, rows.rows)
    capped = min(n, asked.row_cap)
    width = max(one.width for one in _sides(pair)) * len(spec.regions)
    layers = 2 * len(pair.choice.blocks)
    blocks = len(asked.blocks) if asked.blocks else 1
    near = layers * capped**2 * (100 + 2 * width) + 1600 * GROUPS * capped * layers**2 / 2
    units = blocks * drift_units(n, capped, width, asked.shuffles) + near
    return Cost(work={Clock("matrices"): units})


def drift_units(rows: int, capped: int, width: int, shuffles: int) -> float:
    """What all measures at one block take, in multiplications, by what was found to take longest.

    Sums over the rows of each side, of both, of halves and of each group of the jackknife;
    decompositions without each group; and for each group and shuffle once more every row with
    every other, which moves memory more than it multiplies. There are no more coordinates than
    rows.
    """
    width = min(width, rows)
    sums = 70.0 * rows * width * (width + 200)
    decompositions = 10.0 * GROUPS * width**3
    return sums + decompositions + 150.0 * (GROUPS + shuffles) * capped**2


def slices_cost(pair: StudyPair, spec: TaskSpec, rows: TaskRows, asked: Probe) -> Cost:
    """Both sides on every slice, and draws; slices of an attribute share all rows between them."""
    work: Work = Counter()
    for one in _asked(pair, spec, rows):
        work += one.compared(ATTRIBUTES, asked.draws)
        work[Clock("tally")] += SLICE * ATTRIBUTES * one.predicted
    return Cost(work=work)


def where_cost(pair: StudyPair, spec: TaskSpec, rows: TaskRows, asked: Where) -> Cost:
    """A probe of single tokens, fitted on some of every picture and asked of all."""
    work: Work = Counter()
    for one in _asked(pair, spec, rows):
        for side in _sides(pair):
            tokens = side.tokens(pair.choice.size)
            most = MOST_VALUES / side.width
            share = min(min(asked.tokens, tokens), most / one.fitted)
            fits = one.reading(side.width, share) + FINAL * one.fits(1, side.width, share)
            asked_of_all = class_units(one.predicted * tokens, side.width, one.classes, 1)
            work[one.clock] += fits + asked_of_all
    return Cost(work=work)


def report_cost(records: Mapping[str, int]) -> Cost:
    """Records by the stage that writes them."""
    figures = sum(FIGURES[name] * count for name, count in records.items())
    return Cost(work={Clock("drawing"): figures})
