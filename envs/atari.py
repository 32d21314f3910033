"""Atari 2600 games by the protocols of two papers: `--env ALE/Breakout-v5 --wrapper Atari2015`, or `Atari2018`.

| | Atari2015 | Atari2018 |
| --- | --- | --- |
| of | Mnih et al. (2015), Nature 518, Methods | Machado et al. (2018), JAIR 61, Section 4 and Table 7 |
| actions | the game's own | all 18 |
| an action is repeated by chance | never | with probability 0.25, every frame |
| an episode begins with | 1 to 30 frames of no action | – |
| the loss of a life | ends the episode for who learns | is nothing |
| rewards to learn from | clipped to −1, 0, 1 | clipped to −1, 0, 1 (their DQN's; not part of the protocol) |

Both: one action for 4 frames, the greater of the last two frames in each pixel, luminance, 84 × 84, the last 4 stacked
(zeros before the first), and at most 108,000 frames (half an hour of play) an episode. Mnih et al. (2015) evaluate five
minutes at most: `Atari2015(max_frames=18000)` gives their scores' protocol. 4 frames an action and half an hour are
what is usual with sticky actions (Castro et al., 2018, arXiv:1812.06110; Gymnasium's v5 ids); the scores of Machado et
al. (2018) are of 5 frames an action (Arcade-Learning-Environment, issue 443): `Atari2018(frame_skip=5)`, with the
`max_frames` of the table that a card quotes. The greater of two frames is taken of their luminance, as ale-py and
Dopamine have it; Mnih et al. (2015) say that it is of each pixel's colour. After a lost life the game goes on as it
was: DeepMind's code (google-deepmind/alewrap) breaks off the repeated action there, forgets the frames before, and
plays no action for 1 to 30 frames more.

Rewards and ends are the game's own, so that returns are scores of whole games. What to learn from instead stands in
`info["learn"]`, a reward and a termination, and reaches the memory of an agent only. An env step is 4 frames.
"""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

SIZE = 84
#: What the wrapper calls the emulator's arguments.
_OURS = {
    "frameskip": "frame_skip",
    "repeat_action_probability": "sticky_action_prob",
    "full_action_space": "full_action_set",
    "max_num_frames_per_episode": "max_frames",
}


class Atari(gym.Wrapper[Frame, int, Frame, int]):
    """A game by some protocol. Observations `[num_stacked, 84, 84]` uint8, the newest last.

    The environment is made again from its id, since its own frame skip and sticky actions would come on top.
    """

    holds_all = True  #: its state is that of the environments inside too

    def __init__(
        self,
        env: gym.Env[Any, Any],
        frame_skip: int = 4,
        noop_max: int = 0,
        sticky_action_prob: float = 0.0,
        full_action_set: bool = False,
        end_on_life_loss: bool = False,
        clip_rewards: bool = False,
        num_stacked: int = 4,
        max_frames: int = 108_000,
    ) -> None:
        spec = env.spec
        if spec is None or not hasattr(env.unwrapped, "ale"):
            raise ValueError(f"{type(self).__name__} is for the games of ale-py (ALE/Breakout-v5), not {env}")
        if spec.additional_wrappers:
            raise ValueError(f"{type(self).__name__} comes first: give other wrappers after it")
        least = {"frame_skip": 1, "num_stacked": 1, "max_frames": 1, "noop_max": 0}
        for name, value in zip(least, (frame_skip, num_stacked, max_frames, noop_max), strict=True):
            if type(value) is not int or value < least[name]:
                raise ValueError(f"{name} is {value!r}; expected a whole number from {least[name]} up")
        if not 0 <= sticky_action_prob <= 1:
            raise ValueError(f"sticky_action_prob is {sticky_action_prob!r}; expected a number from 0 to 1")
        protocol = {
            "obs_type": "grayscale",
            "frameskip": frame_skip,
            "repeat_action_probability": sticky_action_prob,
            "full_action_space": full_action_set,
            "max_num_frames_per_episode": max_frames,
        }
        self._check_own(spec, {**protocol, "continuous": False, "sound_obs": False})
        # Both are done here: the emulator tells neither which action it repeats, nor the frames that it skips.
        inside = {"frameskip": 1, "repeat_action_probability": 0.0, "render_mode": env.render_mode}
        arguments = {**spec.kwargs, **protocol, **inside}
        env.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of older ids
            super().__init__(gym.make(spec.id, disable_env_checker=True, **arguments))
        base: Any = self.env.unwrapped
        self._base, self._ale, self._set = base, base.ale, base._action_set
        self.frames_per_step, self._noop_max, self._limit = frame_skip, noop_max, spec.max_episode_steps
        steps = -(-max_frames // frame_skip)
        self._max_episode_steps = steps if self._limit is None else min(steps, self._limit)  # as a TimeLimit tells it
        self._sticky, self._action = sticky_action_prob, self._set[0]
        self._end_on_life_loss, self._clip_rewards = end_on_life_loss, clip_rewards
        height, width = base.observation_space.shape
        self._screens = np.zeros((2, height, width), np.uint8)
        self._down, self._across = _areas(height), _areas(width)
        self._stack = np.zeros((num_stacked, SIZE, SIZE), np.uint8)
        self._lives = self._elapsed = 0
        self.observation_space = gym.spaces.Box(0, 255, self._stack.shape, np.uint8)

    def _check_own(self, spec: Any, protocol: dict[str, Any]) -> None:
        """`ValueError` where the environment was given an argument that the protocol decides, and otherwise.

        One that is what the id has anyway cannot be told from none; a frame skip of 1 is the emulator's own.
        """
        registered = gym.spec(spec.id).kwargs
        for name, decided in protocol.items():
            value = spec.kwargs.get(name, decided)
            if value not in (registered.get(name, decided), decided) and (name, value) != ("frameskip", 1):
                ours = _OURS.get(name)
                way = f"write {type(self).__name__}({ours}={value!r})" if ours else f"it is {decided!r} here"
                raise ValueError(f"{name} is the protocol's to decide: {way}")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        self.env.reset(seed=seed, options=options)
        for _ in range(self._base.np_random.integers(1, self._noop_max + 1) if self._noop_max else 0):
            self._ale.act(self._set[0])
            if self._ale.game_over():
                self._ale.reset_game()
        self._lives, self._elapsed, self._action = self._ale.lives(), 0, self._set[0]
        self._stack[:] = 0
        self._ale.getScreenGrayscale(self._screens[0])
        return self._pushed(self._screens[0]), self._info()

    def step(self, action: int) -> tuple[Frame, float, bool, bool, dict[str, Any]]:
        ale, reward, terminated, truncated = self._ale, 0.0, False, False
        for frame in range(self.frames_per_step):
            if not self._sticky or self._base.np_random.random() >= self._sticky:
                self._action = self._set[action]
            reward += ale.act(self._action)
            terminated, truncated = ale.game_over(with_truncation=False), ale.game_truncated()
            if terminated or truncated:
                break
            if frame >= self.frames_per_step - 2:
                ale.getScreenGrayscale(self._screens[frame - self.frames_per_step])
        self._elapsed += 1
        if terminated or truncated:
            ale.getScreenGrayscale(self._screens[0])
            self._screens[1] = 0
        elif self.frames_per_step == 1:
            self._screens[0] = 0
        truncated = truncated or (self._limit is not None and self._elapsed >= self._limit)
        obs = self._pushed(np.maximum(*self._screens))
        lives = ale.lives()
        lost, self._lives = lives < self._lives, lives
        info = self._info()
        if self._end_on_life_loss or self._clip_rewards:
            learn_reward = float(np.sign(reward)) if self._clip_rewards else float(reward)
            info["learn"] = learn_reward, bool(terminated or (lost and self._end_on_life_loss))
        return obs, float(reward), bool(terminated), bool(truncated), info

    def _info(self) -> dict[str, Any]:
        return {"lives": self._lives, "episode_frame_number": self._ale.getEpisodeFrameNumber()}

    def _pushed(self, screen: Frame) -> Frame:
        """The stack with one more screen, 84 × 84: each pixel the mean of the area it stands for."""
        rows, columns = self._down, self._across
        small: Any = sum(part[:, None] * screen[row] for row, part in zip(*rows, strict=True))
        small = sum(part * small[:, column] for column, part in zip(*columns, strict=True))
        self._stack[:-1] = self._stack[1:]
        self._stack[-1] = np.rint(small)
        return self._stack.copy()

    def get_state(self) -> dict[str, Any]:
        """Emulator, its random numbers, ours, and the stack."""
        emulator = np.frombuffer(self._ale.cloneSystemState().serialize(), np.uint8)
        return {
            "emulator": emulator.copy(),
            "np_random": self._base.np_random.bit_generator.state,
            "stack": self._stack.copy(),
            "screens": self._screens.copy(),
            "lives": self._lives,
            "elapsed": self._elapsed,
            "action": list(self._ale.getLegalActionSet()).index(self._action),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_state` gave."""
        kind = type(self._ale.cloneSystemState())
        self._ale.restoreSystemState(kind(np.asarray(state["emulator"]).tobytes()))
        self._base.np_random.bit_generator.state = state["np_random"]
        self._stack[:], self._screens[:] = state["stack"], state["screens"]
        self._lives, self._elapsed = state["lives"], state["elapsed"]
        self._action = self._ale.getLegalActionSet()[state["action"]]


class Atari2015(Atari):
    """The protocol of Mnih et al. (2015)."""

    def __init__(self, env: gym.Env[Any, Any], **changes: Any) -> None:
        super().__init__(env, **{"noop_max": 30, "end_on_life_loss": True, "clip_rewards": True, **changes})


class Atari2018(Atari):
    """The protocol of Machado et al. (2018)."""

    def __init__(self, env: gym.Env[Any, Any], **changes: Any) -> None:
        protocol = {"sticky_action_prob": 0.25, "full_action_set": True, "clip_rewards": True}
        super().__init__(env, **{**protocol, **changes})


def _areas(length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Which of `length` pixels lie in each of `SIZE` equal parts, and what share of the part: `[taps, SIZE]` both.

    Sums of a few products are faster than matrix products here, and the same on every machine.
    """
    edges, pixels = np.arange(SIZE + 1) * (length / SIZE), np.arange(length)
    low, high = np.maximum.outer(edges[:-1], pixels), np.minimum.outer(edges[1:], pixels + 1)
    share = np.maximum(high - low, 0) * (SIZE / length)
    taps = int((share > 1e-9).sum(1).max())
    index = np.minimum((share > 1e-9).argmax(1) + np.arange(taps)[:, None], length - 1)
    weight = np.take_along_axis(share, index.T, 1).T
    weight[1:][index[1:] == index[:-1]] = 0  # the last pixel, once
    return index, weight.astype(np.float32)
