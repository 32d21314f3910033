"""Where agents' hyperparameters were read, code at one commit or release each: `f"{CLEANRL}/dqn.py"`.

A source, of an agent's default as of a card's value, names the paper ("paper: Table 3"), code ("code: repository@commit
path") or another text ("secondary: where"), or says that the value is "ours: why".
"""

from __future__ import annotations

CLEANRL = "code: vwxyzjn/cleanrl@fe8d8a0 cleanrl"
SB3 = "code: DLR-RM/stable-baselines3@v2.9.2 stable_baselines3"
SB3_POLICIES = f"{SB3}/common/policies.py"
SB3_OFF_POLICY = f"{SB3}/common/off_policy_algorithm.py"
SB3_CONTRIB = "code: Stable-Baselines-Team/stable-baselines3-contrib@v2.9.2 sb3_contrib"
ZOO = "code: DLR-RM/rl-baselines3-zoo@22e3ff2 hyperparams"
MUSHROOM = "code: MushroomRL/mushroom-rl-benchmark@a50c397"
MUSHROOM_LIBRARY = "code: MushroomRL/mushroom-rl@01a0cb6 mushroom_rl/algorithms/actor_critic/deep_actor_critic"
TORCH = "code: pytorch/pytorch@v2.13.0 torch/optim"
DETAIL = "secondary: Huang et al. (2022), The 37 Implementation Details of PPO, detail"
CONSTANT_STEP_SIZE = "ours: constant, as in the book; ω > 0: Even-Dar & Mansour (2003)"
SOFTLEARNING = "code: rail-berkeley/softlearning@01cd86e softlearning/algorithms/sac.py"
