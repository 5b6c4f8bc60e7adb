"""How commands end, what they are called, and what asking for help costs."""

import errno
import os
import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from likeness import __version__
from likeness.data.decode import DecodeError
from likeness.errors import UserError
from likeness_apps.cli import app
from likeness_apps.shell.commands import DEBUG, STOPPED, command

SHARED = {
    "sample": ["OUT", "--layout", "--seed"],
    "inspect": ["DATA", "--against", "--out", "--quiet"],
    "train": [
        *("DATA", "--out", "--config", "--set", "--resume", "--tensorboard"),
        *("--include-images", "--quiet"),
    ],
    "evaluate": [
        *("MODEL", "DATA", "--out", "--split", "--protocol", "--against", "--also"),
        *("--tta", "--include-images", "--batch-size", "--device", "--quiet"),
    ],
    "score": ["TRUTH", "PREDICTIONS", "--out", "--protocol", "--fold", "--multilabel", "--quiet"],
    "predict": [
        *("MODEL", "SOURCE", "--out", "--also", "--tta", "--batch-size", "--device", "--quiet"),
    ],
    "embed": ["MODEL", "SOURCE", "--out", "--batch-size", "--device", "--quiet"],
    "index": ["MODEL", "DATA", "--out", "--batch-size", "--device", "--quiet"],
    "search": ["INDEX", "QUERY", "-k", "--out", "--sheet", "--device", "--quiet"],
    "compare": ["RESULT_A", "RESULT_B", "--out", "--seed"],
    "pool": ["RESULT...", "--out", "--seed", "--quiet"],
    "distill": [
        *("TEACHER", "DATA", "--out", "--config", "--set", "--resume", "--tensorboard"),
        *("--include-images", "--quiet"),
    ],
    "imprint": [
        *("MODEL", "IMAGES", "--label", "--out", "--licence", "--tta", "--batch-size"),
        *("--device", "--quiet"),
    ],
}
REMOTE_SENSING = {
    "evaluate": [*SHARED["evaluate"], "--reference", "--column"],
    "index": [*SHARED["index"], "--chip", "--stride", "--min-valid"],
    "search": [*SHARED["search"], "--gpkg", "--box", "--box-crs", "--window"],
    "map": [
        *("MODEL", "SCENE", "--out", "--stride", "--blend", "--probabilities", "--gpkg"),
        *("--resample", "--window", "--batch-size", "--device", "--quiet"),
    ],
    "scene": ["OUT", "--width", "--height", "--seed", "--quiet"],
}
SKIN_LESION = {
    "sample": [*SHARED["sample"], "--per-class"],
    "explain": ["MODEL", "IMAGE", "--out", "--cases", "-k", "--device", "--quiet"],
    "names": ["DATA", "--out", "--quiet"],
    "score": [*SHARED["score"], "--floor"],
    "search": [*SHARED["search"], "--data"],
    "submission": ["PREDICTIONS", "--out", "--quiet"],
}
WITHDRAWN = "--acknowledge-withdrawn"
PERSON_REID = {
    "sample": [*SHARED["sample"], "--people"],
    "inspect": [*SHARED["inspect"], WITHDRAWN],
    "train": [*SHARED["train"], WITHDRAWN],
    "evaluate": [
        *("MODEL", "DATA", "--out", "--protocol", "--frames", "--re-rank", "--include-images"),
        *("--batch-size", "--device", "--quiet", WITHDRAWN),
    ],
    "score": ["TRUTH", "FEATURES", "--out", "--protocol", "--space", "--re-rank", "--quiet"],
    "embed": [
        *("MODEL", "DATA", "--out", "--purpose", "--legal-basis", "--retention", "--split"),
        *("--frames", "--batch-size", "--device", "--quiet", WITHDRAWN),
    ],
    "index": [
        *("MODEL", "DATA", "--out", "--purpose", "--legal-basis", "--retention"),
        *("--include-images", "--batch-size", "--device", "--quiet", WITHDRAWN),
    ],
    "search": [
        *("INDEX", "QUERY", "--out", "-k", "--sheet", "--include-images", "--data", "--prior"),
        *("--false-accept-rate", "--device", "--quiet", WITHDRAWN),
    ],
    "compare": SHARED["compare"],
    "distill": [*SHARED["distill"], WITHDRAWN],
    "imprint": [*SHARED["imprint"], "--purpose", "--legal-basis", "--retention"],
    "match": [
        *("MODEL", "--query", "--gallery", "--out", "--purpose", "--operator", "-k", "--re-rank"),
        *("--prior", "--false-accept-rate", "--sheet", "--include-images"),
        *("--batch-size", "--device", "--quiet", WITHDRAWN),
    ],
    "explain-score": ["A", "B", "--out", "--quiet"],
    "tracklets": [
        *("VIDEO", "--detections", "--camera", "--out", "--pad", "--min-confidence"),
        *("--first-frame", "--first-id", "--quiet"),
    ],
    "forget": ["INDEX", "--id", "--expired", "--quiet"],
}
FACES = ("--min-face", "--margin", "--grey")
FACIAL_EXPRESSION = {
    "sample": [*SHARED["sample"], "--per-class"],
    "predict": [*SHARED["predict"], "--faces", *FACES],
    "search": [*SHARED["search"], "--data"],
    "crop": ["DATA", "--out", "--min-face", "--margin", "--find", "--several", "--quiet"],
    "subclasses": [
        *("MODEL", "DATA", "--out", "--also", "--include-images", "--draws", "--seed"),
        *("--batch-size", "--device", "--quiet"),
    ],
    "video": [
        *("MODEL", "FILE", "--out", "--plot", "--every", *FACES, "--also", "--tta"),
        *("--batch-size", "--device", "--quiet"),
    ],
}
APPS = {
    "remote-sensing": SHARED | REMOTE_SENSING,
    "skin-lesion": SHARED | SKIN_LESION,
    "person-reid": PERSON_REID,
    "facial-expression": SHARED | FACIAL_EXPRESSION,
}
BENCHMARK = {
    "retrieval": ["DATA", "--methods", "--out", "--config", "--set", "--repeats", "--quiet"],
    "cross-modal": [
        *("DATA", "--out", "--methods", "--split", "--edges", "--codes", "--config", "--set"),
        *("--repeats", "--quiet"),
    ],
    "low-shot": [
        *("DATA", "--out", "--methods", "--shots", "--tuning-epochs", "--tuning-rate"),
        *("--config", "--set", "--repeats", "--quiet"),
    ],
}
BESIDE = {  # commands that stand beside the applications
    "methods": ["NAME", "--json", "--write"],
    "reproduce": ["PAPER", "DATA", "--out", "--set", "--quiet"],
}
GROUPS = APPS | {"benchmark": BENCHMARK}
HEAVY = ("torch", "pandas", "numpy", "sklearn", "scipy", "matplotlib", "rasterio", "faiss", "PIL")


@pytest.fixture(autouse=True)
def quiet_errors(monkeypatch):
    """What `--debug` sets must not outlive a test."""
    monkeypatch.delenv(DEBUG, raising=False)
    monkeypatch.setenv(DEBUG, "")


def refusing(error):
    @command
    def body():
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError("k must be >= 1, got 0"), "Error: k must be >= 1, got 0"),
        (UserError("name must be short, got\n'a\nb'"), "Error: name must be short, got 'a b'"),
        (
            DecodeError("the file is empty", "a.png"),
            "Error: image must be readable, got 'a.png': the file is empty",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/logs/train.csv"),
            "Error: files must be in places that can be read and written, with free space, "
            "got run/logs/train.csv: No space left on device",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            "Error: files must be in places that can be read and written, with free space: "
            "Permission denied",
        ),
    ],
)
def test_a_users_mistake_is_one_line(capsys, error, sentence):
    with pytest.raises(SystemExit) as ended:
        refusing(error)()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", sentence + "\n")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("ours"),
        KeyError("ours"),
        RuntimeError("ours"),
        OSError("ours"),
        BrokenPipeError(errno.EPIPE, "pipe"),
    ],
)
def test_a_mistake_of_ours_is_not_hidden(error):
    with pytest.raises(type(error)):
        refusing(error)()


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. "),
    ],
)
def test_a_stop(capsys, error):
    with pytest.raises(SystemExit) as ended:
        refusing(error)()
    assert ended.value.code == 130
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert "train and distill go on with --resume; benchmarks" in told


def test_a_schedulers_stop_ends_as_ctrl_c_and_leaves_no_temporary_files(tmp_path):
    code = (
        "import multiprocessing, os, signal, tempfile, time\n"
        "from likeness_apps.shell.commands import command, settle_process\n"
        "def wait(ready):\n"
        "    ready.set()\n"
        "    time.sleep(60)\n"
        "@command\n"
        "def body():\n"
        "    with tempfile.TemporaryDirectory(dir='.'):\n"
        "        forking = multiprocessing.get_context('fork')\n"
        "        ready = forking.Event()\n"
        "        worker = forking.Process(target=wait, args=[ready])\n"
        "        worker.start()\n"
        "        ready.wait()\n"
        "        worker.terminate()\n"
        "        worker.join()\n"
        "        print(worker.exitcode, len(os.listdir('.')), flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        wait(ready)\n"
        "settle_process()\n"
        "body()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert ended.stdout.split() == [str(-signal.SIGTERM), "1"]  # a worker dies of it, silently
    assert (ended.returncode, ended.stderr) == (130, f"{STOPPED}\n")
    assert not os.listdir(tmp_path)


def test_what_a_body_gives_back_goes_through():
    assert command(lambda x, *, y: x + y)(1, y=2) == 3
    with pytest.raises(typer.Exit):
        refusing(typer.Exit(1))()


def test_debug_shows_where(tmp_path):
    words = ["remote-sensing", "inspect", str(tmp_path / "no")]
    plain = CliRunner().invoke(app, words)
    assert plain.exit_code == 2
    assert isinstance(plain.exception, SystemExit)
    shown = CliRunner().invoke(app, ["--debug", *words])
    assert isinstance(shown.exception, UserError)


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"likeness {__version__}\n")


def test_commands_and_options_are_what_they_were():
    """What scripts rely on: a change here is a change of the interface."""
    root = typer.main.get_command(app)
    assert set(root.commands) == {*GROUPS, *BESIDE}
    for body, expected in BESIDE.items():
        assert sorted(parameters(root.commands[body])) == sorted(expected), body
    for name, commands in GROUPS.items():
        group = root.commands[name]
        assert list(group.commands) == list(commands)
        for body, expected in commands.items():
            assert sorted(parameters(group.commands[body])) == sorted(expected), body


def parameters(body):
    """The arguments of a command in capitals, and its options."""
    return [
        parameter.opts[0]
        if parameter.param_type_name == "option"
        else (parameter.metavar or parameter.name).strip("{}<>").upper()
        for parameter in body.params
    ]


def test_every_command_shows_an_example_of_itself():
    root = typer.main.get_command(app)
    lines = [[name, body] for name in GROUPS for body in root.commands[name].commands]
    for words in [*lines, *([body] for body in BESIDE)]:
        result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0
        assert f"Example: likeness {' '.join(words)} " in result.stdout, words
        assert "APP" not in result.stdout


@pytest.mark.parametrize(
    "words",
    [[], ["remote-sensing"], ["remote-sensing", "train"], ["skin-lesion", "score"], ["methods"]],
)
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys\n"
        "from likeness_apps.cli import main\n"
        f"sys.argv = {['likeness', *words, '--help']!r}\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code in (0, None), ended.code\n"
        f"print('LOADED', sorted(set(sys.modules) & set({HEAVY!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"
    assert "Usage" in done.stdout


def test_the_installed_command_waits_without_spinning():
    """Spinning threads take the processor from those that decode; and only a default is set."""
    code = (
        "import os, sys\n"
        "from likeness_apps.cli import main\n"
        "sys.argv = ['likeness', '--version']\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(os.environ['OMP_WAIT_POLICY'])\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    for environment, policy in ((clean, "PASSIVE"), ({**clean, "OMP_WAIT_POLICY": "x"}, "x")):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert done.stdout.splitlines()[-1] == policy
