"""What there is to build an agent with, by the modules that have it: `rlrepro list parts`."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

PARTS = {
    "rlrepro.agent": ("hyper", "Setup", "Transition", "UnsupportedSpace"),
    "rlrepro.actor_critic": ("ActorCritic",),
    "rlrepro.action_values": ("ActionValues", "TargetedActionValues", "CategoricalActionValues"),
    "rlrepro.off_policy": ("OffPolicy", "BoxActions", "DeterministicPolicy", "Temperature"),
    "rlrepro.tabular": ("Tabular", "DrawnAhead", "States", "LastStep", "one_env"),
    "rlrepro.stateful": ("Stateful",),
    "rlrepro.memory": ("Rollout", "Episodes", "epochs"),
    "rlrepro.replay": ("Replay",),
    "rlrepro.prioritised": ("PrioritisedReplay",),
    "rlrepro.n_step": ("NStep",),
    "rlrepro.networks": ("MLP", "Ensemble", "NatureCNN", "MinAtarCNN", "Stacked", "features", "image_network"),
    "rlrepro.value_networks": ("value_network", "ValueNetwork", "of_action"),
    "rlrepro.seeds": ("Stack",),
    "rlrepro.graphs": ("on_host",),
    "rlrepro.optimisers": ("Adam", "RMSProp", "SGD", "RAdam", "descend", "backpropagate", "clip_by_norm"),
    "rlrepro.distributions": (
        "policy_for", "Categorical", "DiagonalGaussian", "SquashedGaussian", "UnitBox", "GaussianNoise",
        "OrnsteinUhlenbeck",
    ),
    "rlrepro.targets": (
        "gae", "lambda_return", "td_target", "clipped_surrogate", "categorical_projection", "quantile_huber",
        "soft_value",
    ),
    "rlrepro.streams": ("Streams",),
    "rlrepro.schedules": ("linear", "annealed"),
    "rlrepro.tiles": ("TileCoder",),
}  # fmt: skip


def parts() -> dict[str, dict[str, str]]:
    """`{module: {call: the first paragraph of its docstring}}`; this imports torch."""
    found = {}
    for module, names in PARTS.items():
        things = {name: getattr(importlib.import_module(module), name) for name in names}
        found[module] = {f"{name}{_arguments(thing)}": _does(thing) for name, thing in things.items()}
    return found


def _arguments(thing: Any) -> str:
    """Its arguments without their types, as `(size, *, low=0)`."""
    if isinstance(thing, type) and issubclass(thing, Exception):  # without a signature
        return "(message)"
    signature = inspect.signature(thing)
    bare = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def _does(thing: Any) -> str:
    """The first paragraph of its docstring."""
    return " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
