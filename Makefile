# lbnode. Needs Go 1.26, make, gcc (for the race detector) and git; everything else is fetched as Go modules.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/lbnode/lbnode/internal/buildinfo.version=$(VERSION)
GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod

.PHONY: all build run test race e2e soak lint fmt fuzz bench clean

all: build

build: ## the binaries, static, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

run: build ## three nodes and three sample backends on loopback, with traffic and a live table
	./bin/lbnode demo

test: build ## all tests: units and in-process clusters with the race detector, then real processes
	$(GO) vet ./...
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v /e2e)
	$(GO) test -timeout 20m -count=1 ./e2e/...
	$(GO) test -timeout 10m -count=1 ./e2e/ -run '$(PORTABLE)' -e2e.engine portable

# What is run with net/http's engine too, which is not the default on Linux. Its behaviour in detail is in proxy/enginetest.
PORTABLE := ^Test(BadInput|Balance_|Drain_lifecycle|Health_backendKilled|Restart_sigterm|Restart_drainTimeout|Fence_)

SOAK_SECONDS ?= 600
SOAK_SEED ?= $(shell date +%s)
soak: ## clients on a cluster whose network, disks, processes and members fail, for SOAK_SECONDS each in one process and over real ones
	@echo "SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED)"
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) $(GO) test -count=1 -v -timeout $$(($(SOAK_SECONDS)+900))s -run '^TestSoak' ./cluster
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) $(GO) test -count=1 -v -timeout $$(($(SOAK_SECONDS)+900))s -run '^TestSoak' ./e2e

lint: ## formatting and static analysis
	$(TOOL) golangci-lint run ./...

fmt:
	$(TOOL) gofumpt -w .

FUZZTIME ?= 10s
fuzz: ## every fuzz target for FUZZTIME
	@for pkg in $$(grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | sed 's/func //'); do \
	    $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

bench: build ## the comparison with other proxies, into docs/performance.md
	$(GO) run ./bench $(BENCHFLAGS)

clean:
	rm -rf bin bench/run
