"""The demo's requests: domain -> intent -> sentence patterns, written for coplms.

Patterns are separated by " / ". `{slot}` is filled from `demo_words.WORDS`, `[a|b]` is one of
several wordings (one may be empty), and `!` marks a command, which takes other openings than
questions and statements do. Intents of different domains share verbs and nouns on purpose.
"""

REQUESTS: dict[str, dict[str, str]] = {
    "kitchen": {
        "find a recipe": """
            !find [me|us] a [good|simple|new|] recipe for {dish} / how do i [make|cook|prepare]
            {dish} / !show me how to [cook|make] {dish} / i [want|would like] to cook {dish} but
            do not know how / what goes into {dish} / which ingredients do i need [for|to make]
            {dish} / what can i [cook|make] with {food} and {food} / !look up the steps for
            [home made|fresh|] {dish} / is there [an easy|a quick] way to make {dish} at home /
            !tell me what to cook with {food} / do you know a recipe with {food} / !teach me to
            prepare {dish} for {number} people / my {dish} never works how is it done / what
            shall we cook on {day}""",
        "convert units": """
            how many {unit} are {dose} / !convert {dose} to {unit} / what is {dose} in {unit} /
            !change {dose} [of {food}|] into {unit} / how much is {dose} of {food} in {unit} / i
            need {dose} of {food} in {unit} / !turn {dose} into {unit} / how many {unit}
            [make|give] {dose} / my recipe says {dose} but i measure in {unit} / !tell me {dose}
            in {unit} / {dose} of {food} is how many {unit} / do you know how many {unit} are in
            {dose}""",
        "set a timer": """
            !set a timer for {minutes} / !start a [kitchen|] timer of {minutes} / !remind me in
            {minutes} to check the [oven|stove|{dish}] / !wake me when {minutes} are over / the
            {dish} needs {minutes} [tell me when it is done|so start counting] / !count down
            from {minutes} / !ring in {minutes} [for the {dish}|] / i need a [new|] timer of
            {minutes} for the {dish} / !let me know after {minutes} / !time the {dish} for
            {minutes} / timer {minutes} / can a timer run for {minutes}""",
        "add to shopping list": """
            !add {food} to [my|the|our] shopping list / !put {food} and {food} on the
            [shopping|] list / we [are out of|have no more] {food} [put it on the list|] /
            !write {food} on the list / i have to buy {food} and {drink} / !note that we need
            {food} from the store / the {food} is [gone|empty] so we must buy some / !remember
            to get {food} at the store / add {dose} of {food} to the list / there is no {food}
            left in the [kitchen|house] / !include {food} in [what we have to buy|my shopping] /
            next time we shop we need {drink}""",
        "book a table": """
            !book a table [at {restaurant}|] for {number} [people|] / !reserve a table for {day}
            at {time} / i [want|would like] a table at {restaurant} / is there a table free at
            {restaurant} on {day} / we are {number} people and want to eat at {restaurant} /
            !get us a place at {restaurant} for {time} / !call {restaurant} and reserve for
            {number} / can we eat at {restaurant} at {time} / !make a reservation at
            {restaurant} [under {person}|] / table for {number} at {time} / does {restaurant}
            have seats for {number} on {day} / dinner at {restaurant} with {person} on {day}
            [needs a reservation|]""",
    },
    "travel": {
        "book a flight": """
            !book a flight to {city} / !find me a [cheap|direct|] flight from {city} to {city} /
            i [need| want] to fly to {city} on {day} / !get me on a plane to {city} / which
            planes go to {city} on {day} / !reserve [a seat|{number} seats] on the plane to
            {city} / !buy a plane ticket to {city} / are there flights from {city} to {city} /
            {person} and i want to fly from {city} to {city} / how much is a flight to {city} /
            i am looking for a plane from {city} on {day} / one way to {city} by plane [on
            {day}|]""",
        "book a hotel": """
            !book a [hotel|room] in {city} / i need a place to sleep in {city} / !find a hotel
            in {city} for {number} nights / !reserve a [double|single|] room in {city} from
            {day} / where can i stay in {city} / is there a [cheap|nice|quiet] hotel near the
            center of {city} / how much is a hotel room in {city} / !get us beds for {number}
            nights in {city} / {person} needs a room in {city} on {day} / we will stay in {city}
            until {day} [and need a hotel|] / !look for rooms in {city} / which hotels in {city}
            are free on {day}""",
        "cancel a trip": """
            !cancel my [trip|flight|journey] to {city} / i [can not|will not] travel to {city}
            on {day} / we are not going to {city} [any more|after all] / !call off the trip to
            {city} / !drop my [hotel and flight|bookings] for {city} / how do i cancel my hotel
            in {city} / i want my money back for the flight to {city} / {person} is ill so no
            trip to {city} / !take back the booking for {city} / my journey to {city} must be
            cancelled / i changed my mind about [flying|going] to {city} / !undo my reservation
            for the plane on {day}""",
        "change a seat": """
            !change my seat on the [plane|flight|train] / !give me a window seat / i would like
            to sit [at the window|in the front|near {person}] on the flight / can i have another
            seat on the plane to {city} / !move me to [an aisle seat|the front row] / !put
            {person} and me next to each other on the plane / i do not like my seat [to {city}|]
            / is a window seat still free on the flight / !switch my place on the train to
            {city} / my seat is too [small|loud] can i move / what does a better seat cost /
            aisle instead of window for the flight to {city}""",
        "ask travel time": """
            how long [is|does it take to get] from {city} to {city} / when will i be in {city} /
            how far is {city} from {city} / how many hours is the flight to {city} / !tell me
            the travel time to {city} / how long do i have to drive to {city} / will i reach
            {city} by {time} / what time do we arrive in {city} / how much time do i need
            [to|for] {city} by train / if i leave at {time} when am i in {city} / is it a long
            way to {city} / the train to {city} takes how long""",
    },
    "bank": {
        "check balance": """
            how much money [is in|do i have in] my {account} account / what is [my balance|the
            balance of my {account} account] / !show me my [bank|{account}] account / !check the
            balance of my {account} account / am i [broke|in the red] / do i have {money} left /
            can i afford {money} [on {day}|] / !tell me what is left in my {account} account /
            is there enough money for {money} / how rich am i in my {account} account / what
            does my {account} account hold / !look at how much i have at the bank""",
        "send money": """
            !send {money} to {person} / !transfer {money} from my {account} account to {person}
            / i owe {person} {money} [send it|] / !give {person} {money} from my account / !move
            {money} to my {account} account / can i send money to {person} / !wire {money} to [a
            friend|{person}] in {city} / {person} should get {money} from me / i want to pay
            {person} back / !put {money} into my {account} account / how do i transfer {money}
            to {city} / my friend {person} needs {money} from my {account} account""",
        "pay a bill": """
            !pay my {bill} bill / i [want|have] to pay the {bill} [bill|company] / !settle the
            {bill} bill with my {account} account / the {bill} bill is due on {day} [pay it|] /
            !take care of my {bill} bill / can i pay for {bill} from my {account} account / how
            much is my {bill} bill / !use my {account} account for the {bill} bill / did we pay
            the {bill} bill / my {bill} bill of {money} came / !clear what i owe for {bill} /
            the {bill} people want {money} by {day}""",
        "block a card": """
            !block my [credit|bank|debit|] card / i lost my [card|wallet] in {city} / my card
            was stolen [on {day}|in {city}] / !stop all payments with my card / !freeze my
            {account} card / someone used my card for {money} / i can not find my credit card /
            !lock the card of {person} / my purse is gone with the card in it / !cancel my
            [lost|stolen] card / a thief has my [card|wallet] / do not accept my card any more i
            lost it""",
        "change my pin": """
            !change [my|the] pin [of my card|] / i need a new pin / i forgot [my pin|the number
            of my card] / !set a new pin for my {account} card / how do i [get|choose] another
            pin / !give me a new code for my card / my pin does not work [at the bank|any more]
            / {person} knows my pin so i need another / !reset the code of my card / can i pick
            my own pin / the machine says my code is wrong / !replace the secret number of my
            {account} card""",
    },
    "music": {
        "play a song": """
            !play {song} [by {band}|] / i [want|would like] to hear {band} / !put on [some|]
            {genre} [music|] / !start {song} / some {genre} [music|] for {mood} / !let me listen
            to {song} / can we have {genre} music / it is time for {song} / !turn on {genre} for
            the {mood} / what about {song} by {band} / i am in the mood for {genre} / do you
            have something by {band}""",
        "skip a song": """
            !skip this [song|one] / next song / i do not like {song} / !play the next [one|song]
            / !go to the next track / not {song} again / i have heard {song} too often / !jump
            over {song} / this song is boring [next|] / {band} is awful take another / !pass on
            this {genre} song / enough of {band} play something else""",
        "add to playlist": """
            !add {song} to my {mood} playlist / !put {song} on [the|my] {mood} playlist / !save
            this song to my {mood} list / i want {song} in my {mood} [playlist|mix] / {song}
            belongs on my {mood} playlist / !include {band} in the {mood} playlist / !remember
            this song for my {mood} mix / !keep {song} for [later|my {mood} list] / can you put
            {band} on a list / my {mood} playlist needs {song} / !store {song} with my {mood}
            songs / this one goes to the {mood} list""",
        "buy concert tickets": """
            !buy [{number} tickets|a ticket] for {band} / i want to see {band} in {city} / !get
            tickets for the {genre} concert / when does {band} play in {city} / !book seats for
            the show of {band} / how much is a ticket for {band} / is {band} coming to {city} /
            are there tickets left for {band} on {day} / {person} and i want to see {band} live
            / !reserve {number} seats at the {genre} concert / does the concert in {city} cost
            more than {money} / we would love to go to the show on {day}""",
        "change the volume": """
            !turn [it|the music] [up|down] / !make {song} [louder|quieter] / the music is too
            [loud|quiet] / !change the volume to {number} / !set the volume [to
            {number}|lower|higher] / i can not hear {song} / {person} is asleep so play it
            softly / a bit [louder|quieter] / !lower the sound [of the {genre} music|] / my ears
            hurt from {band} / !raise the volume [for {song}|] / can i have it less loud""",
    },
    "office": {
        "plan a meeting": """
            !plan a meeting [with {person}|] on {day} / !set up a meeting about {topic} / !book
            {room} for a meeting [at {time}|] / i need to meet {person} about {topic} / when can
            {person} and i talk about {topic} / !put a meeting with {person} on my calendar /
            !find a time to talk with {person} / let us meet at {time} in {room} / is {person}
            free on {day} / !invite {person} to talk about {topic} / we should discuss {topic}
            on {day} / can {room} be reserved for {topic}""",
        "cancel a meeting": """
            !cancel the meeting [with {person}|about {topic}] / !call off my meeting at {time} /
            i can not meet {person} on {day} / !drop the {day} meeting / !take the meeting about
            {topic} off my calendar / we do not need to talk about {topic} [any more|] /
            {person} is ill so no meeting on {day} / !delete my meeting in {room} / how do i
            cancel {room} / the meeting at {time} will not happen / !tell {person} that i can
            not come to the meeting / nobody has time for the meeting about {topic}""",
        "send a message": """
            !send a message to {person} / !write {person} that i am late / !tell {person} [about
            {topic}| the {file} is ready] / !text {person} that the train is late / !let
            {person} know about {topic} / i want to write to {person} / !mail the {file} to
            {person} / !send the {file} to {person} / {person} should hear about {topic} /
            !answer {person} with yes / can you forward the {file} to {person} / !drop {person}
            a line about {topic}""",
        "ask for leave": """
            i want to take {day} off / !ask for a day off on {day} / can i have a free day on
            {day} / i need {number} days off [for my trip to {city}|] / how many days off do i
            have left / i will not work on {day} / !request leave from {day} / !tell the boss
            that i take {number} free days / i would like a holiday in {city} from {day} / may i
            stay home on {day} / how much holiday do i still have / !enter my vacation from
            {day} to {day}""",
        "print a file": """
            !print the {file} [about {topic}|] / !print {number} copies of the {file} / i need
            the {file} on paper / can you make copies of the {file} / !run the {file} through
            the printer / the {file} for {person} must be printed by {time} / !get me a paper
            copy of the {file} / !give {person} a printed {file} / the [slides|letter] about
            {topic} should be on paper / is the printer free for my {file} / !put the {file} on
            paper for {person} / i want to hold the {file} in my hands""",
    },
    "health": {
        "book a doctor": """
            !book a visit to the {doctor} / i need to see a {doctor} [on {day}|] / !make an
            appointment with the {doctor} for {day} / when is the {doctor} free / !get me a date
            with the {doctor} / can the {doctor} see {person} on {day} / does the {doctor} have
            time at {time} / !find a {doctor} in {city} / !call the {doctor} to reserve a visit
            / {person} should see the {doctor} / my {body} must be looked at by a {doctor} / is
            there a {doctor} near {city} for my {body}""",
        "cancel a visit": """
            !cancel my [visit|appointment] with the {doctor} / i can not come to the {doctor} on
            {day} / !call off the {doctor} on {day} / i feel better so i do not need the
            {doctor} / !drop my {day} appointment / how do i cancel the {doctor} / {person} will
            not see the {doctor} / my {body} is fine again no {doctor} [please|] / !tell the
            {doctor} i will not come / !delete my date with the {doctor} / the appointment at
            {time} with the {doctor} will not happen / !take back my visit to the nurse""",
        "refill medicine": """
            i need more {medicine} / !refill my {medicine} / !order [more|new] {medicine} / my
            {medicine} is [empty|gone|almost gone] / i am out of {medicine} / !get {person} a
            new pack of {medicine} / can i have another pack of {medicine} / the last {medicine}
            will be used on {day} / there is no {medicine} left / how much is a pack of
            {medicine} / !buy {medicine} at the pharmacy / we must get {medicine} before {day}""",
        "report pain": """
            my {body} hurts / i have [a pain|pains] in my {body} / my {body} [is sore|aches]
            [since {day}|] / there is something wrong with my {body} / !note that my {body}
            hurts / {person} says the {body} hurts / i fell on my {body} / it hurts when i move
            my {body} / why does my {body} hurt after {sport} / i hurt my {body} during {sport}
            / what helps against a sore {body} / i woke up with a bad {body}""",
        "log exercise": """
            !log {minutes} of {sport} / i did {minutes} of {sport} / !add {sport} to my exercise
            [log|list] / !write down that i did {sport} / i went {sport} with {person} for
            {minutes} / !record my {sport} / we were {sport} on {day} for {minutes} / !note
            {minutes} of {sport} / !save my {sport} from {day} / {minutes} of {sport} are done /
            i just came home from {sport} / how much {sport} is it if i add {minutes}""",
    },
}
"""Domain -> intent -> its patterns."""
