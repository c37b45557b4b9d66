#!/bin/sh
# Makes sure that this machine has PostgreSQL's server binaries, 14 or newer:
# claimledger runs its own private server with them. Does nothing when they are
# there. Starts no server and makes no database.
set -eu

min_major=14
by_hand='install PostgreSQL 14 or newer (Debian, Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; macOS: brew install postgresql@17), or use --database-url'

fail() {
	echo "install-postgresql: $*" >&2
	exit 1
}

# usable tells whether the directory has initdb and a postgres that is new enough.
usable() {
	[ -x "$1/initdb" ] && [ -x "$1/postgres" ] || return 1
	major=$("$1/postgres" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9][0-9]*\).*/\1/p')
	[ -n "$major" ] && [ "$major" -ge "$min_major" ]
}

# installed looks where claimledger does.
installed() {
	old_ifs=$IFS
	IFS=:
	for dir in $PATH; do
		case $dir in /*) usable "$dir" && found=$dir && break ;; esac
	done
	IFS=$old_ifs
	[ -z "${found:-}" ] || return 0
	for dir in \
		/usr/lib/postgresql/*/bin \
		/usr/pgsql-*/bin \
		/usr/lib/postgresql*/bin \
		/usr/libexec/postgresql* \
		/usr/lib64/postgresql-*/bin \
		/opt/homebrew/opt/postgresql*/bin \
		/usr/local/opt/postgresql*/bin \
		/home/linuxbrew/.linuxbrew/opt/postgresql*/bin \
		/opt/local/lib/postgresql*/bin \
		/Applications/Postgres.app/Contents/Versions/*/bin \
		/opt/homebrew/bin \
		/usr/local/bin \
		/usr/local/pgsql/bin \
		/usr/bin; do
		usable "$dir" && found=$dir && return 0
	done
	return 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# as_root runs a command with the rights to install.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		fail "neither root nor sudo: $by_hand"
	fi
}

# Debian's package makes a cluster and starts it on port 5432, unless it is told
# not to before it comes. A postgresql-common that is there already has its
# owner's settings, and keeps them.
no_default_cluster() {
	if dpkg-query -W -f='${db:Status-Status}' postgresql-common 2>/dev/null | grep -qx installed; then
		return
	fi
	conf=/etc/postgresql-common/createcluster.conf
	[ ! -e "$conf" ] || return 0
	as_root mkdir -p /etc/postgresql-common &&
		echo 'create_main_cluster = false' | as_root tee "$conf" >/dev/null
}

install_with_apt() {
	# One unreachable source among several need not matter; the install tells.
	as_root apt-get update || echo "install-postgresql: apt-get update failed, going on" >&2
	# CONFFOLD: the package keeps the file that was just written, without asking.
	no_default_cluster &&
		as_root env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
			apt-get install -y --no-install-recommends postgresql
}

install_with_brew() {
	[ "$(id -u)" -ne 0 ] || fail "Homebrew does not run as root: $by_hand"
	brew install postgresql@17
}

install() {
	if have apt-get; then
		install_with_apt
	elif have dnf; then
		as_root dnf install -y postgresql-server
	elif have yum; then
		as_root yum install -y postgresql-server
	elif have zypper; then
		as_root zypper --non-interactive install postgresql-server
	elif have pacman; then
		as_root pacman -S --noconfirm --needed postgresql
	elif have apk; then
		as_root apk add postgresql
	elif have brew; then
		install_with_brew
	else
		fail "no package manager that is known here: $by_hand"
	fi
}

if installed; then
	exit 0
fi
install >&2 || fail "the package manager failed: $by_hand"
installed || fail "what was installed is older than $min_major: $by_hand"
echo "install-postgresql: the server's binaries are in $found"
