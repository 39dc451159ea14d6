"""Reads an order with two libraries that have no code in common with Wardpost or its Bots.

    python read_order.py < MESSAGE

hl7apy judges it against the structure OML_O21 of HL7 2.5.1, strictly. python-hl7 finds its fields, which are printed with
escape sequences undone, as one JSON object: {"MSH-10": "…", "SPM-2": ["…", "…"]}; a field of several segments is a list.
"""

import json
import sys

import hl7
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message


def fields(message):
    found = {}
    for segment in message:
        name = str(segment[0])
        for number in range(1, len(segment)):
            value = message.unescape(str(segment(number)))
            if value:
                found.setdefault(f"{name}-{number}", []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


text = sys.stdin.buffer.read().decode("utf-8")
judged = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT)
judged.validate()
if judged.name != "OML_O21":
    sys.exit(f"this is {judged.name}, and no order")
print(json.dumps(fields(hl7.parse(text))))
