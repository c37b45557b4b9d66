#!/bin/sh
# Runs every fuzz target for FUZZTIME, one after another, with FUZZ_P workers each.
# What a target finds is kept beside its test, in testdata/fuzz, where every test run
# tries it again. Ends with 1 if any found something. With FUZZ_LOG, a directory,
# whatever the targets say is kept there.
set -u

FUZZTIME=${FUZZTIME:-1m}
FUZZ_P=${FUZZ_P:-2}
pattern=${1:-.}
log=${FUZZ_LOG:-$(mktemp -d)} || exit 1
mkdir -p "$log" || exit 1
result=0

# What go test lists is all there is, so that no target is forgotten. A package whose
# tests do not compile is as bad as a finding.
for package in $(go list ./...); do
	listed=$(go test -list '^Fuzz' "$package") || { echo "$listed"; result=1; continue; }
	for target in $(echo "$listed" | grep '^Fuzz' | grep -- "$pattern"); do
		out=$log/${package##*/}-$target.log
		# Shorter inputs are no reason to stand still for a minute, which is the default; and
		# go ends a worker that is late with one, whose servers then have to start again.
		if go test -run '^$' -fuzz "^$target\$" -fuzztime "$FUZZTIME" -fuzzminimizetime 20x -parallel "$FUZZ_P" \
			-timeout 0 "$package" >"$out" 2>&1; then
			found=nothing
		else
			found="SOMETHING, see $out"
			result=1
		fi
		executions=$(sed -n 's/^fuzz: elapsed: \([^,]*\),.* execs: \([0-9]*\).*/\2 executions in \1/p' "$out" | tail -n 1)
		echo "$package $target: ${executions:-no executions}, found $found"
		[ "$found" = nothing ] || tail -n 60 "$out"
	done
done
exit $result
