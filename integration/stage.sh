# Sourced by those who hand the integration suite to another machine or another user: how to find what cargo has built.
# shellcheck shell=bash

# The path of an executable among cargo's messages (--message-format=json) on stdin, by its target's name.
executable() { # NAME
    python3 -c '
import json, sys
built = [json.loads(line) for line in sys.stdin if line.startswith("{")]
print(*[item["executable"] for item in built
        if item.get("executable") and item["target"]["name"] == sys.argv[1]], sep="\n")' "$1"
}
