#!/bin/sh
# Installs what the laboratory needs and the machine lacks. Debian 12, as root.
set -eu

if [ "$(id -u)" != 0 ]; then
    echo "network namespaces need root: run this as root" >&2
    exit 1
fi

missing=""
# need COMMAND PACKAGE
need() {
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need git git
need ip iproute2
need bird bird2
[ -x /usr/lib/frr/bfdd ] || missing="$missing frr"
need gobgpd gobgpd
need exabgp exabgp
need pmbmpd pmacct
need nft nftables
need iptables iptables
need curl curl
need tcpdump tcpdump
need arping iputils-arping
need ping iputils-ping
need ndisc6 ndisc6
need mount mount
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$missing ca-certificates"

if [ -z "$missing" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "please install:$missing" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# bird2, frr, gobgpd, exabgp and pmacct start daemons with configurations of theirs, which is harmless and not wanted here.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
# shellcheck disable=SC2086 # a list of words
apt-get -qq install -y --no-install-recommends $missing >/dev/null
