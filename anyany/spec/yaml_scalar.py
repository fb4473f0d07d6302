"""What an unquoted scalar means: YAML 1.2's core schema, with a finding wherever YAML 1.1 differs.

Source: YAML 1.2.2, section 10.3.2; the YAML 1.1 type repository for bool, int, float and timestamp.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SWITCHES = frozenset(
    form for word in ("on", "off", "yes", "no", "y", "n") for form in (word, word.capitalize(), word.upper())
)
_ON = frozenset(("on", "yes", "y"))
_NOT_NUMBERS = frozenset(("nan", "inf", "infinity"))
FIRST = frozenset("+-.0123456789~nNtTfFyYoOiI")
"""First characters of every scalar that is, or may be taken for, something else than text."""

_INT = r"[-+]?[0-9]+"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
_FLOAT_EVERYWHERE = r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?"
_ODD_NUMBER = r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9_]+)?)"
_SEXAGESIMAL = r"[-+]?[0-9]+(?::[0-5]?[0-9])+(?:\.[0-9]*)?"
_DATE = r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1


class Finding(NamedTuple):
    """Something to tell about a scalar: a code of the catalogue, a message, and an action."""

    code: str
    message: str
    help: str


class Scalar(NamedTuple):
    value: bool | int | float | str | None
    finding: Finding | None = None


def resolve(text: str) -> Scalar:
    """The value of an unquoted scalar, and what is worth telling about it."""
    if text == "":
        return Scalar(None)
    if text[0] not in FIRST:
        return Scalar(text)
    if text in _NULLS:
        return Scalar(None)
    if text in _BOOLS:
        return Scalar(_BOOLS[text])
    if text in _SWITCHES:
        truth = "true" if text.lower() in _ON else "false"
        return Scalar(
            text,
            Finding(
                "E027",
                f"`{text}` is a boolean to some YAML tools and text to others",
                f'write `{truth}` for a switch, or `"{text}"` for the text',
            ),
        )
    if text[0] in "+-.0123456789":
        return _number_like(text)
    return Scalar(text, _words(text))


def _words(text: str) -> Finding | None:
    word = text.lstrip("+-").lower()
    if word not in _NOT_NUMBERS:
        return None
    meant = (
        "leave the option out if not-a-number is meant"
        if word == "nan"
        else (f"write `{'-' if text[0] == '-' else ''}.inf` for infinity")
    )
    return Finding("W004", f"`{text}` is read as text", f'{meant}, or `"{text}"` for the text')


def _number_like(text: str) -> Scalar:
    bare = text[1:] if text[0] in "+-" else text
    if bare.isdecimal() and bare.isascii():
        return _whole(text, bare)
    if re.fullmatch(r"0o[0-7]+", text):
        return _sized(
            text,
            int(text[2:], 8) if len(text) < 40 else None,
            Finding(
                "W003",
                f"`{text}` is octal here and text to some YAML tools",
                "write it in decimal digits",
            ),
        )
    if re.fullmatch(r"0x[0-9a-fA-F]+", text):
        return _sized(text, int(text, 16) if len(text) < 40 else None, None)
    if re.fullmatch(_FLOAT, text):
        return _fraction(text)
    if bare.lower() == ".inf" and bare[1:] in ("inf", "Inf", "INF"):
        return Scalar(float("-inf") if text[0] == "-" else float("inf"))
    if text in (".nan", ".NaN", ".NAN"):
        return Scalar(float("nan"), Finding("E031", f"`{text}` is not a number", "write a number, or leave it out"))
    return Scalar(text, _odd(text))


def _odd(text: str) -> Finding | None:
    """Text that only YAML 1.1 tools take for a number, a time or a date."""
    quoted = f'write `"{text}"` to make clear that it is text'
    if re.fullmatch(_SEXAGESIMAL, text):
        return Finding("W003", f"`{text}` is text here and a number in base 60 to some YAML tools", quoted)
    if re.fullmatch(_DATE, text, re.DOTALL):
        return Finding("W003", f"`{text}` is text here and a date to some YAML tools", quoted)
    if re.fullmatch(_ODD_NUMBER, text):
        help = f'write it in plain decimal digits, or `"{text}"` for the text'
        return Finding("E029", f"`{text}` is a number to some YAML tools and text to others", help)
    return _words(text)


def _whole(text: str, bare: str) -> Scalar:
    value = int(text) if len(text) <= 20 else None
    if len(bare) > 1 and bare[0] == "0":
        plain = bare.lstrip("0") or "0"
        return _sized(
            text,
            value,
            Finding(
                "E028",
                f"`{text}` is octal to some YAML tools and decimal to others",
                f'write `{plain}`, or `"{text}"` for the text',
            ),
        )
    return _sized(text, value, None)


def _sized(text: str, value: int | None, finding: Finding | None) -> Scalar:
    if value is None or not _SMALLEST <= value <= _LARGEST:
        return Scalar(0, _too_large(text))
    return Scalar(value, finding)


def _too_large(text: str) -> Finding:
    shown = text if len(text) <= 24 else text[:20] + "…"
    return Finding("E030", f"`{shown}` is too large for a number", "write a smaller number, or quote it if it is text")


def _fraction(text: str) -> Scalar:
    """A number with a dot or an exponent, in a form that YAML 1.2 knows."""
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return Scalar(0.0, _too_large(text))
    if re.fullmatch(_FLOAT_EVERYWHERE, text):
        return Scalar(value)
    return Scalar(
        value,
        Finding(
            "W001",
            f"`{text}` is a number here and text to some YAML tools",
            f"write `{portable_float(text)}`",
        ),
    )


def portable_float(text: str) -> str:
    """A float literal that YAML 1.1 and 1.2 both read as a number: `1e-4` becomes `1.0e-4`."""
    mantissa, e, exponent = text.lower().partition("e")
    if "." not in mantissa:
        mantissa += ".0"
    if e and exponent[0] not in "+-":
        exponent = "+" + exponent
    return mantissa + e + exponent


def odd_key(text: str) -> Finding | None:
    """What is worth telling about an unquoted key. Keys are always text; `y` and `n` are let pass."""
    if text in _NULLS:
        return Finding("E032", "a key must be a name, and this one is empty", "write a name before the colon")
    if text[0] not in FIRST or (len(text) == 1 and text.isalpha()):
        return None
    if text in _BOOLS or text in _SWITCHES:
        return Finding("W002", f"the key `{text}` is text here and a boolean to some YAML tools", f'write `"{text}":`')
    if text[0] in "+-.0123456789" and (re.fullmatch(_INT, text) or re.fullmatch(_FLOAT, text)):
        return Finding("W002", f"the key `{text}` is text here and a number to some YAML tools", f'write `"{text}":`')
    return None
