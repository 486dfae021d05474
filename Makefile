# Liferelay's ways to build. A machine needs Go and make; what else a way needs it installs first, and says so.
# Written for GNU make 3.81 (the one of macOS) and a POSIX sh.

.DEFAULT_GOAL := help
.PHONY: help demo test screenshots bench lint generate build clean go

# What takes long to compile is kept here, named by what it was compiled from, for every clone of the repository.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/liferelay

# The Go that is installed: asked from outside the modules, which may name a newer one and make it be fetched.
GO_IS := $(shell cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null)

STACK_SOURCES := $(sort $(filter-out %_test.go,$(wildcard cmd/devstack/*.go))) cmd/devstack/go.mod cmd/devstack/go.sum
DEVSTACK := $(CACHE)/devstack-$(GO_IS)-$(shell cat $(STACK_SOURCES) | cksum | tr ' ' '-')

GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(CACHE)/golangci-lint-$(GOLANGCI_VERSION)-$(GO_IS)

WORKFLOWCHECK_VERSION := v0.6.0
WORKFLOWCHECK := $(CACHE)/workflowcheck-$(WORKFLOWCHECK_VERSION)-$(GO_IS)

TEMPL_VERSION := v0.3.977
TEMPL := $(CACHE)/templ-$(TEMPL_VERSION)-$(GO_IS)

# Go writes the revision into a program, and refuses to build where git refuses to answer: in somebody else's clone.
ifeq ($(shell git rev-parse --verify HEAD 2>/dev/null),)
export GOFLAGS += -buildvcs=false
endif

# What looks at pages and papers as people do: Chromium with fonts for Chinese, poppler's tools for PDF, and the rules of accessible pages as
# a program (axe-core).
AXE_VERSION := 4.14.1
AXE := $(CACHE)/axe-core-$(AXE_VERSION)/axe.min.js
CHROMIUM := $(CACHE)/chromium-and-poppler-found

PKG ?= ./...
RUN ?=
RUN_FLAG = $(if $(RUN),-run '$(RUN)')

help: ## list the ways
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(DEVSTACK) build ## run the main job on a PostgreSQL and a Temporal of its own, and go on serving until Ctrl-C; DEMO=once ends after the job
	@$(DEVSTACK) run -- bin/liferelay demo

test: $(DEVSTACK) $(CHROMIUM) $(AXE) ## run all tests against a real PostgreSQL and a real Temporal; PKG=./registry/... RUN=TestName narrow
	@status=0; \
	case '$(PKG)' in ./cmd/devstack*) ;; *) \
		echo "test: $(PKG)"; \
		LIFERELAY_TEST_REQUIRE=1 LIFERELAY_AXE=$(AXE) $(DEVSTACK) run -- go test -p 2 -timeout 15m $(RUN_FLAG) $(PKG) || status=1;; \
	esac; \
	case '$(PKG)' in ./...|./cmd/devstack*) \
		echo "test: cmd/devstack, a module of its own; its test program is as large as devstack and takes a minute to link"; \
		(cd cmd/devstack && go test -timeout 15m $(RUN_FLAG) .) || status=1;; \
	esac; \
	exit $$status

screenshots: $(DEVSTACK) $(CHROMIUM) ## take pictures of every screen, in both languages and for two widths, into docs/screens; takes some minutes
	@LIFERELAY_TEST_REQUIRE=1 LIFERELAY_SCREENS='$(CURDIR)/docs/screens' $(DEVSTACK) run -- go test -count=1 -timeout 45m -run '^TestScreens$$' ./web
	@echo "screenshots: $$(ls docs/screens | wc -l | tr -d ' ') pictures in docs/screens, $$(du -sk docs/screens | cut -f1) kB"

# Matching is measured over public data that is not in the repository (CONTRIBUTING.md).
DATA = $(or $(LIFERELAY_DATA),../shared/data)

bench: $(DEVSTACK) build ## measure intake, casework, pages and matching beside the least they could cost on this machine; takes ten to twenty minutes
	@echo "bench: Intake is a sheet of 20,000 forms from the file to the register; floor is reading its cells and copying them into a bare table"
	@echo "bench: Lookup is finding somebody by number among ten thousand and among a million people"
	@echo "bench: Page is a list of fifty donors; percent-of-page is what deciding and masking are of it"
	@echo "bench: Casework is decisions through cases; bare is a Temporal update that runs one empty local activity"
	@echo "bench: Pages are the worklist and the case page while fifty people work; bare is a handler that runs one indexed query"
	@LIFERELAY_TEST_REQUIRE=1 $(DEVSTACK) run -- \
		sh -c "go test -run '^$$' -bench '^BenchmarkLookup$$' -benchtime 2000x ./registry && \
		go test -run '^$$' -bench '^BenchmarkPage$$' -benchtime 3x ./registry && \
		go test -run '^$$' -bench '^Benchmark(Intake|Casework)$$' -benchtime 1x -timeout 30m ./registry ./workflows && \
		go test -run '^$$' -bench '^Benchmark(Pages|FirstLoad)$$' -benchtime 1x -timeout 30m ./web"
	@echo "bench: Matching is searches over synthetic donors; floor is streaming the engine's own columns once, SQL the same question in PostgreSQL"
	@if [ -f '$(DATA)/haplotypes/NCHI.ARS.freqs' ] && [ -d '$(DATA)/imgt-hla-3.33.0' ] && [ -d '$(DATA)/wmda-set3' ]; then \
		$(DEVSTACK) run -- bin/liferelay match bench --donors 100000 --donors 1000000 --donors 4000000 \
			--haplotypes '$(DATA)/haplotypes/NCHI.ARS.freqs' --hla '$(DATA)/imgt-hla-3.33.0' && \
		LIFERELAY_DATA='$(abspath $(DATA))' go test -run '^$$' -bench '^BenchmarkValidationSet$$' -benchtime 1x -timeout 30m ./registry/match; \
	else \
		echo "bench: no matching: haplotypes/NCHI.ARS.freqs, imgt-hla-3.33.0 and wmda-set3 are not in $(DATA); CONTRIBUTING.md says what they are"; \
	fi

lint: $(DEVSTACK) $(GOLANGCI) $(WORKFLOWCHECK) $(TEMPL) ## gofmt, go vet, golangci-lint, and Temporal's check that protocols are deterministic
	@status=0; \
	echo "lint: gofmt"; \
	unformatted=$$(gofmt -l .) && [ -z "$$unformatted" ] || { echo "not formatted; run gofmt -w on: $$unformatted"; status=1; }; \
	echo "lint: templ"; \
	stale=$$(mktemp -d) && cp -R web "$$stale/" && (cd "$$stale" && $(TEMPL) generate -path web >/dev/null 2>&1) && diff -rq web "$$stale/web" || { echo "pages are not as their templates are; run make generate"; status=1; }; \
	rm -rf "$$stale"; \
	for module in . cmd/devstack; do \
		echo "lint: go vet in $$module"; \
		(cd $$module && go vet ./...) || status=1; \
		echo "lint: golangci-lint in $$module"; \
		(cd $$module && $(GOLANGCI) run --config '$(CURDIR)/.golangci.yml' ./...) || status=1; \
	done; \
	echo "lint: workflowcheck"; \
	$(WORKFLOWCHECK) -config .workflowcheck.yml -show-pos ./workflows/... || status=1; \
	[ $$status -ne 0 ] || echo "lint: nothing to mend"; \
	exit $$status

generate: $(TEMPL) ## make web/*_templ.go anew from web/*.templ, after a template was changed
	@$(TEMPL) fmt web >/dev/null
	@$(TEMPL) generate -path web

build: | go ## build bin/liferelay
	@echo "build: bin/liferelay"
	@go build -o bin/liferelay ./cmd/liferelay

clean: ## remove bin/; the compiled tools in the user's cache folder stay
	rm -rf bin

go:
	@command -v go >/dev/null || { echo "Go is needed and is not on the PATH: https://go.dev/dl/" >&2; exit 1; }

# go build -v names each package as it compiles it, which here becomes a line in every hundred: silence for minutes
# looks like a hang. The program is built beside its place and moved there, so that what is in the cache is whole.
$(DEVSTACK): | go
	@mkdir -p $(CACHE)
	@echo "devstack: compiling it with its Temporal server, once for this version of it; where Go has nothing of it yet, about 12 minutes of processor time"
	@cd cmd/devstack && began=$$(date +%s) && total=$$(($$(go list -deps . | wc -l))) && \
	{ go build -v -buildvcs=false -ldflags '-s -w' -o $@.$$$$ . 2>&1; echo "exit $$?"; } | { \
		status=1; n=0; \
		while IFS= read -r line; do \
			case $$line in \
			'exit '*) status=$${line#exit } ;; \
			*[!A-Za-z0-9._~/+-]*) printf '%s\n' "$$line" ;; \
			*/cmd/devstack) echo "devstack: linking" ;; \
			*) n=$$((n + 1)); [ $$((n % 100)) -ne 0 ] || \
				echo "devstack: $$n of at most $$total packages compiled, after $$(($$(date +%s) - began)) s" ;; \
			esac; \
		done; exit $$status; \
	} && mv $@.$$$$ $@
	@find $(CACHE) -name 'devstack-*' -mtime +30 -exec rm -f {} +
	@echo "devstack: kept as $@"

# Found once and then remembered, so that nothing is asked of a package manager again.
$(CHROMIUM):
	@mkdir -p $(CACHE)
	@{ command -v chromium || command -v chromium-browser || command -v google-chrome; } >/dev/null && command -v pdftotext >/dev/null && command -v pdftoppm >/dev/null || { \
		echo "chromium, poppler: not installed here; installing them and fonts for Chinese once, with apt-get"; \
		as=; [ "$$(id -u)" = 0 ] || as="sudo -n"; \
		install="$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends chromium fonts-noto-cjk poppler-utils"; \
		$$install || { $$as apt-get update -q && $$install; }; \
	} || { echo "Chromium and poppler could not be installed: install them, or run the other packages' tests with PKG" >&2; exit 1; }
	@touch $@

$(AXE):
	@mkdir -p $(dir $@)
	@echo "axe-core $(AXE_VERSION): fetching it once, with npm"
	@cd $(dir $@) && archive=$$(npm pack --silent axe-core@$(AXE_VERSION)) && tar xzf "$$archive" package/axe.min.js && mv package/axe.min.js $@ && rm -rf package "$$archive"

$(GOLANGCI): | go
	@echo "golangci-lint $(GOLANGCI_VERSION): compiling it once, about 4 minutes of processor time"
	@GOBIN=$@.$$$$ go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION) && mv $@.$$$$/golangci-lint $@ && rmdir $@.$$$$

$(TEMPL): | go
	@echo "templ $(TEMPL_VERSION): compiling it once"
	@GOBIN=$@.$$$$ go install github.com/a-h/templ/cmd/templ@$(TEMPL_VERSION) && mv $@.$$$$/templ $@ && rmdir $@.$$$$

$(WORKFLOWCHECK): | go
	@echo "workflowcheck $(WORKFLOWCHECK_VERSION): compiling it once"
	@GOBIN=$@.$$$$ go install go.temporal.io/sdk/contrib/tools/workflowcheck@$(WORKFLOWCHECK_VERSION) && mv $@.$$$$/workflowcheck $@ && rmdir $@.$$$$
