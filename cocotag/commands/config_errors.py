"""What jsonargparse says of a wrong config -> what a person can act on."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

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


def plainly(message: str, config: type[Any]) -> str:
    """One line without the parser's own words.

    Args:
        message: As the parser has it.
        config: The dataclass that the config is read into, for names that are nearly right.
    """
    message = " ".join(message.split()).rstrip(".")
    if found := _VALUE.match(message):
        return _wrong_value(found["key"], found["wanted"], found["value"])
    if found := re.match(r"Group '(?P<group>[^']+)' does not accept option '(?P<name>[^']+)'", message):
        return _no_such(f"{found['group']}.", found["name"], get_type_hints(config).get(found["group"]))
    if found := re.match(r"Option '(?P<name>[^']+)' is not accepted", message):
        return _no_such("", found["name"], config)
    if found := re.match(r"unrecognized arguments: --(?P<name>[\w.]+)", message):
        group, _, name = found["name"].rpartition(".")
        return _no_such(f"--{group}." if group else "--", name, get_type_hints(config).get(group) if group else config)
    if message.startswith("Unexpected config"):
        return "the file is empty, or no mapping of keys to values"
    return message


def _wrong_value(key: str, wanted: str, value: str) -> str:
    kinds = [KINDS.get(kind, kind) for kind in dict.fromkeys(re.findall(r"<class '(\w+)'>", wanted))]
    kinds += [choice.strip("'\" ") for literal in re.findall(r"Literal\[([^\]]*)\]", wanted) for choice in literal.split(",")]
    if not kinds:
        return f"{key} is {value}, which it cannot be ({wanted})"
    must = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else kinds[0]
    hint = ""
    if "text" in kinds:
        shown = {"True": "true, yes or on", "False": "false, no or off"}.get(value, "a number, as YAML reads 2024 and 2:30")
        hint = f" (it was read as {shown}: put quotes around it)"
    return f"{key} is {value}, it must be {must}{hint}"


def _no_such(prefix: str, name: str, part: Any) -> str:  # noqa: ANN401 (a type, or nothing)
    names = [one.name for one in fields(part)] if is_dataclass(part) else []
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {prefix}{near[0]}?" if near else "check the name"
    return f"there is no {prefix}{name}; {hint}"
