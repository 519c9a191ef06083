#!/bin/sh
# Install the self-contained buildx-cache, which needs no Python: sh install.sh [--to FOLDER]
#   --to FOLDER             where the command goes. Default: ~/.local/bin
#   BUILDX_CACHE_RELEASES   where the release is: a folder or an https address that has the archives and SHA256SUMS
#   BUILDX_CACHE_SHA256     the archive's checksum, if you pin it; else the one in SHA256SUMS counts
# The program's files go to FOLDER/.buildx-cache-CHECKSUM, and FOLDER/buildx-cache leads there as the last step: an
# installation that fails leaves what was there before.
set -eu

releases=${BUILDX_CACHE_RELEASES-}
pinned=${BUILDX_CACHE_SHA256-}

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit "$3"
}

platform() {
    system=$(uname -s)
    machine=$(uname -m)
    others='install the package instead: uv tool install buildx-cache, or pipx install buildx-cache'
    [ "$system" = Linux ] || fail "there is no executable for $system" "$others" 3
    for loader in /lib/ld-musl-*; do
        [ ! -e "$loader" ] || fail "there is no executable for musl (Alpine)" "$others" 3
    done
    case $machine in
    x86_64 | amd64) echo linux-amd64 ;;
    aarch64 | arm64) echo linux-arm64 ;;
    *) fail "there is no executable for $machine" "$others" 3 ;;
    esac
}

in_repository() { # FOLDER
    at=$(CDPATH="" cd -- "$1" 2>/dev/null && pwd -P) || return 1
    while [ -n "$at" ]; do
        [ ! -e "$at/.git" ] || return 0
        at=${at%/*}
    done
    return 1
}

# A .curlrc that a repository has committed could have any file written.
own=
for place in "${CURL_HOME-}" "${XDG_CONFIG_HOME-}" "${HOME-}"; do
    [ -z "$place" ] || ! in_repository "$place" || own=-q
done
[ -z "$own" ] || export WGETRC=/dev/null

get() { # NAME FILE
    case $releases in
    https://* | http://*)
        if command -v curl >/dev/null; then
            curl $own -fsSL --proto "$protocols" --retry 3 -o "$2" "$releases/$1" && return
        elif command -v wget >/dev/null; then
            wget -q -O "$2" "$releases/$1" && return
        else
            fail "neither curl nor wget is installed" "install one of them, or set BUILDX_CACHE_RELEASES to a folder" 3
        fi
        fail "$releases/$1 could not be downloaded" "check BUILDX_CACHE_RELEASES and the network" 5
        ;;
    *) cp "$releases/$1" "$2" || fail "$releases has no readable $1" "check BUILDX_CACHE_RELEASES" 2 ;;
    esac
}

folder=${HOME:+$HOME/.local/bin}
while [ $# -gt 0 ]; do
    case $1 in
    --to)
        [ $# -gt 1 ] || fail "--to: no folder" "sh install.sh [--to FOLDER]" 2
        folder=$2
        shift
        ;;
    --to=*) folder=${1#--to=} ;;
    *) fail "$1: unknown option" "sh install.sh [--to FOLDER]" 2 ;;
    esac
    shift
done
[ -n "$folder" ] || fail "no folder to install to" "name it: --to FOLDER" 2
case $releases in
'') fail "BUILDX_CACHE_RELEASES is not set" "set it to the release's address, or to a folder with its files" 2 ;;
http://*) [ -n "$pinned" ] || fail "$releases is not encrypted" "use https, or pin BUILDX_CACHE_SHA256" 2 ;;
esac
protocols='=https' # after a redirect, too
[ -z "$pinned" ] || protocols='=http,https'
archive=buildx-cache-$(platform).tar.gz

mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ] ||
    fail "$folder cannot be written" "name a folder of your own: --to FOLDER" 6
folder=$(CDPATH="" cd -- "$folder" && pwd)
[ ! -d "$folder/buildx-cache" ] || fail "$folder/buildx-cache is a folder" "name another folder: --to FOLDER" 6
work=$(mktemp -d "$folder/.buildx-cache.XXXXXX") || fail "$folder cannot be written" "name another: --to FOLDER" 6
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -z "$pinned" ]; then
    get SHA256SUMS "$work/sums"
    pinned=$(sed -n "s/^\([0-9a-f]\{64\}\)  $archive\$/\1/p" "$work/sums")
    [ -n "$pinned" ] || fail "$releases/SHA256SUMS has no $archive" "check BUILDX_CACHE_RELEASES" 3
fi
files=$folder/.buildx-cache-$(printf %.12s "$pinned")
# In a checkout it may be the repository's: then it is replaced.
if [ -d "$files" ] && ! in_repository "$folder"; then
    owner=$(find "$files" -prune \( -user "$(id -u)" -o -user 0 \))
    [ -n "$owner" ] || fail "$files belongs to another user" "name a folder of your own: --to FOLDER" 6
else
    get "$archive" "$work/archive"
    found=$(sha256sum "$work/archive") || fail "sha256sum is not installed" "install coreutils" 3
    [ "${found%% *}" = "$pinned" ] ||
        fail "$archive: checksum ${found%% *}, expected $pinned" "the download is damaged or not the release: try again" 7
    mkdir -m 755 "$work/files"
    tar -xzof "$work/archive" -C "$work/files" || fail "$archive could not be unpacked" "check the space in $folder" 6
    "$work/files/buildx-cache" --version >/dev/null ||
        fail "the program does not start here" "it needs glibc 2.35 or newer; elsewhere: uv tool install buildx-cache" 3
    ! in_repository "$folder" || rm -rf "$files"
    mv "$work/files" "$files" 2>/dev/null || [ -d "$files" ] || fail "$files cannot be written" "check the folder" 6
fi
before=$(readlink "$folder/buildx-cache" || :)
ln -s "$files/buildx-cache" "$work/link"
mv -f "$work/link" "$folder/buildx-cache" || fail "$folder/buildx-cache cannot be replaced" "check its owner" 6

# What is older than the version before goes; that one may still be running.
for other in "$folder"/.buildx-cache-*; do
    case $other in "$files" | "${before%/buildx-cache}") ;; *) rm -rf "$other" ;; esac
done
echo "installed $("$folder/buildx-cache" --version) as $folder/buildx-cache" >&2
case :$PATH: in *:"$folder":*) ;; *) echo "hint: export PATH=\"$folder:\$PATH\"" >&2 ;; esac
