#!/bin/sh
# Makes sure that this machine has a Chromium or a Chrome, in which the tests click
# through the owners' page. Nothing but the tests needs one. Does nothing when it is
# there.
set -eu

by_hand='install Chromium or Chrome, which the tests need (Debian: apt-get install chromium; Ubuntu: snap install chromium; Fedora: dnf install chromium; macOS: brew install --cask google-chrome)'

fail() {
	echo "install-browser: $*" >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# installed looks where the tests do.
installed() {
	for name in headless_shell headless-shell chromium chromium-browser google-chrome google-chrome-stable chrome \
		/snap/bin/chromium \
		'/Applications/Chromium.app/Contents/MacOS/Chromium' \
		'/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'; do
		# Ubuntu has a program of that name that only says to use snap.
		have "$name" && "$name" --version >/dev/null 2>&1 && return 0
	done
	return 1
}

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

install_with_apt() {
	# One unreachable source among several need not matter; the install tells.
	as_root apt-get update || echo "install-browser: apt-get update failed, going on" >&2
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium
}

install_with_brew() {
	[ "$(id -u)" -ne 0 ] || fail "Homebrew does not run as root: $by_hand"
	brew install --cask google-chrome
}

install() {
	if have apt-get; then
		install_with_apt
	elif have dnf; then
		as_root dnf install -y chromium
	elif have zypper; then
		as_root zypper --non-interactive install chromium
	elif have pacman; then
		as_root pacman -S --noconfirm --needed chromium
	elif have apk; then
		as_root apk add chromium
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
installed || fail "what was installed does not run: $by_hand"
