"""How points are drawn: Langevin dynamics and the replay buffer that its chains may start from."""
