"""Boxes and points in words, and the positions of a sequence, against transformers' own."""

import numpy as np
import pytest
import torch
from transformers import Qwen2VLForConditionalGeneration

from socialfusion.vlm.grounding import box_text, point_text, read_point
from socialfusion.vlm.sequences import line_up


def test_boxes_are_written_as_qwen_was_trained_with():
    text = box_text("person_a", np.array([0.29, 0, 0.7, 1], dtype=np.float32).tolist())
    assert text == (
        "<|object_ref_start|>person a<|object_ref_end|><|box_start|>(290,0),(700,999)<|box_end|>"
    )
    assert box_text("face", (float("nan"),) * 4) == ""


def test_points_come_back():
    points = np.random.default_rng(0).uniform(size=(200, 2))
    back = np.array([read_point(point_text(point)) for point in points.tolist()])
    assert np.abs(back - points).max() <= 0.0005 + 1e-6
    assert point_text((-1.0, 2.0)) == "<|box_start|>(0,999)<|box_end|>"


@pytest.mark.parametrize(
    ("text", "point"),
    [("( 1 2 , 9 9 9 )", (0.0125, 0.9995)), ("at (7,8),(9,10)", (0.0075, 0.0085)), ("left", None),
     ("(1000,5)", None), ("(12)", None)],
)  # fmt: skip
def test_points_are_read_from_any_text(text, point):
    assert read_point(text) == (point if point is None else pytest.approx(point))


def test_positions_are_those_of_transformers(qwen_config, tokenizer):
    picture, pad, text = qwen_config.image_token_id, tokenizer.pad_token_id, [20, 21, 22]
    start, end = qwen_config.vision_start_token_id, qwen_config.vision_end_token_id
    samples = [
        [[start], ("picture", 2, 3), [end], text],
        [[start], ("picture", 4, 2), [end], [30], [start], ("picture", 1, 1), [end], [], text],
    ]
    read = line_up(samples, picture=picture, pad=pad)
    assert (read.ids[0, : -len(text) - 8] == pad).all()
    with torch.device("meta"):
        model = Qwen2VLForConditionalGeneration(qwen_config).model
    grids = torch.tensor([[1, 4, 6], [1, 8, 4], [1, 2, 2]])
    expected, following = model.get_rope_index(
        read.ids,
        mm_token_type_ids=(read.ids == picture).int(),
        image_grid_thw=grids,
        attention_mask=read.present.long(),
    )
    assert torch.equal(read.places * read.present, expected * read.present)
    assert torch.equal(read.following, following[:, 0] + read.present.sum(1))
