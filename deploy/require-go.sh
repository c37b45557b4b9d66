#!/bin/sh
# Fails, with one line that says why, unless there is a Go that builds this module.
set -eu

cd "$(dirname "$0")/.."
wanted=$(sed -n 's/^go //p' go.mod)
how="claimledger needs Go $wanted or newer: https://go.dev/dl/"

if ! command -v go >/dev/null 2>&1; then
	echo "$how (there is none on the PATH)" >&2
	exit 1
fi
# Go itself knows best, because an older one may fetch the version that go.mod asks for.
if ! why=$(go list -m 2>&1); then
	echo "$how ($(printf '%s\n' "$why" | grep '^go: ' | tail -n 1))" >&2
	exit 1
fi
