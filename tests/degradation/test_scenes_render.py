"""The rendered social world: determinism, balance, geometry of labels, and what captions say."""

import hashlib
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from degradation.errors import ConfigError
from degradation.scenes.captions import caption, vocabulary
from degradation.scenes.looks import SUBJECTS, subject
from degradation.scenes.preview import contact_sheet
from degradation.scenes.records import DOMAIN_OF, EXPRESSIONS, GESTURES, KINDS, LOOKING, RELATIONS
from degradation.scenes.render import render
from degradation.scenes.world import FRAMES, FRAMINGS, compose

_SOCIAL = set(
    """
    neutral calm happy smile sad frown surprised angry scowl disgusted grimace face palm fist
    like dislike thumbs thumb peace point ok sign finger fingers hand looks looking look
    viewer away friends family couple love loving professional commercial relation intimate
    non-intimate strangers partners meeting sale deal together close none other suit
    apron left-turned right-turned raised lowered leftward rightward upward downward
    past
    """.split()  # noqa: SIM905
)


def _pixels(scene, size=128):
    return np.asarray(render(scene, size)).astype(int)


def _fingerprint(framing):
    scene = compose(framing, "train", 7, seed=3)
    text = caption(scene, social=True, rng=np.random.default_rng(0))
    return hashlib.sha256(
        render(scene).tobytes() + repr(scene).encode() + text.encode()
    ).hexdigest()


def test_a_fresh_process_makes_the_same_scenes_pictures_and_captions():
    code = (
        "import hashlib, numpy as np, sys\n"
        "from degradation.scenes.world import compose, FRAMINGS\n"
        "from degradation.scenes.render import render\n"
        "from degradation.scenes.captions import caption\n"
        "for f in FRAMINGS:\n"
        "    s = compose(f, 'train', 7, seed=3)\n"
        "    t = caption(s, social=True, rng=np.random.default_rng(0))\n"
        "    whole = render(s).tobytes() + repr(s).encode() + t.encode()\n"
        "    print(hashlib.sha256(whole).hexdigest())\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*map(_fingerprint, FRAMINGS), "False"]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_pictures_differ_by_index_seed_and_split(framing):
    prints = {
        render(compose(framing, split, index, seed=seed)).tobytes()
        for split, index, seed in (
            ("train", 0, 0),
            ("train", 1, 0),
            ("train", 0, 1),
            ("test", 0, 0),
        )
    }
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("framing", "classes", "label"),
    [
        ("expression", EXPRESSIONS, "expression"),
        ("gesture", GESTURES, "gesture"),
        ("relation", RELATIONS, "relation"),
        ("looking", LOOKING, "looks"),
    ],
)
def test_labels_are_balanced_and_not_periodic(framing, classes, label):
    found = [getattr(compose(framing, "val", i), label) for i in range(40 * len(classes))]
    assert Counter(found) == dict.fromkeys(classes, 40)
    assert found[: len(classes)] * 40 != found


def test_target_things_are_balanced_by_kind_and_free_in_colour_and_place():
    things = [compose("objects", "train", i).thing for i in range(600)]
    assert Counter(t.kind for t in things) == dict.fromkeys(KINDS, 60)
    assert max(Counter(t.place for t in things).values()) < 150
    assert max(Counter(t.colour for t in things).values()) < 100


def test_expression_is_independent_of_the_colours_and_the_box():
    scenes = [compose("expression", "train", i) for i in range(1800)]
    for attribute in (
        lambda s: s.persons[0].look.hair,
        lambda s: s.persons[0].clothes.colour,
        lambda s: s.backdrop.kind,
        lambda s: s.persons[0].size > 0.28,
    ):
        table = Counter((attribute(s), s.expression) for s in scenes)
        rows = sorted({key[0] for key in table}, key=str)
        counts = np.array([[table[row, label] for label in EXPRESSIONS] for row in rows])
        expected = counts.sum(1, keepdims=True) * counts.sum(0) / counts.sum()
        freedom = (len(rows) - 1) * (len(EXPRESSIONS) - 1)
        assert ((counts - expected) ** 2 / expected).sum() < freedom + 4 * math.sqrt(2 * freedom)


def test_splits_have_disjoint_subjects():
    pools = {
        split: {subject(0, split, n).subject for n in range(count)}
        for split, count in SUBJECTS.items()
    }
    looks = {
        split: {subject(0, split, n).skin + subject(0, split, n).hair_rgb for n in range(count)}
        for split, count in SUBJECTS.items()
    }
    assert {split: len(pool) for split, pool in pools.items()} == SUBJECTS
    assert pools["train"].isdisjoint(pools["val"] | pools["test"])
    assert pools["val"].isdisjoint(pools["test"])
    assert looks["train"].isdisjoint(looks["test"])
    assert {compose("expression", "test", i).cluster for i in range(200)} <= pools["test"]


@pytest.mark.parametrize("framing", FRAMINGS)
def test_boxes_are_valid_and_roles_fit_the_framing(framing):
    for index in range(200):
        scene = compose(framing, "train", index)
        boxes = scene.boxes()
        for x0, y0, x1, y1 in boxes.values():
            assert 0 <= x0 < x1 <= 1
            assert 0 <= y0 < y1 <= 1
        expected = {"face", "head"} | ({"hand"} if framing == "gesture" else set())
        expected |= {"object"} if scene.target is not None else set()
        expected |= {"person_a", "person_b"} if len(scene.persons) > 1 else set()
        assert set(boxes) == expected
        head, face = boxes["head"], boxes["face"]
        assert head[0] <= face[0] < face[2] <= head[2]
    if framing == "relation":
        assert len(scene.persons) == 2


@pytest.mark.parametrize("gesture", GESTURES)
def test_a_hand_changes_only_pixels_of_its_box(gesture):
    scenes = (compose("gesture", "train", i) for i in range(80))
    scene = next(s for s in scenes if s.gesture == gesture)
    changed = np.abs(_pixels(scene) - _pixels(replace(scene, hand=None))).sum(-1) > 0
    x0, y0, x1, y1 = scene.boxes()["hand"]
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 300
    assert columns.min() >= 128 * x0 - 1
    assert columns.max() <= 128 * x1
    assert rows.min() >= 128 * y0 - 1
    assert rows.max() <= 128 * y1


@pytest.mark.parametrize("kind", KINDS)
def test_a_thing_changes_only_pixels_of_its_box(kind):
    scene = next(
        s for s in (compose("objects", "test", i) for i in range(40)) if s.thing.kind == kind
    )
    changed = np.abs(_pixels(scene) - _pixels(replace(scene, things=scene.things[1:]))).sum(-1) > 0
    x0, y0, x1, y1 = scene.boxes()["object"]
    rows, columns = np.nonzero(changed)
    assert changed.sum() > 150
    assert columns.min() >= 128 * x0 - 1
    assert columns.max() <= 128 * x1
    assert rows.min() >= 128 * y0 - 1
    assert rows.max() <= 128 * y1


def test_an_expression_changes_only_pixels_of_the_head_box():
    for index in range(12):
        scene = compose("expression", "val", index)
        main = scene.persons[0]
        for label in EXPRESSIONS:
            face = replace(main.face, expression=label)
            other = replace(scene, persons=(replace(main, face=face),))
            rows, columns = np.nonzero(np.abs(_pixels(scene) - _pixels(other)).sum(-1))
            assert (len(rows) == 0) == (label == scene.expression)
            if len(rows):
                x0, y0, x1, y1 = scene.boxes()["head"]
                assert columns.min() >= 128 * x0 - 1
                assert columns.max() <= 128 * x1
                assert rows.min() >= 128 * y0 - 1
                assert rows.max() <= 128 * y1


def test_head_and_pupils_turn_to_the_gaze_point_and_to_nobody_for_the_viewer():
    kinds = Counter()
    for index in range(400):
        scene = compose("gaze", "train", index)
        main = scene.persons[0]
        x, y = scene.gaze_point()
        across = main.face.yaw + 0.6 * main.face.pupil[0]
        down = main.face.pitch + 0.6 * main.face.pupil[1]
        kinds[scene.gaze_kind] += 1
        if scene.gaze_kind == "viewer":
            assert math.isnan(x)
            assert math.isnan(y)
            assert across == pytest.approx(0, abs=1e-9)
        else:
            assert across == pytest.approx(math.atan((x - main.x) / 0.3), abs=0.12)
            assert down == pytest.approx(math.atan((y - main.y) / 0.3), abs=0.12)
        if scene.gaze_kind == "thing":
            assert (scene.thing.x, scene.thing.y) == (x, y)
    assert kinds == {"thing": 240, "viewer": 80, "point": 80}


def test_relations_have_their_domain_and_overlap_in_distance_and_size():
    spans = {relation: [] for relation in RELATIONS}
    for index in range(600):
        scene = compose("relation", "train", index)
        assert scene.domain == DOMAIN_OF[scene.relation]
        one, two = scene.persons
        spans[scene.relation].append(abs(one.x - two.x))
    low = max(
        np.quantile(values, 0.05) for relation, values in spans.items() if relation != "couple"
    )
    high = min(
        np.quantile(values, 0.95) for relation, values in spans.items() if relation != "couple"
    )
    assert low < high + 0.08


def test_clips_keep_the_person_and_move_smoothly():
    for index in range(60):
        frames = [compose("looking", "train", index, frame=f) for f in range(FRAMES)]
        assert len({f.cluster for f in frames}) == len({f.looks for f in frames}) == 1
        assert len({f.persons[0].look for f in frames}) == len({f.backdrop for f in frames}) == 1
        xs = [f.persons[0].x for f in frames]
        assert np.abs(np.diff(xs)).max() < 0.03
        for scene in frames[1:4]:
            assert (scene.persons[0].target is None) == (scene.looks == "viewer")
            x, y = scene.persons[0].face.pupil
            reach = math.hypot(
                scene.persons[0].face.yaw + 0.6 * x, scene.persons[0].face.pitch + 0.6 * y
            )
            assert reach < 1e-6 if scene.looks == "viewer" else reach > 0.2


@pytest.mark.parametrize("framing", FRAMINGS)
def test_captions_keep_to_the_vocabulary_and_plain_ones_are_never_social(framing):
    rng = np.random.default_rng(1)
    words = set(vocabulary())
    assert len(words) < 350
    for index in range(300):
        scene = compose(framing, "train", index)
        full = caption(scene, social=True, rng=rng).split(" ")
        plain = caption(scene, social=False, rng=rng).split(" ")
        assert set(full) | set(plain) <= words
        assert _SOCIAL.isdisjoint(plain)
        assert 12 <= len(plain) <= 61
        assert 15 <= len(full) <= 66


def test_social_captions_name_the_labels():
    rng = np.random.default_rng(2)
    for index in range(120):
        for framing in FRAMINGS:
            scene = compose(framing, "train", index)
            words = caption(scene, social=True, rng=rng)
            assert scene.expression in words
            if scene.gesture:
                assert scene.gesture in words
                assert f"hand on the {scene.hand.side}" in words
            if scene.relation:
                assert ("strangers" if scene.relation == "none" else scene.relation) in words
                assert scene.relation == "none" or scene.domain in words
            if math.isnan(scene.gaze_point()[0]):
                assert "at the viewer" in words
            if scene.gaze_kind == "thing":
                assert f"at the {scene.thing.colour} {scene.thing.kind}" in words
            if framing == "objects":
                assert words.index(scene.thing.kind) < words.index("person")


def test_sizes_and_the_contact_sheet():
    assert render(compose("gaze", "train", 0), 64).size == (64, 64)
    sheet = contact_sheet(columns=2, rows=1, size=48)
    assert sheet.mode == "RGB"
    assert sheet.width > 100


@pytest.mark.parametrize(
    "arguments",
    [
        ("portrait", "train", 0, 0),
        ("gaze", "train", 0, 1),
        ("looking", "train", 0, 5),
        ("gaze", "dev", 0, 0),
    ],
)
def test_unknown_framings_splits_and_frames_are_refused(arguments):
    framing, split, index, frame = arguments
    with pytest.raises(ConfigError, match="Expected a"):
        compose(framing, split, index, frame=frame)
