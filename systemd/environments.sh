# shellcheck shell=sh disable=SC2154  # the caller sets root, opt and etc
# Environments beside one another in $opt, and a change of the program that can be undone. The installer and the Debian
# package share it. `root` is DESTDIR, or nothing.
#
# Links: `current` is the program that runs, `previous` the one before it. The file `restarting` is there from the
# change of `current` until all units are ready. It names them. So a power cut in between loses neither them nor the
# program that is known to run.
first="" units=""

# One installation at a time. What still writes after a kill counts as one. The argument: flock's way to wait.
hold_lock() {
    install -d "$opt"
    exec 9<"$opt"
    if ! flock "$@" 9; then
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

# Replace a link or a file in one step.
replace_link() {
    ln -sfn "$1" "$2.new"
    mv -T "$2.new" "$2"
}

# The program that is known to run. Before there were links, the environment was the folder `venv`.
find_old() {
    old=$(readlink "$opt/current") || old=venv
    if [ -e "$opt/restarting" ]; then
        old=$(readlink "$opt/previous") || old=venv
    fi
}

name_new() {
    number=1
    while [ -e "$opt/venv-$number" ]; do
        number=$((number + 1))
    done
    new="$opt/venv-$number"
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
    must "$new/bin/python" -P -c "import vedette.app, vedette.update.source, vedette.page.service"
    must "$new/bin/python" -P -c "from vedette.detect.box_model import BOX_MODEL; print(BOX_MODEL)"
    must "$new/bin/vedette" bench --model "$output" --source synthetic --threads 1 --warmup-runs 1 --num-runs 1
    for config in "$etc"/*.yaml; do
        # A file that the old program refuses too is no reason to keep the old program.
        if accepts "$opt/$old" "$config"; then
            must "$new/bin/vedette" check-config --config "$config"
        fi
    done
}

has_systemd() {
    [ -z "$root" ] && [ -d /run/systemd/system ]
}

# Those that run, and those that a power cut kept from being restarted.
units_to_restart() {
    if has_systemd; then
        systemctl list-units --plain --no-legend --state=active,reloading,start vedette.service 'vedette@*.service' \
            vedette-page.service | cut -d ' ' -f 1
    fi
    if [ -e "$opt/restarting" ]; then
        cat "$opt/restarting"
    fi
    echo "$first"
}

# The environment is on the disk before a link names it. A relative link holds below DESTDIR too.
switch() {
    units=$(units_to_restart | sort -u)
    sync -f "$opt"
    if [ -d "$opt/$old" ]; then
        replace_link "$old" "$opt/previous"
    fi
    echo "$units" >"$opt/restarting.new"
    mv -T "$opt/restarting.new" "$opt/restarting"
    replace_link "${new##*/}" "$opt/current"
    sync -f "$opt"
}

# Restart what runs. A unit that does not get ready brings the old program back. On a first installation it is only
# told: there is no old program, and systemd tries again.
restart() {
    if has_systemd; then
        systemctl daemon-reload
        for unit in $units; do
            if systemctl restart "$unit"; then
                continue
            fi
            echo "$unit does not get ready with the new program; see: journalctl --unit $unit" >&2
            if [ -d "$opt/$old" ]; then
                go_back
            fi
        done
    fi
    rm -f "$opt/restarting"
    sync -f "$opt"
}

go_back() {
    replace_link "$old" "$opt/current"
    sync -f "$opt"
    rm -f "$opt/previous" "$opt/restarting"
    for unit in $units; do
        systemctl restart "$unit" || echo "$unit does not get ready with the old program either" >&2
    done
    echo "the old program is back: $("$opt/current/bin/vedette" --version)" >&2
    exit 65
}
