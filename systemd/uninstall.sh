#!/bin/sh
# Remove the daemon and its units. Configuration, credentials, state and user stay; PURGE=1 removes them too.
set -eu
root="${DESTDIR:-}"
units="vedette.service vedette@.service vedette-page.service vedette-roll@.service"

if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "uninstall needs root: sudo make uninstall" >&2
    exit 69
fi

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    # Patterns, because a unit that is already removed has no name any more.
    systemctl stop '[v]edette.service' 'vedette@*.service' '[v]edette-page.service' 'vedette-roll@*.service'
    for unit in $units; do
        [ ! -e "/etc/systemd/system/$unit" ] || systemctl disable "$unit"
    done
fi
rm -rf "$root/opt/vedette"
case $(readlink "$root/usr/local/bin/vedette") in
    /opt/vedette/current/bin/vedette | /opt/vedette/venv/bin/vedette) rm "$root/usr/local/bin/vedette" ;;
esac
for unit in $units; do
    rm -f "$root/etc/systemd/system/$unit"
done
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ "${PURGE:-}" != 1 ]; then
    echo "removed; kept: $root/etc/vedette, $root/var/lib/vedette* (PURGE=1 removes them too)"
    exit 0
fi
rm -rf "$root/etc/vedette" "$root/var/lib/vedette" "$root/var/lib/vedette-"* "$root/var/lib/private/vedette-page"
rm -f "$root/usr/lib/sysusers.d/vedette.conf"
if [ -z "$root" ] && id vedette >/dev/null 2>&1; then
    userdel vedette
fi
if [ -z "$root" ] && getent group vedette-page >/dev/null; then
    groupdel vedette-page
fi
echo "removed, together with configuration and state"
