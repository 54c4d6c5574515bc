# The commands of this project. `just` lists them.

python := ".venv/bin/python"
tests := ".venv/bin/pytest"

_list:
    @just --justfile "{{ justfile() }}" --list

# a virtual environment with everything that the tests need
setup:
    python3 -m venv .venv
    {{ python }} -m pip install --quiet --editable '.[dev,embedded]'

# format, and mend what can be mended mechanically
fix:
    {{ python }} -m ruff check --fix .
    {{ python }} -m ruff format .

# everything that CI runs: format, lint, types, floors, inspector and all tests
check *arguments:
    {{ tests }} {{ arguments }}

# blows of every kind for so many minutes, or `--counts full`: kills, power cuts, full disks, failing calls, inboxes, fuzz
chaos *arguments:
    {{ python }} -m tests.chaos {{ arguments }}

# the product is broken in one place at a time, and some test must go red; only mutants with one of these words
teeth *words:
    {{ python }} -m tests.chaos.mutants {{ words }}

# the headline job's size against a server that answers at once: memory, and the restart after a kill
large lines='170000':
    BATCHD_TEST_LARGE_LINES={{ lines }} {{ tests }} -s tests/integration/test_large_batch.py tests/integration/test_restart.py

# the tests that need a real Ollama: OLLAMA_HOST, or BATCHD_TEST_OLLAMA naming a binary
live *arguments:
    {{ tests }} -m live {{ arguments }}

# what decides about model servers: every branch, by its own tests
covered:
    {{ tests }} -s tests/test_covered.py

# the floors, checked and drawn
house:
    .venv/bin/lint-imports
    .venv/bin/import-linter drawgraph batchd

# what systemd thinks of the unit
units:
    systemd-analyze verify systemd/batchd.service
    systemd-analyze security --offline=yes systemd/batchd.service

# the service on a real systemd, in a Debian that is made and booted for it; as root, with systemd-container and debootstrap
systemd *arguments:
    BATCHD_TEST_SYSTEMD="${BATCHD_TEST_SYSTEMD:-1}" {{ tests }} -m systemd {{ arguments }}
