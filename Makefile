# Everything that people and machines do with this tree. "make" alone lists it.

GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Go packages with goroutines of their own or called from many.
RACY = ./hsm/... ./keygen/... ./ledger/... ./lineside/... ./perso/bus/...

# given passes a variable on as an option if it was said on the command line; what a shell exports does not count.
given = $(if $(filter command,$(firstword $(origin $(1)))),--$(2) "$($(1))")

.DEFAULT_GOAL := help
.PHONY: help build audit-tool soak-audit soak-ledger setup demo ceremony-demo test test-all test-otherwise race bench lint sim soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing on Debian: SoftHSM, pcscd with virtual readers, and the tools that tests compare with
	@deploy/setup.sh

# Erasing costs a vault four times the CPU time of a card; its HSM seldom lets it notice.
build: ## build bin/perso [ERASE=1] that erases what the vault's work leaves in memory
	$(if $(ERASE),GOEXPERIMENT=runtimesecret )$(GO) build -trimpath -o bin/perso ./perso/cmd/perso

audit-tool: ## build bin/persoaudit, the auditor's part alone: static, without database, bus and HSM
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/persoaudit ./perso/cmd/persoaudit

demo: setup build ## make one order from file to delivery [ORDER=file|PRODUCT=sku] [HEADS=n] [DIR=folder] [TRANSPORT=pcsc]
	bin/perso demo $(call given,ORDER,order) $(call given,PRODUCT,product) $(call given,HEADS,heads) $(call given,DIR,dir) $(call given,TRANSPORT,transport)

ceremony-demo: DIR ?= ceremony-demo
ceremony-demo: setup build ## hold two key ceremonies on SoftHSM, and show an old token being found out [DIR=folder]
	@deploy/ceremony/demo.sh bin/perso "$(DIR)"

# Two packages at a time, because some of them start processes of their own, and beside them what is run in other ways. The longest
# packages come first, so that none of them runs alone in the end. One that needs more than eight minutes hangs.
LONGEST = ./perso/cmd/chaos ./perso/cmd/e2e ./perso/sim ./ledger/audit

test: setup ## run all tests
	@$(MAKE) --no-print-directory --keep-going --jobs 2 test-all test-otherwise

test-all:
	$(GO) test -timeout 8m -p 2 $(LONGEST) ./...

test-otherwise:
	PERSO_TEST_DB=postgres $(GO) test -timeout 8m ./ledger
	PERSO_TEST_DB=twice $(GO) test -timeout 5m ./ledger
	GOEXPERIMENT=runtimesecret $(GO) test -timeout 5m -run '^TestMemoryAfter' ./keygen

race: setup ## run the tests of concurrent packages under the race detector
	$(GO) test -race -timeout 15m -p 2 $(RACY)

bench: setup build ## measure: Go benchmarks, then the whole factory against its floor, with one vault and with two
	$(GO) test -run '^$$' -bench . -benchmem -timeout 30m -p 1 ./...
	bin/perso bench
	bin/perso bench --vaults 2

lint: ## check format, vet, staticcheck and the house rules (imports, sizes, clocks)
	@unformatted=$$(gofmt -l perso keygen hsm lineside ledger deploy); \
	  if [ -n "$$unformatted" ]; then echo "not gofmt-ed:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test ./perso

sim: ## run the simulated factory [SEED=n] one seed, or [SEEDS=n] many, [STEPS=n] events each
	PERSO_SIM_SEED="$(SEED)" PERSO_SIM_SEEDS="$(SEEDS)" PERSO_SIM_STEPS="$(STEPS)" $(GO) test -count 1 -timeout 60m -v ./perso/sim

soak: SEEDS ?= 20000
soak: ## run the simulated factory for hours, with seeds that were not tried before [SEEDS=n]
	PERSO_SIM_SEED="$$(date +%s)" PERSO_SIM_SEEDS="$(SEEDS)" PERSO_SIM_STEPS="$(STEPS)" $(GO) test -count 1 -timeout 24h ./perso/sim

soak-audit: CARDS ?= 1000000
soak-audit: ## have an auditor judge, report on and prove a large log [CARDS=n]; a million need 8 GB of memory
	PERSO_AUDIT_CARDS="$(CARDS)" $(GO) test -count 1 -timeout 60m -v -run '^TestManyCards$$' ./ledger/audit

soak-ledger: CARDS ?= 1000000
soak-ledger: ## make many cards on one ledger file, and tell what one costs as it grows [CARDS=n]
	PERSO_LEDGER_CARDS="$(CARDS)" $(GO) test -count 1 -timeout 6h -v -run '^TestLedgerGrows$$' ./ledger

clean: ## remove what build and demo made
	rm -rf bin demo ceremony-demo
