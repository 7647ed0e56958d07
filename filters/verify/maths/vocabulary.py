"""Words that may follow a number, by what they say of it."""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """The words of a text between blanks."""
    return frozenset(text.split())


THINGS = word_set("""
adult animal answer ant apartment apple arrangement atom award bacteria bag ball balloon banana
bar barrel basket battery bead bean bear beaver bed bee berry bicycle bike bill bird block blouse
boat bolt book bottle bowl box boy branch bread brick bridge bucket building bulb bunnies bunny
burger bus buses bush bushel butterfly button cake call camper campers can candidate candy car
card carrot case cat cell chair chapter character cherry chicken child children chip chocolate
choice circle citizen class client code coin color colour column combination computer container
contestant cookie corner cow crab crate crayon crow cube cup cupcake customer dancer desk diagonal
digit divisor dog doll donut door doughnut dress drink driver duck edge egg electron element
elephant employee eraser exam face factor family fan fish flip floor flower folder freshman friend
frog function game gene gift girl glass glove goal goat grade grape graph group guest handshake
hat hen hiker hit horse house integer intersection item jacket jar job juice junior key kid kitten
lamp lap laptop layer leaf leaves lemon lesson letter level light line lion loaf loss machine
magazine man mango marble mark marker match matrices matrix meal medal meeting melon member men
message method mice minivan molecule monkey mouse move movie muffin multiple nail neighbor
newspaper nickel night node note notebook number nut object option orange order outcome pack
package packet page painting pancake paper paragraph park part particle passenger password path
pattern peach pear pen pencil penny people permutation person phone photo photon picture pie piece
pig pile pizza plane plant plate player point polygon possibility poster potato present prime
prize problem project proton pupil puppies puppy question quiz rabbit ray rectangle region
resident ride rider road robot rock roll room root rose round route row run runner sailor sample
sandwich screw seat seed segment senior sentence sequence set share sheep sheet shelf shell
shelves ship shirt shoe shot show side singer slice snack snake sock soldier solution song
sophomore spider stack stamp state step stick sticker stock stone street strike string student
subset sweet swimmer symbol table tank task teacher team term test thing ticket tie tiger tile
time tire token tomato tool toss toy train tray tree trial triangle trip triple trolley trophy
t-shirt truck tulip tuple turn turtle unit value vase vertex vertices video visit visitor vote voter
wall way wheel win window woman women word worker 个 人 只 名 岁 张 支 本 条 棵 次 种 辆 页
""")
"""Things that are counted: they say nothing about the number before them."""

PLAIN = word_set("""
big black blue brown different distinct full green large new of old orange pink positive possible
purple real red school small total white whole yellow
""")
"""Adjectives that may stand before a thing."""

SAYING = word_set("""
all and any are as at be between but by do does each every for from had has have high if in is may
maybe must no not on or otherwise should tall than then to was were when where wide will with
without yes
""")
"""Words of sentences: what follows a number then is no unit."""
