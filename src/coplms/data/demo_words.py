"""The demo's vocabulary, and sentences made of it."""

import random
import re

WORDS: dict[str, tuple[str, ...]] = {
    name: tuple(words.split(", "))
    for name, words in {
        "person": "maria, peter, anna, tom, lena, david, nora, max, emma, paul, sofia, jack, "
        "ida, omar, rosa, felix",
        "city": "paris, london, rome, berlin, madrid, vienna, oslo, athens, dublin, lisbon, "
        "prague, zurich, boston, chicago",
        "dish": "pasta, tomato soup, pizza, apple pie, rice, pancakes, lentil stew, salad, "
        "curry, fish tacos, mushroom risotto, noodles, burgers, bean chili",
        "food": "milk, bread, eggs, butter, sugar, flour, cheese, onions, apples, bananas, "
        "carrots, chicken, salt, lemons",
        "drink": "coffee, tea, water, juice, lemonade, cocoa",
        "dose": "two cups, three spoons, half a liter, one pound, five ounces, ten grams, "
        "four pints, six cups",
        "unit": "grams, ounces, liters, cups, spoons, pints",
        "restaurant": "the corner bistro, blue lagoon, the old mill, casa verde, the golden fork, "
        "green garden, the river grill",
        "day": "monday, tuesday, wednesday, thursday, friday, saturday, sunday, tomorrow",
        "time": "noon, eight, seven thirty, six in the evening, nine in the morning, "
        "half past two, five, quarter to ten, midnight",
        "minutes": "five minutes, ten minutes, half an hour, twenty minutes, an hour, "
        "ninety seconds, two hours",
        "number": "two, three, four, five, six, seven, eight, ten",
        "money": "twenty dollars, fifty dollars, a hundred dollars, ten euros, eighty euros, "
        "two hundred euros, thirty pounds",
        "bill": "phone, water, power, rent, gas, internet, heating, insurance",
        "account": "savings, checking, joint, business",
        "song": "summer rain, blue moon, the long road, dancing light, silver river, paper hearts, "
        "city of stars, morning train",
        "band": "the red foxes, night parade, the little giants, ocean drive, the paper boats, "
        "golden hour, the wild geese",
        "genre": "jazz, rock, folk, classical, pop, soul, country",
        "mood": "running, dinner, party, sleep, morning, road",
        "room": "the small room, room four, the blue room, the main hall, my office",
        "topic": "the budget, the new website, sales, the project, the contract, hiring, "
        "the launch",
        "file": "report, contract, summary, invoice, letter, plan, handout",
        "body": "head, back, knee, stomach, throat, shoulder, neck, foot, ear",
        "medicine": "aspirin, vitamins, allergy pills, cough syrup, insulin, eye drops, "
        "heart tablets, antibiotics",
        "doctor": "dentist, doctor, eye doctor, skin doctor, nurse, family doctor, surgeon",
        "sport": "running, swimming, cycling, skating, skiing, rowing, walking, climbing",
    }.items()
}
"""Slot -> what may stand in it."""

COMMAND_OPENINGS = (
    *("", "", "", "please", "please", "could you", "can you", "would you", "i want you to"),
    *(
        "i need you to",
        "hey please",
        "could you please",
        "ok now",
        "be so kind and",
        "go ahead and",
    ),
)
"""What may stand before a command."""

OTHER_OPENINGS = (
    *("", "", "", "", "hey", "hi", "hello", "ok", "so", "well", "um", "listen", "excuse me"),
    *("one question", "good morning", "sorry"),
)
"""What may stand before a question or a statement."""

ENDINGS = (
    *("", "", "", "", "", "", "please", "thanks", "thank you", "right now", "if you can", "ok"),
    *("as soon as possible", "when you have a moment", "my friend", "this time"),
)
"""What may stand at the end."""

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


def fill(pattern: str, generator: random.Random) -> str:
    """Sentence of a pattern: choices made, slots filled, a slot that occurs twice differently.

    >>> fill("!play [the|the] song", random.Random(0))
    'play the song'
    """
    text = _CHOICE.sub(lambda match: generator.choice(match[1].split("|")), pattern)
    used: set[str] = set()

    def word(match: re.Match[str]) -> str:
        chosen = generator.choice([word for word in WORDS[match[1]] if word not in used])
        used.add(chosen)
        return chosen

    return " ".join(_SLOT.sub(word, text.removeprefix("!")).split())
