# make demo   index a folder of photos, ask three queries, write the answers to demo/answers.html
# make test   run the tests
# make check  everything that must hold before a change is taken
# make bench  the quick form of the benchmarks of speed, and what they claim; peers are installed below build/peers
# make docs   write docs/cli.md anew

PYTHON ?= python3
# The environment of the tests. The demo has its own, below demo/.
VENV ?= .venv
# On few cores the threads of several libraries wait for each other.
export OMP_NUM_THREADS ?= 1
DEMO_VENV = demo/venv
DEMO_PACKAGES = $(DEMO_VENV)/lib/python3*/site-packages
PHOTOS ?= demo/photos
QUERIES ?= "a cat" "a woman smiling" "a man with a camera"

.DELETE_ON_ERROR:
.PHONY: demo test check bench docs clean

demo: $(DEMO_VENV)/made $(PHOTOS)
	rm -rf demo/library
	$(DEMO_VENV)/bin/mmsearch index "$(PHOTOS)" --library demo/library
	@for query in $(QUERIES); do \
	    printf '\nmmsearch query "%s"\n' "$$query"; \
	    $(DEMO_VENV)/bin/mmsearch query "$$query" -k 3 --library demo/library || exit 1; \
	done
	@echo
	@$(DEMO_VENV)/bin/python -m mmsearch.cli.contact_sheet --library demo/library --out demo/answers.html $(QUERIES)

# The photos that scikit-image and scikit-learn carry in their wheels.
demo/photos: | $(DEMO_VENV)/made
	$(DEMO_VENV)/bin/python -m pip install --quiet scikit-image scikit-learn
	mkdir -p $@
	cp $(DEMO_PACKAGES)/skimage/data/*.png $(DEMO_PACKAGES)/skimage/data/*.jpg \
	    $(DEMO_PACKAGES)/sklearn/datasets/images/*.jpg $@

$(DEMO_VENV)/made: pyproject.toml
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install --quiet -e ".[cpu]"
	touch $@

test: $(VENV)/made
	$(VENV)/bin/python -m pytest

check: $(VENV)/made
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --explicit-package-bases tests
	$(VENV)/bin/python -m pytest
	sh tests/installed_wheel.sh "$(VENV)/bin/python"

# Figures of speed go to build/bench; those that are published are taken by the same scripts without --quick.
bench: $(VENV)/made $(PHOTOS)
	rm -rf build/bench
	$(VENV)/bin/python benchmarks/peers.py
	$(VENV)/bin/python benchmarks/indexing.py --quick --photos "$(PHOTOS)" --work build/clip
	$(VENV)/bin/python benchmarks/decoding.py --quick --photos "$(PHOTOS)"
	$(VENV)/bin/python benchmarks/small_photos.py --quick --photos "$(PHOTOS)"
	$(VENV)/bin/python benchmarks/reindexing.py --quick --photos "$(PHOTOS)"
	$(VENV)/bin/python benchmarks/cold.py --quick --photos "$(PHOTOS)"
	$(VENV)/bin/python benchmarks/warm.py --quick
	for what in exact lists growth; do build/peers/vectors/bin/python benchmarks/search.py $$what --quick || exit 1; done
	$(VENV)/bin/python benchmarks/speed_page.py --quick

docs: $(VENV)/made
	$(VENV)/bin/python -m mmsearch.cli.reference > docs/cli.md

$(VENV)/made: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -e ".[cpu,test,open-clip,train,check]"
	touch $@

clean:
	rm -rf demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
