# Sourced by demo.sh, test.sh and .ci/run, which set `project` to this checkout. `setup NAME` puts a virtual environment
# on PATH that has this checkout and, for the name `dev`, the tools of its tests; `python` is its interpreter. Needs
# Python 3.11 or newer and a package index. The environment is kept in the user's cache directory, and made anew when
# pyproject.toml changes. `browser` installs Chromium where there is none, as root on Debian or Ubuntu, and
# `terminal` tmux.

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

find_python() {
    for candidate in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            # Of an environment the interpreter below it, so that .ci/run and test.sh find the same one.
            "$candidate" -c 'import os, sys; print(os.path.realpath(sys.executable))'
            return
        fi
    done
    fail "no Python 3.11 or newer is on PATH" "install python3 (3.11 or newer) with its venv module"
}

setup() {
    extra=$1
    base=$(find_python) || exit 1
    key=$(cat "$project/pyproject.toml" "$project/docker/setup.sh" | cksum | tr ' ' '-')-$(printf %s "$project$base" | cksum | cut -d ' ' -f 1)
    kept=${XDG_CACHE_HOME:-$HOME/.cache}/buildx-cache-engine
    # That of the tests has all that another one has.
    if [ -e "$kept/venv-dev-$key/complete" ]; then extra=dev; fi
    folder=$kept/venv-$extra-$key
    python=$folder/bin/python
    if [ ! -e "$folder/complete" ]; then
        echo "preparing a Python environment in $folder" >&2
        rm -rf "$folder"
        mkdir -p "$(dirname "$folder")"
        "$base" -m venv "$folder" || fail "Python's venv module does not work" "install python3-venv"
        if [ "$extra" = dev ]; then what="$project[dev]"; else what=$project; fi
        "$python" -m pip --quiet --disable-pip-version-check install --editable "$what" >&2 ||
            fail "the Python packages could not be installed" "check the network and pip's configuration"
        : > "$folder/complete"
    fi
    PATH=$folder/bin:$PATH
    export PATH
}

browser() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" >/dev/null && return
    done
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing Chromium, which the tests of the report's page drive" >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null ||
            echo "warning: Chromium could not be installed: run apt-get update, and try again" >&2
    fi
}

terminal() {
    command -v tmux >/dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing tmux, by which the tests of the live view drive a terminal" >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends tmux >/dev/null ||
            echo "warning: tmux could not be installed: run apt-get update, and try again" >&2
    fi
}
