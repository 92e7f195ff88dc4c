"""Questions in tokens, and what cannot be asked."""

from dataclasses import replace

import pytest

from degradation.errors import ConfigError
from socialfusion.language import load_tokenizer
from socialfusion.wording import word_question


def test_tokens_are_the_words_and_every_answer_has_an_end(questions) -> None:
    tokenizer = load_tokenizer("tiny")
    word = tokenizer.get_vocab()
    worded = word_question(questions["relation"], tokenizer, limit=3)
    assert worded.before == (word["<bos>"],)
    assert worded.prompt == tuple(
        word[one] for one in ["the", "relation", "of", "the", "two", "is"]
    )
    end = word["<eos>"]
    assert worded.answers == (
        (word["friends"], end),
        (word["good"], word["friends"], end),
        (word["none"], end),
    )
    assert worded.table(0).tolist()[0] == [word["friends"], end, 0]
    assert worded.lengths().tolist() == [2, 3, 2]
    assert word_question(questions["gaze"], tokenizer, limit=3).longest == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": ("a", "good good friends")}, r"at most 3 tokens, but 'good good friends'"),
        ({"answers": ("none", " none ")}, "'none' and ' none ' .* are the same tokens"),
        ({"answers": ("none", "enemies")}, "' enemies' in the answers of .* does not"),
        ({"answers": ("none", "")}, "Expected words in the answers"),
        ({"prompt": "who is it ?"}, "in the prompt of scenes-relation/relation"),
        ({"prompt": ""}, "Expected words in the prompt"),
    ],
)
def test_what_cannot_be_asked_is_refused(questions, change, message: str) -> None:
    question = replace(questions["relation"], **change)
    with pytest.raises(ConfigError, match=message):
        word_question(question, load_tokenizer("tiny"), limit=3)
