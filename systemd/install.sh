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

# Its units would hide those of the package.
if [ -z "$root" ] && [ -e /usr/lib/systemd/system/vedette.service ]; then
    echo "the Debian package is installed; before make install: apt remove vedette" >&2
    exit 69
fi

# shellcheck source=systemd/environments.sh
. "$here/systemd/environments.sh"

# pip does not have picamera2, which needs the numpy of its build. On 32-bit ARM it lacks the three others as well.
needs_apts_packages() {
    [ -e /usr/lib/python3/dist-packages/picamera2 ] || /usr/bin/python3 -c "
import platform, struct
assert platform.machine().startswith(('arm', 'aarch64')) and struct.calcsize('P') == 4
import cv2, numpy, yaml" 2>/dev/null
}

make_environment() {
    python=$("$here/tools/find-python")
    packages="" lock="$here/locks/device.txt"
    if needs_apts_packages; then
        python=/usr/bin/python3
        packages="--system-site-packages"
        case $("$python" -c "import numpy; print(numpy.__version__)") in
            1.*) lock="$here/locks/device-numpy1.txt" ;;
        esac
    fi
    name_new
    # Build from a copy. A build in the checkout would leave root's files there, and would include an old build's files.
    # -L, because the model in the box is a link to a file outside of the package.
    cp -RL "$here/pyproject.toml" "$here/README.md" "$here/LICENSE" "$here/daemon" "$source"
    # shellcheck disable=SC2086  # an option, or nothing
    "$python" -m venv $packages "$new"
    "$here/tools/install-locked" "$new/bin/python" "$lock" "$source"
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
    installed=$("$opt/current/bin/vedette" --version)
    if [ ! -d "$opt/$old" ]; then
        echo "installed $installed. Next: edit $etc/config.yaml, then run: systemctl enable --now vedette"
        echo "and, to watch it in a browser: systemctl enable --now vedette-page"
        return
    fi
    # shellcheck disable=SC2086  # a list of names
    echo "installed $installed, and restarted what ran:" ${units:-nothing}
    echo "to go back: mv -T $opt/previous $opt/current && systemctl try-restart 'vedette*'"
}

hold_lock -n
source=$(mktemp -d)
trap 'rm -rf "$source"; remove_unused "$opt"/venv-*' EXIT
trap 'exit 130' HUP INT TERM
find_old
remove_unused "$opt"/venv-*
make_environment
try_environment
switch
link_command
write_service
restart
# The old unit names the folder `venv` until the new one is installed.
remove_unused "$opt"/venv "$opt"/venv-*
say_what_is_next
