"""Texts and pictures that an added model is tried on: some 200 captions, and pictures built like photographs."""

from __future__ import annotations

import html

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

CAPTIONS = """\
a dog on a beach
two children play football in the park
a red bicycle leaning against a brick wall
an old man reads a newspaper on a bench
a plate of spaghetti with tomato sauce
snow covered mountains under a clear sky
a black cat asleep on a windowsill
people waiting for a train at night
a bride and groom cut their wedding cake
a surfer rides a large wave
a bowl of strawberries on a wooden table
a woman in a yellow raincoat
traffic jam on a city street
a horse gallops across a field
a child blows out birthday candles
the skyline of a city at sunset
a white sailing boat on calm water
a man climbs a steep rock face
a kitchen with white cupboards
close-up of a bee on a flower
a girl jumps into a swimming pool
a fire engine parked outside a station
a cup of coffee beside a laptop
fog over a forest in the morning
a skateboarder grinds along a rail
an elephant drinks from a river
a crowd at a concert with raised hands
a stack of old books
a lighthouse on a rocky coast
a boy feeds pigeons in a square
a train crosses a stone bridge
a slice of pizza on a paper plate
a baby laughs in a high chair
a basketball player dunks the ball
a narrow alley with laundry hung above it
a receipt from a supermarket
an empty classroom with wooden desks
a dog catches a frisbee
a couple walks hand in hand along a pier
a tractor ploughs a field
autumn leaves on a wet pavement
a parrot with bright feathers
a group of hikers rests on a ridge
a motorcycle in front of a diner
a glass of orange juice
a museum hall with marble statues
a woman plays the violin
lightning over a dark sea
a bus stop in the rain
a sleeping puppy in a basket
a chef slices vegetables
a hot air balloon above a valley
a wooden cabin in the snow
a cyclist races down a hill
a market stall full of fruit
a zebra beside a water hole
a tennis player serves
a living room with a grey sofa
a full moon behind clouds
a toddler builds a tower of blocks
an aeroplane lands at dusk
a rusty anchor on a dock
a bunch of pink roses
a rabbit in tall grass
a man repairs a car engine
a frozen waterfall
an astronaut floats above the earth
a subway station with tiled walls
a goat stands on a rock
a pair of worn leather boots
a fisherman throws a net
a desert with rippled sand dunes
a cheeseburger and chips
a street musician plays the accordion
a penguin walks across the ice
students write an exam
a vineyard on a hillside
a toy robot on a shelf
a swan with its young
a construction crane against the sky
a bathroom with blue tiles
a team celebrates a goal
a spider in its web
a campfire under the stars
a ferry leaves the harbour
a grandmother knits a scarf
an owl on a branch
a snowman with a carrot nose
a row of colourful houses
a gymnast on a balance beam
a bowl of ramen with an egg
a squirrel holds a nut
a violinist in an orchestra
a waterwheel beside a mill
a red telephone box
a nurse checks a patient
a field of sunflowers
a jeep drives through mud
a chess board in mid game
a diver among coral
a rainbow above a farm
a carpenter planes a board
a bear catches a salmon
a staircase seen from above
a carousel at a fair
a birthday card with glitter
a ginger cat looks into a fish tank
a suspension bridge in fog
a man in a suit looks at his phone
a clothes line with white sheets
an ice cream cone melts in the sun
a volcano with a plume of smoke
a cow looks over a fence
a library with tall shelves
a kite above the dunes
two people dance in a kitchen
a candle on a window ledge
a shark near the surface
a parking lot from the air
a handwritten letter
a woman waters her plants
a rowing team on a lake
a cave with stalactites
a turtle crosses the sand
a neon sign in a bar window
a wheelbarrow full of soil
a soldier salutes
a tray of sushi
a foggy harbour with cranes
a lamb in spring grass
an escalator in a shopping centre
a boy with a magnifying glass
a hammock between two palms
a helicopter above a hospital
a mosaic on a church floor
a deer at the edge of a wood
a barber cuts a boy's hair
a map spread on a car bonnet
a waterfall in a jungle
a potter shapes a bowl
a football stadium at night
a hedgehog curled up
a shelf of spice jars
a snowboarder in the air
a windmill beside a canal
a lizard on a warm stone
a teddy bear on a bed
a protest march with banners
a glass building reflects clouds
an avocado cut in half
a dentist at work
a wolf in the snow
a vintage car at a show
a girl braids her sister's hair
a pond with water lilies
a keyboard covered in dust
a farmer holds a chicken
a tunnel lit by lamps
a cathedral with stained glass
a jar of honey
a runner crosses the finish line
a bat hangs upside down
a picnic on a chequered blanket
a beach hut painted blue
a scientist looks into a microscope
a row of parked scooters
a whale's tail above the sea
a pumpkin carved with a face
a balcony with geraniums
a security guard at a gate
a peacock spreads its tail
the dashboard of a car at night
a child with a missing tooth
rain runs down a window
a loaf of bread on a board
a judge in a courtroom
a kangaroo in dry grass
a quiet street lined with trees
a magician pulls a card from a deck
an oil painting of a ship
a goalkeeper dives
a sandcastle near the waves
a flock of geese in flight
a bowl of soup with parsley
a blacksmith strikes hot iron
a greenhouse full of tomatoes
a monkey eats a banana
a plumber under a sink
dogs bark while a car drives by
rain falls and thunder rolls
a man speaks while birds sing
an engine idles and then revs
water pours into a sink
a crowd claps and cheers
footsteps on gravel
a bell rings three times
a keyboard clicks in a quiet room
wind blows through leaves
a baby cries while a woman talks
a door creaks and slams shut
waves crash against rocks
a siren passes in the distance
""".splitlines()

# What trips tokenizers: scripts, emoji, entities, control characters, blanks, length.
AWKWARD = [
    "",
    " ",
    "\t\n",
    "a",
    "!",
    "...",
    "A DOG ON A BEACH",
    "  spaces   inside\tand\naround  ",
    "fish &amp; chips &lt;b&gt; &#39;quoted&#39; &amp;amp;",
    "it's they're we've I'm she'll he'd DON'T",
    "3 cats, 12 dogs and 1,000,000 ants (2024-01-31)",
    "naïve café São Paulo Ångström",
    "Die Straße nach Köln über die Brücke",
    "собака на пляже",
    "σκύλος στην παραλία ΟΔΟΣ",
    "海滩上的狗",
    "ビーチにいる犬",
    "해변의 개",
    "كلب على الشاطئ",
    "कुत्ता समुद्र तट पर",
    "สุนัขบนชายหาด",
    "🐶🏖️ 👩‍👩‍👧‍👦 🇫🇷 ❤️",
    "schÃ¶n mis-decoded â€œquotesâ€\x9d",
    "“curly” ‘quotes’ — dashes – and… dots",
    "ﬁne ﬂuid ligatures ＦＵＬＬ ｗｉｄｔｈ",
    "zero\u200bwidth and soft\u00adhyphen and nbsp\u00a0here",
    "null\x00 and bell\x07 and escape\x1b[31m red",
    "e\u0301 combining, İstanbul, ǅ, ß, ﬀ",
    "<start_of_text> a dog <end_of_text>",
    "http://example.com/a?b=c&d=e#f",
    "C:\\photos\\dog_01.JPG #beach @home 50% $5 a+b=c",
    "snake_case and kebab-case and CamelCase",
    "x" * 300,
    "word " * 200,
    "a, b; c: d! e? f. " * 30,
    "㍿ ① ² ½ ™ ℃",
]


def probes() -> list[str]:
    """Over 500 texts, plain and awkward, that two tokenizers of one model must agree on."""
    shouted = [caption.upper() for caption in CAPTIONS[::2]]
    quoted = [html.escape(f'  "{caption}"  & more\n') for caption in CAPTIONS[1::2]]
    numbered = [f"{i}. {caption.title()}'s #{i * 37} 🐾" for i, caption in enumerate(CAPTIONS[::2])]
    return [*CAPTIONS, *AWKWARD, *shouted, *quoted, *numbered]


def pictures(count: int, *, seed: int = 0) -> list[Image.Image]:
    """RGB pictures of many sizes, 40 to 640 pixels a side: shapes on noise with the spectrum of photographs."""
    rng = np.random.default_rng(seed)
    return [_picture(rng) for _ in range(count)]


def _picture(rng: np.random.Generator) -> Image.Image:
    width, height = (int(side) for side in rng.integers(40, 641, size=2))
    picture = Image.fromarray(_noise(rng, height, width))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(1, 8)):
        left, top, right, bottom = (rng.random(4) * (width, height, width, height)).tolist()
        box = (left, top, left + right, top + bottom)
        colour = tuple(rng.integers(0, 256, size=3).tolist())
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return picture


def _noise(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """(H, W, 3) noise whose amplitude falls as 1/f, as it does in natural scenes (Field, 1987)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    frequency[0, 0] = np.inf
    white = np.fft.rfft2(rng.normal(size=(3, height, width)))
    noise = np.fft.irfft2(white / frequency, s=(height, width))  # (3, H, W)
    scaled = noise / noise.std(axis=(1, 2), keepdims=True)
    level = rng.uniform(60, 190, size=(3, 1, 1)) + rng.uniform(20, 60) * scaled
    return np.ascontiguousarray(np.clip(level, 0, 255).transpose(1, 2, 0), np.uint8)
