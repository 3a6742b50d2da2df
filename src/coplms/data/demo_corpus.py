"""Text to pre-train the demo's models on: the requests' words in other sentences.

Statements, little dialogues, and word tasks in the format of the prompts. No document holds the
name of an intent, so a model that was trained on them knows the words and the format, not the
answers.
"""

import random
from collections.abc import Callable, Iterator
from functools import cache

from coplms.data.demo_requests import REQUESTS
from coplms.data.demo_words import COMMAND_OPENINGS, ENDINGS, OTHER_OPENINGS, WORDS, fill

NUM_CHARACTERS = 1_200_000

STATEMENTS: dict[str, tuple[str, ...]] = {
    "kitchen": (
        "{person} [made|cooked] {dish} [on {day}|] and everyone at home [liked|loved] it",
        "for {dish} {person} [took|used] {dose} of {food} and [some|a little] {food}",
        "the {dish} was in the oven for {minutes} and the {dish} was still cold",
        "{person} drinks {drink} but {person} would like {drink} with the {dish}",
        "at {restaurant} {number} people ate {dish} and the table near the window was free",
        "there was no {food} in the house so {person} went to the store for {food} and {drink}",
        "a good recipe says how many {unit} of {food} go into the {dish}",
        "{person} looked at the clock in the kitchen and then at the {dish} for {minutes}",
        "the list on the door said {food} and {food} and {drink}",
        "on {day} {restaurant} had no seats so they cooked {dish} at home",
    ),
    "travel": (
        "{person} flew from {city} to {city} on {day} and [slept|stayed] near the center",
        "the plane to {city} left at {time} and the flight was {minutes} late",
        "{city} is a long way from {city} so {person} took the train",
        "in {city} the hotel was quiet and the room had a window to the river",
        "{person} sat next to {person} in the front row of the plane",
        "the seat at the window was better than the aisle seat said {person}",
        "they wanted to see {city} but {person} was ill and the trip was over on {day}",
        "from {city} to {city} it takes {number} hours to drive",
        "a [single|double] room in {city} was {money} for {number} nights",
        "{person} had a ticket to {city} but the journey was too long",
    ),
    "bank": (
        "{person} had {money} in the {account} account and {money} at home",
        "{person} gave {money} to {person} because of the {bill} bill",
        "the bill for {bill} was {money} and it was due on {day}",
        "a thief took the [card|wallet] of {person} in {city}",
        "the bank in {city} opens at {time} said {person}",
        "{person} knows the secret number of the card and the code of the machine",
        "to have {money} left at the end is better than to owe {money}",
        "{person} found the lost purse with the credit card and {money} in it",
        "the company wanted {money} for {bill} and {person} did not have it",
        "from the {account} account {person} took {money} for a friend in {city}",
    ),
    "music": (
        "{band} played {song} in {city} and the show was [loud|quiet|awful|great]",
        "{person} likes {genre} music for {mood} but not {song}",
        "{song} by {band} is a {genre} song that {person} heard too often",
        "at the concert on {day} {number} people had no ticket",
        "the volume was too high for the ears of {person}",
        "{person} keeps {number} songs by {band} for {mood}",
        "the next track was {song} and {person} listened softly",
        "after {song} came another boring song by {band}",
        "{band} wrote {song} in {city} and played it live in {city}",
        "the sound of {genre} is in the mood of {person} on {day}",
    ),
    "office": (
        "{person} and {person} talked about {topic} in {room} at {time}",
        "the {file} about {topic} lies on the table of {person}",
        "{person} was not in the office on {day} because of a holiday in {city}",
        "the boss wrote {number} letters and the {file} on {day}",
        "in {room} the printer made {number} copies of the {file}",
        "{person} had a meeting at {time} and nobody had time for it",
        "the calendar of {person} was full from {day} to {day}",
        "{person} should know about {topic} by {time}",
        "{number} free days are left said the boss to {person}",
        "a message from {person} came at {time} with the {file} in it",
    ),
    "health": (
        "the {doctor} in {city} had time for {person} at {time}",
        "{person} took {medicine} for the sore {body} until {day}",
        "after {minutes} of {sport} the {body} of {person} was sore",
        "{sport} and {sport} are good for the {body} says the {doctor}",
        "the pharmacy had no {medicine} on {day}",
        "{person} went to the {doctor} because of the {body}",
        "the pack of {medicine} was almost empty after {number} days",
        "{person} fell on the {body} and felt better on {day}",
        "in the morning {person} did {minutes} of {sport} with {person}",
        "the nurse gave {person} {medicine} against the pain",
    ),
}
"""Domain -> patterns of sentences that tell something and ask for nothing."""

KINDS = {
    "person": "person",
    "city": "place",
    "food": "food",
    "drink": "drink",
    "day": "day",
    "song": "song",
    "band": "band",
    "sport": "sport",
    "medicine": "medicine",
    "body": "part of the body",
    "doctor": "doctor",
    "restaurant": "restaurant",
}
"""Slots whose words one can be asked about, with what to call them."""

QUESTIONS = (
    "what did you say",
    "are you sure",
    "who told you",
    "and then",
    "really",
    "is that so",
    "what do you know about it",
)


def demo_text() -> Iterator[str]:
    """Documents of about 1.2 million characters in all; the same on every call."""
    generator = random.Random("demo/text")
    labels = [label for intents in REQUESTS.values() for label in intents]
    kinds: tuple[Callable[[random.Random], str], ...] = (_paragraph, _dialogue, *[_word_task] * 6)
    written = 0
    while written < NUM_CHARACTERS:
        text = generator.choice(kinds)(generator)
        if not any(label in text for label in labels):
            written += len(text)
            yield text


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word that requests, their intents and statements can hold, sorted."""
    patterns = [text for intents in REQUESTS.values() for item in intents.items() for text in item]
    patterns += [pattern for group in STATEMENTS.values() for pattern in group]
    patterns += [*COMMAND_OPENINGS, *OTHER_OPENINGS, *ENDINGS]
    slots = {f"{{{slot}}}" for slot in WORDS}
    text = " ".join(patterns).translate(str.maketrans("[]|/!", "     "))
    words = set(text.replace("{", " {").replace("}", "} ").split()) - slots
    words |= {word for group in WORDS.values() for words in group for word in words.split()}
    return tuple(sorted(words))


def _statement(generator: random.Random) -> str:
    return fill(generator.choice(STATEMENTS[generator.choice(list(STATEMENTS))]), generator)


def _paragraph(generator: random.Random) -> str:
    patterns = generator.sample(STATEMENTS[generator.choice(list(STATEMENTS))], 5)
    return "".join(f"{fill(pattern, generator)}. " for pattern in patterns).strip()


def _dialogue(generator: random.Random) -> str:
    first, second = generator.sample(WORDS["person"], 2)
    patterns = generator.sample(STATEMENTS[generator.choice(list(STATEMENTS))], 3)
    lines: list[str] = []
    for pattern in patterns:
        lines.append(f"{first}: {fill(pattern, generator)}")
        lines.append(f"{second}: {generator.choice(QUESTIONS)}")
    return "\n".join(lines)


def _word_task(generator: random.Random) -> str:
    instruction, question, answer = generator.choice(TASKS)(generator)
    return f"{instruction}\n{question}\nAnswer: {answer}"


Task = tuple[str, str, str]
"""Instruction, input and answer."""


def _words(generator: random.Random, num: int) -> list[str]:
    return generator.sample(vocabulary(), num)


def _repeat(generator: random.Random) -> Task:
    words = _words(generator, generator.randint(1, 4))
    return "Repeat the words.", " ".join(words), " ".join(words)


def _last_word(generator: random.Random) -> Task:
    text = _statement(generator)
    return "Repeat the last word.", text, text.split()[-1]


def _first_words(generator: random.Random) -> Task:
    text = _statement(generator)
    return "Repeat the first three words.", text, " ".join(text.split()[:3])


def _reverse(generator: random.Random) -> Task:
    first, second = _words(generator, 2)
    return "Reverse the two words.", f"{first} {second}", f"{second} {first}"


def _spell(generator: random.Random) -> Task:
    (word,) = _words(generator, 1)
    return "Spell the word.", word, " ".join(word)


def _longer(generator: random.Random) -> Task:
    first, second = _words(generator, 2)
    while len(first) == len(second):
        first, second = _words(generator, 2)
    return "Name the longer word.", f"{first} or {second}", max(first, second, key=len)


def _kind(generator: random.Random) -> Task:
    right, wrong = generator.sample(list(KINDS), 2)
    word = generator.choice(WORDS[right])
    first, second = sorted((KINDS[right], KINDS[wrong]))
    return f"Is it a {first} or a {second}?", word, f"a {KINDS[right]}"


def _find(generator: random.Random) -> Task:
    pattern, slot = "", ""
    while pattern.count(f"{{{slot}}}") != 1:
        pattern = generator.choice(STATEMENTS[generator.choice(list(STATEMENTS))])
        slot = generator.choice(list(KINDS))
    word = generator.choice(WORDS[slot])
    text = fill(pattern.replace(f"{{{slot}}}", word), generator)
    return f"Name the {KINDS[slot]} in the sentence.", text, word


def _area(generator: random.Random) -> Task:
    area = generator.choice(list(STATEMENTS))
    return "Name the area.", fill(generator.choice(STATEMENTS[area]), generator), area


def _gap(generator: random.Random) -> Task:
    words = _statement(generator).split()
    place = generator.randrange(1, len(words))
    shown = " ".join([*words[:place], "...", *words[place + 1 :]])
    return f"Fill the gap with {words[place]} or {_words(generator, 1)[0]}.", shown, words[place]


TASKS: tuple[Callable[[random.Random], Task], ...] = (
    _repeat,
    _last_word,
    _first_words,
    _reverse,
    _spell,
    _longer,
    _kind,
    _find,
    _area,
    _gap,
)
"""Word tasks, drawn evenly."""
