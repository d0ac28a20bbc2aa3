"""Validates documents against JSON Schemas.

    validate.py FILE

FILE is `{"schemas": {NAME: SCHEMA}, "documents": [{"schema": NAME, "name": …, "value": …}]}`. Prints the name of each
document that its schema refuses, and why, with a tab between.
"""

import json
import sys

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)

validators = {}
for name, schema in given["schemas"].items():
    Draft202012Validator.check_schema(schema)
    validators[name] = Draft202012Validator(schema)

for document in given["documents"]:
    error = best_match(validators[document["schema"]].iter_errors(document["value"]))
    if error is not None:
        print(document["name"], f"{error.json_path}: {error.message}".replace("\n", " "), sep="\t")
