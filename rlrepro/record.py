"""The run folder: everything that a run leaves behind, in files that other tools read.

run/
  settings.json            what decides the run; enough to start it again
  run.json                 command, versions, git commit, SHA-256 of code of your own, hardware, how it ended
  git.diff                 uncommitted changes, where there were any
  code/                    copies of the code of your own that the run names
  seeds/3/episodes.csv     every finished episode of seed 3
  seeds/3/metrics.csv      losses, rates and returns at every point of the curves
  seeds/3/evaluations.csv  every episode of every evaluation
  seeds/3/policy.safetensors   what `rlrepro evaluate` needs
  seeds/3/SHA256SUMS       what these four were when the seed ended
  seeds/3/checkpoints/     the newest two
  tensorboard/             a view of the above: one run per seed and one for their mean
  evaluation-….json        what `rlrepro evaluate` found, once asked
  videos/
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import itertools
import json
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from rlrepro import checkpoint
from rlrepro.circumstances import circumstances, uncommitted_changes
from rlrepro.errors import Problem, WriteFailed, diverged_text, named_seeds, nearest
from rlrepro.flags import RUN_DIR
from rlrepro.plugins import own_code
from rlrepro.settings import Settings, read_settings

POLICY = "policy.safetensors"  #: of a seed
_ASIDE = ".aside"  # in place of .safetensors, or after a name without such


class RunFolder:
    """The paths and the documents of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def __str__(self) -> str:
        return str(self.path)

    @property
    def way_on(self) -> str:
        """The command that goes on with it."""
        return f"python -m rlrepro.train --resume {shlex.quote(str(self))}"

    @property
    def way_anew(self) -> str:
        """How a run of its settings is begun in another folder."""
        return f"begin it anew: python -m rlrepro.train --settings {shlex.quote(f'{self}/settings.json')}"

    @staticmethod
    def create(run_dir: Path, name: str | None, settings: Settings, command: Sequence[str]) -> RunFolder:
        """A new folder with its settings and its circumstances; never one that is there already."""
        stem = name or f"{_slug(settings.env)}-{_slug(settings.agent)}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
        path = run_dir / stem
        if name is not None and path.exists():
            is_run = (path / "settings.json").is_file()
            raise Problem(f"{path} is there already; choose another --name" + f", or --resume {path}" * is_run)
        for count in itertools.count(2):
            if not path.exists():
                break
            path = run_dir / f"{stem}-{count}"
        unfinished = RunFolder(run_dir / f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
        about = circumstances(command)
        diff = uncommitted_changes() if about["git"]["changed"] else b""
        try:
            for seed in settings.seeds:
                unfinished.checkpoints(seed).mkdir(parents=True)
            if diff:
                checkpoint.write_whole(unfinished.path / "git.diff", diff)
            code = unfinished.keep_code(settings)
            unfinished.write_json("run.json", {"status": "running", **about, **code})
            unfinished.write_settings(settings)
            for count in itertools.count(2):
                try:
                    unfinished.path.rename(path)
                    break
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    if name is not None:
                        raise Problem(f"{path} is there already: another run took that --name meanwhile") from None
                path = run_dir / f"{stem}-{count}"  # begun in the same second
        except BaseException as error:
            shutil.rmtree(unfinished.path, ignore_errors=True)
            cause = error.__cause__ if isinstance(error, WriteFailed) else error
            if isinstance(cause, OSError):
                raise Problem(f"{path} could not be written: {cause.strerror}") from error
            raise
        return RunFolder(path)

    @staticmethod
    def open(path: Path) -> tuple[RunFolder, Settings]:
        """A run folder that is there; `Problem` where it is not one."""
        file = path / "settings.json"
        try:
            is_folder = path.is_dir()
        except OSError as error:
            raise Problem(f"there is no run folder {path}: {error.strerror}") from None
        is_run = [(p / "settings.json").is_file() and (p / "seeds").is_dir() for p in path.parents]
        around = next((str(p) for p, yes in zip(path.parents, is_run, strict=True) if yes), None)
        if around is not None and not file.is_file():
            raise Problem(f"{path} is no run folder, but part of one; did you mean {around!r}?")
        if not is_folder:
            if not path.is_absolute() and (there := RUN_DIR / path).is_dir():
                raise Problem(f"there is no run folder {path}; did you mean {str(there)!r}?")
            beside = [str(p) for p in path.parent.iterdir() if p.is_dir()] if path.parent.is_dir() else []
            raise Problem(f"there is no run folder {path}{nearest(str(path), beside)}")
        if not file.is_file():
            inside = next((str(p.parent) for p in sorted(path.glob("*/settings.json"))), None)
            hint = f"; did you mean {inside!r}?" if inside else ""
            raise Problem(f"{path} is not a run folder: it has no settings.json{hint}")
        return RunFolder(path), Settings.from_json(read_settings(str(file)), str(file))

    def seed(self, seed: int) -> Path:
        return self.path / "seeds" / str(seed)

    def checkpoints(self, seed: int) -> Path:
        return self.seed(seed) / "checkpoints"

    @property
    def holds_work(self) -> bool:
        """Whether something was trained that a resume, or a reader, has use for."""
        return any(any(self.path.glob(f"seeds/*/{one}")) for one in ("checkpoints/step-*", POLICY))

    @property
    def is_finished(self) -> bool:
        """Whether run.json says that the run came to its end."""
        return self.read_json("run.json").get("status") == "finished"

    def sums(self, seed: int) -> Path:
        return self.seed(seed) / "SHA256SUMS"

    def policy(self, seed: int) -> Path:
        return self.seed(seed) / POLICY

    def is_diverged(self, seed: int, about: Mapping[str, Any]) -> bool:
        """Whether a seed ended with NaN or infinity: by run.json (`about`), or its policy alone where that has none."""
        said = (about.get("results") or {}).get(str(seed)) or {}
        if said.get("diverged"):
            return True
        try:
            policy = safetensors.numpy.load_file(self.policy(seed))
        except (OSError, SafetensorError):  # is not there, or damaged
            return False
        return not all(np.isfinite(value).all() for value in policy.values() if value.dtype.kind == "f")

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def videos(self) -> Path:
        return self.path / "videos"

    def read_json(self, name: str) -> dict[str, Any]:
        """A table of the run's; {} where it is not there yet. `Problem` where it is damaged: it is not written over."""
        path = self.path / name
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Problem(f"{path}: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise Problem(f"{path} is damaged: {error}") from None
        kinds: dict[str, type] = dict.fromkeys(("code", "versions", "hardware", "results", "lengths"), dict)
        kinds |= {"resumed": list, "mended": list}
        if not isinstance(values, dict):
            raise Problem(f"{path} is damaged: it is no table")
        for key, kind in kinds.items():
            if key in values and not isinstance(values[key], kind):
                raise Problem(f"{path} is damaged: {key} cannot be {values[key]!r}")
        return values

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        checkpoint.write_whole(self.path / name, (json.dumps(values, indent=2) + "\n").encode())

    def write_settings(self, settings: Settings) -> None:
        checkpoint.write_whole(self.path / "settings.json", settings.to_json().encode())

    def set_aside(self, checkpoints: Sequence[Path], seeds: Sequence[int]) -> None:
        """These checkpoints are out of the way, until training has begun; and so are TensorBoard's files.

        Of those new ones have the same points again. So is what was written down of the files of `seeds` at their end.
        """
        shutil.rmtree(self._curves_aside, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.tensorboard.rename(self._curves_aside)
        for path in checkpoints:
            path.rename(path.with_suffix(_ASIDE))
        for seed in seeds:
            with contextlib.suppress(FileNotFoundError):
                self.sums(seed).rename(self.sums(seed).with_suffix(_ASIDE))

    def forget_aside(self, seeds: Sequence[int]) -> None:
        """Let go the curves that were set aside, and the checkpoints of these seeds, which train now."""
        shutil.rmtree(self._curves_aside, ignore_errors=True)
        for path in self._checkpoints_aside():
            if int(path.parent.parent.name) in seeds:
                path.unlink(missing_ok=True)
        for seed in seeds:
            self.sums(seed).with_suffix(_ASIDE).unlink(missing_ok=True)

    def put_back(self) -> None:
        """The inverse of `set_aside`, whatever was written since."""
        if self._curves_aside.exists():
            shutil.rmtree(self.tensorboard, ignore_errors=True)
            self._curves_aside.rename(self.tensorboard)
        self.put_checkpoints_back()
        for path in self.path.glob(f"seeds/*/*{_ASIDE}"):
            path.rename(path.with_suffix(""))

    def put_checkpoints_back(self) -> None:
        for path in self._checkpoints_aside():
            path.rename(path.with_suffix(".safetensors"))

    @property
    def _curves_aside(self) -> Path:
        return self.path / ".tensorboard"

    def _checkpoints_aside(self) -> list[Path]:
        return list(self.path.glob(f"seeds/*/checkpoints/*{_ASIDE}"))

    def clear_unfinished(self) -> None:
        """Remove what is left of files whose writing was cut off; for who holds the lock."""
        for path in self.path.rglob(checkpoint.UNFINISHED):
            if path.is_file():
                path.unlink(missing_ok=True)

    def note(self, **changes: Any) -> None:
        """Change entries of run.json."""
        self.write_json("run.json", {**self.read_json("run.json"), **changes})

    def doubts(self, settings: Settings, seeds: Sequence[int]) -> list[str]:
        """What to say to who evaluates seeds: that they are not at their end, or diverged, or its code changed."""
        if not (self.path / "run.json").is_file():
            return [f"{self} has no run.json: whether its code is as it was trained with cannot be known"]
        about = self.read_json("run.json")
        bad = [seed for seed in seeds if self.is_diverged(seed, about)]
        diverged = [f"{self}: {diverged_text(bad)}"] if bad else []
        early = [] if self.is_finished else [seed for seed in seeds if not self.sums(seed).exists()]
        stopped = []
        if early:
            said = ": ".join(filter(None, (str(about.get("status", "")), str(about.get("reason", "")))))
            stopped = [f"{self} is not finished ({said}): the policy of {named_seeds(early)} is not that of its end"]
        names = self.changed_code(settings)
        changed = [
            f"{name} was changed since {self} was trained with it (as it was: {self._copy_of(name)})" for name in names
        ]
        return [*stopped, *diverged, *changed, *self.changed_plug_ins(settings)]

    def keep_code(self, settings: Settings) -> dict[str, Any]:
        """Copy the code of a person's own that a run names; what run.json says of it."""
        sources = own_code.sources(settings.named_code)
        for name, copy in own_code.copies(sources).items():
            checkpoint.make_folder(self.path / "code")
            checkpoint.write_whole(self.path / "code" / copy, sources[name])
        said = {"code": own_code.hashes(sources), "plug_ins": own_code.plug_ins(settings.named_code)}
        return {name: told for name, told in said.items() if told}

    def changed_code(self, settings: Settings) -> list[str]:
        """Which of the code that the run names is not what it was when the run began. `Problem` where one is gone."""
        then = self.read_json("run.json").get("code", {})
        for file in filter(None, map(own_code.file_of, settings.named_code)):
            if file in then and not Path(file).is_file():
                raise Problem(f"{file} is gone since {self} began: put it back (a copy is {self._copy_of(file)})")
        now = own_code.hashes(own_code.sources(settings.named_code))
        return own_code.changed(then, now)

    def changed_plug_ins(self, settings: Settings) -> list[str]:
        """What is to be said of each plug-in that is of another version, or another by its name, than it was."""
        then, now = self.read_json("run.json").get("plug_ins", {}), own_code.plug_ins(settings.named_code)
        return [
            f"{name} was {was} when {self} began, and is {now.get(name, 'no plug-in')}"
            for name, was in then.items()
            if now.get(name) != was
        ]

    def check_code(self, settings: Settings) -> None:
        """`Problem` where code of a person's own has changed since the run began: it would be two runs in one.

        So it may be where run.json is gone, which says what the code was.
        """
        if not (self.path / "run.json").is_file():
            what = f"{self} has no run.json, which says with what code it began and whether it is finished"
            raise Problem(f"{what}: put it back (with {{}} in it the run goes on unchecked), or {self.way_anew}")
        for changed in self.changed_plug_ins(settings):
            raise Problem(f"{changed}: install that one, or begin a new run")
        for name in self.changed_code(settings):
            copy = self._copy_of(name)
            raise Problem(f"{name} was changed since {self} began: put it back (a copy is {copy}), or begin a new run")

    def _copy_of(self, name: str) -> Path:
        """Where `keep_code` laid the copy of code that run.json names."""
        return self.path / "code" / own_code.copies(self.read_json("run.json")["code"])[name]

    def unlock(self) -> None:
        """The inverse of `lock`."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def lock(self, patience: float = 10.0) -> None:
        """Hold the run for this process; `Problem` while another one writes to it."""
        try:
            self._lock = open(self.path / ".lock", "w", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise Problem(f"{self.path} cannot be written to ({error.strerror}: {self.path / '.lock'})") from None
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise Problem(f"another process is writing to {self.path}; wait for it, or end it") from None
                time.sleep(0.1)


def _slug(text: str) -> str:
    """A name as part of a folder's name, which is no place for a very long one."""
    last = text.replace("\\", "/").rsplit(":", 1)[-1] if ".py" in text else text
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in last[:80])
