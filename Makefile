# What people type. The build itself is CMake's: see CMakePresets.json.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build test soak sim mutants demo demo-attack escapes lint format asan tsan bench bench-server bench-store conformance package package-test clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install what is missing: Debian packages, LibTorch
	@scripts/setup.sh

# demo, test and the rest set up by themselves; build does not, so that a machine set up with
# --server-only stays one.
.PHONY: ready
ready:
	@scripts/setup.sh --quiet
	@MANYHANDS_REQUIRE_TORCH=ON scripts/build.sh release

build: ## compile; the programs are then in build/release/bin
	@scripts/build.sh release

test: ready ## set up, build, run all tests: unit, integration, lint
	@scripts/test.sh release

KILLS ?= 1000
soak: ready ## kill server, clients and trainers KILLS=1000 times; SEED=N repeats a plan
	@python3 -B tests/integration/crash_test.py --kills $(KILLS) $(if $(SEED),--seed $(SEED))

SEEDS ?= 100000
sim: ready ## server and volunteers in virtual time; SEEDS=N, from SEED=N on
	@build/release/bin/manyhands-sim run --seed $(or $(SEED),1) --seeds $(SEEDS) --threads $$(nproc)

mutants: ready ## break one rule of the scheduler at a time: the simulator must find each
	@python3 tests/sim/mutants.py

demo: ready ## set up, build, train Fashion-MNIST with four volunteers on this machine
	@scripts/demo.sh

demo-attack: ready ## the same with six volunteers, two of whom cheat
	@scripts/demo-attack.sh

escapes: ready ## what a hostile trainer can do, with each layer of its sandbox taken away
	@python3 -B tests/attack/escapes.py table

package: ## Debian packages of server, client and command line, in build/package
	@scripts/setup.sh --quiet
	@scripts/package.sh

package-test: ## on a fresh Debian 12 only: install the packages (DEBS=build/package), join, train, purge
	@tests/package/join_test.sh $(or $(DEBS),build/package)

lint: ## layering, sizes, words, banned calls, format
	@/usr/bin/env python3 tests/lint/lint.py

format: ## apply clang-format to every source file
	@git ls-files --cached --others --exclude-standard '*.h' '*.cpp' | xargs -r clang-format-14 -i

asan: ## unit tests under AddressSanitizer and UBSan
	@scripts/setup.sh --quiet
	@MANYHANDS_REQUIRE_TORCH=ON scripts/build.sh asan
	@scripts/test.sh asan -L unit

tsan: ## unit tests of server and client under ThreadSanitizer
	@scripts/setup.sh --quiet --server-only
	@scripts/build.sh tsan unit_core_test unit_server_test
	@scripts/test.sh tsan -R 'unit_(core|server)_test'

bench: ready ## the pipeline against bare trainers: samples/s, ms per step, bytes
	@PATH="$$PWD/build/release/bin:$$PATH" python3 tests/bench/pipeline_bench.py

bench-server: ready ## what the server bears: exchanges/s, memory per long poll, ms to the next step, downloads
	@scripts/build.sh release load_generator aggregate_bench fill_store
	@python3 tests/bench/server_bench.py

conformance: ## the official Connect suite against server and client (once: Go, network)
	@scripts/setup.sh --quiet --server-only
	@scripts/conformance.sh

bench-store: ready ## exchanges/s of coordinator and database, empty and with a million workunits; restart
	@scripts/build.sh release fill_store store_bench
	@PATH="$$PWD/build/release/bin:$$PATH" python3 tests/bench/store_bench.py

clean: ## remove build/
	@rm -rf build
