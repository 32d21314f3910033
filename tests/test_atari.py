"""The two protocols of Atari 2600 games: pixels, scores, ends, and what an agent learns from."""

from __future__ import annotations

import copy
import json
from typing import Any

import gymnasium
import numpy as np
import pytest

from rlrepro import snapshot
from rlrepro.agent import Setup
from rlrepro.envs.atari import Atari
from rlrepro.errors import Problem
from rlrepro.plugins.env_layers import frames_per_step
from rlrepro.plugins.environments import find_env
from rlrepro.seed_log import read_rows
from rlrepro.settings import Settings
from rlrepro.trainer import RecordedEnv
from rlrepro.vector import VectorEnv
from tests.conftest import Runs

pytest.importorskip("ale_py")
GAME = "ALE/Breakout-v5"


def made(wrapper: str, game: str = GAME) -> Any:
    return find_env(game, wrappers=(wrapper,)).make()


def test_pixels_are_those_of_ale_py_whose_resize_is_opencv() -> None:
    from ale_py import AtariVectorEnv

    theirs = AtariVectorEnv(
        "breakout", 1, repeat_action_probability=0.0, noop_max=0, use_fire_reset=False, reward_clipping=False
    )
    ours = made("Atari2015(noop_max=0)")
    first, _ = ours.reset(seed=0)
    wanted, _ = theirs.reset(seed=0)
    np.testing.assert_allclose(first[-1].astype(int), wanted[0, -1].astype(int), atol=1)
    rng, total, off, seen = np.random.default_rng(0), 0.0, 0, 0
    for step in range(100):
        action = int(rng.integers(4)) if step else 1
        obs, reward, terminated, _, _ = ours.step(action)
        their_obs, their_reward, their_end, _, _ = theirs.step(np.array([action]))
        if terminated:
            assert their_end[0]
            break
        shown = min(4, step + 2)  # theirs fills the stack otherwise before the first frame
        difference = np.abs(obs[-shown:].astype(int) - their_obs[0, -shown:].astype(int))
        assert difference.max() <= 1
        off, seen = off + int((difference > 0).sum()), seen + difference.size
        assert reward == their_reward[0]
        total += reward
    assert total > 0
    assert off < seen * 1e-3  # a half is rounded up here and down there


def test_pixels_are_those_of_gymnasiums_preprocessing() -> None:
    pytest.importorskip("cv2")
    from gymnasium.wrappers import AtariPreprocessing

    ours = made("Atari2015")
    theirs = AtariPreprocessing(gymnasium.make(GAME, frameskip=1, repeat_action_probability=0.0))
    obs, _ = ours.reset(seed=7)
    wanted, _ = theirs.reset(seed=7)  # the same number of no-ops too
    for step in range(60):
        assert np.abs(obs[-1].astype(int) - wanted.astype(int)).max() <= 1
        obs, reward, terminated, _, _ = ours.step(step % 4)
        wanted, their_reward, their_end, _, _ = theirs.step(step % 4)
        assert (reward, terminated) == (their_reward, their_end)
        if terminated:
            break


def test_the_protocols_differ_as_their_papers_do() -> None:
    old, new = made("Atari2015"), made("Atari2018")
    assert (old.action_space.n, new.action_space.n) == (4, 18)
    for env in (old, new):
        assert env.observation_space == gymnasium.spaces.Box(0, 255, (4, 84, 84), np.uint8)
        assert env.unwrapped.ale.getInt("max_num_frames_per_episode") == 108_000
    starts = {old.reset(seed=seed)[1]["episode_frame_number"] for seed in range(20)}
    assert min(starts) >= 1
    assert max(starts) <= 30
    assert len(starts) > 8
    assert new.reset(seed=0)[1] == {"lives": 5, "episode_frame_number": 0}
    assert new.step(0)[4]["episode_frame_number"] == 4


def test_no_op_starts_are_as_many_as_the_environments_own_stream_says() -> None:
    """From 1 to `noop_max`, both among them, whether a seed begins the stream or an episode goes on in it."""
    env, taken = made("Atari2015(noop_max=3)"), []
    env.unwrapped.reset(seed=7)
    ale, stream = env._ale, copy.deepcopy(env.unwrapped.np_random)
    act = {"act": lambda _, action: taken.append(action.name) or ale.act(action)}
    env._ale = type("Ear", (), {**act, "__getattr__": lambda _, name: getattr(ale, name)})()
    counts = [env.reset(seed=None if episode else 7)[1]["episode_frame_number"] for episode in range(12)]
    assert counts == [stream.integers(1, 4) for _ in range(12)]
    assert set(counts) == {1, 2, 3}
    assert taken == ["NOOP"] * sum(counts)


def test_an_episode_is_that_of_its_seed_whatever_was_played_before() -> None:
    """Nothing of it is left in the stack, or in the action that a sticky frame repeats."""
    env = made("Atari2018(sticky_action_prob=0.9)")

    def episode() -> list[Any]:
        return [env.reset(seed=5)[0], *(env.step(action)[0] for action in [3] * 10 + [4] * 10)]

    first = episode()
    env._action = env._set[3]  # a paddle on its way
    again = episode()
    assert not first[0][:3].any()
    assert first[0][3].any()
    np.testing.assert_array_equal(again, first)


def shrunk(screen: Any) -> Any:
    """The mean of the area that each of 84 × 84 pixels stands for."""
    return screen.repeat(2, 0).repeat(21, 1).reshape(84, 5, 84, 40).mean((1, 3))  # 420 × 3360: 5 by 40 a pixel


@pytest.mark.parametrize(("skip", "alone"), [(1, range(1, 11)), (4, (3,))])  # of 10 frames, 2 are the third action's
def test_one_frame_an_action_and_the_last_of_a_game_are_seen_alone(skip: int, alone: Any) -> None:
    env = made(f"Atari2015(frame_skip={skip}, noop_max=0, max_frames=10)")
    env.reset(seed=0)
    for step in range(1, -(-10 // skip) + 1):
        obs, _, _, truncated, _ = env.step(3)  # the paddle moves in each frame from the second on
        assert truncated == (step * skip >= 10)
        if step in alone:
            np.testing.assert_allclose(obs[-1], shrunk(env._ale.getScreenGrayscale()), atol=0.5 + 1e-3)


def test_what_the_clock_cuts_is_no_end_to_learn_from() -> None:
    limited = find_env(GAME, {"max_episode_steps": 3}, ("Atari2015(noop_max=0)",)).make()
    for env, steps in ((limited, 3), (made("Atari2015(noop_max=0, max_frames=8)"), 2)):
        env.reset(seed=0)
        for step in range(steps):
            _, _, terminated, truncated, info = env.step(0)
            assert (terminated, truncated, info["learn"]) == (False, step == steps - 1, (0.0, False))


def test_a_lost_point_is_learnt_as_one() -> None:
    env = made("Atari2015(noop_max=0)", "ALE/Pong-v5")
    env.reset(seed=0)
    reward = 0.0
    while not reward:
        _, reward, _, _, info = env.step(0)
    assert (reward, info["learn"][0]) == (-1.0, -1.0)


def test_a_life_that_is_won_ends_nothing() -> None:
    env = made("Atari2015(noop_max=0)")
    env.reset(seed=0)
    env._lives -= 1  # as if the game had given one since
    *_, info = env.step(0)
    assert info["learn"] == (0.0, False)


def test_a_game_that_ended_among_the_no_ops_is_begun_again() -> None:
    env = made("Atari2015(noop_max=30, max_frames=2)")
    for seed in range(6):
        env.reset(seed=seed)
        assert not env._ale.game_over()


def test_a_game_may_be_shown() -> None:
    env = Atari(gymnasium.make(GAME, render_mode="rgb_array"))
    env.reset(seed=0)
    assert env.render().shape == (210, 160, 3)  # type: ignore[union-attr]


def test_lives_steps_and_the_action_that_sticks_are_part_of_the_state() -> None:
    env, twin = (made("Atari2018(sticky_action_prob=0.9, end_on_life_loss=True)") for _ in range(2))
    env.reset(seed=0)
    full, step = env._ale.lives(), 0
    while env._lives == full or env.get_state()["action"] == 0:
        env.step(1 + step % 3)
        step += 1
    state = env.get_state()
    twin.reset(seed=9)
    twin.set_state(state)
    for name in ("lives", "elapsed", "action"):
        assert twin.get_state()[name] == state[name] != 0


def test_an_episode_is_cut_at_its_time_limit_and_no_step_later() -> None:
    env = find_env(GAME, {"max_episode_steps": 12}, ("Atari2015",)).make()
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(12)] == [False] * 11 + [True]


def test_sticky_actions_repeat_a_quarter_of_the_frames() -> None:
    env, taken = made("Atari2018"), []
    env.reset(seed=0)
    ale = env._ale
    act = {"act": lambda _, action: taken.append(action.value) or 0}
    env._ale = type("Ear", (), {**act, "__getattr__": lambda _, name: getattr(ale, name)})()
    for step in range(2000):
        env.step(step % 2)  # nothing, fire: the step before goes on until the first frame that repeats nothing
    old = np.array(taken).reshape(-1, 4)[1:] != np.arange(1, 2000)[:, None] % 2
    assert (old[:, 1:] <= old[:, :-1]).all()
    wanted = 0.25 ** np.arange(1, 5)
    assert (np.abs(old.mean(0) - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 1999)).all()


def lives_lost(env: Any, actions: int = 700) -> tuple[list[tuple[float, bool, dict[str, Any]]], int]:
    """Steps of Breakout in which the ball is served and missed, to the end of the game."""
    env.reset(seed=0)
    steps = []
    for _ in range(actions):
        _, reward, terminated, _, info = env.step(1)
        steps.append((reward, terminated, info))
        if terminated:
            break
    return steps, sum(info["learn"][1] for _, _, info in steps if "learn" in info)


def test_a_lost_life_ends_an_episode_for_the_learner_alone() -> None:
    steps, ends = lives_lost(made("Atari2015"))
    assert [terminated for _, terminated, _ in steps].count(True) == 1
    assert ends == 5  # lives
    steps, ends = lives_lost(made("Atari2018(sticky_action_prob=0.0)"))
    assert ends == 1


def test_scores_are_counted_and_clipped_rewards_are_learnt_from() -> None:
    """Ms. Pac-Man pays 10 for a pill: a learner sees 1, the record 10."""
    source = find_env("ALE/MsPacman-v5", wrappers=("Atari2015",))
    env = VectorEnv(source.batch(2), (0, 1), 1)
    env.reset()
    own = learnt = 0.0
    for step in range(120):
        transition, _ = env.step(np.full((2, 1), step % 5), {})
        own, learnt = own + env.reward.sum(), learnt + transition.reward.sum()
        assert np.isin(transition.reward, (-1, 0, 1)).all()
    assert own == 10 * learnt > 0


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"max_num_frames_per_episode": 400}, "write Atari2015(max_frames=400)"),
        ({"full_action_space": True}, "write Atari2015(full_action_set=True)"),
        ({"repeat_action_probability": 0.1}, "write Atari2015(sticky_action_prob=0.1)"),
        ({"obs_type": "ram"}, "it is 'grayscale' here"),
        ({"frameskip": 3}, "write Atari2015(frame_skip=3)"),
        ({"continuous": True}, "it is False here"),
        ({"sound_obs": True}, "it is False here"),
        ({"frameskip": 1, "mode": 0}, None),
    ],
)
def test_an_argument_that_the_protocol_decides_is_no_environments(kwargs: dict[str, Any], words: str | None) -> None:
    source = find_env(GAME, kwargs, ("Atari2015",))
    if words is None:
        assert source.make().frames_per_step == 4
        return
    with pytest.raises(Problem, match="is the protocol's to decide") as refused:
        source.make()
    assert words in str(refused.value)


def test_an_argument_is_held_against_the_protocol_and_not_against_the_emulator_inside() -> None:
    """Inside nothing is sticky and no frame is skipped, whatever the protocol does."""
    with pytest.raises(Problem, match=r"write Atari2018\(sticky_action_prob=0\)"):
        find_env(GAME, {"repeat_action_probability": 0}, ("Atari2018",)).make()
    assert find_env(GAME, {"frameskip": 5}, ("Atari2018(frame_skip=5)",)).make().frames_per_step == 5
    never = find_env(GAME, {"repeat_action_probability": 0}, ("Atari2018(sticky_action_prob=0)",)).make()
    assert never.get_wrapper_attr("_sticky") == 0


@pytest.mark.parametrize(
    "wrong",
    ["sticky_action_prob=5", "noop_max=-3", "noop_max=30.5", "frame_skip=0", "frame_skip=2.5", "max_frames=None"],
)
def test_what_no_protocol_can_have_is_refused(wrong: str) -> None:
    name, value = wrong.split("=")
    with pytest.raises(Problem, match=rf"{name} is {value}; expected a (whole )?number from [01] (up|to 1)"):
        made(f"Atari2015({wrong})")


@pytest.mark.parametrize(
    ("kwargs", "wrappers", "frames"),
    [
        ({}, (), 4),
        ({"frameskip": 1}, ("MaxAndSkipObservation(skip=4)",), 4),
        ({"frameskip": 2}, ("RepeatAction(num_repeats=3)", "FrameStackObservation(stack_size=2)"), 6),
        ({"frameskip": (2, 5)}, (), 3),
        ({}, ("Atari2018(frame_skip=5)", "RepeatAction(num_repeats=2)"), 10),
    ],
)
def test_frames_of_an_env_step_are_those_of_all_layers(
    kwargs: dict[str, Any], wrappers: tuple[str, ...], frames: int
) -> None:
    assert frames_per_step(find_env(GAME, kwargs, wrappers).make()) == frames


class Twice(gymnasium.wrappers.RepeatAction):
    """Somebody's own."""

    def __init__(self, env: Any) -> None:
        super().__init__(env, 2)


class Simulator(gymnasium.Env[Any, Any]):
    frames_per_step = 5
    observation_space, action_space = gymnasium.spaces.Discrete(2), gymnasium.spaces.Discrete(2)


def test_frames_of_what_is_derived_or_tells_of_itself() -> None:
    assert frames_per_step(Twice(Simulator())) == 10


def test_the_time_limit_is_the_emulators_or_the_environments() -> None:
    assert find_env(GAME, wrappers=("Atari2015",)).time_limit() == 27_000
    assert find_env(GAME, wrappers=("Atari2015(max_frames=18001)", "ClipReward(max_reward=1)")).time_limit() == 4_501
    assert find_env(GAME, {"max_episode_steps": 50}, ("Atari2015",)).time_limit() == 50
    assert find_env(GAME).time_limit() == 27_000  # 108,000 frames
    assert find_env(GAME, {}, ("Atari2018", "RepeatAction(num_repeats=2)")).time_limit() == 13_500


def test_the_record_of_a_run_has_scores_of_whole_games(runs: Runs) -> None:
    arguments = ["--env", GAME, "--wrapper", "Atari2015(noop_max=1, max_frames=400)", "--no-check-env"]
    for agent in ("random", "sb3:a2c"):
        brief = ["--seeds", "1", "--final-eval-episodes", "1", "--total-timesteps", "250", "--num-envs", "1"]
        folder = runs.finish(agent.replace(":", "-"), *arguments, *brief, "--agent", agent)
        rows = list(read_rows(folder / "seeds" / "0" / "episodes.csv"))
        assert rows
        assert {int(row["episode_length"]) for row in rows} == {100}
        assert json.loads((folder / "settings.json").read_text())["frames_per_step"] == 4


class _Training:
    """What a recorded environment tells."""

    name = GAME

    def __init__(self) -> None:
        self.setup = Setup(gymnasium.spaces.Box(0, 1), gymnasium.spaces.Discrete(4), (0,), 1, 1000)
        self.returns: list[float] = []

    def ended(self, index: int, episode_return: float, *rest: object) -> None:
        self.returns.append(episode_return)

    def stepped(self) -> None:
        pass


def test_an_algorithm_with_its_own_loop_learns_from_lives_and_is_counted_by_games() -> None:
    training = _Training()
    env = RecordedEnv(made("Atari2015"), 0, training)  # type: ignore[arg-type]
    env.reset()
    ends, own = 0, 0.0
    while not training.returns:
        obs, reward, terminated, _, _ = env.step(1)
        own += reward
        if terminated:
            ends += 1
            again, _ = env.reset()
            assert np.array_equal(obs, again) == (not training.returns)  # the same game goes on
    assert ends == 5
    assert training.returns == [own]  # bricks of the lowest rows pay 1


@pytest.mark.parametrize(
    "wrappers",
    [("Atari2015",), ("Atari2018",), (), ("GrayscaleObservation", "FrameStackObservation(stack_size=2)")],
    ids=str,
)
def test_a_game_goes_on_from_its_state(wrappers: tuple[str, ...]) -> None:
    """By a protocol, as it is (with sticky actions), and with Gymnasium's wrappers."""
    assert snapshot.can_restore(find_env(GAME, wrappers=wrappers).make, 40, num_earlier=2) is None


def test_what_is_no_game_is_refused() -> None:
    with pytest.raises(Exception, match="Atari2015 is for the games of ale-py"):
        made("Atari2015", "CartPole-v1")


def test_any_screen_shrinks_to_the_mean_of_its_areas() -> None:
    env = made("Atari2018")
    assert isinstance(env, Atari)
    np.testing.assert_allclose(env._down[1].sum(0), 1, rtol=1e-6)
    screen = np.random.default_rng(0).integers(256, size=(210, 160)).astype(np.uint8)
    np.testing.assert_allclose(env._pushed(screen)[-1], shrunk(screen), atol=0.5 + 1e-3)


def test_settings_name_the_protocol(runs: Runs) -> None:
    folder = runs.finish("named", "--env", GAME, "--wrapper", "Atari2018(max_frames=200)", "--agent", "random",
                         "--seeds", "1", "--num-envs", "1", "--no-check-env")  # fmt: skip
    saved = Settings.from_json((folder / "settings.json").read_text(), "settings.json")
    assert saved.wrappers == ("Atari2018(max_frames=200)",)
