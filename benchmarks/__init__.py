"""Speed, measured against Stable-Baselines3 on the same machine in the same go."""
