"""Training in a process of its own that dies, stands still or finds its disk full at a chosen moment."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path


class Server:
    """Starts training processes.

    It is a process that has imported everything, which takes longer than the training, and forks for every run; a context
    manager that ends it.
    """

    def __enter__(self):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, __file__], text=True, bufsize=1, **pipes)
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def train(self, directory, config=None, moment=None, **options):
        """Start training.

        Args:
            directory: Of the run.
            config: Of a new run; None goes on with the one that is there, by the command line's own function.
            moment: What happens when: the name of a function in this module, and its arguments.
            options: ``start_method`` of the processes that load images.
        """
        said = directory.with_name(f"{directory.name}-{time.monotonic_ns()}.stderr")
        plain = None if config is None else config.to_json()
        job = {"directory": str(directory), "config": plain, "moment": moment, "said": str(said), **options}
        return Training(self, int(self.ask(job)), said)

    def ask(self, what):
        self._process.stdin.write(json.dumps(what) + "\n")
        return self._process.stdout.readline()


class Training:
    """A training process that a `Server` has started."""

    def __init__(self, server, pid, said):
        self._server = server
        self.pid = pid
        os.mkfifo(said)  # which a limit on the size of files does not concern
        self._said = os.open(said, os.O_RDONLY | os.O_NONBLOCK)

    def ended(self):
        """Wait for its end: the exit status, or the negative number of the signal that ended it; and its stderr."""
        status = int(self._server.ask(self.pid))
        said = b"".join(iter(self._read, b""))
        os.close(self._said)
        return status, said.decode()

    def _read(self):
        try:
            return os.read(self._said, 1 << 16)
        except BlockingIOError:  # an orphan could still write
            return b""

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def family(self):
        """It and the processes that it has started, as far as they live."""
        return [pid for pid, group in _living() if group == self.pid]


def _living():
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            except (OSError, ValueError):
                continue
            if state not in "ZX":
                yield int(folder.name), int(group)


def _serve():
    import cocotag.training.fit  # noqa: F401

    for line in sys.stdin:
        job = json.loads(line)
        if isinstance(job, int):
            _answer(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]))
        elif pid := os.fork():
            _answer(pid)
        else:
            sys.exit(_train(**job))


def _answer(number):
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def _train(directory, config, moment, said, start_method=None):
    os.setsid()
    while not Path(said).exists():
        time.sleep(0.001)
    os.dup2(os.open(said, os.O_RDWR), 2)
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    os.dup2(0, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if start_method is not None:
        multiprocessing.set_start_method(start_method)
    from cocotag.cli.main import main
    from cocotag.config import TrainConfig
    from cocotag.training import fit

    fit._finish = lambda config, data, directory: fit.Run(Path(directory), None, None, [])
    if moment is not None:
        name, *arguments = moment
        globals()[name](*arguments)
    if config is None:
        return main(["train", "--resume", directory])
    fit.fit(TrainConfig.from_json(config), Path(directory))
    return 0


# Moments. Epochs and steps count from 0.


def killed_at_step(epoch, step, with_features=False):
    """``kill -9`` in an epoch, after so many of its batches; perhaps only if features are kept."""

    def before(module, _batch, index):
        if (module.current_epoch, index) == (epoch, step) and not (with_features and module.features is None):
            _die()

    from cocotag.training.loop.module import TaggerModule

    _first(TaggerModule, "training_step", before)


def killed_in_validation(epoch):
    """``kill -9`` while the tune images are scored."""
    from cocotag.training.loop.module import TaggerModule

    _first(TaggerModule, "validation_step", lambda module, *_: module.current_epoch == epoch and _die())


def killed_before_writing(name, epoch):
    """``kill -9`` between two files."""
    _when_written(name, epoch, lambda _: _die())


def killed_after_writing(name, epoch):
    """``kill -9`` when a checkpoint is whole, and nothing else happened since."""
    from lightning import Trainer

    save = Trainer.save_checkpoint

    def saved(trainer, path, *arguments, **options):
        save(trainer, path, *arguments, **options)
        if Path(path).name == name and trainer.current_epoch == epoch:
            _die()

    Trainer.save_checkpoint = saved


def killed_while_writing(name, epoch):
    """The kernel ends the process, as surely as ``kill -9``, when half of the file's bytes are on the disk."""

    def limit(directory):
        like = directory / ("metrics.csv" if name == "metrics.csv" else "checkpoints/last.ckpt")
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (like.stat().st_size // 2, resource.RLIM_INFINITY))

    _when_written(name, epoch, limit)


def killed_after_training():
    """``kill -9`` before anything is exported."""
    from cocotag.training import fit

    fit._finish = lambda *_: _die()


def full_disk(name, epoch):
    """The system refuses the bytes of one file for want of space."""

    def refuse(_directory):
        from cocotag import files

        make = files.tempfile.mkstemp

        def full(**options):
            handle, made = make(**options)
            if options["prefix"] == f".{name}.":
                Path(made).unlink()
                Path(made).symlink_to("/dev/full")
            return handle, made

        files.tempfile.mkstemp = full

    _when_written(name, epoch, refuse)


def full_for_all(epoch):
    """From this epoch on the system refuses the bytes of every file."""
    from cocotag.training.loop.module import TaggerModule

    def limit(module, _batch, _index):
        if module.current_epoch == epoch:
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, resource.RLIM_INFINITY))

    _first(TaggerModule, "training_step", limit)


def waiting(epoch):
    """Stand still at the beginning of an epoch as long as there is a file ``wait`` beside the run; ``waits`` says so."""
    from cocotag.training.loop.module import TaggerModule

    def wait(module, _batch, index):
        here = Path(module.trainer.checkpoint_callback.dirpath).parent.parent
        if (module.current_epoch, index) == (epoch, 0):
            (here / "waits").touch()
            while (here / "wait").exists():
                time.sleep(0.02)

    _first(TaggerModule, "training_step", wait)


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _first(owner, name, before):
    """Do something before a method."""
    method = getattr(owner, name)

    def both(self, *arguments, **options):
        before(self, *arguments, **options)
        return method(self, *arguments, **options)

    setattr(owner, name, both)


def _when_written(name, epoch, do):
    """Do something, with the run's directory, right before a file of it is written in an epoch."""
    from lightning import Trainer

    from cocotag.training.checkpoints import KeepPrevious
    from cocotag.training.logging.epoch_log import EpochLog

    if name == "metrics.csv":
        _first(EpochLog, "_write", lambda log: len(log.rows) == epoch + 1 and do(log.path.parent))
    elif name == "previous.ckpt":
        _first(
            KeepPrevious,
            "on_train_epoch_end",
            lambda keep, trainer, _: trainer.current_epoch == epoch and do(keep.checkpoints.parent),
        )
    else:

        def before(trainer, path, *_, **__):
            if Path(path).name == name and trainer.current_epoch == epoch:
                do(Path(path).parent.parent)

        _first(Trainer, "save_checkpoint", before)


if __name__ == "__main__":
    _serve()
