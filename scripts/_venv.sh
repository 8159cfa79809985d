# Shared by scripts/demo and scripts/test, which set ROOT and source it: `set_up` makes $ROOT/.venv ready.
#
# A finished set-up leaves a stamp of everything that it depended on; where the stamp still fits, nothing is done. One
# that was cut off (killed, power lost) leaves its own mark, and the next call starts over from an empty environment.

VENV=$ROOT/.venv
STAMP=$VENV/raftgossip-set-up
UNFINISHED=$VENV/raftgossip-set-up-unfinished
TORCH=torch==2.13.0

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# The path is part of it: an environment does not survive being moved.
fingerprint() {
    cksum <"$ROOT/constraints.txt"
    cksum <"$ROOT/pyproject.toml"
    printf '%s\n' "$ROOT"
}

is_set_up() {
    [ -x "$VENV/bin/python" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(fingerprint)" ]
}

# Sets PYTHON to the first interpreter that is new enough.
find_python() {
    for PYTHON in python3 python3.13 python3.12 python3.11; do
        "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return
    done
    found=$(python3 -V 2>&1) || found='no python3'
    die "Python 3.11 or later is needed, but this machine has $found; install it (Debian, Ubuntu: apt install python3 python3-venv) and call again"
}

make_environment() {
    find_python
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$PYTHON has no venv module; install it (Debian, Ubuntu: apt install python3-venv) and call again"
    say "making .venv with $("$PYTHON" -V)"
    "$PYTHON" -m venv --clear "$VENV" || die "could not make $VENV; the reason stands above"
}

install() {
    "$VENV/bin/python" -m pip install -qq --no-input --progress-bar off --disable-pip-version-check \
        -c "$ROOT/constraints.txt" "$@" && return
    rm -f "$UNFINISHED" # pip has cleaned up after itself: what it installed so far is good
    die "the installation failed, pip's reason stands above; it needs a package index. Call again to go on"
}

set_up() {
    is_set_up && return
    # Two first calls at once take turns; the lock is on a file that exists anyway, and ends with the process.
    exec 9<"$ROOT/constraints.txt"
    if command -v flock >/dev/null; then
        flock -n 9 || { say "waiting for another set-up of $VENV" && flock 9; }
    fi
    if ! is_set_up; then
        if [ -e "$UNFINISHED" ] || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
            make_environment
        fi
        : >"$UNFINISHED"
        rm -f "$STAMP"
        say "installing torch (the largest part; minutes on a slow line)"
        install "$TORCH" setuptools
        say "installing raftgossip and its other dependencies"
        # setuptools is there already, at its pinned version: no second download in a build environment.
        (cd "$ROOT" && install --no-build-isolation -e ".[dev,observe]") || exit 1
        fingerprint >"$STAMP.new"
        mv "$STAMP.new" "$STAMP"
        rm -f "$UNFINISHED"
        say "set-up done"
    fi
    exec 9<&-
}
