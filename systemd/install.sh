#!/bin/sh
# Install the daemon, its units, user, configuration and folders. It is safe to run again: run it to update.
# It keeps an existing configuration as it is. DESTDIR=/some/folder installs everything there and makes no user.
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
    # Build from a copy. A build in the checkout would leave root's files there, and would include an old build's files.
    # -L, because the model in the box is a link to a file outside of the package.
    source=$(mktemp -d)
    trap 'rm -rf "$source"' EXIT
    cp -RL "$here/pyproject.toml" "$here/README.md" "$here/LICENSE" "$here/daemon" "$source"
    # shellcheck disable=SC2086  # an option, or nothing
    "$python" -m venv $packages "$opt/venv"
    "$here/tools/install-locked" "$opt/venv/bin/python" "$lock" "$source"
}

make_user() {
    install -D -m 0644 "$here/systemd/sysusers.d/vedette.conf" "$root/usr/lib/sysusers.d/vedette.conf"
    [ -n "$root" ] || systemd-sysusers vedette.conf
}

make_folders() {
    install -d -m 0750 "$etc" "$etc/credentials" "$root/var/lib/vedette"
    if [ ! -e "$etc/config.yaml" ]; then
        install -m 0640 "$here/config.yaml" "$etc/config.yaml"
    fi
    if [ -z "$root" ]; then
        chgrp vedette "$etc" "$etc/credentials" "$etc/config.yaml"
        chown vedette:vedette "$root/var/lib/vedette"
    fi
}

# Every shell, sudo, ssh and other update agents search this folder. A foreign command of that name stays.
link_command() {
    link="$root/usr/local/bin/vedette"
    if [ ! -e "$link" ] || [ "$(readlink "$link")" = /opt/vedette/venv/bin/vedette ]; then
        install -d "$root/usr/local/bin"
        ln -sfn /opt/vedette/venv/bin/vedette "$link"
    else
        echo "kept: $link does not belong to Vedette; the command is /opt/vedette/venv/bin/vedette" >&2
    fi
}

install_units() {
    for unit in vedette.service vedette@.service; do
        install -D -m 0644 "$here/systemd/$unit" "$root/etc/systemd/system/$unit"
    done
    install -D -m 0644 "$here/docs/operations.md" "$opt/share/operations.md"
    install -D -m 0644 "$here/systemd/mosquitto.acl" "$opt/share/mosquitto.acl"
    if [ -z "$root" ] && [ -d /run/systemd/system ]; then
        systemctl daemon-reload
    fi
}

make_environment
make_user
make_folders
link_command
install_units
echo "installed. Next: edit $etc/config.yaml, then run: systemctl enable --now vedette"
