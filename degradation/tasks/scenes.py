"""The rendered social world as tasks: five social ones and a control task that is not social.

Each social task is framed as its real counterpart:

    scenes-expression   portraits, face box            like AffectNet
    scenes-gesture      half figures, hand box         like HaGRIDv2
    scenes-gaze         wide scenes, head box, points  like GazeFollow
    scenes-relation     two people, two boxes          like PISC
    scenes-looking      face tracks over frames        like Ego4D looking-at-me
    scenes-objects      kind and colour of one thing, and what is behind: the control

Nothing is stored: a picture's reference names its scene, and opening it renders it. Rows carry
attributes of what was rendered (skin, hair, head turn, light ...), by which results can be split.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from degradation.scenes.looks import generator
from degradation.scenes.records import (
    BACKDROPS,
    COLOURS,
    DOMAINS,
    EXPRESSIONS,
    GESTURES,
    KINDS,
    LOOKING,
    RELATIONS,
    Scene,
)
from degradation.scenes.render import render
from degradation.scenes.world import compose
from degradation.tasks.task import Kind, Rows, Task, TaskSpec

__all__ = ["scenes_task"]

SEED = 0
SIDE = 128
STILL = {"train": 1500, "val": 300, "test": 1200}
CLIPS = {"train": 1000, "val": 250, "test": 1000}
CLIP_FRAMES = (0, 2, 4)
ANNOTATORS = {"train": 1, "val": 1, "test": 8}
ANNOTATOR_DEVIATION = 0.03
"""Spread of the test annotators around the true target, normalised; GazeFollow's annotators lie
0.096 from their mean (Gaze-LLE, arXiv 2412.09586, table 3), with some on other objects."""
SKIN_TONES = (186.0, 136.0)
"""Luma (BT.601, of 255) from which a skin counts as light, and as medium."""
FRONTAL = 0.15
"""Radians of yaw below which a head counts as frontal."""
NEAR = 0.4
"""Distance from head to target, normalised, below which the target counts as near."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What distinguishes one scenes task from another."""

    kind: Kind
    label_sets: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, Callable[[Scene], str]]
    roles: tuple[str, ...]
    regions: tuple[str, ...]
    metrics: Mapping[str, tuple[str, ...]]
    cluster: str
    attributes: Mapping[str, Callable[[Scene], str]]
    social: bool = True


def _skin(scene: Scene) -> str:
    """The tone of the main person's skin: `SKIN_TONES` cut the subjects into equal parts."""
    r, g, b = scene.persons[0].look.skin
    light, dark = SKIN_TONES
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    return "light" if luma >= light else "medium" if luma >= dark else "dark"


def _hair(scene: Scene) -> str:
    """The colour of the main person's hair, or that there is none."""
    look = scene.persons[0].look
    return "bald" if look.style == "bald" else look.hair


def _turn(scene: Scene) -> str:
    """How far the main person's head is turned aside."""
    return "frontal" if abs(scene.persons[0].face.yaw) < FRONTAL else "turned"


def _distance(scene: Scene) -> str:
    """How far the target is from the head; empty where the viewer is looked at."""
    head = scene.persons[0]
    if head.target is None:
        return ""
    x, y = head.target
    return "near" if math.hypot(x - head.x, y - head.y) < NEAR else "far"


def _yes(true: bool) -> str:
    return "yes" if true else "no"


_LIGHT = {"light": lambda scene: scene.light.name}
_PERSON = {
    "skin": _skin,
    "hair": _hair,
    "glasses": lambda scene: _yes(scene.persons[0].look.glasses),
    "head turn": _turn,
    **_LIGHT,
}


_QUESTIONS = {
    "expression": _Question(
        kind="classes",
        label_sets={"expression": EXPRESSIONS},
        labels={"expression": lambda scene: scene.expression},
        roles=("face",),
        regions=("face",),
        metrics={"expression": ("accuracy", "macro_f1")},
        cluster="subject",
        attributes=_PERSON,
    ),
    "gesture": _Question(
        kind="classes",
        label_sets={"gesture": GESTURES},
        labels={"gesture": lambda scene: scene.gesture},
        roles=("hand",),
        regions=("hand",),
        metrics={"gesture": ("accuracy", "macro_f1")},
        cluster="subject",
        attributes=_PERSON,
    ),
    "gaze": _Question(
        kind="gaze",
        label_sets={},
        labels={},
        roles=("head",),
        regions=("head",),
        metrics={"gaze": ("average_l2_error", "minimum_l2_error", "auc_score")},
        cluster="picture",
        attributes={
            "people": lambda scene: "one" if len(scene.persons) == 1 else "two",
            "target": lambda scene: scene.gaze_kind,
            "distance": _distance,
            **_PERSON,
        },
    ),
    "relation": _Question(
        kind="pair-classes",
        label_sets={"relation": RELATIONS, "domain": DOMAINS},
        labels={
            "relation": lambda scene: scene.relation,
            "domain": lambda scene: scene.domain,
        },
        roles=("person_a", "person_b"),
        regions=("person_a", "person_b", "image"),
        metrics={
            "relation": ("mean_average_precision", "accuracy", "macro_f1"),
            "domain": ("mean_average_precision", "accuracy", "macro_f1"),
        },
        cluster="picture",
        attributes={
            "child": lambda scene: _yes(scene.persons[1].child),
            "counter": lambda scene: _yes(scene.counter is not None),
            **_LIGHT,
        },
    ),
    "looking": _Question(
        kind="track",
        label_sets={"looking": LOOKING},
        labels={"looking": lambda scene: scene.looks},
        roles=("face",),
        regions=("face",),
        metrics={"looking": ("binary_mean_average_precision", "accuracy")},
        cluster="clip",
        attributes=_PERSON,
    ),
    "objects": _Question(
        kind="classes",
        label_sets={"kind": KINDS, "colour": tuple(COLOURS), "backdrop": BACKDROPS},
        labels={
            "kind": lambda scene: scene.thing.kind,
            "colour": lambda scene: scene.thing.colour,
            "backdrop": lambda scene: scene.backdrop.kind,
        },
        roles=("object",),
        regions=("object", "image"),
        metrics={
            "kind": ("accuracy", "macro_f1"),
            "colour": ("accuracy", "macro_f1"),
            "backdrop": ("accuracy", "macro_f1"),
        },
        cluster="picture",
        attributes={"place": lambda scene: scene.thing.place, **_LIGHT},
        social=False,
    ),
}


def scenes_task(name: str) -> Task:
    """The task `scenes-<framing>`; see the table at the head of this file."""
    framing = name.removeprefix("scenes-")
    question = _QUESTIONS[framing]
    return Task(
        spec=TaskSpec(
            name=name,
            kind=question.kind,
            social=question.social,
            label_sets=question.label_sets,
            roles=question.roles,
            regions=question.regions,
            metrics=question.metrics,
            cluster=question.cluster,
            source=f"rendered scenes, seed {SEED}",
        ),
        splits=tuple(STILL),
        read=functools.partial(_read, framing),
        open=_open,
    )


def _read(framing: str, split: str) -> Rows:
    question = _QUESTIONS[framing]
    clip = question.kind == "track"
    n = (CLIPS if clip else STILL)[split]
    frames = CLIP_FRAMES if clip else (0,)
    scenes = [
        [compose(framing, split, index, seed=SEED, frame=frame) for frame in frames]
        for index in range(n)
    ]
    middles = [clip_scenes[len(frames) // 2] for clip_scenes in scenes]
    return Rows(
        ids=np.array([f"{framing}/{split}/{index}" for index in range(n)], dtype=object),
        pictures=np.array(
            [[f"{framing}/{split}/{index}/{frame}" for frame in frames] for index in range(n)],
            dtype=object,
        ),
        boxes={
            role: np.array(
                [[scene.boxes()[role] for scene in row] for row in scenes], dtype=np.float32
            )
            for role in question.roles
        },
        labels={
            label_set: np.array(
                [question.label_sets[label_set].index(label(scene)) for scene in middles]
            )
            for label_set, label in question.labels.items()
        },
        points=_points(middles, framing, split),
        # Tasks show other pictures, so clusters of the same name are not the same.
        clusters=np.array([f"{framing}/{scene.cluster}" for scene in middles], dtype=object),
        sizes=np.full((n if framing == "gaze" else 0, 2), SIDE, dtype=np.int64),
        attributes={
            name: np.array([attribute(scene) for scene in middles], dtype=object)
            for name, attribute in question.attributes.items()
        },
    )


def _points(scenes: list[Scene], framing: str, split: str) -> np.ndarray:
    """Gaze targets by annotator, shape (n, a, 2); one exact annotator outside the test split."""
    if framing != "gaze":
        return np.empty((len(scenes), 0, 2), dtype=np.float32)
    truth = np.array([scene.gaze_point() for scene in scenes])[:, None]
    if ANNOTATORS[split] == 1:
        return truth.astype(np.float32)
    rng = generator(SEED, "annotators", split)
    noise = rng.normal(0.0, ANNOTATOR_DEVIATION, (len(scenes), ANNOTATORS[split], 2))
    return np.clip(truth + noise, 0.0, 1.0).astype(np.float32)


def _open(reference: str) -> Image:
    framing, split, index, frame = reference.split("/")
    return render(compose(framing, split, int(index), seed=SEED, frame=int(frame)), SIDE)
