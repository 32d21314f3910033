"""The TensorBoard view of a run folder: one TensorBoard run per seed, and one for the mean over seeds.

The CSV files of a run are the truth and nothing reads these event files back: they exist to be looked at
with `tensorboard --logdir runs/x/tensorboard`, during training or after it. Records are written by the
calling thread, so a full disk raises OSError from the call that met it.
"""

import math
import re
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_TENSOR, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo

MEAN = "mean"
"""Name of the run holding the mean over seeds."""

FINAL_RETURN = "evaluation/mean_return"
"""Tag of the last evaluation, which the HParams page shows for each seed."""

RETURNS = frozenset({"charts/episodic_return", "rollout/ep_rew_mean", "eval/mean_reward"})
"""Tags whose mean is drawn with a band of one sample standard deviation over seeds."""

SECTIONS = {
    "Returns": ("charts/episodic_return", "rollout/ep_rew_mean"),
    "Evaluation": ("eval/", "evaluation/"),
    "Losses": ("losses/", "train/"),
    "Other": ("",),
}
"""Sections of the custom-scalars page, with the tag prefixes each one takes; the first match wins."""


class Curves:
    """Event files of a run that trains S seeds at once, in `folder/seed-<seed>` and `folder/mean`.

    Args:
        folder: where the runs go, such as `runs/x/tensorboard`. Event files already there stay and would
            be shown together with the new ones.
        seeds: the S seeds, in the order of every sequence of S values given later.
        settings: everything worth reading about the run, shown as a table on the Text page.
        hparams: the columns of the HParams page, to which `seed` is added.
    """

    def __init__(
        self,
        folder: Path,
        seeds: Sequence[int],
        settings: Mapping[str, Any],
        hparams: Mapping[str, bool | int | float | str],
    ) -> None:
        now = time.time()
        self._step = 0
        self._tags: set[str] = set()
        with ExitStack() as stack:
            self._seeds = [stack.enter_context(_open(folder / f"seed-{seed}", now)) for seed in seeds]
            self._mean = stack.enter_context(_open(folder / MEAN, now))
            for event in (Event(wall_time=now, file_version="brain.Event:2"), _settings(now, settings)):
                self._write([(file, event) for file in self._files])
            self._write([(self._mean, _experiment(now, {**hparams, "seed": 0}))])
            for file, seed in zip(self._seeds, seeds, strict=True):
                self._write([(file, _session(now, {**hparams, "seed": seed}))])
            self.flush()
            self._stack = stack.pop_all()

    @property
    def _files(self) -> list[BinaryIO]:
        return [*self._seeds, self._mean]

    def add(
        self,
        env_step: int,
        scalars: Mapping[str, Sequence[float] | np.ndarray],
        wall_time: float | Sequence[float] | None = None,
        of: tuple[str, ...] = ("seeds", "mean"),
    ) -> None:
        """Write one point of each curve.

        Args:
            env_step: the x of the points, in environment steps of one seed.
            scalars: S values per tag; NaN where a seed has nothing at this step.
            wall_time: seconds since the epoch, of all or of each seed; now, if None. The mean has the latest.
            of: which runs get theirs. Where seeds train one after the other, their mean is known much later.
        """
        if not scalars:
            return
        given = time.time() if wall_time is None else wall_time
        times = np.broadcast_to(np.asarray(given, np.float64), len(self._seeds)).tolist()
        now = max(times)
        self._step = max(self._step, env_step)
        if not self._tags.issuperset(scalars):
            self._tags.update(scalars)
            self._write([(self._mean, _layout(now, env_step, self._tags))])

        values = np.array(list(scalars.values()), dtype=np.float64)  # [tags, S]
        mean, spread = _mean_and_spread(values)
        points = dict(zip(scalars, mean.tolist(), strict=True))
        for tag, centre, width in zip(scalars, mean.tolist(), spread.tolist(), strict=True):
            if tag in RETURNS and not math.isnan(width):
                points |= zip(_band(tag), (centre, centre - width, centre + width), strict=True)

        events = []
        if "seeds" in of:
            for file, when, column in zip(self._seeds, times, values.T.tolist(), strict=True):
                events.append((file, _scalars(when, env_step, zip(scalars, column, strict=True))))
        if "mean" in of:
            events.append((self._mean, _scalars(now, env_step, points.items())))
        self._write([(file, event) for file, event in events if event.summary.value])

    def finish(self, final_return: Sequence[float] | np.ndarray) -> None:
        """Write the final evaluation's returns `[S]` at the last step and mark every seed as successful."""
        self.add(self._step, {FINAL_RETURN: final_return})
        now = time.time()
        end = _hparams(now, session_end_info=SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=now))
        self._write([(file, end) for file in self._seeds])
        self.flush()

    def flush(self) -> None:
        """Hand what was written to the operating system, where TensorBoard sees it."""
        for file in self._files:
            file.flush()

    def close(self) -> None:
        """Flush and close every file, also when one of them fails; closing twice is harmless."""
        self._stack.close()

    def _write(self, events: Sequence[tuple[BinaryIO, Event]]) -> None:
        if not events:
            return
        records = _records([event.SerializeToString() for _, event in events])
        for (file, _), record in zip(events, records, strict=True):
            file.write(record)


def _open(folder: Path, now: float) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / f"events.out.tfevents.{int(now):010d}.rlrepro").open("ab")


def _mean_and_spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (NaN where no seed has a value) and sample standard deviation, [tags] each.

    Where one of several seeds has a value nothing is known of their spread: NaN. A lone seed's is 0.
    """
    valid = ~np.isnan(values)
    count = valid.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(valid, values, 0.0).sum(1) / count
        square = np.where(valid, values - mean[:, None], 0.0) ** 2
        spread = np.sqrt(square.sum(1) / (count - 1))
    return mean, spread if values.shape[1] > 1 else np.zeros_like(mean)


def _band(tag: str) -> tuple[str, str, str]:
    """Tags of a margin chart's value, lower and upper curve.

    The mean is repeated under a tag of its own because TensorBoard complains, for each run having the value
    but not the margins, of missing tags: the runs of the seeds must lack all three.
    """
    return f"spread/{tag}_mean", f"spread/{tag}_lower", f"spread/{tag}_upper"


def _scalars(now: float, step: int, points: Iterable[tuple[str, float]]) -> Event:
    event = Event(wall_time=now, step=step)
    add = event.summary.value.add
    for tag, value in points:
        if not math.isnan(value):
            add(tag=tag, simple_value=value)
    return event


def _tensor(now: float, step: int, tag: str, plugin: str, content: bytes, tensor: TensorProto) -> Event:
    data = SummaryMetadata.PluginData(plugin_name=plugin, content=content)
    event = Event(wall_time=now, step=step)
    metadata = SummaryMetadata(plugin_data=data, data_class=DATA_CLASS_TENSOR)
    event.summary.value.add(tag=tag, metadata=metadata, tensor=tensor)
    return event


def _text(now: float, tag: str, markdown: str) -> Event:
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[markdown.encode()])
    return _tensor(now, 0, tag, "text", b"", tensor)


def _settings(now: float, settings: Mapping[str, Any]) -> Event:
    """A Markdown table of settings, each value as code on one line."""
    rows = ["| setting | value |", "| --- | --- |"]
    for name, value in settings.items():
        code = " ".join(str(value).split()).replace("`", "'")
        rows.append(f"| {name} | `{code}` |" if code else f"| {name} | |")
    return _text(now, "settings", "\n".join(rows))


FIELDS = {
    "bool_value": api_pb2.DATA_TYPE_BOOL,
    "number_value": api_pb2.DATA_TYPE_FLOAT64,
    "string_value": api_pb2.DATA_TYPE_STRING,
}
"""Fields of a protobuf Value, and what the HParams page calls their types."""


def _hparam(value: bool | int | float | str) -> tuple[str, bool | int | float | str]:
    """The field of a protobuf Value that takes `value`, and what to put there."""
    if isinstance(value, bool):
        return "bool_value", value
    # JSON, in which TensorBoard serves these, has no infinity.
    if isinstance(value, (int, float)) and math.isfinite(value):
        return "number_value", value
    return "string_value", str(value)


def _experiment(now: float, hparams: Mapping[str, bool | int | float | str]) -> Event:
    """The columns of the HParams page.

    TensorBoard takes one such event from all runs in view. It names no possible values, as those of the
    other runs would then be filtered out.
    """
    experiment = api_pb2.Experiment(time_created_secs=now)
    for name, value in hparams.items():
        field, _ = _hparam(value)
        experiment.hparam_infos.add(name=name, type=FIELDS[field], differs=name == "seed")
    experiment.metric_infos.add(name=api_pb2.MetricName(tag=FINAL_RETURN))
    return _hparams(now, experiment=experiment)


def _session(now: float, hparams: Mapping[str, bool | int | float | str]) -> Event:
    """The row of one seed on the HParams page."""
    start = SessionStartInfo(start_time_secs=now)
    for name, value in hparams.items():
        setattr(start.hparams[name], *_hparam(value))
    return _hparams(now, session_start_info=start)


def _hparams(now: float, **data: Any) -> Event:
    """The HParams event holding one of `experiment`, `session_start_info` and `session_end_info`."""
    (name,) = data
    tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=0)]))
    content = HParamsPluginData(**data).SerializeToString()
    return _tensor(now, 0, f"_hparams_/{name}", "hparams", content, tensor)


def _layout(now: float, step: int, tags: set[str]) -> Event:
    """The custom-scalars page for the tags seen so far; TensorBoard shows the last layout written.

    Margin charts get sections of their own because within a section TensorBoard draws them last.
    """
    left = sorted(tags)
    sections = []
    for title, prefixes in SECTIONS.items():
        chosen = [tag for tag in left if tag.startswith(prefixes)]
        left = [tag for tag in left if tag not in chosen]
        bands = [_margin(tag) for tag in chosen if tag in RETURNS]
        lines = [_lines(tag) for tag in chosen]
        for what, charts in (("mean over seeds", bands), ("each seed", lines)):
            if charts:
                sections.append(Category(title=f"{title}: {what}", chart=charts, closed=title == "Other"))
    content = Layout(category=sections).SerializeToString()
    tensor = TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[content])
    return _tensor(now, step, "custom_scalars__config__", "custom_scalars", b"", tensor)


def _margin(tag: str) -> Chart:
    value, lower, upper = _band(tag)
    series = MarginChartContent.Series(value=value, lower=lower, upper=upper)
    return Chart(title=f"{tag}: mean ± std", margin=MarginChartContent(series=[series]))


def _lines(tag: str) -> Chart:
    return Chart(title=tag, multiline=MultilineChartContent(tag=[f"^{re.escape(tag)}$"]))


def _records(payloads: Sequence[bytes]) -> list[bytes]:
    """The payloads as TFRecords: length, its checksum, payload, its checksum."""
    checksums = _checksums(payloads)
    return [
        _header(len(payload)) + payload + struct.pack("<I", checksum)
        for payload, checksum in zip(payloads, checksums, strict=True)
    ]


@lru_cache
def _header(length: int) -> bytes:
    size = struct.pack("<Q", length)
    return size + struct.pack("<I", masked_crc32c(size))


def _crc_tables(width: int) -> np.ndarray:
    """What a byte, as the last but k of a message, contributes to its CRC-32C, [k, byte], uint32.

    Column 256 is the contribution of the initial all-ones register to a message of k + 1 bytes.
    """
    base = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        base = np.where(base & 1, np.uint32(0x82F63B78), np.uint32(0)) ^ (base >> 1)
    tables = np.empty((width, 257), dtype=np.uint32)
    tables[0] = np.append(base, base[255] ^ np.uint32(0xFFFFFF))
    for k in range(1, width):
        tables[k] = base[tables[k - 1] & 255] ^ (tables[k - 1] >> 8)
    return tables


# TensorBoard's own checksum is a Python loop over bytes and takes three times as long as all else that `add`
# does. A CRC being linear, those of a batch of short records are one table lookup per byte and one reduction.
_TABLES = _crc_tables(1024)
_ROWS = np.arange(len(_TABLES) - 1, -1, -1) * _TABLES.shape[1]


def _checksums(payloads: Sequence[bytes]) -> list[int]:
    """Masked CRC-32C of each payload, none of which may be empty."""
    lengths = [len(payload) for payload in payloads]
    width = max(lengths)
    if width > len(_TABLES):
        return [masked_crc32c(payload) for payload in payloads]
    # Zero bytes in front contribute nothing.
    padded = b"".join([payload.rjust(width, b"\0") for payload in payloads])
    data = np.frombuffer(padded, dtype=np.uint8).reshape(len(payloads), width)
    crc = np.bitwise_xor.reduce(_TABLES.ravel().take(_ROWS[len(_ROWS) - width :] + data), axis=1)
    crc ^= ~_TABLES[np.array(lengths) - 1, 256]
    return ((crc >> 15 | crc << 17) + np.uint32(0xA282EAD8)).tolist()
