#!/bin/sh
# Install the daemon, its units, user, configuration and folders. It is safe to run again: run it to update.
# It keeps an existing configuration as it is. DESTDIR=/some/folder installs everything there and makes no user.
#
# The new environment is built beside the old one and tried. Then one link changes: `current`. Wherever a kill, a power
# cut, a failed download or a full disk ends this script, the unit and the command still find a whole program.
set -eu
umask 022
# Use the system's own Python. The daemon's user could not read one from a home folder.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=$(cd "$(dirname "$0")/.." && pwd)
root="${DESTDIR:-}"
opt="$root/opt/vedette"
etc="$root/etc/vedette"

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "install needs root: sudo make install (or DESTDIR=folder make install)" >&2
    exit 69
fi

# One installation at a time. What pip still writes after a kill counts as one.
hold_lock() {
    install -d "$opt"
    exec 9<"$opt"
    if ! flock -n 9; then
        echo "another installation into $opt is running" >&2
        exit 69
    fi
}

# Remove those of the named environments that no link names.
remove_unused() {
    for folder in "$@"; do
        case ${folder##*/} in
            "$(readlink "$opt/current")" | "$(readlink "$opt/previous")") ;;
            *) rm -rf "$folder" ;;
        esac
    done
}

# Replace a link in one step.
replace_link() {
    ln -sfn "$1" "$2.new"
    mv -T "$2.new" "$2"
}

# Where picamera2 is installed, use apt's packages. pip does not have picamera2, and it needs the numpy of its build.
make_environment() {
    python=$("$here/tools/find-python")
    packages="" lock="$here/locks/device.txt"
    if [ -e /usr/lib/python3/dist-packages/picamera2 ]; then
        python=/usr/bin/python3
        packages="--system-site-packages"
        case $("$python" -c "import numpy; print(numpy.__version__)") in
            1.*) lock="$here/locks/device-numpy1.txt" ;;
        esac
    fi
    number=1
    while [ -e "$opt/venv-$number" ]; do
        number=$((number + 1))
    done
    new="$opt/venv-$number"
    # Build from a copy. A build in the checkout would leave root's files there, and would include an old build's files.
    # -L, because the model in the box is a link to a file outside of the package.
    cp -RL "$here/pyproject.toml" "$here/README.md" "$here/LICENSE" "$here/daemon" "$source"
    # shellcheck disable=SC2086  # an option, or nothing
    "$python" -m venv $packages "$new"
    "$here/tools/install-locked" "$new/bin/python" "$lock" "$source"
}

# Run the new program, and show what it prints only if it fails.
must() {
    if ! output=$("$@" 2>&1); then
        echo "$output" >&2
        echo "the new program failed, so nothing was changed: $*" >&2
        exit 65
    fi
}

accepts() {
    "$1/bin/vedette" check-config --config "$2" >/dev/null 2>&1
}

# Every package can be imported, a frame goes from the camera process through the model, and the configuration is good.
try_environment() {
    must "$new/bin/vedette" --version
    version=$output
    must "$new/bin/python" -P -c "import vedette.app, vedette.update.source"
    must "$new/bin/vedette" bench --model "$here/models/vedette-street.tflite" --source synthetic --threads 1 \
        --warmup-runs 1 --num-runs 1
    for config in "$etc"/*.yaml; do
        # A file that the old program refuses too is no reason to keep the old program.
        if accepts "$opt/$old" "$config"; then
            must "$new/bin/vedette" check-config --config "$config"
        fi
    done
}

# The environment is on the disk before a link names it. A relative link holds below DESTDIR too.
switch() {
    sync -f "$opt"
    if [ -d "$opt/$old" ]; then
        replace_link "$old" "$opt/previous"
    fi
    replace_link "${new##*/}" "$opt/current"
    sync -f "$opt"
}

# Every shell, sudo, ssh and other update agents search this folder. A foreign command of that name stays.
link_command() {
    link="$root/usr/local/bin/vedette"
    case $(readlink "$link" || [ ! -e "$link" ] || echo foreign) in
        "" | /opt/vedette/current/bin/vedette | /opt/vedette/venv/bin/vedette)
            install -d "$root/usr/local/bin"
            replace_link /opt/vedette/current/bin/vedette "$link"
            ;;
        *) echo "kept: $link does not belong to Vedette; the command is /opt/vedette/current/bin/vedette" >&2 ;;
    esac
}

# The new program writes the rest: units that start it through `current`, user, configuration, folders and docs.
write_service() {
    # -P: not from the folder in which this script was started
    "$opt/current/bin/python" -P -m vedette init ${root:+--prefix "$root"} >/dev/null
    sync -f "$opt" "$root/etc/systemd/system" "$root/usr/local/bin"
}

say_what_is_next() {
    if [ ! -d "$opt/$old" ]; then
        echo "installed $version. Next: edit $etc/config.yaml, then run: systemctl enable --now vedette"
        return
    fi
    echo "installed $version. A running daemon still has the old program: systemctl try-restart vedette 'vedette@*'"
    echo "to go back: mv -T $opt/previous $opt/current, then the same restart"
}

hold_lock
source=$(mktemp -d)
trap 'rm -rf "$source"; remove_unused "$opt"/venv-*' EXIT
trap 'exit 130' HUP INT TERM
# Before there were links, the environment was the folder `venv`. The old unit names it until the new one is installed.
old=$(readlink "$opt/current") || old=venv
remove_unused "$opt"/venv-*
make_environment
try_environment
switch
link_command
write_service
remove_unused "$opt"/venv "$opt"/venv-*
say_what_is_next
