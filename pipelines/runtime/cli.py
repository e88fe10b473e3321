"""The command line that all stages share: ``python -m pipelines.stages.STAGE NAME``."""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from components.errors import UserError
from pipelines.runtime.guard import end_on_sigterm, end_with_dvc
from pipelines.runtime.remedies import placed
from pipelines.runtime.settings import Params, load_params
from pipelines.runtime.settings.paths import assigned

NOISY_LOGGERS = ("mlflow", "alembic", "ray", "PIL", "matplotlib")


def run_stage(description: str | None, main: Callable[[str, Params], None]) -> None:
    """Parse the arguments, read the settings, run the stage.

    A `UserError` is printed as one line and exits with status 2; Ctrl-C exits with 130. Anything
    else is a defect and keeps its traceback.

    Args:
        description: the stage module's docstring, shown by ``--help``.
        main: the stage, called with the entry's name and the whole settings.
    """
    parser = argparse.ArgumentParser(
        prog=_command(),
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", help="entry of the stage's section in the params file")
    parser.add_argument(
        "--params",
        type=Path,
        default=Path("params.yaml"),
        help="settings file (default: %(default)s)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="another value than the settings file's, as in --set compose.vaebm-toy.seed=1; may be "
        "given many times; --compose.vaebm-toy.seed 1 says the same",
    )
    arguments = parser.parse_args(_as_set(sys.argv[1:]))
    quieten_libraries()
    end_on_sigterm()
    end_with_dvc()
    try:
        main(arguments.name, load_params(arguments.params, assigned(arguments.set)))
    except UserError as error:
        sys.exit(_fail(placed(f"error: {error}", arguments.params)))
    except KeyboardInterrupt:
        sys.exit(130)


def quieten_libraries() -> None:
    """Leave the terminal to what the user wants to read: progress, results, errors."""
    # MLflow sets its loggers' level when it is imported, which may still be to come.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


def _command() -> str | None:
    """How this program was called, ``python -m MODULE``; None: not that way."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec is not None else None


def _as_set(words: list[str]) -> list[str]:
    """Spell ``--PATH VALUE`` as ``--set PATH=VALUE``, PATH being any option with a dot in its name.

    MLflow Projects hand parameters of the user's own on in this way.
    """
    spelt: list[str] = []
    rest = iter(words)
    for word in rest:
        path, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and "." in path:
            words_value = [value] if equals else list(itertools.islice(rest, 1))
            spelt += ["--set", "=".join([path, *words_value])]
        else:
            spelt.append(word)
    return spelt


def _fail(line: str) -> int:
    print(line, file=sys.stderr)
    return 2
