"""jsonargparse's message about a wrong config -> one line that the user can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

KINDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "list": "a list",
    "dict": "a mapping",
}


_VALUE = re.compile(
    r'Parser key "(?P<key>[^"]+)": (?P<wanted>.*?) (?:Got value|Given value type: .*Given value): (?P<value>.*)'
)


def plainly(message: str, names: Iterable[str]) -> str:
    """A message of the parser as one line in plain words.

    Args:
        message: The parser's message.
        names: Names of its flags, dotted, without dashes.
    """
    message = " ".join(message.split()).rstrip(".")
    if found := _VALUE.match(message):
        return _wrong_value(found["key"], found["wanted"], found["value"])
    if found := re.match(r"Group '(?P<group>[^']+)' does not accept option '(?P<name>[^']+)'", message):
        return _no_such(f"{found['group']}.{found['name']}", names)
    if found := re.match(r"Option '(?P<name>[^']+)' is not accepted", message):
        return _no_such(found["name"], names)
    if found := re.match(r"unrecognized arguments: --(?P<name>[^\s=]+)", message):
        return _no_such(found["name"], names, dashes="--")
    if message.startswith("Unexpected config"):
        return "the file is empty, or is not a mapping of keys to values"
    return message


def _wrong_value(key: str, wanted: str, value: str) -> str:
    kinds = [KINDS.get(kind, kind) for kind in dict.fromkeys(re.findall(r"<class '(\w+)'>", wanted))]
    kinds += [choice.strip("'\" ") for literal in re.findall(r"Literal\[([^\]]*)\]", wanted) for choice in literal.split(",")]
    if not kinds:
        return f"{key} is {value}, which is not a valid value ({wanted})"
    must = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    hint = ""
    if "text" in kinds and value in ("True", "False"):
        words = {"True": "true, yes or on", "False": "false, no or off"}[value]
        hint = f" (YAML reads {words} as {value}: put quotes around it)"
    elif "text" in kinds and re.fullmatch(r"[-+.\d:e]+", value):
        hint = " (YAML reads 2024 and 2:30 as numbers: put quotes around it)"
    return f"{key} is {value}; it must be {must}{hint}"


def _no_such(name: str, names: Iterable[str], *, dashes: str = "") -> str:
    near = difflib.get_close_matches(name.replace("-", "_"), list(names), 1)
    hint = f"did you mean {dashes}{near[0]}?" if near else "check the name"
    return f"there is no {dashes}{name}; {hint}"
