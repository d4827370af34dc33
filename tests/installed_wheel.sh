#!/bin/sh
# Builds the wheel with the given Python, installs it in an empty directory, and runs the command from there.
set -eu
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$room" .
cd "$room"
"$python" -m venv venv
venv/bin/python -m pip install --quiet "$(ls mmsearch-*.whl)[cpu]"
mkdir photos
venv/bin/python -c "from PIL import Image; Image.new('RGB', (64, 64), 'red').save('photos/red.png')"
venv/bin/mmsearch index photos --library library
test "$(venv/bin/mmsearch query red -f --library library)" = "$(pwd -P)/photos/red.png"
echo "the installed wheel answers"
