"""What is asked of a picture, in words: one prompt and one answer for each class.

The words are in `prompts.toml`, beside this file, and nowhere else. A question is a plain record
that travels with the model it trains.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from degradation.errors import ConfigError
from degradation.tasks.task import TaskSpec

__all__ = [
    "GAZE",
    "PROMPTS",
    "Question",
    "absent",
    "check_asked",
    "questions_of",
    "read_prompts",
]

GAZE = "gaze"
"""The name of the question of a gaze task."""
PROMPTS = Path(__file__).with_name("prompts.toml")
_DEFAULT = "default"
_KEYS = frozenset(("prompt", "answers", "short", "short_answers"))
_UNION = "union"  # the box around both people; the two boxes say where they are

Prompts = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""By task and question: `prompt`, `answers`, `short`, `short_answers`."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of a task, as the language model is asked it.

    Attributes:
        task: Name of the task.
        name: A label set of the task, or `gaze`.
        kind: `classes` are answered in words, `gaze` by a map.
        prompt: What follows the picture.
        answers: Words by class, in the official order; empty for gaze.
        roles: Whose boxes are marked in the picture, in a fixed order.
        frames: Pictures of a sample, one after the other.
        metrics: Names of the metrics; the first is the declared one.
        social: False for the control tasks.
    """

    task: str
    name: str
    kind: Literal["classes", "gaze"]
    prompt: str
    answers: tuple[str, ...]
    roles: tuple[str, ...]
    frames: int
    metrics: tuple[str, ...]
    social: bool

    @property
    def label(self) -> str:
        """Task and question: `scenes-relation/domain`."""
        return f"{self.task}/{self.name}"

    def as_json(self) -> dict[str, Any]:
        """The question in JSON's own types."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Question":
        """The question that `as_json` wrote.

        Raises:
            ConfigError: These are not the fields of a question.
        """
        try:
            return cls(
                **{
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in fields.items()
                }
            )
        except TypeError as error:
            raise ConfigError(
                f"Expected the fields of a question, found {', '.join(fields) or 'none'}. Is the "
                "configuration of another version? Train anew, or take the version that wrote it."
            ) from error


def check_asked(question: Question, known: Mapping[str, Question]) -> None:
    """Refuse a question that a model was not made for.

    Args:
        question: What is asked.
        known: The model's own questions, by label.

    Raises:
        ConfigError: It is none of these, or the same in other words.
    """
    if known.get(question.label) != question:
        raise ConfigError(
            f"This model answers {', '.join(known)}, but was asked {question.label} or the same in "
            "other words. Ask one of its own questions (`model.questions`)."
        )


def absent(what: str, question: Question) -> ConfigError:
    """The error of a batch without what the loss of a question needs."""
    return ConfigError(
        f"Expected {what} in a batch of {question.label}, found none: its loss needs them."
    )


def questions_of(
    spec: TaskSpec,
    frames: int,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    prompts: Prompts | None = None,
) -> tuple[Question, ...]:
    """The questions of a task, in the order of its label sets.

    Args:
        spec: The task.
        frames: Pictures of a sample.
        tokenizer: Of the language model. Where it does not know every word of a question, the
            short words of the table are taken, if there are any.
        prompts: From `read_prompts`; those of the package if None.

    Raises:
        ConfigError: The table of a question names a class that there is not.
    """
    prompts = read_prompts() if prompts is None else prompts
    roles = tuple(role for role in spec.roles if role != _UNION)
    found = []
    for name in spec.label_sets or (GAZE,):
        classes = spec.label_sets.get(name, ())
        table = _table(prompts, spec.name, name)
        prompt, answers = _words(table, name, classes, short=False, where=f"{spec.name}.{name}")
        if tokenizer is not None and "short" in table and not _knows(tokenizer, prompt, *answers):
            prompt, answers = _words(table, name, classes, short=True, where=f"{spec.name}.{name}")
        found.append(
            Question(
                task=spec.name,
                name=name,
                kind="classes" if classes else "gaze",
                prompt=prompt,
                answers=answers,
                roles=roles,
                frames=frames,
                metrics=tuple(spec.metrics[name]),
                social=spec.social,
            )
        )
    return tuple(found)


def read_prompts(file: Path = PROMPTS) -> Prompts:
    """The prompts of a file; the head of `prompts.toml` says what it holds.

    Raises:
        ConfigError: It cannot be read, has unknown keys, or lacks [default.default].
    """
    return _read(file)


@cache
def _read(file: Path) -> Prompts:
    try:
        prompts = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"Expected a file of prompts at {file}, but it cannot be read: {error}. See "
            f"{PROMPTS} for an example."
        ) from error
    for task, tables in prompts.items():
        for name, table in tables.items() if isinstance(tables, dict) else [("", None)]:
            keys = set(table) if isinstance(table, dict) else set()
            if "prompt" not in keys or keys - _KEYS:
                raise ConfigError(
                    f"Expected tables [TASK.QUESTION] with prompt and possibly "
                    f"{', '.join(sorted(_KEYS - {'prompt'}))} in {file}, found {sorted(keys)} in "
                    f"[{task}.{name}]. See {PROMPTS} for an example."
                )
    if _DEFAULT not in prompts.get(_DEFAULT, {}):
        raise ConfigError(f"Expected a table [default.default] in {file}, found none. Add one.")
    return prompts


def _table(prompts: Prompts, task: str, name: str) -> Mapping[str, Any]:
    return prompts.get(task, {}).get(name) or prompts[_DEFAULT][_DEFAULT]


def _words(
    table: Mapping[str, Any], name: str, classes: Sequence[str], *, short: bool, where: str
) -> tuple[str, tuple[str, ...]]:
    """Prompt and answers of a question, in many words or in few."""
    answers = table.get("short_answers" if short else "answers", {})
    # HaGRID says `no_gesture`, AffectNet-7 lacks classes of AffectNet: names, not numbers, match.
    if unknown := sorted(set(answers) - set(classes)):
        raise ConfigError(
            f"The prompts of [{where}] have answers for {', '.join(unknown)}, but the classes are "
            f"{', '.join(classes) or 'none, since it asks for a point'}. Mend the file of prompts."
        )
    prompt = table["short" if short else "prompt"].replace("{question}", name.replace("_", " "))
    return prompt, tuple(answers.get(one, one.replace("_", " ")) for one in classes)


def _knows(tokenizer: PreTrainedTokenizerBase, *texts: str) -> bool:
    """Whether no word is unknown."""
    unknown = tokenizer.unk_token_id
    return unknown is None or not any(
        unknown in tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts
    )
