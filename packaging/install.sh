#!/bin/sh
# Installs what is beside this script, or removes what it installed.
set -eu

usage() {
    echo "usage: install.sh [--prefix DIR] [--destdir DIR] [--uninstall]" >&2
    echo "  --prefix DIR    where to install (default: /usr/local)" >&2
    echo "  --destdir DIR   put everything below this directory, for makers of packages" >&2
    echo "  --uninstall     remove what was installed; configuration, state and captures stay" >&2
    exit 64
}

prefix=/usr/local destdir='' uninstall=
while [ $# -gt 0 ]; do
    case $1 in
    --prefix | --destdir)
        [ $# -gt 1 ] || usage
        case $1 in --prefix) prefix=$2 ;; *) destdir=$2 ;; esac
        shift
        ;;
    --prefix=*) prefix=${1#*=} ;;
    --destdir=*) destdir=${1#*=} ;;
    --uninstall) uninstall=1 ;;
    *) usage ;;
    esac
    shift
done
case $prefix in
/*) ;;
*)
    echo "install.sh: --prefix must begin with a slash" >&2
    exit 64
    ;;
esac

to=$destdir$prefix
list=$to/lib/polycube/installed

if [ -n "$uninstall" ]; then
    if [ ! -f "$list" ]; then
        echo "install.sh: nothing is installed in $prefix ($list is missing)" >&2
        exit 1
    fi
    files=$(cat "$list")
    for file in $files; do rm -f "$to/$file"; done
    # Directories last to first; those that others use are not empty, and stay.
    printf '%s\n' "$files" | sed 's,/[^/]*$,,' | sort -ru | while IFS= read -r directory; do
        while [ -n "$directory" ] && [ "$directory" != . ]; do
            rmdir "$to/$directory" 2>/dev/null || break
            case $directory in */*) directory=${directory%/*} ;; *) directory= ;; esac
        done
    done
    echo "removed from $prefix; /etc/polycube and /var/lib/polycube stay"
    exit
fi

cd "$(dirname "$0")"
files=$(find bin lib share ! -type d | LC_ALL=C sort)
for file in $files; do
    mkdir -p "$to/${file%/*}"
    # A new file in the place of a running program, whose old file lives on until the program ends.
    rm -f "$to/$file"
    case $file in
    lib/systemd/system/*) sed "s,/usr/bin/polycubed,$prefix/bin/polycubed," "$file" >"$to/$file" ;;
    *) cp -P "$file" "$to/$file" ;;
    esac
done
printf '%s\nlib/polycube/installed\n' "$files" >"$list"
echo "installed in $prefix; to run the daemon as a service:"
echo "  systemd-sysusers && systemctl daemon-reload && systemctl enable --now polycubed"
