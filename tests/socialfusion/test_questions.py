"""Prompts and answers of every registered task."""

from dataclasses import replace

import pytest

from degradation.errors import ConfigError
from degradation.tasks.affectnet import EXPRESSIONS
from degradation.tasks.hagrid_files import TARGETS
from degradation.tasks.pisc import DOMAINS, RELATIONSHIPS
from degradation.tasks.registry import DEFAULT_TASKS, get_task, task_names
from degradation.tasks.task import TaskSpec
from socialfusion.language import load_tokenizer
from socialfusion.questions import PROMPTS, Question, questions_of, read_prompts
from socialfusion.wording import word_question


def spec(name: str, sets: dict[str, tuple[str, ...]], roles: tuple[str, ...]) -> TaskSpec:
    return TaskSpec(
        name=name,
        kind="classes" if sets else "gaze",
        social=True,
        label_sets=sets,
        roles=roles,
        regions=roles,
        metrics=dict.fromkeys(sets or ("gaze",), ("accuracy",)),
        cluster="picture",
        source="a test",
    )


ON_DISK = (
    spec("affectnet", {"expression": EXPRESSIONS}, ("face",)),
    spec("affectnet-7", {"expression": EXPRESSIONS[:7]}, ("face",)),
    spec("hagrid", {"gesture": TARGETS}, ("hand",)),
    spec("gazefollow", {}, ("head",)),
    spec("pisc-relationship", {"relationship": RELATIONSHIPS}, ("person_a", "person_b", "union")),
    spec("pisc-domain", {"domain": DOMAINS}, ("person_a", "person_b", "union")),
    spec("lam", {"looking": ("elsewhere", "viewer")}, ("face",)),
)
SPECS = (*(get_task(name).spec for name in DEFAULT_TASKS), *ON_DISK)


def test_every_registered_task_is_asked_in_its_own_words() -> None:
    prompts = read_prompts()
    assert {one.name for one in SPECS} == set(task_names()) == set(prompts) - {"default"}
    for one in SPECS:
        assert set(prompts[one.name]) == set(one.label_sets or ("gaze",))


@pytest.mark.parametrize("one", SPECS, ids=lambda one: one.name)
def test_the_shipped_language_model_knows_every_word(one: TaskSpec) -> None:
    tokenizer = load_tokenizer("tiny")
    for question in questions_of(one, 1, tokenizer=tokenizer):
        # Knows: no unknown word, no two equal answers, none too long.
        worded = word_question(question, tokenizer, limit=16)
        assert len(worded.answers) == len(one.label_sets.get(question.name, ()))


@pytest.mark.parametrize("one", SPECS, ids=lambda one: one.name)
def test_natural_answers_differ_and_follow_the_classes(one: TaskSpec) -> None:
    for question in questions_of(one, 1):
        assert len(set(question.answers)) == len(question.answers)
        assert question.kind == ("classes" if one.label_sets else "gaze")
        assert not any("_" in text for text in (question.prompt, *question.answers))


def test_questions_of_a_task_differ_in_their_prompts() -> None:
    for one in SPECS:
        prompts = [question.prompt for question in questions_of(one, 1)]
        assert len(set(prompts)) == len(prompts)


def test_a_pair_is_marked_by_its_two_people() -> None:
    (question,) = questions_of(ON_DISK[4], 1)
    assert question.roles == ("person_a", "person_b")
    assert question.label == "pisc-relationship/relationship"


def test_a_manifest_is_asked_by_the_name_of_its_labels() -> None:
    (question,) = questions_of(spec("manifest:x.csv", {"hair_style": ("very_long", "bald")}, ()), 1)
    assert question.prompt == "Question: what is the hair style? Answer:"
    assert question.answers == ("very long", "bald")


def test_a_question_survives_json() -> None:
    question = questions_of(SPECS[0], 3)[0]
    assert Question.from_json(question.as_json()) == question
    with pytest.raises(ConfigError, match="fields of a question"):
        Question.from_json({"task": "x", "wording": "y"})


def test_answers_for_classes_that_there_are_not_are_refused() -> None:
    one = replace(ON_DISK[1], name="affectnet", label_sets={"expression": ("neutral",)})
    with pytest.raises(ConfigError, match=r"\[affectnet.expression\] have answers for anger"):
        questions_of(one, 1, tokenizer=load_tokenizer("tiny"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[default.default]\nprompt = 'x'\n[a.b]\nprompt = 'x'\nanswer = 'y'", "possibly answers"),
        ("[default.default]\nprompt = 'x'\n[a]\nb = 'y'", r"in \[a.b\]"),
        ("[a.b]\nprompt = 'x'", r"table \[default.default\]"),
        ("[a.b", "cannot be read"),
    ],
)
def test_a_file_of_prompts_that_is_wrong_is_refused(tmp_path, text: str, message: str) -> None:
    file = tmp_path / "prompts.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_prompts(file)


def test_own_prompts_are_read(tmp_path) -> None:
    file = tmp_path / "prompts.toml"
    file.write_text(PROMPTS.read_text().replace("the face of the person is", "there is a"))
    (question,) = questions_of(SPECS[0], 1, prompts=read_prompts(file))
    assert question.prompt == "there is a"
