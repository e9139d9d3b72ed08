"""Whether documents are what a schema of an OpenAPI document says: lines `SCHEMA FILE` on standard input."""
import json
import sys

import jsonschema_rs

document = json.load(open(sys.argv[1]))
wrong = 0
for line in sys.stdin:
    schema, file = line.split()
    # One schema with all others beside it, so that references are found.
    whole = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(whole)
    for error in validator.iter_errors(json.load(open(file))):
        wrong += 1
        print(f"{schema}: {'/'.join(map(str, error.instance_path))}: {error.message}")
sys.exit(wrong > 0)
