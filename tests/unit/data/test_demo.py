import random
from collections import Counter

import pytest

from coplms.config.data import SourceConfig
from coplms.data.demo import INSTRUCTION, demo_text, patterns, read
from coplms.data.demo_requests import REQUESTS
from coplms.data.demo_words import fill
from coplms.data.example import Example
from coplms.errors import DataError

INTENTS = [(domain, intent) for domain, intents in REQUESTS.items() for intent in intents]
LABELS = {intent for _, intent in INTENTS}


def split(name: str) -> list[Example]:
    return list(read(SourceConfig(path="demo", format="demo", split=name)))


def test_six_domains_have_intents_with_names_of_their_own():
    assert len(REQUESTS) == 6
    assert len(LABELS) == len(INTENTS) == 30


@pytest.mark.parametrize(("domain", "intent"), INTENTS)
def test_an_intent_has_twelve_patterns_that_can_be_filled(domain, intent):
    generator = random.Random(0)
    assert len(set(patterns(domain, intent))) >= 12
    for pattern in patterns(domain, intent):
        for _ in range(20):
            text = fill(pattern, generator)
            assert text
            assert not set(text) & set("[]{}|/!")
            assert text == " ".join(text.split())


@pytest.mark.parametrize(("name", "num"), [("train", 300), ("dev", 20), ("test", 25)])
def test_every_intent_has_its_number_of_requests(name, num):
    counts = Counter((example.domain, example.answer) for example in split(name))
    assert counts == dict.fromkeys(INTENTS, num)


def test_no_request_occurs_twice():
    inputs = [example.input for name in ("train", "dev", "test") for example in split(name)]
    assert len(inputs) == len(set(inputs)) == 30 * 345


def test_an_example_has_the_documented_form():
    first = split("test")[0]
    assert first.instruction == INSTRUCTION
    assert (first.domain, first.references) == ("kitchen", ("find a recipe",))
    assert first.origin == "demo:test[0]"


def test_reading_again_gives_the_same():
    assert split("train") == split("train")
    assert list(demo_text()) == list(demo_text())


def test_an_unknown_split_is_refused():
    with pytest.raises(DataError, match="no split 'valid'"):
        split("valid")


def accuracy(train: list[Example], test: list[Example]) -> float:
    """Share of test requests whose words are commonest under the right intent."""
    words = {label: Counter[str]() for label in LABELS}
    for example in train:
        words[example.answer].update(set(example.input.split()))
    total = sum(words.values(), Counter())

    def score(text: str, label: str) -> float:
        return sum(words[label][word] / total[word] for word in text.split() if total[word])

    return sum(
        max(sorted(LABELS), key=lambda label: score(example.input, label)) == example.answer
        for example in test
    ) / len(test)


def test_the_test_requests_can_be_learned_and_more_text_helps():
    train, test = split("train"), split("test")
    random.Random(0).shuffle(train)
    few, all_of_them = accuracy(train[:200], test), accuracy(train, test)
    assert few < 0.65
    assert all_of_them > 0.75


def test_the_text_is_about_as_long_as_promised():
    assert 1_150_000 < sum(map(len, demo_text())) < 1_250_000


def test_no_answer_of_the_task_leaks_into_the_text():
    documents = list(demo_text())
    assert not [text for text in documents if any(label in text for label in LABELS)]
    assert not [text for text in documents if INSTRUCTION in text]


def test_the_text_knows_the_words_of_requests_and_answers():
    known = {word for text in demo_text() for word in text.split()}
    needed = {word for example in split("train") for word in example.input.split()}
    needed |= {word for label in LABELS for word in label.split()}
    assert len(needed - known) / len(needed) < 0.03


def test_the_text_shows_the_format_of_the_prompts():
    tasks = [text.split("\n") for text in demo_text() if "\nAnswer: " in text]
    assert len(tasks) > 4000
    assert all(len(lines) == 3 and lines[2].startswith("Answer: ") for lines in tasks)
