#!/bin/sh
# mosquitto, Chromium, Prometheus, gcc (sanitizers) and qemu-user (boards) come from Debian: installed when we are root, named when we are not.
set -eu
missing=""
command -v mosquitto >/dev/null 2>&1 || [ -x /usr/sbin/mosquitto ] || missing="$missing mosquitto"
command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
command -v prometheus >/dev/null 2>&1 || missing="$missing prometheus"
command -v gcc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
{ command -v qemu-aarch64 && command -v qemu-arm; } >/dev/null 2>&1 || missing="$missing qemu-user"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Debian packages for the end-to-end tests:$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
elif [ "${CI:-}" = true ]; then
    echo "missing for the end-to-end tests:$missing; in CI nothing is skipped. Install them and run again." >&2
    exit 1
else
    echo "missing for some end-to-end tests, which will say so and be skipped:$missing (Debian: sudo apt-get install$missing)"
fi
