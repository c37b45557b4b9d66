# claimledger. `make` lists what there is.

# Where `make run` listens and keeps its data. Every other setting reaches the
# ledger from the environment as CLAIMLEDGER_…, or not at all.
LISTEN   ?= $(or $(CLAIMLEDGER_LISTEN),127.0.0.1:8787)
DATA_DIR ?= $(or $(CLAIMLEDGER_DATA_DIR),data)

# What `make test` tests, what takes longest first, so that it does not run alone at the end;
# and how many packages at once: each starts servers of its own (NATS, PostgreSQL), so more
# CPUs do not mean that more is better.
TEST   ?= ./cmd/claimledger ./projections ./api ./eventstore ./...
TEST_P ?= 2
# How long `make fuzz` tries each target, and with how many workers: each has servers
# of its own.
FUZZTIME ?= 1m
FUZZ_P   ?= 2
# -race, empty, or auto: -race where there is a C compiler, which it needs.
RACE   ?= auto

# What `make bench` is told (make bench BENCH='--rounds 5'), and which workload `make
# profile` looks at.
BENCH    ?=
WORKLOAD ?= submit-64

# What `make sim` runs: SEEDS seeds from 1, of STEPS steps each, and fewer of what needs a
# database; or the one that SEED names, as a failed run does.
SEED          ?= 0
SEEDS         ?= 1000
STEPS         ?= 150
DERIVED_SEEDS ?= 20
DERIVED_STEPS ?= 80

# How many random commands `make caches` gives, while so many caches follow them.
CACHE_COMMANDS ?= 10000
CACHE_CLIENTS  ?= 20

# How often `make crash` has each crash come.
ROUNDS ?= 10

# What `make chaos` puts through how much, and what a webhook misses there.
EVENTS   ?= 50000
WEBHOOKS ?= 100
KILLS    ?= 50
MISSED   ?= 5000

# Pinned here rather than in go.mod, which stays the list of what claimledger is
# made of.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

GO_FILES = $(wildcard arrows_test.go api cmd domain eventstore projections webhookrelay)
SETTINGS = CLAIMLEDGER_LISTEN='$(LISTEN)' CLAIMLEDGER_DATA_DIR='$(DATA_DIR)'

# sudo forgets the place where Go's own installer puts it.
export PATH := $(PATH):/usr/local/go/bin

.DEFAULT_GOAL := help
.PHONY: help run stop logs demo build test sim caches crash chaos fsync-proof fuzz bench profile check fmt clean require-go require-postgresql

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  LISTEN=$(LISTEN) DATA_DIR=$(DATA_DIR)"

run: build require-postgresql ## set up and start a ledger in the background
	@$(SETTINGS) sh deploy/local.sh start

stop: ## stop it
	@$(SETTINGS) sh deploy/local.sh stop

logs: ## follow its log
	@$(SETTINGS) sh deploy/local.sh logs

demo: build require-postgresql ## show a claim's whole life on that ledger, or on one of the demo's own
	@$(SETTINGS) bin/claimledger demo

# Go refuses to build with the state of a repository that git will not read, such
# as root's build in another user's clone.
build: require-go ## build bin/claimledger
	@mkdir -p bin
	@if git status >/dev/null 2>&1; then stamp=; else stamp=-buildvcs=false; fi; \
	set -x; go build $$stamp -o bin/claimledger ./cmd/claimledger

# The tests start PostgreSQL themselves, even when the ledger is to use another, and a
# browser, which nothing else needs. Where a webhook leads depends on whose resolver reads
# its host, the system's or Go's, so that guard is tested with both. Left alone, the
# race detector has every process wait a second before it ends.
test: require-go ## run all tests, with the race detector
	@sh deploy/install-postgresql.sh
	@sh deploy/install-browser.sh
	@race='$(RACE)'; \
	if [ "$$race" = auto ]; then \
		if go build -race runtime/cgo >/dev/null 2>&1; then race=-race; \
		else race=; echo "no C compiler, so without the race detector"; fi; \
	fi; \
	export GORACE="$${GORACE-atexit_sleep_ms=0}"; \
	set -x; go test $$race -count=1 -timeout 14m -p $(TEST_P) $(TEST)
	CGO_ENABLED=0 go test -count=1 ./webhookrelay/dialguard

sim: require-go ## look for defects of the whole in simulated time (SEED=n, SEEDS=, STEPS=)
	@sh deploy/install-postgresql.sh
	go test -count=1 -timeout 0 -v ./cmd/claimledger/sim -run '^(TestSimulation|TestDerived)$$' -seed $(SEED) \
		-seeds $(SEEDS) -steps $(STEPS) -derived-seeds $(DERIVED_SEEDS) -derived-steps $(DERIVED_STEPS)

caches: require-go ## have client caches follow random commands over a bad network (SEED=n, CACHE_COMMANDS=, CACHE_CLIENTS=)
	@sh deploy/install-postgresql.sh
	go test -count=1 -timeout 0 -v ./api -run '^TestGoCaches$$' -cache-seed $(SEED) \
		-cache-commands $(CACHE_COMMANDS) -cache-clients $(CACHE_CLIENTS)

crash: require-go ## kill, cut off and damage real servers under load, ROUNDS times each
	@sh deploy/install-postgresql.sh
	CLAIMLEDGER_CRASH_ROUNDS='$(ROUNDS)' go test -count=1 -timeout 0 -parallel 3 -v ./cmd/claimledger \
		-run '^Test(CrashOf.*|NATSAway|PostgreSQLAway|FullDisk|DamageAfterACrash)$$'

chaos: require-go ## kill relays, PostgreSQL and NATS while endpoints fail, and count what webhooks get (EVENTS=, WEBHOOKS=, KILLS=, MISSED=)
	@sh deploy/install-postgresql.sh
	CLAIMLEDGER_CHAOS_EVENTS='$(EVENTS)' CLAIMLEDGER_CHAOS_WEBHOOKS='$(WEBHOOKS)' CLAIMLEDGER_CHAOS_KILLS='$(KILLS)' \
		CLAIMLEDGER_CHAOS_MISSED='$(MISSED)' go test -count=1 -timeout 0 -parallel 1 -v ./cmd/claimledger \
		-run '^Test(WebhookChaos|DownForTheWholeRetryWindow)$$'

fsync-proof: require-go ## show with strace that what is answered is on disk before
	@command -v strace >/dev/null 2>&1 || { \
		echo "fsync-proof: install strace, which is for Linux (Debian, Ubuntu: apt-get install strace; Fedora: dnf install strace)" >&2; exit 1; }
	@sh deploy/install-postgresql.sh
	go test -count=1 -v ./cmd/claimledger -run '^Test(TraceIsJudged|AnsweredIsSynced|UnsyncedIsFound)$$'

fuzz: require-go ## look for inputs that break it, FUZZTIME for each target
	@sh deploy/install-postgresql.sh
	@FUZZTIME='$(FUZZTIME)' FUZZ_P='$(FUZZ_P)' sh deploy/fuzz.sh

# Both start a ledger of their own, PostgreSQL included, and keep its data in bin for as
# long as they run: what is measured is the disk below.
bench: build ## measure a ledger of its own beside what its parts can do (BENCH=flags)
	@sh deploy/install-postgresql.sh
	@bin/claimledger bench --data-dir bin $(BENCH)

profile: build ## leave profiles of that ledger under one workload (WORKLOAD=name) in bin/profiles
	@sh deploy/install-postgresql.sh
	@bin/claimledger bench --data-dir bin --workload '$(WORKLOAD)' --profile bin/profiles $(BENCH)

check: export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)
check: require-go ## format, vet, lint, import arrows, go.mod, shell syntax
	@unformatted=$$(gofmt -l $(GO_FILES)) || exit 1; \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt): $$unformatted"; exit 1; fi
	go vet ./...
	@# The code for macOS compiles, wherever this runs.
	GOOS=darwin CGO_ENABLED=0 go vet ./...
	go run $(STATICCHECK) ./...
	go test -count=1 .
	go mod tidy -diff
	@find deploy -name '*.sh' | while read -r script; do sh -n "$$script" || exit 1; done
	@bash -n .ci/run
	@echo "check: all is well"

fmt: require-go ## format the code
	gofmt -w $(GO_FILES)

clean: ## remove what was built; the data stays
	rm -rf bin

require-go:
	@sh deploy/require-go.sh

# A ledger that is given another PostgreSQL needs none of this machine's.
require-postgresql:
	@if [ -z "$$CLAIMLEDGER_DATABASE_URL$$CLAIMLEDGER_POSTGRES_BIN" ]; then \
		sh deploy/install-postgresql.sh; \
	fi
