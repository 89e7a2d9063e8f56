#!/bin/sh
# Make sure that a redis-server is on the PATH: the tests start their own, on a free port.
set -eu

if command -v redis-server >/dev/null; then
    exit 0
fi

if [ "$(id -u)" = 0 ]; then
    as_root=""
elif sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    as_root="none"
fi

if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
    echo "the tests run against a real redis-server: install it (apt install redis-server, brew install redis)" >&2
    exit 1
fi

$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq redis-server >/dev/null
command -v redis-server >/dev/null
