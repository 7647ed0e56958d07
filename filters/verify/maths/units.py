"""What is written after a number: units, currencies, counted things, scale words.

Names are resolved by a closed table to pint's units, and pint converts, in exact fractions. A word
in no table is a thing nobody knows: it is kept, and is never ignored in an answer.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, lru_cache
from typing import Any, NamedTuple

from filters.verify.maths.nodes import Unreadable
from filters.verify.maths.vocabulary import PLAIN, SAYING, THINGS, word_set

_UNITS = """
meter: 米 m meter meters metre metres
centimeter: 厘米 cm centimeter centimeters centimetre centimetres
millimeter: mm millimeter millimeters millimetre millimetres
micrometer: µm μm um micrometer micrometers micron microns | nanometer: nm nanometer nanometers
kilometer: 千米 公里 km kilometer kilometers kilometre kilometres | inch: in inch inches
foot: ft foot feet | yard: yd yard yards yds | mile: mi mile miles
decimeter: dm decimeter decimeters | light_year: ly lightyear lightyears
parsec: pc parsec parsecs | angstrom: Å angstrom angstroms | astronomical_unit: AU
second: 秒 s sec secs second seconds | minute: 分钟 min mins minute minutes
hour: 小时 h hr hrs hour hours | day: 天 day days d | week: week weeks wk wks
month: month months | year: 年 year years yr yrs | millisecond: ms millisecond milliseconds
microsecond: µs μs us microsecond microseconds | nanosecond: ns nanosecond nanoseconds
decade: decade decades | century: century centuries | gram: 克 g gram grams
kilogram: 千克 公斤 kg kilogram kilograms kilogramme kilogrammes kgs
milligram: mg milligram milligrams
microgram: µg μg microgram micrograms | metric_ton: t ton tons tonne tonnes
pound: lb lbs pound_mass pound pounds | ounce: oz ounce ounces
liter: 升 L l liter liters litre litres
milliliter: 毫升 mL ml milliliter milliliters millilitre millilitres
gallon: gal gallon gallons | quart: qt quart quarts | pint: pt pint pints | cup: cup cups
tablespoon: tbsp tablespoon tablespoons | teaspoon: tsp teaspoon teaspoons | fluid_ounce: floz
acre: acre acres | hectare: ha hectare hectares | degree: degree degrees deg \\degree
radian: rad rads radian radians | arcminute: arcmin arcminute
arcsecond: arcsec arcsecond arcseconds | kelvin: K kelvin kelvins
degC: °C \\degreeC celsius degreescelsius degreecelsius
degF: °F \\degreeF fahrenheit degreesfahrenheit degreefahrenheit | joule: J j joule joules
kilojoule: kJ kj kilojoule kilojoules | calorie: cal calorie calories
kilocalorie: kcal kilocalorie kilocalories | erg: erg ergs
electron_volt: eV electronvolt electronvolts | kilowatt_hour: kWh | MeV: MeV | keV: keV
GeV: GeV | newton: N newton newtons | kilonewton: kN kilonewton kilonewtons
dyne: dyn dyne dynes | watt: W watt watts | kilowatt: kW kw kilowatt kilowatts
megawatt: MW megawatt megawatts | horsepower: hp horsepower | volt: V volt volts | millivolt: mV
kilovolt: kV | ampere: A amp amps ampere amperes | milliampere: mA | ohm: Ω \\Omega ohm ohms
kiloohm: kΩ k\\Omega | coulomb: C coulomb coulombs | farad: F farad farads
henry: H henry henries | tesla: T tesla teslas | gauss: G gauss | weber: Wb weber webers
hertz: Hz hz hertz | kilohertz: kHz | megahertz: MHz | gigahertz: GHz
pascal: Pa pascal pascals | kilopascal: kPa | megapascal: MPa
atmosphere: atm atmosphere atmospheres | bar: bar bars | torr: torr | mmHg: mmHg
mole: mol mole moles | molar: molar | candela: cd | lumen: lm | lux: lx | becquerel: Bq
decibel: dB | bit: bit bits | byte: byte bytes B | kilobyte: KB kB | megabyte: MB | gigabyte: GB
mile/hour: mph | kilometer/hour: kph kmh kmph | knot: knot knots | revolution/minute: rpm
solar_mass: msun
meter: mètre mètres metro metros metri | centimeter: Zentimeter centimètre centimètres
centimeter: centímetro centímetros centimetri | millimeter: Millimeter millimètres milímetros
kilometer: Kilometer kilomètre kilomètres kilómetros quilômetros chilometri
second: Sekunde Sekunden seconde secondes segundo segundos secondi
minute: Minuten minuto minutos minuti | hour: Stunde Stunden heure heures hora horas ore
day: Tag Tage jour jours día días dia dias giorno giorni | kilogram: Kilogramm
liter: Liter litro litros litri | gram: Gramm gramme grammes gramos gramas grammi
"""
_MONEY = """
usd: dollar dollars usd USD \\$ buck bucks
usd/100: cent cents ¢
eur: euro euros € EUR
gbp: £ GBP quid
inr: ₹ rupee rupees rs Rs INR
jpy: ¥ yen JPY
cny: yuan CNY RMB rmb 元
krw: won ₩
"""
_CLOCK = {"am": "am", "pm": "pm", "a.m": "am", "p.m": "pm"}

SCALES = {
    "hundred": 10**2,
    "hundreds": 10**2,
    "thousand": 10**3,
    "thousands": 10**3,
    "lakh": 10**5,
    "lakhs": 10**5,
    "million": 10**6,
    "millions": 10**6,
    "crore": 10**7,
    "crores": 10**7,
    "billion": 10**9,
    "billions": 10**9,
    "trillion": 10**12,
    "trillions": 10**12,
    "dozen": 12,
    "dozens": 12,
    "score": 20,
    "gross": 144,
    "tens": 10,
    "万": 10**4,
    "亿": 10**8,
}
PERCENT = frozenset(("%", "percent", "pct", "percents", "percentage"))


_POWERS = {"square": 2, "sq": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}
_AFTER_POWERS = {"squared": 2, "cubed": 3}
_UNNAMED = "unit"
"""A unit that nobody names: 12 square units."""
_LENGTHS = word_set(
    "meter centimeter millimeter micrometer nanometer kilometer inch foot yard mile decimeter"
)


class Unit(NamedTuple):
    """Units by pint's names and powers, sorted; or a thing (`thing`, singular) in no table.

    `known`: it may be left out, because it says nothing about the number. `note`: it stood in
    brackets, which a reference may explain itself in and an answer may not.
    """

    powers: tuple[tuple[str, int], ...] = ()
    thing: str = ""
    known: bool = True
    note: bool = False


def _read(table: str) -> dict[str, str]:
    names = {}
    for line in table.strip().splitlines():
        for entry in line.split(" | "):
            unit, _, spelled = entry.partition(": ")
            for name in spelled.split():
                names[name] = unit
    return names


NAMES = _read(_UNITS)
NAMES |= {unit: unit for unit in NAMES.values() if "/" not in unit}
MONEY = _read(_MONEY)
CURRENCY_SIGNS = frozenset(("\\$", "€", "£", "₹", "¥", "¢"))


def is_unit_name(name: str) -> bool:
    """Whether a run of letters after a number is a unit or a scale rather than variables."""
    return (
        name in NAMES
        or name in MONEY
        or name in SCALES
        or name in PERCENT
        or name in _CLOCK
        or name in ("unit", "units")
        or name in ("sq", "cu", "per")
    )


def _caseless(name: str) -> str:
    """A word in small letters; an abbreviation as it is: M is no m."""
    return name.lower() if len(name) > 3 else name


@lru_cache(maxsize=4096)
def resolve(name: str) -> tuple[tuple[str, int], ...] | None:
    """A written name as pint's units and powers; None for a word in no table."""
    for prefix, power in (("平方", 2), ("立方", 3)):
        if name.startswith(prefix) and (inner := resolve(name[2:])) is not None:
            return tuple((unit, times * power) for unit, times in inner)
    found = NAMES.get(name) or NAMES.get(_caseless(name))
    if found is not None:
        top, _, bottom = found.partition("/")
        return ((top, 1), (bottom, -1)) if bottom else ((top, 1),)
    found = MONEY.get(name) or MONEY.get(_caseless(name))
    if found is not None:
        return ((found, 1),)
    return ((_CLOCK[name.lower()], 1),) if name.lower() in _CLOCK else None


def combine(parts: list[tuple[str, int]]) -> Unit | None:
    """The unit of (written name, power) parts; None where no part says anything.

    >>> combine([("km", 1), ("h", -1)]).powers
    (('hour', -1), ('kilometer', 1))
    """
    powers: dict[str, int] = {}
    things: list[str] = []
    for name, power in parts:
        if name.lower() in ("unit", "units"):
            powers[_UNNAMED] = powers.get(_UNNAMED, 0) + power
            continue
        resolved = resolve(name)
        if resolved is None:
            things.append(_singular(name.lower()))
            continue
        for unit, times in resolved:
            powers[unit] = powers.get(unit, 0) + times * power
    if powers and things and parts[0][0].lower() not in things and things[0] in ("of", "old"):
        things = []  # 5 ounces of flour, 12 years old: the unit says it all
    elif powers and things:
        powers, things = {}, [_singular(name.lower()) for name, _ in parts]  # candy bars
    kept = tuple(sorted((unit, power) for unit, power in powers.items() if power))
    if any(thing in SAYING or (not thing.isascii() and thing not in THINGS) for thing in things):
        raise Unreadable("words after a number")
    if powers and not kept and not things:
        raise Unreadable("units that cancel")  # s/s is no m/s left out
    if not things:
        return Unit(kept) if kept else None
    known = not kept and things[-1] in THINGS and all(t in THINGS | PLAIN for t in things)
    return Unit(kept, " ".join(things), known)


def _singular(word: str) -> str:
    if word.endswith("s") and word[:-1] in THINGS:
        return word[:-1]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses", "oes")):
        return word[:-2]
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word


@cache
def _registry() -> Any:
    """pint's units with exact factors, and currencies, which pint does not have."""
    import pint

    registry: Any = pint.UnitRegistry(non_int_type=Fraction, cache_folder=None)
    for currency in ("usd", "eur", "gbp", "inr", "jpy", "cny", "krw"):
        registry.define(f"{currency}_ = [{currency}_]")
    return registry


@lru_cache(maxsize=4096)
def factor(unit: Unit, other: Unit) -> Fraction | None:
    """How many of `other` one `unit` is; None where they measure different things.

    Raises nothing: temperatures and clock times convert to nothing but themselves.
    """
    for one, named in ((unit, other), (other, unit)):
        if one.powers == ((_UNNAMED, 1),) and _UNNAMED not in dict(named.powers):
            return Fraction(1)  # 5 units say as little as 5
    if unit.thing or other.thing:
        return Fraction(1) if (unit.powers, unit.thing) == (other.powers, other.thing) else None
    if unit.powers == other.powers:
        return Fraction(1)
    for one, named in ((unit, other), (other, unit)):
        if one.powers and one.powers[0][0] == _UNNAMED:
            lengths = sum(power for name, power in named.powers if name in _LENGTHS)
            others = [name for name, _ in named.powers if name not in _LENGTHS]
            alike = len(one.powers) == 1 and not others and lengths == one.powers[0][1]
            return Fraction(1) if alike else None
    if {"degree", "radian"} & {name for name, _ in (*unit.powers, *other.powers)}:
        return None  # π is in the factor: see `compare`
    from pint import errors

    try:
        one = _product(other)
        return Fraction(_product(unit).to(one.units).magnitude / one.magnitude)
    except (errors.PintError, KeyError, TypeError, ValueError):
        return None


def _product(unit: Unit) -> Any:
    registry = _registry()
    made = registry.Quantity(Fraction(1), "")
    for name, power in unit.powers:
        scale = Fraction(1)
        base, _, divisor = name.partition("/")
        if divisor:
            scale = Fraction(1, int(divisor))
        if base in ("am", "pm", "degC", "degF"):
            raise ValueError(name)
        base = base + "_" if base in ("usd", "eur", "gbp", "inr", "jpy", "cny", "krw") else base
        made = made * registry.Quantity(scale, base) ** power
    return made


_TEMPERATURES = {"celsius": "celsius", "centigrade": "celsius", "fahrenheit": "fahrenheit"}


def read_unit(words: list[tuple[str, int, int]]) -> tuple[int, bool, Unit | None] | None:
    """What follows a number: (scale, percent, unit). `words` are (name, power, sign) where sign is
    1 after a space or ·, -1 after / or "per". None where they are no unit.
    """
    scale, percent = 1, False
    parts: list[tuple[str, int]] = []
    pending = 1
    for position, (name, power, sign) in enumerate(words):
        lowered = name.lower()
        if lowered in SCALES and not parts:
            scale *= SCALES[lowered]
        elif lowered in PERCENT and len(words) == position + 1:
            percent = True
        elif lowered in _POWERS and position + 1 < len(words):
            pending = _POWERS[lowered]
        elif lowered in _AFTER_POWERS and parts and resolve(parts[-1][0]):
            parts[-1] = (parts[-1][0], parts[-1][1] * _AFTER_POWERS[lowered])
        elif lowered in _TEMPERATURES and parts and resolve(parts[-1][0]) == (("degree", 1),):
            parts[-1] = (_TEMPERATURES[lowered], 1)
        else:
            parts.append((name, sign * power * pending))
            pending = 1
    if percent and parts:
        return None
    return scale, percent, combine(parts)
