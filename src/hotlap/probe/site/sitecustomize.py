"""Loaded by Python itself at start-up, because hotlap put this directory first in PYTHONPATH.

Starts the probe, then hands over to the ``sitecustomize`` that would have been loaded without us.
Whatever goes wrong here, the user's program starts as it would have.
"""


def _start_probe() -> None:
    import importlib.util
    import os
    import sys

    settings = os.environ.get("HOTLAP_PROBE")
    if not settings:
        return
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if "hotlap" not in sys.modules and importlib.util.find_spec("hotlap") is None:
        # Another environment than hotlap's own: load this package by path, without making its neighbours importable.
        spec = importlib.util.spec_from_file_location(
            "hotlap", os.path.join(package, "__init__.py"), submodule_search_locations=[package]
        )
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["hotlap"] = module
        spec.loader.exec_module(module)
    from hotlap.probe import start

    start(settings)


def _next_sitecustomize() -> None:
    import importlib.machinery
    import importlib.util
    import os
    import sys

    here = os.path.dirname(os.path.abspath(__file__))
    path = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    sys.path[:] = path
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


try:
    _start_probe()
except BaseException as error:
    import sys

    print(f"hotlap: the probe could not start: {error!r}", file=sys.stderr)
_next_sitecustomize()
