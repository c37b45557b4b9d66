#!/bin/sh
# Starts and stops this working tree's own ledger in the background, for
# development and for a first look; `make run` builds it first. A ledger that
# others rely on belongs under the machine's service manager instead.
#
#   local.sh start | stop | logs
#
# Settings come from the environment, CLAIMLEDGER_LISTEN and the rest.
set -eu

cd "$(dirname "$0")/.."
bin=$(pwd -P)/bin/claimledger

default_listen=127.0.0.1:8787
default_data=data
: "${CLAIMLEDGER_LISTEN:=$default_listen}"
: "${CLAIMLEDGER_DATA_DIR:=$default_data}"
: "${CLAIMLEDGER_LOG_FORMAT:=text}" # people read this log
export CLAIMLEDGER_LISTEN CLAIMLEDGER_DATA_DIR CLAIMLEDGER_LOG_FORMAT

data=$CLAIMLEDGER_DATA_DIR
log=$data/serve.log
pidfile=$data/serve.pid

ready_patience=60s
stop_patience=30 # seconds; three times what a stop may take
log_lines=25     # shown when the start fails

have() { command -v "$1" >/dev/null 2>&1; }

nap() { sleep 0.2 2>/dev/null || sleep 1; }

fail() {
	echo "$*" >&2
	exit 1
}

# command_of prints a process's command line; nothing for one that has ended.
command_of() {
	if [ -d /proc/self ]; then
		{ tr '\000' ' ' <"/proc/$1/cmdline"; } 2>/dev/null || :
	else
		ps -p "$1" -o args= 2>/dev/null || :
	fi
}

# running tells whether the process in the pid file is still the ledger that was
# started here, and sets pid: after a reboot, the number is somebody else's.
running() {
	pid=$(head -n 1 "$pidfile" 2>/dev/null) || return 1
	case $pid in '' | *[!0-9]*) return 1 ;; esac
	case $(command_of "$pid") in "$bin serve"*) return 0 ;; esac
	return 1
}

# build identifies what was built last. Its date does not: an unchanged build renews it.
build() { cksum <"$bin"; }

# detached becomes a command in a session of its own, which neither the end of
# make nor that of the terminal reaches.
detached() {
	if have setsid; then
		exec setsid "$@"
	elif have perl; then
		exec perl -e 'use POSIX; POSIX::setsid(); exec @ARGV or die "$ARGV[0]: $!\n"' "$@"
	else
		exec nohup "$@"
	fi
}

# wait_until_ready returns as soon as the ledger answers that it is ready, or
# cannot become so any more because it has ended.
wait_until_ready() {
	"$bin" status --wait "$ready_patience" >/dev/null 2>&1 &
	waiter=$!
	while kill -0 "$waiter" 2>/dev/null; do
		[ -n "$(command_of "$pid")" ] || kill "$waiter" 2>/dev/null || :
		nap
	done
	wait "$waiter" || return 1
	# Another ledger at this address would have answered, too.
	running
}

show_log() {
	echo "The last lines of $log:" >&2
	tail -n "$log_lines" "$log" >&2 || :
}

# make_data_dir closes the directory to others. Root's lets them pass through:
# PostgreSQL refuses to run as root, so another account must reach its part.
make_data_dir() {
	[ ! -d "$data" ] || return 0
	mkdir -p "$data"
	if [ "$(id -u)" -eq 0 ]; then chmod 711 "$data"; else chmod 700 "$data"; fi
}

start() {
	[ -x "$bin" ] || fail "$bin is missing: make build"
	if running; then
		wait_until_ready || {
			show_log
			fail "The ledger runs as process $pid, but is not ready at $CLAIMLEDGER_LISTEN. To start it anew: make stop run"
		}
		echo "The ledger runs already, as process $pid."
		[ "$(build)" = "$(sed -n 2p "$pidfile")" ] ||
			echo "It is not of the same build as bin/claimledger; to start that one: make stop run"
		what_next
		return
	fi
	make_data_dir
	[ ! -e "$log" ] || mv -f "$log" "$log.1"
	(umask 077 && : >"$log" && : >"$pidfile")
	echo "Starting the ledger; the first time takes a little longer."
	detached "$bin" serve --webhook-allow-private </dev/null >>"$log" 2>&1 &
	pid=$!
	printf '%s\n' "$pid" "$(build)" >"$pidfile"
	if wait_until_ready; then
		what_next
		return
	fi
	show_log
	if running; then
		fail "The ledger is not ready after $ready_patience and goes on trying, as process $pid: make logs, make stop"
	fi
	rm -f "$pidfile"
	fail "The ledger did not start."
}

# quoted prints a word as a shell reads it.
quoted() {
	case $1 in
	*[!A-Za-z0-9_./:@-]*) printf "'%s'" "$1" ;;
	*) printf '%s' "$1" ;;
	esac
}

what_next() {
	url=${CLAIMLEDGER_PUBLIC_URL:-http://$CLAIMLEDGER_LISTEN}
	# What the commands below need where these are not the defaults.
	on='' of='' flags=''
	if [ "$CLAIMLEDGER_LISTEN" != "$default_listen" ]; then
		on=" LISTEN=$CLAIMLEDGER_LISTEN"
		flags=" --listen $CLAIMLEDGER_LISTEN"
	fi
	if [ "$data" != "$default_data" ]; then
		of=" DATA_DIR=$(quoted "$data")"
		flags="$flags --data-dir $(quoted "$data")"
	fi
	cat <<END
It is ready at $url, with its data in $data.

  make demo$on$of
      shows a claim's whole life on it, request by request
  bin/claimledger owner create acme --email you@example.com$flags
      makes a namespace of your own, and prints a link to log in with
  make logs$of
  make stop$of

README.md says how to go on from there.
END
}

stop() {
	if ! running; then
		rm -f "$pidfile"
		echo "No ledger of this tree runs on $data."
		return
	fi
	kill -TERM "$pid" || fail "Process $pid is another user's: stop it as that user."
	waited=0
	while running; do
		[ "$waited" -lt "$stop_patience" ] || fail "Process $pid has not ended after $stop_patience s: make logs"
		sleep 1
		waited=$((waited + 1))
	done
	rm -f "$pidfile"
	echo "Stopped."
}

logs() {
	[ -e "$log" ] || fail "There is no $log: make run"
	exec tail -n 50 -F "$log"
}

case ${1:-} in
start | stop | logs) "$1" ;;
*) fail "usage: $0 start | stop | logs" ;;
esac
