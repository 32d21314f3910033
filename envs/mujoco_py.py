"""MuJoCo's tasks with the physics of mujoco-py, that of `-v1` to `-v3`: two changes of the simulator undone."""

from typing import Any

import gymnasium as gym
import numpy as np

_MARGINS_ADD_UP = (3, 5)  # MuJoCo's release
_INERTIA = ("body_mass", "body_inertia", "body_ipos", "body_iquat")


class AsMujocoPy(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Capsules weigh, and geoms touch, as they did in MuJoCo 1.5 to 2.1.1, behind published numbers of `-v1` to `-v3`.

    - Mass and inertia of a capsule of radius r and cylindrical length l were those of a cylinder of length l + r. Since
      MuJoCo 2.1.2 they are its own, of the volume of a cylinder of length l + 4r/3: Hopper weighs 3.6 % more.
    - Two geoms touch within the larger of their margins. Since MuJoCo 3.5.0 it is their sum: Hopper's floor, both of
      whose sides have 1 mm, is 1 mm higher.

    Around a MuJoCo task of Gymnasium's, whose geoms that collide share one margin. Contact forces among observations
    (Ant, Humanoid) and the constraint solver stay those of the present release.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        task: Any = env.unwrapped
        if not hasattr(task, "do_simulation"):
            raise ValueError(f"AsMujocoPy needs a MuJoCo task of Gymnasium's, not {type(task).__name__}")
        import mujoco  # an extra, which a task needs before its wrapper does

        model = task.model
        margins = np.unique(model.geom_margin[(model.geom_contype | model.geom_conaffinity) > 0])
        if len(margins) > 1:
            raise ValueError(
                f"AsMujocoPy needs geoms that share one margin, not {', '.join(f'{m:g}' for m in margins)}"
            )
        if tuple(map(int, mujoco.__version__.split(".")[:2])) >= _MARGINS_ADD_UP:
            model.geom_margin[:] /= 2
            model.body_margin[:] /= 2
        before = _with_cylinders(task.fullpath)
        for name in _INERTIA:
            getattr(model, name)[:] = getattr(before, name)
        mujoco.mj_setConst(model, task.data)


def _with_cylinders(path: str) -> Any:
    """The model of a file, in which a cylinder weighs in each capsule's place."""
    import mujoco

    spec = mujoco.MjSpec.from_file(path)
    plain = spec.compile()
    for geom, at in [(geom, geom.id) for geom in spec.geoms]:  # numbers change with each that is added
        if geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE:
            radius, half, _ = plain.geom_size[at]
            geom.parent.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                size=[radius, half + radius / 2, 0],
                pos=plain.geom_pos[at],
                quat=plain.geom_quat[at],
                density=geom.density,
                mass=geom.mass,
                contype=0,
                conaffinity=0,
            )
            geom.mass = 0
    return spec.compile()
