"""Every check of the project, and the one place that says how it is run.

``nox`` alone is the complete check that a change has to pass.  ``nox -l`` lists the sessions, the ones in the second half
run only when they are asked for: ``nox -s bench``.  What follows ``--`` goes to the program: ``nox -s tests-3.12 -- -k ledger``.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.10"

PYPROJECT = nox.project.load_toml("pyproject.toml")
EXTRAS = ",".join(PYPROJECT["project"]["optional-dependencies"])
EVERYTHING = f".[{EXTRAS}]"

OLDEST = "3.11"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FUZZING_PYTHON = "3.12"  # one that atheris has a wheel for
NOT_ONCE = ("-m", "not once")  # what one Python tells about all of them
REPEATABLE = "--hypothesis-profile=repeatable"  # plain pytest looks for something new each time, and so does the session laws
# The interpreter that runs nox is always tested, and the one whose coverage counts: it is there on every machine, and no line
# of the package belongs to one Python only.
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = sorted(
    {OLDEST, "3.12", "3.13", "3.14", HERE},
    key=lambda version: tuple(map(int, version.split("."))),
)

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
# An interpreter that this machine lacks is skipped with a line that says so, under CI too: what must be there is for the
# workflow to say (--error-on-missing-interpreters), and nothing is ever downloaded for it.
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"
# For who asks for it with --parallel.
nox.options.allow_parallel = True
# What is soon known comes first; then what takes long, so that in a parallel run nothing long is left for the end.
nox.options.sessions = ["lint", "mypy", "tests", "tests_lowest", "laws", "pyright", "docs", "build", "coverage"]


def install(session: nox.Session, *groups: str) -> None:
    """Install the project with every extra, editable, and these dependency groups of pyproject.toml."""
    session.install("--editable", EVERYTHING, *nox.project.dependency_groups(PYPROJECT, *groups))


def pytest(session: nox.Session, *arguments: str, program: tuple[str, ...] = ("python",), **env: str) -> None:
    """Run tests.  They start Python some fifty times, three times as fast where it may keep its byte code: so it always may."""
    session.run(*program, "-m", "pytest", *arguments, env={"PYTHONDONTWRITEBYTECODE": None, **env})


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests on one Python; the one that runs nox runs all and keeps what they covered for ``coverage``."""
    install(session, "test")
    if session.python == HERE:
        for old in Path().glob(".coverage.*"):
            old.unlink()
        pytest(session, REPEATABLE, *session.posargs, program=("coverage", "run"))
    else:
        pytest(session, REPEATABLE, *NOT_ONCE, *session.posargs)


@nox.session(requires=[f"tests-{HERE}"])
def coverage(session: nox.Session) -> None:
    """Combine what ``tests`` covered in all its processes; every branch of the package must be among it."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "coverage"))
    session.run("coverage", "combine")
    unreachable = []
    if not shutil.which("pg_ctl") and not any(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")):
        session.warn("PostgreSQL's server is not installed, so what only it reaches does not count")
        unreachable = ["--omit=trio_oplog/collector/*"]
    session.run("coverage", "report", "--fail-under=100", *unreachable)


@nox.session(python=OLDEST, reuse_venv=False)
def tests_lowest(session: nox.Session) -> None:
    """Run the tests on the oldest Python with the lowest version of every direct dependency that pyproject.toml allows."""
    # pip cannot resolve downwards.
    session.install("uv")
    session.run_install(
        *("uv", "pip", "install", "--resolution=lowest-direct", "--editable", EVERYTHING),
        *nox.project.dependency_groups(PYPROJECT, "test"),
    )
    pytest(session, REPEATABLE, *NOT_ONCE, *session.posargs)


@nox.session
def laws(session: nox.Session) -> None:
    """Look for broken laws with ten times the budget: what is ours keeps them, what is faulty is caught whatever the seed.

    On one Python, and apart from the tests so that nothing is traced for coverage: this is what takes long.
    """
    install(session, "test")
    pytest(
        session,
        "tests/testing/test_real.py",
        "tests/testing/test_faulty.py",
        "tests/serving/test_fuzz.py",
        "tests/gateway/test_http_peers.py",
        *session.posargs,
        TRIO_OPLOG_BUDGET="10",
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting; ``nox -s lint -- --fix`` repairs what can be repaired."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []))
    session.run("ruff", "format", *([] if fix else ["--check"]))


@nox.session
def mypy(session: nox.Session) -> None:
    """Check the types, strictly."""
    install(session, "types")
    session.run("mypy", *session.posargs)


@nox.session
def pyright(session: nox.Session) -> None:
    """Check that every public name has a known type, as a type checker of a user sees it."""
    install(session, "types")
    session.run("pyright", "--verifytypes", "trio_oplog", "--ignoreexternal", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into docs/_build/html; a warning is an error.  Its examples run with ``tests``."""
    install(session, "docs")
    session.run("sphinx-build", "-W", "--keep-going", "-E", "-q", "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session(reuse_venv=False)
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel, check what is in them, and import the core from the wheel without any extra."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "build"))
    out = Path(session.create_tmp(), "dist")
    shutil.rmtree(out, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(out))
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    for archive in (wheel, sdist):
        command = ["-m", "zipfile", "-l"] if archive is wheel else ["-m", "tarfile", "-l"]
        names = session.run("python", *command, str(archive), silent=True)
        if "trio_oplog/py.typed" not in str(names):
            session.error(f"{archive.name} lacks py.typed")
    session.install(str(wheel))
    # Outside the clone, so that the wheel is what gets imported.
    with session.chdir(session.create_tmp()):
        session.run("python", "-W", "error", "-c", "import trio_oplog; print(trio_oplog.__version__, trio_oplog.__file__)")


# From here on: only when asked for.


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure the speed and the memory, each against a baseline from the same run."""
    install(session, "test", "bench", "browser")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session(default=False)
def e2e(session: nox.Session) -> None:
    """Run the tests against real programs from npm and PyPI; needs ``npm`` on the machine."""
    if shutil.which("npm") is None:
        session.error("the end-to-end tests need npm, and there is none on PATH")
    install(session, "test", "e2e")
    pytest(session, "tests/e2e", *session.posargs)


@nox.session(default=False)
def browser(session: nox.Session) -> None:
    """Run the tests of the page in Chromium; needs it, and ``npm`` for axe-core, on the machine.  ``.ci/run`` runs this, too."""
    if not any(map(shutil.which, CHROMIUMS)):
        session.error("the tests of the page need Chromium, and there is none on PATH: apt-get install chromium")
    if shutil.which("npm") is None:
        session.error("the check of accessibility comes from npm, and there is no npm on PATH")
    install(session, "test", "browser")
    pytest(session, "tests/browser", *session.posargs)


@nox.session(default=False)
def schema(session: nox.Session) -> None:
    """Compare the table of what is recorded with the schema of the newest Codex; ``-- --update`` replaces the checked-in names.

    Needs ``npm``.  Prints what the table lacks and what it has too much, and fails when it lacks something.
    """
    if shutil.which("npm") is None:
        session.error("Codex comes from npm, and there is no npm on PATH")
    session.install("--editable", ".")
    folder = Path(session.create_tmp(), "codex").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    home = folder / "home"
    home.mkdir(parents=True)
    session.run("npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "@openai/codex@latest", external=True)
    modules, generated = folder / "node_modules", str(folder / "schema")
    command = [str(modules / ".bin" / "codex"), "app-server", "generate-json-schema", "--experimental", "--out", generated]
    session.run(*command, external=True, env={"CODEX_HOME": str(home)})
    version = json.loads((modules / "@openai" / "codex" / "package.json").read_text(encoding="utf-8"))["version"]
    session.run("python", "-m", "tests.schema.codex_names", generated, version, *session.posargs)


@nox.session(default=False)
def kill(session: nox.Session) -> None:
    """Kill gateway and collector at random moments, 200 times or as often as ``--`` says, and settle the account."""
    install(session, "test")
    (kills,) = session.posargs or ["200"]
    pytest(session, "-s", "--timeout=0", "tests/kill/test_kill.py", TRIO_OPLOG_KILLS=kills)


@nox.session(default=False)
def kill_team(session: nox.Session) -> None:
    """Kill three collectors on one PostgreSQL at random moments, 100 times or as often as ``--`` says, through a switchover."""
    install(session, "test")
    (kills,) = session.posargs or ["100"]
    pytest(session, "-s", "--timeout=0", "tests/kill/test_team.py", TRIO_OPLOG_TEAM_KILLS=kills)


@nox.session(python=FUZZING_PYTHON, default=False)
def fuzz(session: nox.Session) -> None:
    """Look for frames and records that break the laws, for 20 minutes or as many seconds as ``--`` says."""
    install(session, "test", "fuzz")
    (seconds,) = session.posargs or ["1200"]
    corpus = Path(session.create_tmp(), "corpus")
    session.run("python", "fuzz/seeds.py", str(corpus))
    session.run("python", "fuzz/laws.py", str(int(seconds) // 3))
    for entry in ("frames", "wire"):
        # libFuzzer writes what it finds into the first folder, and keeps what broke it as files beside it.
        found = corpus / f"{entry}-found"
        found.mkdir(exist_ok=True)
        budget = [f"-max_total_time={int(seconds) // 3}", "-max_len=8192", f"-artifact_prefix={corpus}/{entry}-broken-"]
        session.run("python", f"fuzz/fuzz_{entry}.py", str(found), str(corpus / entry), *budget)


@nox.session(python=OLDEST, default=False)
def mutation(session: nox.Session) -> None:
    """Change the sans-IO half in small ways; at least nine of ten changes must be noticed.  Takes three quarters of an hour."""
    install(session, "test")
    session.install("mutmut>=3.8")
    session.run("python", "fuzz/mutation.py", *session.posargs)
