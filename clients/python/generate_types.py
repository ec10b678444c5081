#!/usr/bin/env python3
"""Writes polycube/types.py from schemas/openapi.json; with --check, says whether it is up to date."""

from __future__ import annotations

import json
import keyword
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE, TARGET = HERE.parent.parent / "schemas/openapi.json", HERE / "polycube/types.py"
HEAD = '''"""The documents of the API, generated from schemas/openapi.json by generate_types.py.

A key may be missing from any of them: what is shown depends on the cube, and what is set is up to you.
"""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Optional, TypedDict, Union

'''
SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
LINE = 118


def name_of(*words):
    return "".join(part[:1].upper() + part[1:] for word in words for part in re.split("[^A-Za-z0-9]+", word))


class Types:
    """Classes in the order in which they may refer to each other."""

    def __init__(self):
        self.lines = []

    def add(self, name, schema):
        """A TypedDict for an object, after those for the objects in it."""
        members = []
        for key, value in schema.get("properties", {}).items():
            members.append((key, self.of(value, name_of(name, key)), value.get("description")))
        # Keys such as `stop-after` cannot be written in a class.
        self.lines.append(f'{name} = TypedDict(\n    "{name}",\n    {{')
        for key, kind, about in members:
            for line in wrap(about or ""):
                self.lines.append(f"        # {line}")
            self.lines.append(f'        "{key}": {kind},')
        self.lines.append("    },\n    total=False,\n)\n")

    def of(self, schema, name):
        """The type of a value; objects get a class of this name."""
        if "$ref" in schema:
            return name_of(schema["$ref"].rsplit("/", 1)[1])
        if "const" in schema:
            return literal([schema["const"]])
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else list(kinds)
        is_optional = "null" in kinds
        kinds = [kind for kind in kinds if kind != "null"]
        if "enum" in schema:
            found = [literal([value for value in schema["enum"] if value is not None])]
        else:
            found = [self.one(kind, schema, name) for kind in kinds] or ["Any"]
        found = found[0] if len(found) == 1 else f"Union[{', '.join(found)}]"
        return f"Optional[{found}]" if is_optional and found != "Any" else found

    def one(self, kind, schema, name):
        if kind == "array":
            return f"List[{self.of(schema.get('items', {}), name_of(name, 'entry'))}]"
        if kind != "object":
            return SIMPLE[kind]
        if schema.get("properties"):
            self.add(name, schema)
            return name
        values = schema.get("additionalProperties", {})
        return f"Dict[str, {self.of(values, name_of(name, 'value')) if isinstance(values, dict) else 'Any'}]"


def literal(values):
    return f"Literal[{', '.join(json.dumps(value) if isinstance(value, str) else repr(value) for value in values)}]"


def wrap(text):
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > LINE - 10:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return lines + [line] if line else lines


def generate():
    schemas = json.loads(SOURCE.read_text(encoding="utf-8"))["components"]["schemas"]
    types = Types()
    # A reference has to come after what it refers to.
    for name in sorted(schemas, key=lambda name: "$ref" in json.dumps(schemas[name])):
        assert not keyword.iskeyword(name_of(name))
        types.add(name_of(name), schemas[name])
    return HEAD + "\n".join(types.lines)


def main():
    text = generate()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, encoding="utf-8")
    elif not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
        sys.exit(f"{TARGET} is not what {SOURCE} says: run {__file__}")


if __name__ == "__main__":
    main()
