#!/bin/sh
# The programs some tests call: install what is missing where we may (root, with apt-get), else say what it is.
set -eu
PATH=$PATH:/usr/sbin  # where servers are, which is not on every PATH

# program:Debian package
wanted='curl:curl openssl:openssl nginx:nginx-light testssl:testssl.sh
    mariadb:mariadb-client-core mariadbd:mariadb-server-core redis-server:redis-server redis-cli:redis-tools
    systemd-analyze:systemd h2load:nghttp2-client nghttpd:nghttp2-server chromium:chromium'

missing=
for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    exit 0
fi
echo "the tests need programs that are not here; on Debian or Ubuntu: sudo apt-get install$missing" >&2
exit 1
